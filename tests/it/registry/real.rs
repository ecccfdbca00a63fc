//! Our digests of images at Debian's docker-registry are those of oci-client and skopeo.

use std::time::Duration;

use podrefresh::registry::Settings;
use testbed::images::{self, Format, Image};

use crate::support::{
    docker_registry::DockerRegistry,
    oci::Oci,
    program::Program,
    resolver::{ask, check_refused, lookup, resolver},
    skip::need,
    skopeo::Skopeo,
};

/// Returns one image of each kind that tags commonly name.
fn kinds() -> [(&'static str, Image); 5] {
    let amd64 = Format::Oci.image("linux/amd64", "attested");
    let attestation = images::attestation(&amd64, "build");
    [
        ("oci", Format::Oci.image("linux/amd64", "1")),
        ("docker", Format::Docker.image("linux/amd64", "1")),
        ("oci-index", Format::Oci.multi_platform("1")),
        ("docker-list", Format::Docker.multi_platform("1")),
        ("attested", Format::Oci.index([amd64, attestation])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn our_digests_are_those_of_oci_client_and_skopeo() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let Some(skopeo) = need(Skopeo::find()) else {
        return;
    };
    let resolver = resolver(Settings::default(), None);
    let oci = Oci::new(&registry, None);
    for (tag, image) in kinds() {
        let reference = oci.push("team/app", tag, &image).await;
        let ours = ask(&resolver, &lookup(&reference, "shop", &[]))
            .await
            .unwrap();
        assert_eq!(ours, image.digest(), "{tag}");
        assert_eq!(ours, oci.digest(&reference).await, "{tag}");
        assert_eq!(ours, skopeo.digest(&reference).await, "{tag}");
        assert_eq!(ours, images::digest(&skopeo.raw(&reference).await), "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_what_skopeo_pushed_is_found() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let Some(skopeo) = need(Skopeo::find()) else {
        return;
    };
    let resolver = resolver(Settings::default(), None);
    let image = Format::Oci.image("linux/amd64", "1");
    let pushed = Oci::new(&registry, None)
        .push("team/app", "oci", &image)
        .await;
    // Skopeo writes a manifest of its own, so this digest comes from nobody's code but its.
    let converted = format!("{}/other/app:docker", registry.host());
    skopeo.convert(&pushed, &converted, "v2s2").await;
    let ours = ask(&resolver, &lookup(&converted, "shop", &[]))
        .await
        .unwrap();
    assert_ne!(ours, image.digest());
    assert_eq!(ours, skopeo.digest(&converted).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_seen_at_the_next_look() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let resolver = resolver(Settings::default(), None);
    let oci = Oci::new(&registry, None);
    let images = ["1", "2"].map(|seed| Format::Docker.multi_platform(seed));
    for image in &images {
        let reference = oci.push("app", "stable", image).await;
        assert_eq!(
            ask(&resolver, &lookup(&reference, "shop", &[]))
                .await
                .unwrap(),
            image.digest()
        );
        // By its digest an image does not move.
        let pinned = format!("{}/app@{}", registry.host(), images[0].digest());
        assert_eq!(
            ask(&resolver, &lookup(&pinned, "shop", &[])).await.unwrap(),
            images[0].digest()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_and_who_is_not_there_unreachable() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let settings = Settings {
        lookup_timeout: Duration::from_secs(30),
        ..Settings::default()
    };
    let resolver = resolver(settings, None);
    let pushed = Oci::new(&registry, None)
        .push("app", "1", &Format::Oci.image("linux/amd64", "1"))
        .await;
    for missing in ["app:2", "nothing:1"] {
        let reference = format!("{}/{missing}", registry.host());
        let answer = ask(&resolver, &lookup(&reference, "shop", &[])).await;
        check_refused(answer, "not_found", &[&reference, &"knows no such image"]);
    }
    let host = registry.host().to_owned();
    drop(registry);
    let answer = ask(&resolver, &lookup(&pushed, "shop", &[])).await;
    check_refused(answer, "unreachable", &[&host, &"Connection refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_digests_in_the_order_asked_for() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let oci = Oci::new(&registry, None);
    let mut references = Vec::new();
    let mut expected = String::new();
    for (tag, image) in kinds() {
        let reference = oci.push("team/app", tag, &image).await;
        expected += &format!("{}  {reference}\n", image.digest());
        references.push(reference);
    }
    let arguments = ["digest"]
        .into_iter()
        .chain(references.iter().map(String::as_str));
    let outcome = Program::new(arguments).run().await;
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(0), &*expected),
        "{outcome}"
    );
    assert_eq!(outcome.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_reference_does_not_keep_the_others() {
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let image = Format::Oci.image("linux/amd64", "1");
    let good = Oci::new(&registry, None).push("app", "1", &image).await;
    let bad = format!("{}/app:2", registry.host());
    let outcome = Program::new(["digest", &bad, &good]).run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.stdout, format!("{}  {good}\n", image.digest()));
    let [why, sum] = &outcome.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("{outcome}")
    };
    assert!(
        why.contains(&bad) && why.contains("it knows no such image"),
        "{outcome}"
    );
    assert_eq!(*sum, "error: 1 of 2 references could not be resolved");
}
