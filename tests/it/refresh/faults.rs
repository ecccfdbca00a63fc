//! Broken images, flapping tags and registries that are away evict nothing, or no more than they must.

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use testbed::registry::{Fault, Target};

use super::uids;
use crate::support::{
    history::History,
    kube::{eventually, image_id, is_ready},
    look::on_testbed,
    world::World,
};

const HALTED: &str = "podrefresh_refresh_halted_workloads";

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_push_stops_after_one_pod_and_recovers_with_a_good_one() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&["--progress-deadline=2s"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 3, &image).await;
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    let broken = testbed::images::Format::Oci.image("linux/amd64", "broken");
    world.testbed().kubelet.set_bad_digests([broken.digest()]);
    world.push_image("shop/web", "stable", &broken);
    // The creation time is cut to seconds, hence the deadline may seem over up to a second early.
    world
        .kube
        .told("shop", "RefreshHalted", "has not become ready in time")
        .await;
    let controller = &world.controllers()[0];
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"halted\"}", 2.0)
        .await;
    controller.shows(HALTED, 1.0).await;
    world.looks(5).await;
    let pods = world.kube.pods("shop").await;
    let on_old = pods
        .iter()
        .filter(|pod| is_ready(pod) && image_id(pod).ends_with(&old));
    assert_eq!(on_old.count(), 2);
    assert_eq!((history.gone().len(), history.fewest_up()), (1, 2));

    let (_, good) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 3, &good).await;
    // The broken one, which costs nothing, and the two that are left of the first.
    assert_eq!((history.gone().len(), history.fewest_up()), (4, 2));
    controller.shows(HALTED, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_push_that_leaves_nothing_to_stop_is_told_of_until_it_is_mended() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&["--progress-deadline=2s"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    world.kube.running("shop", 1, &old).await;
    let broken = testbed::images::Format::Oci.image("linux/amd64", "broken");
    world.testbed().kubelet.set_bad_digests([broken.digest()]);
    world.push_image("shop/web", "stable", &broken);
    let note = world
        .kube
        .told("shop", "RefreshHalted", "None of its pods is outdated")
        .await;
    assert!(note.contains("1 pod was evicted"), "{note}");
    let controller = &world.controllers()[0];
    controller.shows(HALTED, 1.0).await;
    world.looks(5).await;
    controller.shows(HALTED, 1.0).await;
    // What was broken outside mends itself, which is told, too.
    let none: [&str; 0] = [];
    world.testbed().kubelet.set_bad_digests(none);
    world
        .kube
        .told("shop", "Refreshed", "1 pod was evicted")
        .await;
    controller.shows(HALTED, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_flaps_at_every_look_is_never_acted_on() {
    // Two sightings of one digest must be further apart than the flaps.
    let world = World::running(&["--poll-interval=200ms", "--confirm-after=2s"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;
    let controller = &world.controllers()[0];
    for turn in 0..12 {
        world.push("shop/web", "stable", if turn % 2 == 0 { "2" } else { "3" });
        world.polls("shop/web", 2).await;
    }
    assert!(history.gone().is_empty());
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"unconfirmed\"}", 2.0)
        .await;

    // It rests: the digest is confirmed, and acted on.
    let (_, new) = world.push("shop/web", "stable", "4");
    world.kube.running("shop", 2, &new).await;
}

/// Checks that a fault of the registry, from before a push until after, holds the pods back; and that they go without it.
async fn check_held_by(fault: Fault) {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let what = format!("{fault:?}");
    let guard = world.registry.inject(fault, Target::manifests().outside());
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Unresolved", &image).await;
    let hits = async || (3 <= guard.hits()).then_some(());
    eventually("the registry to have failed three times", hits).await;
    world.looks(3).await;
    assert_eq!(
        uids(&world.kube.pods("shop").await),
        uids(&before),
        "{what}"
    );
    drop(guard);
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_holds_the_pods_back() {
    check_held_by(Fault::Status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_us_holds_the_pods_back() {
    check_held_by(Fault::Status(401)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_resets_connections_holds_the_pods_back() {
    check_held_by(Fault::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_none_holds_the_pods_back() {
    let body = Fault::Body {
        content_type: "text/html".to_owned(),
        bytes: b"<h1>Please log in</h1>".to_vec(),
    };
    check_held_by(body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tag_evicts_nobody() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    assert!(world.registry.delete("shop/web", "stable"));
    let note = world.kube.told("shop", "Unresolved", &image).await;
    assert!(note.contains("stable"), "{note}");
    // Where people look for it, and nowhere else.
    let events = world.kube.api::<Event>("shop");
    let events = events.list(&ListParams::default()).await.unwrap();
    let events = events.items.into_iter();
    let unresolved = events.filter(|event| event.reason.as_deref() == Some("Unresolved"));
    let about: Vec<_> = unresolved
        .map(|event| event.regarding.unwrap_or_default())
        .map(|about| (about.kind.unwrap(), about.name.unwrap()))
        .collect();
    assert_eq!(about, [("Deployment".to_owned(), "web".to_owned())]);
    world.polls("shop/web", 3).await;
    world.looks(3).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_after_the_move_was_seen_holds_the_pods_back() {
    let world = World::running(&["--confirm-after=2s"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"unconfirmed\"}", 2.0)
        .await;
    // The successor could not pull what the tag means now.
    let guard = world
        .registry
        .inject(Fault::Status(500), Target::manifests().outside());
    world.kube.told("shop", "Unresolved", &image).await;
    world.looks(9).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    drop(guard);
    world.kube.running("shop", 2, &new).await;
}
