//! What owners wish is done: told only, later, for some containers, or not at all where it makes no sense.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::json;
use tokio::time::Instant;

use super::uids;
use crate::support::{kube::workload, world::World};

/// Starts two pods in a namespace with one wish, and moves their tag; returns them and the digest they should run.
async fn wished(world: &World, wish: &str, value: &str) -> (Vec<Pod>, String) {
    let (image, old) = world.push("shop/web", "stable", "1");
    let wishes = json!({format!("podrefresh.io/{wish}"): value});
    world
        .kube
        .namespace("shop", json!({"podrefresh.io/enabled": "true"}), wishes)
        .await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let pods = world.kube.running("shop", 2, &old).await;
    (pods, world.push("shop/web", "stable", "2").1)
}

async fn wish(world: &World, wish: &str, value: Option<&str>) {
    let wishes = json!({"metadata": {"annotations": {format!("podrefresh.io/{wish}"): value}}});
    world.kube.patch_namespace("shop", wishes).await;
}

/// Checks that a wish holds both pods for its reason, until it is changed.
async fn check_held(name: &str, value: &str, reason: &str, then: Option<&str>) {
    let world = World::running(&[]).await;
    let (before, new) = wished(&world, name, value).await;
    let held = format!("podrefresh_refresh_held_pods{{reason=\"{reason}\"}}");
    world.controllers()[0].shows(&held, 2.0).await;
    world.looks(5).await;
    world.controllers()[0].shows(&held, 2.0).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let note = world.kube.told("shop", "Outdated", &new).await;
    assert!(note.contains("shop/web:stable"), "{note}");

    wish(&world, name, then).await;
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_tells_and_evicts_nobody() {
    check_held("strategy", "notify", "notify", Some("evict")).await;
}

/// Returns the hours from `first` to `last` after now, as a window.
fn window(first: i32, last: i32) -> String {
    let at = |hours: i32| {
        let then = Timestamp::now() + hours.hours();
        then.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
    };
    format!("{}-{} UTC", at(first), at(last))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_window_holds_until_one_is_open() {
    check_held("window", &window(2, 4), "window", Some(&window(-2, 4))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_too_young_holds_until_it_is_asked_no_more() {
    check_held("min-age", "1h", "min_age", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_acted_on_as_soon_as_it_is_old_enough() {
    let world = World::running(&[]).await;
    let pushed = Instant::now();
    let (before, new) = wished(&world, "min-age", "5s").await;
    let held = "podrefresh_refresh_held_pods{reason=\"min_age\"}";
    world.controllers()[0].shows(held, 2.0).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let evicted = "podrefresh_refresh_evictions_total{outcome=\"evicted\"}";
    world.controllers()[0].reaches(evicted, 1.0).await;
    assert!(Duration::from_secs(5) <= pushed.elapsed());
    world.kube.running("shop", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_selected_containers_make_a_pod_outdated() {
    let world = World::running(&[]).await;
    let (app, old) = world.push("shop/app", "stable", "1");
    let (helper, _) = world.push("shop/helper", "stable", "a");
    world.kube.opted_in("shop").await;
    let mut web = workload("web", &app, json!({}));
    let template = &mut web["spec"]["template"];
    template["metadata"]["annotations"] = json!({"podrefresh.io/containers": "!help*"});
    let second = json!({"name": "helper", "image": helper, "imagePullPolicy": "Always"});
    template["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(second);
    world.kube.create::<Deployment>("shop", web).await;
    let before = world.kube.running("shop", 1, &old).await;

    // What does not count is not even asked for after the pod's admission: the looks are counted, not the questions.
    world.push("shop/helper", "stable", "b");
    world.looks(5).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let (_, new) = world.push("shop/app", "stable", "2");
    world.kube.running("shop", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_makes_no_sense_is_told_and_its_pods_are_left_alone() {
    let mut world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    // Nobody is there to refuse it.
    let wishes = json!({"podrefresh.io/max-unavailable": "a few"});
    world
        .kube
        .namespace("shop", json!({"podrefresh.io/enabled": "true"}), wishes)
        .await;
    world.controller(&[]).await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let note = world
        .kube
        .told("shop", "BadWishes", "podrefresh.io/max-unavailable")
        .await;
    assert!(
        note.contains("\"a few\" on the namespace must be"),
        "{note}"
    );
    let left = "podrefresh_refresh_ineligible_pods{reason=\"bad_wishes\"}";
    world.controllers()[0].shows(left, 2.0).await;
    world.looks(4).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));

    wish(&world, "max-unavailable", Some("1")).await;
    world.kube.running("shop", 2, &new).await;
}
