//! Pods whose images nodes get by other ways than the reference says, end to end: a private authority, a mirror, a plugin.

use serde_json::json;
use testbed::{
    images::Format,
    kubelet::{self, Host},
};

use crate::support::{
    authority::Authority,
    docker_registry::{DockerRegistry, Protection},
    folder::Folder,
    kube::{annotation, eventually},
    look::on_testbed,
    oci::Oci,
    plugin::{self, Plugin},
    simulated::Setup,
    skip::need,
    world::World,
};

const ANN: (&str, &str) = ("ann", "correct horse");

/// Starts a world whose nodes know `host` as `registry`, and whose controller has `flags`.
async fn world(registry: &str, host: Host, flags: &[&str]) -> World {
    let nodes = kubelet::Options {
        hosts: [(registry.to_owned(), host)].into(),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(flags).await;
    world
}

/// Returns a `certs.d` with these files for `registry.test`.
fn registries(files: &[(&str, &str)]) -> (Folder, String) {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("registry.test")).unwrap();
    for (name, text) in files {
        folder.write(&format!("registry.test/{name}"), text);
    }
    let flag = format!("--registries-dir={}", folder.path().display());
    (folder, flag)
}

/// Checks that pods of `image`, which `oci` pushes, are stamped when they start and replaced when the tag moves.
async fn check_turnover(world: &World, oci: &Oci, image: &str) {
    let [old, new] = ["1", "2"].map(|seed| Format::Oci.multi_platform(seed));
    oci.push("shop/web", "stable", &old).await;
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, image).await;
    for pod in world.kube.running("shop", 2, old.digest()).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), old.digest());
    }
    oci.push("shop/web", "stable", &new).await;
    for pod in world.kube.running("shop", 2, new.digest()).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), new.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_registry_with_a_private_authority_are_stamped_and_refreshed() {
    if !on_testbed() {
        return;
    }
    let authority = Authority::new();
    let protection = Protection {
        tls: Some((&authority, &["registry.test"])),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let url = format!("https://{}", registry.host());
    let host = Host {
        url: url.clone(),
        ca_pem: authority.pem(),
        user: None,
    };
    let hosts = format!("server = \"{url}\"\nca = \"ca.pem\"\n");
    let (folder, flag) = registries(&[("hosts.toml", &hosts), ("ca.pem", &authority.pem())]);
    let world = world("registry.test", host, &[&flag]).await;
    check_turnover(
        &world,
        &Oci::new(&registry, None),
        "registry.test/shop/web:stable",
    )
    .await;

    // From the opposite: with another authority's certificate nothing is believed, and nobody evicted.
    folder.write("registry.test/ca.pem", &Authority::new().pem());
    let reason = "podrefresh_registry_lookups_total{outcome=\"tls\"}";
    eventually("the registry to be distrusted", || async {
        (world.controllers()[0].metric(reason).await > 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_pulled_through_a_mirror_are_stamped_and_refreshed() {
    if !on_testbed() {
        return;
    }
    let Some(registry) = need(DockerRegistry::anonymous().await) else {
        return;
    };
    let protection = Protection {
        mirror_of: Some(&registry),
        ..Protection::default()
    };
    let Some(mirror) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let host = Host {
        url: format!("http://{}", mirror.host()),
        ca_pem: String::new(),
        user: None,
    };
    // Nobody is there but the mirror.
    let hosts = format!(
        "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        mirror.host()
    );
    let (_folder, flag) = registries(&[("hosts.toml", &hosts)]);
    let world = world("registry.test", host, &[&flag]).await;
    check_turnover(
        &world,
        &Oci::new(&registry, None),
        "registry.test/shop/web:stable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_whose_nodes_pull_by_a_plugin_are_stamped_and_refreshed() {
    if !on_testbed() {
        return;
    }
    let protection = Protection {
        user: Some(ANN),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let host = Host {
        url: format!("http://{}", registry.host()),
        ca_pem: String::new(),
        user: Some((ANN.0.to_owned(), ANN.1.to_owned())),
    };
    let answer = plugin::answer(registry.host(), ANN.0, ANN.1);
    let script = format!("cat >> $DIR/asked; echo >> $DIR/asked; {answer}");
    let plugin = Plugin::new(registry.host(), &script, json!({}));
    let flags = plugin.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let world = world(registry.host(), host, &flags).await;
    let image = format!("{}/shop/web:stable", registry.host());
    check_turnover(&world, &Oci::new(&registry, Some(ANN)), &image).await;
    let asked = plugin.wrote("asked");
    let [asked] = asked.lines().collect::<Vec<_>>()[..] else {
        panic!("one run serves them all: {asked}")
    };
    assert!(asked.contains("/shop/web\""), "{asked}");
}
