//! One replica evicts, all serve; another takes over when it ends, and repeats nothing.

use std::time::Duration;

use k8s_openapi::api::{coordination::v1::Lease, rbac::v1::ClusterRoleBinding};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use testbed::{
    faults::{Effect, Seen},
    kubelet,
};
use tokio::time::Instant;

use crate::support::{
    history::History,
    kube::eventually,
    look::on_testbed,
    program::Program,
    simulated::Setup,
    world::{HOME, World},
};

const EVICTED: &str = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";

/// Starts two replicas, of which the first leads, and pods that take a moment to become ready.
async fn pair(flags: &[&str]) -> World {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_millis(200),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world
        .controller(flags)
        .await
        .shows("podrefresh_leader", 1.0)
        .await;
    world
        .controller(flags)
        .await
        .shows("podrefresh_leader", 0.0)
        .await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_evicts() {
    let world = pair(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    let [leader, other] = world.controllers() else {
        unreachable!("there must be two")
    };
    assert_eq!(leader.metric(EVICTED).await, 2.0);
    assert_eq!(other.metric(EVICTED).await, 0.0);
    assert_eq!(
        other
            .metric("podrefresh_refresh_tick_duration_seconds_count")
            .await,
        0.0
    );
}

/// Checks that the second replica finishes a refresh that the first one is taken away from, and evicts no pod twice.
async fn check_taken_over(gracefully: bool) {
    let mut world = pair(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 6, &image).await;
    world.kube.running("shop", 6, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let begun = async || (2 <= history.gone().len()).then_some(());
    eventually("the second eviction", begun).await;
    if gracefully {
        world.stop_first().await;
    } else {
        world.kill_first();
    }
    assert!(
        history.gone().len() < 6,
        "there must be something left to do"
    );
    world.kube.running("shop", 6, &new).await;
    assert_eq!((history.gone().len(), history.fewest_up()), (6, 5));
    assert!(1.0 <= world.controllers()[0].metric(EVICTED).await);
    world.looks(3).await;
    assert_eq!(history.gone().len(), 6);
}

/// Checks that the second replica evicts nobody in the minute whose budget the first one has used up.
async fn check_budget_is_kept(gracefully: bool) {
    let mut world = pair(&["--max-evictions-per-minute=2"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 4, &image).await;
    world.kube.running("shop", 4, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    world.push("shop/web", "stable", "2");
    let spent = async || (history.gone().len() == 2).then_some(());
    eventually("the second eviction", spent).await;
    world.kube.ready("shop", 4).await;
    let begun = Instant::now();
    if gracefully {
        world.stop_first().await;
    } else {
        world.kill_first();
    }
    let held = "podrefresh_refresh_held_pods{reason=\"budget\"}";
    // One would go next, and the other after it.
    world.controllers()[0].shows(held, 1.0).await;
    world.looks(5).await;
    // On a machine that is so slow nothing can be told.
    if begun.elapsed() < Duration::from_secs(30) {
        assert_eq!(history.gone().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leaders_budget_is_kept_by_the_other() {
    check_budget_is_kept(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leaders_budget_is_kept_by_the_other() {
    check_budget_is_kept(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leaders_work_is_finished_by_the_other() {
    check_taken_over(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leaders_work_is_finished_by_the_other() {
    check_taken_over(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_gives_the_lease_back_at_once() {
    let mut world = pair(&["--lease-duration=60s"]).await;
    let leases = world.kube.api::<Lease>(HOME);
    let holder = async || {
        leases
            .get("podrefresh")
            .await
            .unwrap()
            .spec
            .unwrap()
            .holder_identity
    };
    let first = holder().await.unwrap();
    world.stop_first().await;
    assert_ne!(
        holder().await.as_deref(),
        Some(&*first),
        "given back before the process ends"
    );
    let stopped = Instant::now();
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
    // It is asked for about every fifth of the duration. A leader that is killed is waited for three times as long.
    assert!(
        stopped.elapsed() < Duration::from_secs(20),
        "{:?}",
        stopped.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_its_lease_stops_evicting() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    world
        .controller(&[])
        .await
        .shows("podrefresh_leader", 1.0)
        .await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let cluster = &world.testbed().cluster;
    let guard = cluster
        .faults()
        .inject(Effect::InternalError, |seen| seen.resource == "leases");
    world.controllers()[0].shows("podrefresh_leader", 0.0).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let tries = cluster.journal().count(|entry| entry.resource == "leases");
    let patience = Duration::from_secs(60);
    let tried = cluster
        .journal()
        .wait_for(tries + 5, patience, |entry| entry.resource == "leases");
    assert!(tried.await, "it must go on trying");
    assert!(world.evictions().is_empty(), "{:#?}", world.evictions());
    drop(guard);
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_is_taken_stops_evicting() {
    let mut world = World::start().await;
    world
        .controller(&["--lease-duration=6s"])
        .await
        .shows("podrefresh_leader", 1.0)
        .await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    // Another one renews it twice, by force, for six seconds each.
    let take = async || {
        let spec = json!({"spec": {"holderIdentity": "other", "leaseDurationSeconds": 6}});
        world.kube.patch::<Lease>(HOME, "podrefresh", spec).await;
    };
    take().await;
    world.controllers()[0].shows("podrefresh_leader", 0.0).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    take().await;
    let taken = Instant::now();
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
    assert!(
        Duration::from_secs(5) < taken.elapsed(),
        "it must wait until the other has not renewed it"
    );
    let pods = world.kube.running("shop", 2, &new).await;
    assert_ne!(pods[0].metadata.uid, before[0].metadata.uid);
}

/// Checks that while no call about the Lease succeeds, neither replica evicts; and that one goes on afterwards.
async fn check_nobody_leads(effect: Effect) {
    if !on_testbed() {
        return;
    }
    let world = pair(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let cluster = &world.testbed().cluster;
    let guard = cluster
        .faults()
        .inject(effect, |seen| seen.resource == "leases");
    for controller in world.controllers() {
        controller.shows("podrefresh_leader", 0.0).await;
    }
    let (_, new) = world.push("shop/web", "stable", "2");
    // Each tries about once a second: longer than the Lease lasts, so that whoever could take it would have.
    let journal = cluster.journal();
    let tries = journal.count(|entry| entry.resource == "leases");
    let patience = Duration::from_secs(60);
    let tried = journal.wait_for(tries + 10, patience, |entry| entry.resource == "leases");
    assert!(tried.await, "they must go on trying");
    assert!(world.evictions().is_empty(), "{:#?}", world.evictions());
    drop(guard);
    world.kube.running("shop", 2, &new).await;
    let mut leaders = 0.0;
    for controller in world.controllers() {
        leaders += controller.metric("podrefresh_leader").await;
    }
    assert_eq!((leaders, world.evictions().len()), (1.0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_hangs_leaves_nobody_leading() {
    check_nobody_leads(Effect::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_breaks_connections_leaves_nobody_leading() {
    check_nobody_leads(Effect::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_fails_gives_the_lease_back() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    // Its first lists are refused, but only after it has come to lead.
    let bindings = Api::<ClusterRoleBinding>::all(world.kube.0.clone());
    let default = DeleteParams::default();
    bindings.delete("podrefresh", &default).await.unwrap();
    let late = Effect::Delay(Duration::from_secs(3));
    let faults = world.testbed().cluster.faults().clone();
    let lists = |seen: &Seen<'_>| ["pods", "namespaces"].contains(&seen.resource);
    let _guard = faults.inject(late, lists);
    world.unready(&["--lease-duration=600s"]).await;
    world.controllers()[0].shows("podrefresh_leader", 1.0).await;
    let error = world.first_failed().await;
    assert!(error.contains("forbidden"), "{error}");
    let leases = world.kube.api::<Lease>(HOME);
    let spec = leases.get("podrefresh").await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.unwrap_or_default(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stands_still_comes_back_as_a_follower() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    let arguments = [
        "controller",
        "--admin-addr=127.0.0.1:0",
        "--admission-addr=127.0.0.1:0",
        "--namespace=podrefresh",
        "--poll-interval=300ms",
        "--confirm-after=100ms",
        "--lease-duration=3s",
    ];
    let kubeconfig = world.account_kubeconfig("podrefresh").await;
    let frozen = Program::new(arguments).kubeconfig(&kubeconfig).start();
    frozen.says("Became the leader").await;
    world
        .controller(&[])
        .await
        .shows("podrefresh_leader", 0.0)
        .await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;

    frozen.signal("STOP").await;
    let other = &world.controllers()[0];
    other.shows("podrefresh_leader", 1.0).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    // It wakes up in the middle of the other's work, and what it knew is that nothing is outdated.
    other.reaches(EVICTED, 1.0).await;
    frozen.signal("CONT").await;
    world.kube.running("shop", 2, &new).await;
    frozen.says("Stopped leading").await;
    let (_, newer) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 2, &newer).await;
    assert_eq!(world.evictions().len(), 4);
    assert_eq!(other.metric(EVICTED).await, 4.0);
}
