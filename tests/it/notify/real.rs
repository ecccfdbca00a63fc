//! A real registry calls the controller by itself.

use std::net::TcpListener;

use serde_json::json;
use testbed::images::Format;

use super::FLAGS;
use crate::support::{
    docker_registry::{DockerRegistry, Protection},
    folder::Folder,
    oci::Oci,
    skip::need,
    skopeo::Skopeo,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_docker_registry_replaces_the_pods() {
    let folder = Folder::new();
    let file = folder.write("token", "secret");
    let token = format!("--notify-token-file={}", file.display());
    // Each has to know the other, so one address is chosen beforehand.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let url = format!("http://{address}/push");
    let registry = DockerRegistry::start(Protection {
        tells: Some((&url, "secret")),
        ..Protection::default()
    });
    let Some(registry) = need(registry.await) else {
        return;
    };
    let Some(skopeo) = need(Skopeo::find()) else {
        return;
    };
    let notify = format!("--notify-addr={address}");
    let world = World::running(&[FLAGS[0], &notify, &token]).await;
    let controller = &world.controllers()[0];
    let oci = Oci::new(&registry, None);
    let first = Format::Oci.image("linux/amd64", "1");
    let image = oci.push("shop/web", "stable", &first).await;
    let unused = "podrefresh_notify_hints_total{outcome=\"unused\"}";
    controller.shows(unused, 1.0).await;
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, first.digest()).await;
    // A change that it looks at at once: it learns of the pods.
    world.kube.namespace("other", json!({}), json!({})).await;
    let current = "podrefresh_refresh_containers{verdict=\"current\"}";
    controller.shows(current, 2.0).await;

    let second = Format::Oci.image("linux/amd64", "2");
    oci.push("shop/web", "stable", &second).await;
    world.kube.running("shop", 2, second.digest()).await;
    let index = Format::Oci.multi_platform("3");
    let other = oci.push("shop/web", "canary", &index).await;
    skopeo.convert(&other, &image, "oci").await;
    let third = skopeo.digest(&image).await;
    world.kube.running("shop", 2, &third).await;
    let evicted = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";
    assert_eq!(controller.metric(evicted).await, 4.0);
}
