//! What nodes tell of images in other words than the tag's digest hides no pod and evicts none.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::images::{Format, attestation};

use super::{check, namespace, run, states, world};
use crate::support::{
    kube::{image_id, name},
    simulated::Setup,
    world::World,
};

/// Starts a Deployment of one pod; returns what its node tells of the image.
async fn started(world: &World, home: &str) -> String {
    namespace(world, home).await;
    let image = Format::Oci.image("linux/amd64", "1");
    let (image, digest) = world.push_image(home, "stable", &image);
    world.kube.deployment(home, "web", 1, &image).await;
    let pods = world.kube.running(home, 1, &digest).await;
    image_id(&pods[0]).to_owned()
}

/// Has the node of a namespace's only pod tell something else of its image.
async fn tell(world: &World, home: &str, field: &str, value: &str) {
    let pods = world.kube.pods(home).await;
    let path = format!("/status/containerStatuses/0/{field}");
    let patch = json!([{"op": "replace", "path": path, "value": value}]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
    let (api, params) = (world.kube.api::<Pod>(home), PatchParams::default());
    api.patch_status(name(&pods[0]), &params, &patch)
        .await
        .unwrap();
}

/// Checks what a run finds in a namespace with one pod.
async fn found(world: &World, home: &str, expected: &Value) {
    let outcome = run(world, &["--dry-run", "-n", home]).await;
    check(&outcome, 0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_looked_up_as_the_pod_names_it_whatever_its_node_calls_it() {
    let world = world(Setup::default()).await;
    let home = "once-named";
    started(&world, home).await;
    // As containerd does when another tag, or none any more, leads to what the pod runs.
    let config = Format::Oci
        .image("linux/amd64", "1")
        .config_digest()
        .to_owned();
    let current = json!({"checked": 1, "current": 1});
    let outdated = json!({"checked": 1, "outdated": 1, "failed": 0});
    for (seed, expected) in [("1", current), ("2", outdated)] {
        world.push(home, "stable", seed);
        for called in ["registry.test/other:1", &config] {
            tell(&world, home, "image", called).await;
            found(&world, home, &expected).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_id_in_another_form_evicts_nothing() {
    let world = world(Setup::default()).await;
    let home = "once-forms";
    let image_id = started(&world, home).await;
    let image = Format::Oci.image("linux/amd64", "1");
    let pullable = format!("docker-pullable://{image_id}");
    for (told, verdict) in [
        (&*pullable, "current"),
        // It is of the configuration, not of the manifest.
        (image.config_digest(), "unknown"),
        ("", "unknown"),
    ] {
        tell(&world, home, "imageID", told).await;
        let expected = json!({"checked": 1, verdict: 1, "outdated": 0, "failed": 0});
        found(&world, home, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_to_an_index_evicts_nothing() {
    let world = world(Setup::default()).await;
    let home = "once-index";
    // Whatever the nodes are.
    let images = ["linux/amd64", "linux/arm64"].map(|it| Format::Oci.image(it, "1"));
    let build = |number: &str| {
        let added = attestation(&images[0], number);
        Format::Oci.index(images.iter().cloned().chain([added]))
    };
    namespace(&world, home).await;
    let (image, old) = world.push_image(home, "stable", &build("1"));
    world.kube.deployment(home, "web", 2, &image).await;
    world.kube.running(home, 2, &old).await;
    let (_, new) = world.push_image(home, "stable", &build("2"));
    assert_ne!(old, new);
    let outcome = run(&world, &["-n", home]).await;
    let expected = json!({"checked": 2, "current": 2, "outdated": 0, "evicted": 0});
    check(&outcome, 0, &expected);
    // And it can tell: another image in the index does.
    world.push(home, "stable", "2");
    let outcome = run(&world, &["--dry-run", "-n", home]).await;
    assert_eq!(states(&outcome).len(), 2, "{outcome}");
}
