//! Parts fail in the middle of a refresh: the controller, its lease, the registry, what nodes pull through.

use std::time::{Duration, Instant};

use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, coordination::v1::Lease,
};
use kube::{Api, api::DeleteParams};
use serde_json::json;
use testbed::{
    faults::Effect,
    journal::Entry,
    registry::{Fault, Target},
};

use super::{
    midway::{Midway, PODS},
    requests::follows_pods,
    uids,
};
use crate::support::{
    kube::{PATIENCE, eventually},
    look::on_testbed,
    world::{HOME, World},
};

fn is_eviction(entry: &Entry) -> bool {
    entry.is("create", "pods/eviction")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_before_it_learns_of_its_eviction_repeats_nothing() {
    if !on_testbed() {
        return;
    }
    let mut midway = Midway::before(&[]).await;
    // The eviction is done, and its answer never comes.
    let faults = midway.world.testbed().cluster.faults().clone();
    let late = Effect::Delay(Duration::from_secs(20));
    let guard = faults.inject(late, |seen| seen.subresource == "eviction");
    midway.first_eviction().await;
    midway.world.kill_first();
    drop(guard);
    midway.world.controller(&[]).await;
    midway.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controllers_successor_finishes_its_refresh() {
    let mut midway = Midway::begin(&[]).await;
    midway.world.kill_first();
    assert!(
        midway.history.gone().len() < PODS,
        "there must be something left to do"
    );
    midway.world.controller(&[]).await;
    midway.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_is_taken_in_the_middle_of_a_pass_evicts_nobody_more() {
    if !on_testbed() {
        return;
    }
    let midway = Midway::before(&["--lease-duration=6s"]).await;
    let (world, kube) = (&midway.world, &midway.world.kube);
    // All pods may go in one pass, each of which takes a while.
    let cluster = &world.testbed().cluster;
    let slow = Effect::Delay(Duration::from_millis(1500));
    let _guard = cluster
        .faults()
        .inject(slow, |seen| seen.subresource == "eviction");
    let all = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "100%"}}});
    kube.patch_namespace("shop", all).await;
    midway.first_eviction().await;
    let spec = json!({"spec": {"holderIdentity": "other", "leaseDurationSeconds": 3600}});
    kube.patch::<Lease>(HOME, "podrefresh", spec).await;
    let controller = &world.controllers()[0];
    controller.shows("podrefresh_leader", 0.0).await;
    // One may be under way; none is begun.
    let asked = cluster.journal().count(is_eviction);
    let leases = |entry: &Entry| entry.resource == "leases";
    let tries = cluster.journal().count(leases);
    let tried = cluster.journal().wait_for(tries + 4, PATIENCE, leases);
    assert!(tried.await, "it must go on asking for the lease");
    assert!(
        cluster.journal().count(is_eviction) <= asked + 1,
        "{:#?}",
        world.evictions()
    );
    assert!(
        world.evictions().len() < PODS,
        "there must be something left to do"
    );
    midway.check_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_for_long_is_waited_out() {
    // The nodes of a real control plane need not try again to pull.
    if !on_testbed() {
        return;
    }
    let midway = Midway::begin(&[]).await;
    let (world, kube) = (&midway.world, &midway.world.kube);
    // For us and the nodes alike, which back off as well.
    let guard = world.registry.inject(Fault::Status(503), Target::all());
    kube.told("shop", "Unresolved", &midway.image).await;
    let settled = async || {
        let gone = midway.history.gone();
        world.looks(2).await;
        (midway.history.gone() == gone).then_some(gone)
    };
    let gone = eventually("the last eviction", settled).await;
    let left = midway.on_old().await;
    assert!(!left.is_empty(), "there must be something left to do");
    let begun = Instant::now();
    world.polls("shop/web", 20).await;
    // Each poll is a retry of its own: they are as far apart as the polls.
    assert!(Duration::from_secs(3) < begun.elapsed(), "{begun:?}");
    assert_eq!((midway.history.gone(), midway.on_old().await), (gone, left));
    drop(guard);
    midway.check_finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_pods_are_out_of_sight_none_goes() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    // It knows what to ask the registry for.
    world.controllers()[0]
        .shows("podrefresh_refresh_containers{verdict=\"current\"}", 2.0)
        .await;
    let cluster = &world.testbed().cluster;
    let blind = cluster.faults().inject(Effect::Unavailable, follows_pods);
    cluster.faults().drop_watches();
    let refused = cluster.journal().wait_for(1, PATIENCE, |entry| {
        entry.resource == "pods" && entry.status == 503
    });
    assert!(refused.await, "its watch must have ended");

    let (_, new) = world.push("shop/web", "stable", "2");
    // The registry's answers are all that it would need.
    world.polls("shop/web", 8).await;
    assert!(world.evictions().is_empty(), "{:#?}", world.evictions());
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    drop(blind);
    world.kube.running("shop", 2, &new).await;
}

/// Checks that pods whose replacements come back with the old image are not evicted again, and that the next push
/// finds them when the nodes pull what there is.
async fn check_come_back_old(stamped: bool, gone: usize) {
    if !on_testbed() {
        return;
    }
    let mut midway = Midway::settled(&["--confirm-after=2s"]).await;
    let simulated = midway.world.testbed();
    simulated.kubelet.mirror(&midway.image, Some(&midway.old));
    if !stamped {
        // Nobody stamps them: only what runs tells.
        let client = midway.world.kube.0.clone();
        let webhooks = Api::<MutatingWebhookConfiguration>::all(client);
        let params = DeleteParams::default();
        webhooks.delete("podrefresh", &params).await.unwrap();
    }
    midway.push();
    let (world, kube) = (&midway.world, &midway.world.kube);
    let finished = async || (gone <= midway.history.gone().len()).then_some(());
    eventually("the last eviction", finished).await;
    let before = kube.running("shop", PODS, &midway.old).await;
    world.polls("shop/web", 5).await;
    world.looks(5).await;
    assert_eq!(uids(&kube.pods("shop").await), uids(&before));
    midway.check_orderly(gone);
    if !stamped {
        kube.told("shop", "RefreshIneffective", &midway.new).await;
    }
    world.testbed().kubelet.mirror(&midway.image, None);
    let (_, newer) = world.push("shop/web", "stable", "3");
    kube.running("shop", PODS, &newer).await;
    midway.check_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_comes_back_old_stops_its_owner() {
    check_come_back_old(false, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stamped_replacements_that_come_back_old_are_not_evicted_again() {
    // Their stamps say what they should run, which is all that is known for certain.
    check_come_back_old(true, PODS).await;
}
