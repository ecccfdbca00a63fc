//! A second docker-registry as pull-through mirror of the first, asked as a `hosts.toml` says.

use testbed::images::Format;

use crate::support::{
    docker_registry::{DockerRegistry, Protection},
    folder::Folder,
    oci::Oci,
    program::{Outcome, Program},
    skip::need,
    skopeo::Skopeo,
};

/// Returns a registry and its mirror; `None` where this machine has none.
async fn pair() -> Option<(DockerRegistry, DockerRegistry)> {
    let registry = need(DockerRegistry::anonymous().await)?;
    let protection = Protection {
        mirror_of: Some(&registry),
        ..Protection::default()
    };
    let mirror = need(DockerRegistry::start(protection).await)?;
    Some((registry, mirror))
}

/// Returns a `certs.d` that sends lookups of `registry.test` to `mirror`, then to `server`.
fn behind(mirror: &str, server: &str) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("registry.test")).unwrap();
    let text = format!(
        "server = \"http://{server}\"\n\n[host.\"http://{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
    );
    folder.write("registry.test/hosts.toml", &text);
    folder
}

async fn digest(registries: &Folder) -> Outcome {
    let registries = registries.path().display();
    let registries = format!("--registries-dir={registries}");
    Program::new(["digest", "-v", &registries, "registry.test/team/app:stable"])
        .run()
        .await
}

/// Checks that the lookup found `digest` at `host`.
#[track_caller]
fn check(outcome: &Outcome, digest: &str, host: &str) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let mut lines = outcome.stdout.lines();
    let found = format!("{digest}  registry.test/team/app:stable");
    assert_eq!(lines.next(), Some(&*found), "{outcome}");
    let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["host", host], "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_says_what_the_registry_says_and_what_nodes_get_when_that_is_gone() {
    let (Some((registry, mirror)), Some(skopeo)) = (pair().await, need(Skopeo::find())) else {
        return;
    };
    let oci = Oci::new(&registry, None);
    let at_mirror = format!("{}/team/app:stable", mirror.host());
    let registries = behind(mirror.host(), registry.host());
    let mut last = String::new();
    for seed in ["1", "2"] {
        let image = Format::Oci.multi_platform(seed);
        oci.push("team/app", "stable", &image).await;
        // The mirror has it from now on, as a node's pull would have it do.
        assert_eq!(skopeo.digest(&at_mirror).await, image.digest());
        assert_eq!(
            Oci::new(&mirror, None).digest(&at_mirror).await,
            image.digest()
        );
        check(&digest(&registries).await, image.digest(), mirror.host());
        last = image.digest().to_owned();
    }
    drop(registry);
    check(&digest(&registries).await, &last, mirror.host());
    assert_eq!(skopeo.digest(&at_mirror).await, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_mirror_the_registry_itself_is_asked() {
    let Some((registry, mirror)) = pair().await else {
        return;
    };
    let image = Format::Docker.multi_platform("1");
    Oci::new(&registry, None)
        .push("team/app", "stable", &image)
        .await;
    let registries = behind(mirror.host(), registry.host());
    drop(mirror);
    check(&digest(&registries).await, image.digest(), registry.host());
}
