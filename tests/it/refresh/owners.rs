//! People change what is being refreshed in the middle of it: owners, budgets, the namespace.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::faults::Effect;

use super::{
    midway::{Midway, PODS},
    uids,
};
use crate::support::{
    kube::{annotation, eventually},
    look::on_testbed,
};

async fn change(midway: &Midway, spec: Value) {
    let spec = json!({"spec": spec});
    let kube = &midway.world.kube;
    kube.patch::<Deployment>("shop", "web", spec).await;
}

async fn no_pods(midway: &Midway) {
    let kube = &midway.world.kube;
    let none = async || kube.pods("shop").await.is_empty().then_some(());
    eventually("the end of all pods", none).await;
}

/// Checks that pods that came up with the new image stay as they are.
async fn check_left_alone(midway: &Midway) {
    let kube = &midway.world.kube;
    let before = kube.running("shop", PODS, &midway.new).await;
    midway.world.polls("shop/web", 3).await;
    midway.world.looks(3).await;
    assert_eq!(uids(&kube.pods("shop").await), uids(&before));
    midway.check_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_scaled_to_nothing_loses_nothing_more_and_comes_back_fresh() {
    let midway = Midway::begin(&[]).await;
    change(&midway, json!({"replicas": 0})).await;
    no_pods(&midway).await;
    // Its own end of them counts, too.
    let gone = midway.history.gone().len();
    midway.world.looks(3).await;
    assert_eq!(midway.history.gone().len(), gone);
    change(&midway, json!({"replicas": PODS})).await;
    check_left_alone(&midway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_deleted_is_forgotten_and_its_successor_is_not() {
    let midway = Midway::begin(&[]).await;
    let kube = &midway.world.kube;
    let deployments = kube.api::<Deployment>("shop");
    let params = DeleteParams::background();
    deployments.delete("web", &params).await.unwrap();
    no_pods(&midway).await;
    midway.world.looks(3).await;
    let controller = &midway.world.controllers()[0];
    controller.readiness(200).await;
    for reason in ["pace", "refused", "halted"] {
        let held = format!("podrefresh_refresh_held_pods{{reason=\"{reason}\"}}");
        controller.shows(&held, 0.0).await;
    }
    // One of the same name is another, which the next push is for as well.
    let replicas = i32::try_from(PODS).unwrap();
    kube.deployment("shop", "web", replicas, &midway.image)
        .await;
    check_left_alone(&midway).await;
    let (_, newer) = midway.world.push("shop/web", "stable", "3");
    kube.running("shop", PODS, &newer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_paused_is_refreshed_as_before() {
    let midway = Midway::begin(&[]).await;
    // A paused Deployment rolls out nothing, and replaces pods all the same.
    change(&midway, json!({"paused": true})).await;
    midway.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_in_the_middle_takes_no_pod_too_many() {
    let midway = Midway::before(&[]).await;
    // All that is down for long is down for our sake.
    let careful = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    change(&midway, json!({"strategy": careful})).await;
    midway.first_eviction().await;
    let note = json!({"metadata": {"annotations": {"note": "changed"}}});
    change(&midway, json!({"template": note})).await;
    let kube = &midway.world.kube;
    let changed = async || {
        let pods = kube.running("shop", PODS, &midway.new).await;
        let all = pods.iter().all(|pod| annotation(pod, "note") == "changed");
        all.then_some(())
    };
    eventually("the end of the rollout", changed).await;
    assert!(
        PODS - 1 <= midway.history.fewest_up(),
        "{} were up",
        midway.history.fewest_up()
    );
    check_left_alone(&midway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_appears_in_the_middle_is_respected_at_once() {
    let midway = Midway::begin(&[]).await;
    let (world, kube) = (&midway.world, &midway.world.kube);
    let all = i32::try_from(PODS).unwrap();
    kube.budget("shop", "late", "web", all).await;
    let note = kube.told("shop", "EvictionBlocked", "late").await;
    assert!(note.contains("budget late"), "{note}");
    let (gone, left) = (midway.history.gone(), midway.on_old().await);
    assert!(!left.is_empty(), "there must be something left to do");
    world.looks(8).await;
    assert_eq!((midway.history.gone(), midway.on_old().await), (gone, left));

    let lifted = json!({"spec": {"minAvailable": PODS - 1}});
    kube.patch::<PodDisruptionBudget>("shop", "late", lifted)
        .await;
    midway.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_opted_out_while_they_wait_for_their_turn_stay() {
    if !on_testbed() {
        return;
    }
    let midway = Midway::before(&[]).await;
    let (world, kube) = (&midway.world, &midway.world.kube);
    // All may go in one pass, each of which takes a while.
    let cluster = &world.testbed().cluster;
    let slow = Effect::Delay(Duration::from_millis(1500));
    let _guard = (cluster.faults()).inject(slow, |seen| seen.subresource == "eviction");
    let all = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "100%"}}});
    kube.patch_namespace("shop", all).await;
    midway.first_eviction().await;
    let out = json!({"metadata": {"labels": {"podrefresh.io/enabled": "false"}}});
    for pod in midway.on_old().await {
        kube.patch::<Pod>("shop", &pod, out.clone()).await;
    }
    // The second was under way by then.
    world.looks(5).await;
    let (gone, left) = (midway.history.gone(), midway.on_old().await);
    assert!(
        gone.len() <= 2 && gone.len() + left.len() == PODS,
        "{gone:?}"
    );
    world.looks(3).await;
    assert_eq!((midway.history.gone(), midway.on_old().await), (gone, left));
    midway.check_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_opted_out_in_the_middle_keeps_the_rest_of_its_pods() {
    let midway = Midway::begin(&[]).await;
    let (world, kube) = (&midway.world, &midway.world.kube);
    let label = |value: Value| json!({"metadata": {"labels": {"podrefresh.io/enabled": value}}});
    kube.patch_namespace("shop", label(Value::Null)).await;
    let controller = &world.controllers()[0];
    let outdated = "podrefresh_refresh_containers{verdict=\"outdated\"}";
    controller.shows(outdated, 0.0).await;
    kube.ready("shop", PODS).await;
    let (gone, left) = (midway.history.gone(), midway.on_old().await);
    assert!(!left.is_empty(), "there must be something left to do");
    world.looks(5).await;
    assert_eq!((midway.history.gone(), midway.on_old().await), (gone, left));

    kube.patch_namespace("shop", label(json!("true"))).await;
    midway.check_finished().await;
}
