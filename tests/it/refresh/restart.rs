//! Owners that wish for a restart get one rollout by their own controller, and no pod of theirs is evicted.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use testbed::{faults::Effect, kubelet};

use super::uids;
use crate::support::{
    history::History,
    kube::{annotation, eventually, image_id, is_ready},
    look::on_testbed,
    simulated::Setup,
    world::World,
};

mod sets;

const REFRESHED: &str = "podrefresh.io/refreshed";
const EVICTED: &str = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";
const RESTARTED: &str = "podrefresh_refresh_restarts_total{outcome=\"restarted\"}";

/// Starts a world whose pods take a moment to become ready, with a namespace that wishes for a strategy.
async fn wishing(strategy: &str, flags: &[&str]) -> World {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_millis(300),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(flags).await;
    let (labels, wishes) = (json!({"podrefresh.io/enabled": "true"}), wish(strategy));
    world.kube.namespace("shop", labels, wishes).await;
    world
}

fn wish(strategy: &str) -> Value {
    json!({"podrefresh.io/strategy": strategy})
}

async fn change_wish(world: &World, strategy: &str) {
    let patch = json!({"metadata": {"annotations": wish(strategy)}});
    world.kube.patch_namespace("shop", patch).await;
}

/// Starts a Deployment, and returns its pods once they run, and the tag's digest.
async fn deployed(world: &World, replicas: i32) -> (Vec<Pod>, String) {
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.deployment("shop", "web", replicas, &image).await;
    let count = usize::try_from(replicas).unwrap();
    (world.kube.running("shop", count, &old).await, old)
}

/// Returns the count of rollouts of the Deployment `web`, its first one included, and the value in its template.
async fn rollouts(world: &World) -> (String, Option<String>) {
    let deployments: Api<Deployment> = world.kube.api("shop");
    let web = deployments.get("web").await.unwrap();
    let revision = "deployment.kubernetes.io/revision";
    let revision = web.metadata.annotations.unwrap()[revision].clone();
    let template = web.spec.unwrap().template.metadata.unwrap();
    let value = template
        .annotations
        .and_then(|mut all| all.remove(REFRESHED));
    (revision, value)
}

/// Checks how many rollouts the Deployment `web` has had, and that it stays so.
async fn check_rollouts(world: &World, revision: &str) {
    world.looks(4).await;
    assert_eq!(rollouts(world).await.0, revision);
}

/// Returns how often the Deployment `web` was read so far, as the testbed's API server saw it.
fn reads(world: &World) -> usize {
    let Some(simulated) = &world.simulated else {
        return 0; // nobody has noted it
    };
    let journal = simulated.cluster.journal();
    journal.count(|call| call.is("get", "deployments") && call.user.contains("podrefresh"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_one_rollout_that_leaves_no_moment_without_a_ready_pod() {
    let world = wishing("restart", &[]).await;
    deployed(&world, 1).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let pods = world.kube.running("shop", 1, &new).await;
    check_rollouts(&world, "2").await;
    assert_eq!((history.gone().len(), history.fewest_up()), (1, 1));
    let (_, value) = rollouts(&world).await;
    assert_eq!(annotation(&pods[0], REFRESHED), value.unwrap());
    let note = world.kube.told("shop", "Restarted", &new).await;
    assert!(note.contains("shop/web:stable"), "{note}");
    world
        .kube
        .told("shop", "Refreshed", "it was restarted")
        .await;
    let controller = &world.controllers()[0];
    assert_eq!(controller.metric(RESTARTED).await, 1.0);
    assert_eq!(controller.metric(EVICTED).await, 0.0);

    // The next one is another.
    let (_, newer) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 1, &newer).await;
    check_rollouts(&world, "3").await;
    assert_eq!(history.fewest_up(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_many_pods_is_one_rollout_at_their_owners_pace() {
    let world = wishing("restart", &[]).await;
    deployed(&world, 3).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 3, &new).await;
    check_rollouts(&world, "2").await;
    // A quarter of three, rounded down, is none.
    assert_eq!((history.gone().len(), history.fewest_up()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_restarts_one_pod_and_evicts_of_many() {
    let world = wishing("auto", &[]).await;
    deployed(&world, 1).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 1, &new).await;
    check_rollouts(&world, "2").await;
    assert_eq!(history.fewest_up(), 1);

    let three = json!({"spec": {"replicas": 3}});
    world.kube.patch::<Deployment>("shop", "web", three).await;
    world.kube.running("shop", 3, &new).await;
    let (_, newer) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 3, &newer).await;
    check_rollouts(&world, "2").await;
    let controller = &world.controllers()[0];
    assert_eq!(controller.metric(RESTARTED).await, 1.0);
    assert_eq!(controller.metric(EVICTED).await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_waits_until_it_is_resumed() {
    let world = wishing("restart", &[]).await;
    let (before, _) = deployed(&world, 2).await;
    let pause = |paused: bool| json!({"spec": {"paused": paused}});
    world
        .kube
        .patch::<Deployment>("shop", "web", pause(true))
        .await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let held = "podrefresh_refresh_held_pods{reason=\"paused\"}";
    world.controllers()[0].shows(held, 2.0).await;
    let before_looks = reads(&world);
    world.looks(12).await;
    // It is read again after pauses that double.
    assert!(reads(&world) - before_looks <= 5);
    check_rollouts(&world, "1").await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    world
        .kube
        .patch::<Deployment>("shop", "web", pause(false))
        .await;
    world.kube.running("shop", 2, &new).await;
    check_rollouts(&world, "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_way_is_not_disturbed() {
    if !on_testbed() {
        return;
    }
    let world = wishing("restart", &[]).await;
    deployed(&world, 2).await;
    // Somebody rolls out another image, whose pods do not become ready yet.
    let (other, slow) = world.push("shop/other", "stable", "slow");
    world.testbed().kubelet.set_bad_digests([&*slow]);
    let image = |image: &str| {
        let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    };
    world
        .kube
        .patch::<Deployment>("shop", "web", image(&other))
        .await;
    let begun = async || {
        let pods = world.kube.pods("shop").await;
        pods.iter()
            .any(|pod| image_id(pod).ends_with(&slow))
            .then_some(())
    };
    eventually("a pod of the rollout", begun).await;
    let (web, new) = world.push("shop/web", "stable", "2");
    let held = async || {
        let mut held = 0.0;
        for reason in ["rollout", "pace"] {
            let series = format!("podrefresh_refresh_held_pods{{reason=\"{reason}\"}}");
            held += world.controllers()[0].metric(&series).await;
        }
        (held == 2.0).then_some(())
    };
    eventually("the old pods to be held back", held).await;
    check_rollouts(&world, "2").await;
    assert_eq!(rollouts(&world).await.1, None);

    // They go back to the template of before, whose pods are as outdated as they were: now there is something to do.
    world
        .kube
        .patch::<Deployment>("shop", "web", image(&web))
        .await;
    world.kube.running("shop", 2, &new).await;
    check_rollouts(&world, "4").await;
    assert_eq!(world.controllers()[0].metric(RESTARTED).await, 1.0);
    assert_eq!(world.controllers()[0].metric(EVICTED).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_push_stops_the_rollout_and_its_fix_gets_through() {
    if !on_testbed() {
        return;
    }
    let world = wishing("restart", &["--progress-deadline=2s"]).await;
    let (_, old) = deployed(&world, 3).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let broken = testbed::images::Format::Oci.image("linux/amd64", "broken");
    world.testbed().kubelet.set_bad_digests([broken.digest()]);
    world.push_image("shop/web", "stable", &broken);
    let note = "has not become ready in time";
    world.kube.told("shop", "RefreshHalted", note).await;
    check_rollouts(&world, "2").await;
    let pods = world.kube.pods("shop").await;
    let is_up = |pod: &&Pod| is_ready(pod) && image_id(pod).ends_with(&old);
    assert_eq!(pods.iter().filter(is_up).count(), 3);

    let (_, good) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 3, &good).await;
    check_rollouts(&world, "3").await;
    assert_eq!(history.fewest_up(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_that_change_while_an_owner_waits_for_its_turn_are_heard() {
    if !on_testbed() {
        return;
    }
    let world = wishing("restart", &[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    for name in ["one", "two"] {
        world.kube.deployment("shop", name, 1, &image).await;
    }
    world.kube.running("shop", 2, &old).await;
    // Both may be restarted in one pass, in which each restart takes a while.
    let slow = Effect::Delay(Duration::from_millis(1500));
    let faults = world.testbed().cluster.faults();
    let _guard = faults.inject(slow, |seen| {
        seen.resource == "deployments" && seen.verb == "patch"
    });
    world.push("shop/web", "stable", "2");
    let restarted = async || {
        let deployments: Api<Deployment> = world.kube.api("shop");
        let all = deployments.list(&ListParams::default()).await.unwrap();
        let templates = (all.items.into_iter()).filter_map(|it| it.spec?.template.metadata);
        let marks = templates.filter_map(|metadata| metadata.annotations?.remove(REFRESHED));
        marks.count()
    };
    eventually("a restart", async || (restarted().await > 0).then_some(())).await;
    change_wish(&world, "notify").await;
    let notify = "podrefresh_refresh_held_pods{reason=\"notify\"}";
    world.controllers()[0].shows(notify, 1.0).await;
    world.looks(3).await;
    assert_eq!(restarted().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_restarts_nothing() {
    let world = wishing("restart", &["--dry-run"]).await;
    let (before, _) = deployed(&world, 2).await;
    world.push("shop/web", "stable", "2");
    let tried = "podrefresh_refresh_restarts_total{outcome=\"dry_run\"}";
    world.controllers()[0].reaches(tried, 1.0).await;
    check_rollouts(&world, "1").await;
    assert_eq!(rollouts(&world).await.1, None);
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    assert_eq!(world.kube.notes("shop", "Restarted").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_restart_one_owner_make_one_rollout() {
    let mut world = wishing("restart", &["--leader-elect=false"]).await;
    world.controller(&["--leader-elect=false"]).await;
    deployed(&world, 2).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    check_rollouts(&world, "2").await;
    assert_eq!((history.gone().len(), history.fewest_up()), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_away_and_back_restarts_again() {
    let world = wishing("restart", &[]).await;
    let (_, old) = deployed(&world, 2).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    let (_, first) = rollouts(&world).await;

    // Somebody else rolls the pods back while the tag means the old image again for a while.
    change_wish(&world, "notify").await;
    world.push("shop/web", "stable", "1");
    let restart = json!({"example.io/restarted-at": "noon"});
    let restart = json!({"spec": {"template": {"metadata": {"annotations": restart}}}});
    world.kube.patch::<Deployment>("shop", "web", restart).await;
    world.kube.running("shop", 2, &old).await;
    world.push("shop/web", "stable", "2");
    change_wish(&world, "restart").await;
    world.kube.running("shop", 2, &new).await;
    check_rollouts(&world, "4").await;
    let (_, second) = rollouts(&world).await;
    assert_eq!(second.unwrap(), format!("{}-2", first.unwrap()));
}
