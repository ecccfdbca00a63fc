//! How much may go in a minute, and that PodDisruptionBudgets have the last word.

use k8s_openapi::api::{
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::Api;
use serde_json::json;

use super::uids;
use crate::support::{
    history::History,
    kube::image_id,
    world::{POLL, World},
};

/// Starts three outdated pods whose budget lets none of them go; returns them, and the digest they should run.
async fn blocked(world: &World) -> (Vec<Pod>, String) {
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    // All may go as far as we are concerned, so that each has to be held back.
    let all = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "100%"}}});
    world.kube.patch_namespace("shop", all).await;
    world.kube.budget("shop", "never", "web", 3).await;
    world.kube.deployment("shop", "web", 3, &image).await;
    let pods = world.kube.running("shop", 3, &old).await;
    (pods, world.push("shop/web", "stable", "2").1)
}

/// Checks that each refused eviction was followed by a pause twice as long as the last: the first is that of
/// the polls.
fn pauses_double(world: &World) {
    if world.simulated.is_none() {
        return; // nobody has noted the times
    }
    let asked = world.evictions();
    assert!(!asked.is_empty());
    let mut pause = POLL;
    for pair in asked.windows(2) {
        let passed = pair[1].at.duration_since(pair[0].at);
        assert!(pause <= passed.unsigned_abs(), "{asked:#?}");
        pause *= 2;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_allows_nothing_is_respected_named_and_not_hammered() {
    let world = World::running(&[]).await;
    let (before, new) = blocked(&world).await;
    let note = world.kube.told("shop", "EvictionBlocked", "never").await;
    assert!(note.contains("budget never"), "{note}");
    let controller = &world.controllers()[0];
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"pdb\"}", 3.0)
        .await;

    // After a refusal all pods of the same owner are left alone, not only the one that was asked for.
    world.looks(10).await;
    pauses_double(&world);
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let told = world.kube.notes("shop", "EvictionBlocked").await;
    assert_eq!(told.len(), 1, "told once: {told:?}");

    // The budget is lifted: it goes on by itself, as the budget has it.
    let history = History::begin(&world.kube, "shop", "web-").await;
    let lifted = json!({"spec": {"minAvailable": 2}});
    world
        .kube
        .patch::<PodDisruptionBudget>("shop", "never", lifted)
        .await;
    world.kube.running("shop", 3, &new).await;
    assert_eq!(history.fewest_up(), 2);
    assert_eq!(history.gone().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_budgets_over_one_pod_are_told_of() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    for name in ["one", "other"] {
        world.kube.budget("shop", name, "web", 0).await;
    }
    world.kube.deployment("shop", "web", 1, &image).await;
    let before = world.kube.running("shop", 1, &old).await;
    world.push("shop/web", "stable", "2");
    world
        .kube
        .told(
            "shop",
            "EvictionBlocked",
            "more than one PodDisruptionBudget",
        )
        .await;
    world.looks(10).await;
    pauses_double(&world);
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
}

const EVICTED: &str = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_has_a_budget_of_its_own() {
    let world = World::running(&["--max-evictions-per-minute-per-namespace=1"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    for namespace in ["shop", "zoo"] {
        world.kube.opted_in(namespace).await;
        for name in ["a", "b"] {
            world.kube.deployment(namespace, name, 1, &image).await;
        }
        world.kube.running(namespace, 2, &old).await;
    }
    world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller.shows(EVICTED, 2.0).await;
    let held = "podrefresh_refresh_held_pods{reason=\"namespace_budget\"}";
    controller.shows(held, 2.0).await;
    world.looks(5).await;
    controller.shows(held, 2.0).await;
    for namespace in ["shop", "zoo"] {
        let pods = world.kube.ready(namespace, 2).await;
        let stayed = pods.iter().filter(|pod| image_id(pod).ends_with(&old));
        assert_eq!(stayed.count(), 1, "{namespace}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_has_a_budget_of_its_own() {
    let world = World::running(&["--max-evictions-per-minute-per-node=1"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    for name in ["a", "b"] {
        world.kube.daemon_set("shop", name, &image).await;
    }
    let nodes = Api::<Node>::all(world.kube.0.clone());
    let nodes = nodes.list(&Default::default()).await.unwrap().items.len();
    world.kube.running("shop", 2 * nodes, &old).await;
    world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    let all = f64::from(u32::try_from(nodes).unwrap());
    controller.shows(EVICTED, all).await;
    let pods = world.kube.ready("shop", 2 * nodes).await;
    let held = "podrefresh_refresh_held_pods{reason=\"node_budget\"}";
    controller.reaches(held, 1.0).await;
    world.looks(5).await;
    assert_eq!(controller.metric(EVICTED).await, all);
    let mut turned: Vec<_> = (pods.iter())
        .filter(|pod| !image_id(pod).ends_with(&old))
        .map(|pod| pod.spec.as_ref().unwrap().node_name.clone())
        .collect();
    turned.sort();
    turned.dedup();
    assert_eq!(turned.len(), nodes, "each node must have lost one");
}
