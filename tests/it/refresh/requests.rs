//! What evictions say to the API server, and what its answers make of them.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::{
    faults::{Effect, Guard, Seen},
    journal::Entry,
};

use super::uids;
use crate::support::{
    history::History,
    kube::{eventually, image_id, is_ready, name},
    look::on_testbed,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_and_changes_nothing() {
    let world = World::running(&["--dry-run"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller
        .reaches(
            "podrefresh_refresh_evictions_total{outcome=\"dry_run\"}",
            2.0,
        )
        .await;
    world.looks(4).await;
    assert!(history.gone().is_empty());
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let evicted = controller
        .metric("podrefresh_refresh_evictions_total{outcome=\"evicted\"}")
        .await;
    assert_eq!(evicted, 0.0);
    let told = world.kube.notes("shop", "Evicted").await;
    assert!(told.is_empty(), "{told:?}");
    if world.simulated.is_some() {
        for eviction in world.evictions() {
            let body: Value = serde_json::from_str(&eviction.body).unwrap();
            assert_eq!(
                body["deleteOptions"]["dryRun"],
                json!(["All"]),
                "{eviction:#?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_names_the_pod_by_its_uid_and_dries_nothing() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    let evictions = world.evictions();
    assert_eq!(evictions.len(), 2, "{evictions:#?}");
    for eviction in evictions {
        let pod = before
            .iter()
            .find(|pod| name(pod) == eviction.name)
            .unwrap();
        let body: Value = serde_json::from_str(&eviction.body).unwrap();
        let expected = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": eviction.name, "namespace": "shop"},
            "deleteOptions": {"preconditions": {"uid": pod.metadata.uid}},
        });
        assert_eq!(body, expected);
        assert_eq!(eviction.user, "system:serviceaccount:podrefresh:podrefresh");
    }
}

/// Says whether the controller asks what pods there are.
pub(super) fn follows_pods(seen: &Seen<'_>) -> bool {
    seen.resource == "pods"
        && ["list", "watch"].contains(&seen.verb)
        && seen.user.contains("podrefresh")
}

/// Ends the controller's watch of pods, and has it wait for the next one until the guard is dropped: for half a minute
/// it takes what it saw last for what there is.
async fn lag(world: &World) -> Guard {
    let cluster = &world.testbed().cluster;
    // One that ends within its first second would be trouble already.
    let lasting = |entry: &Entry| {
        let age = Timestamp::now().duration_since(entry.at);
        entry.is("watch", "pods")
            && entry.user.contains("podrefresh")
            && Duration::from_millis(1200) < age.unsigned_abs()
    };
    let watched = async || (0 < cluster.journal().count(lasting)).then_some(());
    eventually("a watch of pods that lasts", watched).await;
    let guard = cluster.faults().inject(Effect::Hang, follows_pods);
    cluster.faults().drop_watches();
    guard
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_have_been_replaced_unseen_are_not_evicted_in_their_predecessors_stead() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.stateful_set("shop", "db", 1, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    // The controller sees nothing of what happens to pods from here.
    let blind = lag(&world).await;
    let pods = world.kube.api::<Pod>("shop");
    for pod in &before {
        pods.delete(name(pod), &DeleteParams::default())
            .await
            .unwrap();
    }
    let replaced = async || {
        let pods = world.kube.pods("shop").await;
        let new = |pod: &Pod| {
            is_ready(pod)
                && before
                    .iter()
                    .all(|old| old.metadata.uid != pod.metadata.uid)
        };
        (pods.len() == 2 && pods.iter().all(new)).then_some(())
    };
    eventually("two successors", replaced).await;
    let history = History::begin(&world.kube, "shop", "").await;
    let (_, new) = world.push("shop/web", "stable", "2");

    // db-0 is there again, as another pod; web-… is not.
    let controller = &world.controllers()[0];
    controller
        .shows(
            "podrefresh_refresh_evictions_total{outcome=\"replaced\"}",
            1.0,
        )
        .await;
    controller
        .shows("podrefresh_refresh_evictions_total{outcome=\"gone\"}", 1.0)
        .await;
    world.looks(4).await;
    let mut statuses: Vec<u16> = world
        .evictions()
        .iter()
        .map(|eviction| eviction.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [404, 409], "{:#?}", world.evictions());
    assert!(history.gone().is_empty());
    let pods = world.kube.pods("shop").await;
    assert!(pods.iter().all(|pod| image_id(pod).ends_with(&old)));

    drop(blind);
    world.kube.running("shop", 2, &new).await;
    assert_eq!(history.gone().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_became_ready_unseen_does_not_go_as_one_that_costs_nothing() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let kubelet = &world.testbed().kubelet;
    kubelet.set_bad_digests([&*old]);
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 3, &image).await;
    let controller = &world.controllers()[0];
    let current = "podrefresh_refresh_containers{verdict=\"current\"}";
    controller.shows(current, 3.0).await;
    // What the controller sees of the pods is what they are like now: they run, and are not ready.
    let blind = lag(&world).await;
    // The streams end in their own tasks.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let none: [&str; 0] = [];
    kubelet.set_bad_digests(none);
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    // It asks once for each, and not again before it sees what they are like by then.
    let (_, new) = world.push("shop/web", "stable", "2");
    let changed = "podrefresh_refresh_evictions_total{outcome=\"changed\"}";
    controller.shows(changed, 3.0).await;
    let held = "podrefresh_refresh_held_pods{reason=\"refused\"}";
    controller.shows(held, 3.0).await;
    world.looks(4).await;
    assert_eq!(world.evictions().len(), 3, "{:#?}", world.evictions());
    assert!(history.gone().is_empty());

    drop(blind);
    world.kube.running("shop", 3, &new).await;
    assert_eq!((history.gone().len(), history.fewest_up()), (3, 2));
}
