//! A tag that moves to the same image for a pod's node is no reason to evict the pod.

use hyper::Method;
use serde_json::json;
use testbed::{
    images::{Format, Image, attestation},
    registry::{Auth, Fault, Options, Registry, Target, User},
};

use crate::support::{
    kube::{eventually, name},
    program::Program,
    world::{World, get},
};

/// Returns `image` as a build publishes it: in an index, beside an attestation that no two builds share.
fn build(image: &Image, number: u32) -> Image {
    let attestation = attestation(image, &format!("build-{number}"));
    Format::Oci.index([image.clone(), attestation])
}

/// Waits until the controller counts `count` containers with `verdict`.
async fn judged(world: &World, verdict: &str, count: usize) {
    let line = format!("podrefresh_refresh_containers{{verdict=\"{verdict}\"}} {count}");
    eventually(&line, || async {
        let (_, metrics) = get(world.controllers()[0].admin, "/metrics").await;
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;
}

/// Returns the names of the pods in `shop`, sorted.
async fn names(world: &World) -> Vec<String> {
    let pods = world.kube.pods("shop").await;
    pods.iter().map(|pod| name(pod).to_owned()).collect()
}

/// Waits until the controller has looked the tag up so often from now on.
async fn lookups(world: &World, count: usize) {
    let heads = Target::manifests().method(Method::HEAD).outside();
    let so_far = world.registry.count(&heads);
    eventually("some more lookups", || async {
        (so_far + count <= world.registry.count(&heads)).then_some(())
    })
    .await;
}

fn gets() -> Target {
    Target::manifests().method(Method::GET).outside()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_attestation_or_architecture_evicts_nothing_and_a_new_image_does() {
    let world = World::running(&[]).await;
    let amd64 = Format::Oci.image("linux/amd64", "1");
    let (image, old) = world.push_image("shop/web", "stable", &build(&amd64, 1));
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 3, &image).await;
    world.kube.running("shop", 3, &old).await;
    judged(&world, "current", 3).await;
    let before = names(&world).await;
    assert_eq!(
        world.registry.count(&gets()),
        0,
        "what is current costs no GET"
    );

    world.push_image("shop/web", "stable", &build(&amd64, 2));
    judged(&world, "identical", 3).await;
    assert_eq!(world.registry.count(&gets()), 2, "one for each index");

    let arm64 = Format::Oci.image("linux/arm64", "1");
    let both = Format::Oci.index([arm64.clone(), amd64.clone()]);
    world.push_image("shop/web", "stable", &both);
    eventually("the third index to be read", || async {
        (world.registry.count(&gets()) == 3).then_some(())
    })
    .await;
    lookups(&world, 5).await;
    judged(&world, "identical", 3).await;
    assert_eq!(names(&world).await, before);

    // The old image for one platform, a new one for ours.
    let new = Format::Oci.index([arm64, Format::Oci.image("linux/amd64", "2")]);
    let (_, new) = world.push_image("shop/web", "stable", &new);
    world.kube.running("shop", 3, &new).await;
    judged(&world, "current", 3).await;
    assert!(
        names(&world)
            .await
            .iter()
            .all(|name| !before.contains(name))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_an_image_for_the_node_evicts_nothing_until_it_has_one() {
    let world = World::running(&[]).await;
    let amd64 = |seed| Format::Oci.image("linux/amd64", seed);
    let arm64 = Format::Oci.image("linux/arm64", "2");
    let old = Format::Oci.index([amd64("1")]);
    let (image, old) = world.push_image("shop/web", "stable", &old);
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let before = names(&world).await;

    world.push_image("shop/web", "stable", &Format::Oci.index([arm64.clone()]));
    judged(&world, "unknown", 2).await;
    lookups(&world, 5).await;
    judged(&world, "unknown", 2).await;
    assert_eq!(names(&world).await, before);

    let both = Format::Oci.index([arm64, amd64("2")]);
    let (_, new) = world.push_image("shop/web", "stable", &both);
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_image_that_the_registry_has_no_more_is_outdated() {
    let world = World::running(&[]).await;
    let amd64 = Format::Oci.image("linux/amd64", "1");
    let (image, old) = world.push_image("shop/web", "stable", &build(&amd64, 1));
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.running("shop", 1, &old).await;

    world.registry.delete("shop/web", &old);
    let (_, new) = world.push_image("shop/web", "stable", &build(&amd64, 2));
    world.kube.running("shop", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_does_not_tell_what_stands_in_an_index_nothing_goes() {
    let world = World::running(&[]).await;
    let (image, old) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("1"));
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let before = names(&world).await;

    // Nodes read manifests by GET, too: only the controller must not be answered.
    let fault = world.registry.inject(Fault::Status(500), gets());
    let (_, new) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("2"));
    let line = "podrefresh_refresh_held_pods{reason=\"registry_failing\"} 2";
    eventually(line, || async {
        let (_, metrics) = get(world.controllers()[0].admin, "/metrics").await;
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;
    // Tags are looked up by HEAD all the while.
    lookups(&world, 5).await;
    assert_eq!(names(&world).await, before);

    drop(fault);
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_little_is_left_of_a_rate_limit_it_is_left_to_the_nodes() {
    let world = World::running(&[]).await;
    let (image, old) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("1"));
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.running("shop", 1, &old).await;

    let low = Fault::RateLimitHeaders {
        limit: 100,
        remaining: 7,
        window_seconds: 1,
    };
    let low = world.registry.inject(low, Target::manifests().outside());
    eventually("the allowance", || async {
        let (_, metrics) = get(world.controllers()[0].admin, "/metrics").await;
        let line = "podrefresh_registry_allowance 7.0";
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;
    let (_, new) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("2"));
    let line = "podrefresh_refresh_held_pods{reason=\"registry_failing\"} 1";
    eventually(line, || async {
        let (_, metrics) = get(world.controllers()[0].admin, "/metrics").await;
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;
    assert_eq!(world.registry.count(&gets()), 0);

    drop(low);
    world.kube.running("shop", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_command_tells_how_it_came_about_and_never_the_secret() {
    let ann = User::new("ann", "hunter2");
    let registry = Registry::start(Options {
        auth: Auth::Basic(vec![ann]),
        ..Options::default()
    })
    .await
    .unwrap();
    let (amd64, arm) = (
        Format::Oci.image("linux/amd64", "1"),
        Format::Oci.image("linux/arm/v7", "1"),
    );
    let index = Format::Oci.index([amd64.clone(), attestation(&amd64, "1"), arm.clone()]);
    registry.store("app", "1", &index);
    registry.store("app", "2", &amd64);
    let limit = Fault::RateLimitHeaders {
        limit: 100,
        remaining: 76,
        window_seconds: 21_600,
    };
    let _limit = registry.inject(limit, Target::manifests());
    let host = registry.host();
    let run = async |arguments: [&str; 3]| {
        let config = json!({"auths": {&*host: {"username": "ann", "password": "hunter2"}}});
        let program = Program::new(arguments).docker_config(&config);
        let outcome = program.run().await;
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert!(!outcome.to_string().contains("hunter2"), "{outcome}");
        outcome.stdout
    };

    let [first, second] = ["1", "2"].map(|tag| registry.reference("app", tag));
    let text = run(["digest", "-v", &first]).await;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], [index.digest(), &first]);
    assert_eq!(lines[1], ["host", &host]);
    let place = lines[2].join(" ");
    assert!(place.starts_with("credential docker config /"), "{place}");
    assert!(place.ends_with(&format!("key {host}")), "{place}");
    assert_eq!(lines[3], ["request", "HEAD"]);
    assert_eq!(lines[4], ["linux/amd64", amd64.digest()]);
    assert_eq!(lines[5], ["linux/arm/v7", arm.digest()]);
    assert_eq!(
        lines[6].join(" "),
        "rate limit 76 of 100 requests left in 21600 s"
    );
    assert_eq!(lines.len(), 7, "an attestation is no image: {text}");
    let text = run(["digest", "--verbose", &second]).await;
    assert!(text.contains("one image, no index"), "{text}");

    registry.forget_requests();
    let text = run(["digest", &first, &second]).await;
    assert_eq!(text.lines().count(), 2);
    assert_eq!(registry.count(&gets()), 0, "without -v nothing is read");

    // What has a digest means that one, as to a kubelet, whatever its tag means now.
    registry.forget_requests();
    let repository = first.strip_suffix(":1").unwrap();
    let fixed = [
        format!("{repository}@{}", amd64.digest()),
        format!("{first}@{}", amd64.digest()),
    ];
    let text = run(["digest", &fixed[0], &fixed[1]]).await;
    let expected = fixed
        .each_ref()
        .map(|fixed| format!("{}  {fixed}\n", amd64.digest()));
    assert_eq!(text, expected.concat());
    assert_eq!(registry.count(&Target::all()), 0, "nobody is asked");
    let text = run(["digest", "-v", &fixed[1]]).await;
    assert!(text.contains("one image, no index"), "{text}");
}
