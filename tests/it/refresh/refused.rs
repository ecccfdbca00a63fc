//! Replacements that nobody lets be created: a quota, a limit range, another's webhook.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::support::{look::on_testbed, world::World};

const HALTED: &str = "podrefresh_refresh_halted_workloads";

/// Has all new pods of namespace `shop` refused, until [`accept`].
async fn refuse(world: &World) {
    let nobody = json!({
        "name": "nobody.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
        }],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    let object = json!({"metadata": {"name": "nobody"}, "webhooks": [nobody]});
    let object: MutatingWebhookConfiguration = serde_json::from_value(object).unwrap();
    let params = PostParams::default();
    webhooks(world).create(&params, &object).await.unwrap();
}

async fn accept(world: &World) {
    let params = DeleteParams::default();
    webhooks(world).delete("nobody", &params).await.unwrap();
}

fn webhooks(world: &World) -> Api<MutatingWebhookConfiguration> {
    Api::all(world.kube.0.clone())
}

/// Checks what is told of a Deployment of `replicas` whose replacement is refused for longer than it has time, and that
/// it goes on when that is over.
async fn check(replicas: i32, words: &str) {
    if !on_testbed() {
        return; // a real ReplicaSet controller tries again after ever longer pauses
    }
    let world = World::running(&["--progress-deadline=2s"]).await;
    let count = usize::try_from(replicas).unwrap();
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", replicas, &image).await;
    world.kube.running("shop", count, &old).await;
    refuse(&world).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "RefreshHalted", words).await;
    let controller = &world.controllers()[0];
    controller.shows(HALTED, 1.0).await;
    world.looks(5).await;
    controller.shows(HALTED, 1.0).await;
    assert_eq!(world.kube.pods("shop").await.len(), count - 1);

    accept(&world).await;
    world.kube.running("shop", count, &new).await;
    world.kube.told("shop", "Refreshed", "").await;
    controller.shows(HALTED, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_is_refused_is_told_of() {
    check(1, "has not come in time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_is_refused_halts_its_owner() {
    check(3, "No more pods go").await;
}
