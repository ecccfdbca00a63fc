//! Mode `pin`, and a webhook behind ours that writes other registries into images.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::{Value, json};
use testbed::registry::{Fault, Target};

use super::{Created, meddler, stamps, try_pod};
use crate::support::{
    kube::{eventually, image_id, workload},
    world::World,
};

/// Takes every image from the mirror, as `<registry>/mirror/…`, digest and all.
fn rewrite(pod: &Value) -> Vec<Value> {
    let containers = pod["spec"]["containers"].as_array().unwrap().iter();
    let images = containers.enumerate().filter_map(|(nth, container)| {
        let (registry, rest) = container["image"]
            .as_str()
            .unwrap()
            .split_once('/')
            .unwrap();
        let rewritten = format!("{registry}/mirror/{rest}");
        let path = format!("/spec/containers/{nth}/image");
        (!rest.starts_with("mirror/"))
            .then(|| json!({"op": "replace", "path": path, "value": rewritten}))
    });
    images.collect()
}

/// Starts a controller, a namespace in mode `pin` with this wish too, and an image; its mirror lags behind. Returns the
/// image, the mirror's with its digest, and what becomes of a pod.
async fn world(on_unresolved: &str, reinvocation: &str) -> (World, String, [String; 2], Created) {
    let world = World::running(&[]).await;
    let label = json!({"podrefresh.io/enabled": "true"});
    let wishes = json!({"podrefresh.io/mode": "pin", "podrefresh.io/on-unresolved": on_unresolved});
    world.kube.namespace("shop", label, wishes).await;
    let (image, _) = world.push("shop/app", "stable", "new");
    let (mirror, old) = world.push("mirror/shop/app", "stable", "old");
    meddler::register(&world, reinvocation, rewrite).await;
    // A real API server takes a moment to know of that webhook, and so do we of the namespace's wishes.
    let pinned = eventually("a pinned pod from the mirror", || async {
        let created = try_pod(&world, "shop", &image).await;
        let image = image_of(&created.body);
        (image.contains("/mirror/") && image.contains('@')).then_some(created)
    })
    .await;
    (world, image, [mirror, old], pinned)
}

fn image_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or_default()
}

/// Checks that a pod is pinned to what the mirror has, and followed there.
async fn check_followed(reinvocation: &str) {
    let (world, image, [mirror, old], created) = world("warn", reinvocation).await;
    assert_eq!(image_of(&created.body), format!("{mirror}@{old}"));
    let expected = [
        ("digest.podrefresh.io/app", &*old),
        ("image.podrefresh.io/app", &*mirror),
    ];
    assert_eq!(created.stamps(), expected);
    assert_eq!(created.warnings, [] as [&str; 0]);
    let web = workload("web", &image, json!({}));
    world.kube.create::<Deployment>("shop", web).await;
    world.kube.running("shop", 1, &old).await;
    let (_, new) = world.push("mirror/shop/app", "stable", "newer");
    let pods: Vec<Pod> = world.kube.running("shop", 1, &new).await;
    assert!(image_id(&pods[0]).ends_with(&new));
    let image = pods[0].spec.as_ref().unwrap().containers[0]
        .image
        .as_deref();
    assert_eq!(image, Some(&*format!("{mirror}@{new}")));
    let expected = [
        ("digest.podrefresh.io/app", &*new),
        ("image.podrefresh.io/app", &*mirror),
    ];
    assert_eq!(stamps(&pods[0]), expected);
    meddler::remove(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_follows_its_tag_at_the_mirror_that_another_webhook_wrote() {
    check_followed("Never").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_when_that_webhook_is_asked_again_itself() {
    check_followed("IfNeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_the_user_wrote_stays_behind_another_registry() {
    let (world, image, [mirror, _], _) = world("warn", "Never").await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let created = try_pod(&world, "shop", &format!("{image}@{digest}")).await;
    assert_eq!(image_of(&created.body), format!("{mirror}@{digest}"));
    assert_eq!(created.stamps(), []);
    meddler::remove(&world).await;
}

/// Returns what becomes of a pod in a namespace with this wish whose mirror does not answer.
async fn unresolved(on_unresolved: &str) -> (World, Created, String) {
    let (world, image, [mirror, _], _) = world(on_unresolved, "Never").await;
    let target = Target::manifests().outside().repository("mirror/shop/app");
    let _guard = world.registry.inject(Fault::Status(502), target);
    // What it said last is believed for a moment.
    let created = eventually("a pod without a digest", || async {
        let created = try_pod(&world, "shop", &image).await;
        (!image_of(&created.body).contains('@')).then_some(created)
    })
    .await;
    meddler::remove(&world).await;
    (world, created, mirror)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_answer_costs_the_pin() {
    let (_world, created, mirror) = unresolved("warn").await;
    assert_eq!(image_of(&created.body), mirror);
    assert_eq!((created.status, created.stamps()), (201, vec![]));
    let [warning] = &*created.warnings else {
        panic!("one warning: {created:#?}");
    };
    assert!(
        warning.contains(&mirror) && warning.contains("it answered 502"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_answer_refuses_the_pod_where_that_is_wished() {
    let (_world, created, mirror) = unresolved("deny").await;
    assert_eq!(created.status, 403, "{created:#?}");
    let message = created.body["message"].as_str().unwrap();
    assert!(
        message.contains(&mirror) && message.contains("it answered 502"),
        "{message}"
    );
}
