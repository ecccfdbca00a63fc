//! Owners that wish for a restart get one, and a run waits for their rollouts to their ends.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Value, json};
use testbed::kubelet;

use super::{check, lines, run, states, world};
use crate::support::{
    breaker::Breaker,
    history::History,
    kube::{annotation, image_id, name, workload},
    simulated::Setup,
    world::World,
};

const REFRESHED: &str = "podrefresh.io/refreshed";

/// Starts a world with a Deployment whose namespace wishes for `strategy`, and of which the tag has moved; returns
/// the new digest as well.
async fn outdated(home: &str, strategy: &str, replicas: u16) -> (World, String) {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_secs(1),
        ..kubelet::Options::default()
    };
    let world = world(Setup {
        nodes,
        ..Setup::default()
    })
    .await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let labels = json!({"podrefresh.io/enabled": "undecided"});
    let wishes = json!({"podrefresh.io/strategy": strategy});
    world.kube.namespace(home, labels, wishes).await;
    (world.kube)
        .deployment(home, "web", replicas.into(), &image)
        .await;
    world.kube.running(home, replicas.into(), &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    (world, new)
}

/// Does the same, and the new image never becomes ready.
async fn broken(home: &str, replicas: u16, spec: Value) -> (World, Breaker) {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let labels = json!({"podrefresh.io/enabled": "undecided"});
    let wishes = json!({"podrefresh.io/strategy": "restart"});
    world.kube.namespace(home, labels, wishes).await;
    let breaker = Breaker::of(&world, home);
    let mut object = breaker.breakable(workload("web", &image, spec));
    object["spec"]["replicas"] = json!(replicas);
    world.kube.create::<Deployment>(home, object).await;
    world.kube.running(home, replicas.into(), &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    breaker.breaks(&world, &new);
    (world, breaker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_one_rollout_whose_end_is_waited_for() {
    let (world, new) = outdated("once-rolls", "restart", 3).await;
    let history = History::begin(&world.kube, "once-rolls", "web-").await;
    let dry = run(&world, &["-n", "once-rolls", "--dry-run"]).await;
    let none = json!({"evicted": 0, "restarted": 3, "left": 3});
    check(&dry, 0, &none);
    assert_eq!(states(&dry), ["would_restart"; 3], "{dry}");

    let outcome = run(&world, &["-n", "once-rolls", "--exit-code"]).await;
    let all = json!({
        "outdated": 3, "evicted": 0, "restarted": 3, "held": {}, "failed": 0, "left": 0, "unready": [],
        "end": "done",
    });
    check(&outcome, 0, &all);
    assert_eq!(states(&outcome), ["restarted"; 3], "{outcome}");
    assert_eq!(lines(&outcome)[0]["owner"], "Deployment/web", "{outcome}");
    // Nothing is left to wait for here.
    let pods = world.kube.ready("once-rolls", 3).await;
    assert!(pods.iter().all(|pod| image_id(pod).ends_with(&new)));
    let value = annotation(&pods[0], REFRESHED);
    assert!(!value.is_empty() && pods.iter().all(|pod| annotation(pod, REFRESHED) == value));
    assert_eq!((history.gone().len(), history.fewest_up()), (3, 3));
    world.kube.told("once-rolls", "Restarted", &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_restarts_one_pod_and_evicts_of_many() {
    let (world, new) = outdated("once-auto", "auto", 1).await;
    let (many, old) = world.push("shop/many", "stable", "many 1");
    (world.kube).deployment("once-auto", "many", 2, &many).await;
    let pods = world.kube.ready("once-auto", 3).await;
    let runs_old = |pod: &&_| image_id(pod).ends_with(&old);
    assert_eq!(pods.iter().filter(runs_old).count(), 2);
    world.push("shop/many", "stable", "many 2");
    let history = History::begin(&world.kube, "once-auto", "web-").await;
    let outcome = run(&world, &["-n", "once-auto"]).await;
    check(&outcome, 0, &json!({"evicted": 2, "restarted": 1}));
    assert_eq!(
        states(&outcome),
        ["evicted", "evicted", "restarted"],
        "{outcome}"
    );
    let pods = world.kube.ready("once-auto", 3).await;
    let web = pods.iter().find(|pod| name(pod).starts_with("web-"));
    assert!(image_id(web.unwrap()).ends_with(&new));
    assert_eq!(history.fewest_up(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_fails_is_given_up_and_told() {
    for (flag, end, holds) in [
        ("--timeout=8s", "timed_out", &["rollout", "pace"][..]),
        ("--progress-deadline=3s", "done", &["halted"]),
    ] {
        let (world, _breaker) = broken("once-stuck", 4, json!({})).await;
        let outcome = run(&world, &["-n", "once-stuck", flag]).await;
        // A quarter of the pods may be down.
        let unready = json!(["once-stuck/Deployment/web"]);
        let expected = json!({"restarted": 1, "left": 3, "end": end, "unready": unready});
        check(&outcome, 1, &expected);
        let held = |state: &&String| holds.contains(&&***state);
        assert_eq!(states(&outcome).iter().filter(held).count(), 3, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_pods_at_once_that_fails_is_given_up_as_soon_as_one_pods() {
    let recreate = json!({"strategy": {"type": "Recreate"}});
    let (world, _breaker) = broken("once-anew", 9, recreate).await;
    // One after the other they would have 54 seconds.
    let outcome = run(&world, &["-n", "once-anew", "--progress-deadline=6s"]).await;
    let unready = json!(["once-anew/Deployment/web"]);
    let expected = json!({"restarted": 9, "left": 0, "end": "done", "unready": unready});
    check(&outcome, 1, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_is_paused_or_would_replace_nothing_is_not_waited_for() {
    let (world, _) = outdated("once-paused", "restart", 1).await;
    let kube = &world.kube;
    let paused = json!({"spec": {"paused": true}});
    kube.patch::<Deployment>("once-paused", "web", paused).await;
    let outcome = run(&world, &["-n", "once-paused"]).await;
    let held = json!({"held": {"paused": 1}, "restarted": 0, "end": "done"});
    // Somebody wanted it so.
    check(&outcome, 0, &held);

    let (image, old) = world.push("shop/set", "stable", "set 1");
    let set = workload("set", &image, json!({"replicas": 1}));
    kube.create::<ReplicaSet>("once-paused", set).await;
    let pods = kube.ready("once-paused", 2).await;
    assert!(pods.iter().any(|pod| image_id(pod).ends_with(&old)));
    world.push("shop/set", "stable", "set 2");
    let outcome = run(&world, &["-n", "once-paused"]).await;
    let held = json!({"held": {"no_rollout": 1, "paused": 1}, "end": "done"});
    check(&outcome, 1, &held);
    assert_eq!(outcome.complaint(), "error: 1 pod is still outdated");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_scaled_down_meanwhile_is_up_with_fewer_pods() {
    let (world, new) = outdated("once-scaled", "evict", 2).await;
    // Both go by one reading of how many are wanted.
    let all = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "100%"}}});
    world.kube.patch_namespace("once-scaled", all).await;
    let process = super::program(&world, &["-n", "once-scaled"]).await.start();
    process.says("Evicted once-scaled/").await;
    let one = json!({"spec": {"replicas": 1}});
    (world.kube)
        .patch::<Deployment>("once-scaled", "web", one)
        .await;
    let outcome = process.ended().await;
    check(
        &outcome,
        0,
        &json!({"end": "done", "left": 0, "unready": []}),
    );
    world.kube.running("once-scaled", 1, &new).await;
}
