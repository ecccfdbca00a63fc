//! What costs the API server a call of the webhooks, as it is written through a real one's own rules.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};

use super::{push, validate::merge};
use crate::support::{
    kube::{name, workload},
    look::on_testbed,
    world::World,
};

const PODS: &str = "/api/v1/namespaces/shop/pods";
const APPS: &str = "/apis/apps/v1/namespaces/shop";

/// Returns how many reviews the first controller has answered at `path`.
async fn calls(world: &World, path: &str) -> f64 {
    let running = &world.controllers()[0];
    let mut sum = 0.0;
    for outcome in [
        "valid",
        "warned",
        "denied",
        "ignored",
        "stamped",
        "unchanged",
    ] {
        let series =
            format!("podrefresh_admission_reviews_total{{path=\"{path}\",outcome=\"{outcome}\"}}");
        sum += running.metric(&series).await;
    }
    sum
}

/// Checks that `patch` ends with `status`, and how many reviews of the validating webhooks it costs.
async fn costs(world: &World, path: &str, patch: Value, status: u16, reviews: f64) {
    let before = calls(world, "validate").await;
    let (answered, message) = merge(world, path, patch.clone()).await;
    assert_eq!(answered, status, "{path} {patch}: {message}");
    let after = calls(world, "validate").await;
    assert_eq!(after - before, reviews, "{path} {patch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_costs_a_call() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let (image, _) = push(&world, "app");
    world.kube.deployment("shop", "web", 2, &image).await;
    let pods = world.kube.ready("shop", 2).await;
    // The two new pods.
    assert_eq!(calls(&world, "mutate").await, 2.0);
    assert_eq!(calls(&world, "validate").await, 0.0);
    let pod = format!("{PODS}/{}", name(&pods[0]));
    let namespace = "/api/v1/namespaces/shop";
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let annotated = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    costs(&world, &pod, labels.clone(), 200, 0.0).await;
    costs(&world, namespace, labels, 200, 0.0).await;
    let wish = annotated("podrefresh.io/mode", "pin");
    costs(&world, namespace, wish.clone(), 200, 1.0).await;
    // Others keep their notes on stamped pods, and on namespaces with wishes.
    for path in [&*pod, namespace] {
        costs(&world, path, annotated("example.org/cost", "1"), 200, 0.0).await;
    }
    let forged = annotated("digest.podrefresh.io/app", "x");
    costs(&world, &pod, forged, 403, 1.0).await;
    let added = annotated("image.podrefresh.io/b", "x");
    costs(&world, &pod, added, 403, 1.0).await;
    costs(&world, &pod, wish, 200, 1.0).await;
    assert_eq!(calls(&world, "mutate").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_costs_no_call_and_a_new_template_does() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let (image, _) = push(&world, "app");
    let wishing = |name: &str| {
        let mut object = workload(name, &image, json!({}));
        object["spec"]["replicas"] = json!(2);
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"podrefresh.io/min-age": "1m"});
        object
    };
    world
        .kube
        .create::<Deployment>("shop", wishing("web"))
        .await;
    world
        .kube
        .create::<ReplicaSet>("shop", wishing("set"))
        .await;
    world.kube.ready("shop", 4).await;
    // The Deployment, two ReplicaSets, and the pods.
    assert_eq!(calls(&world, "validate").await, 7.0);
    // As a Deployment's controller scales: with notes of its own on the ReplicaSet.
    let note = json!({"deployment.kubernetes.io/desired-replicas": "1"});
    let scaled = json!({"metadata": {"annotations": note}, "spec": {"replicas": 1}});
    let set = format!("{APPS}/replicasets/set");
    let web = format!("{APPS}/deployments/web");
    costs(&world, &set, scaled.clone(), 200, 0.0).await;
    costs(&world, &web, scaled, 200, 0.0).await;
    world.kube.ready("shop", 2).await;
    assert_eq!(calls(&world, "validate").await, 7.0);
    let template = |value: &str| {
        let annotations = json!({"podrefresh.io/min-age": value});
        json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})
    };
    let dry = format!("{web}?dryRun=All");
    costs(&world, &dry, template("2m"), 200, 1.0).await;
    costs(&world, &dry, template("soon"), 403, 1.0).await;
    costs(&world, &dry, template("1m"), 200, 0.0).await;
}
