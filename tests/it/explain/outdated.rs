//! Outdated pods, each held by another rule: what is told agrees with what the controller does.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::{Value, json};
use testbed::{
    images::Format,
    registry::{Fault, Target},
};

use super::{explain, rules, why};
use crate::support::{
    kube::{eventually, name, workload},
    world::World,
};

/// Starts two pods in a namespace with wishes, and moves their tag; returns them with both digests.
async fn outdated(world: &World, wishes: Value) -> (Vec<Pod>, String, String) {
    let (image, old) = world.push("shop/web", "stable", "1");
    let enabled = json!({"podrefresh.io/enabled": "true"});
    world.kube.namespace("shop", enabled, wishes).await;
    world.kube.budget("shop", "web", "web", 2).await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let pods = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    (pods, old, new)
}

/// Waits until the controller has told that the pods are outdated, and that it holds both for `reason`.
async fn held(world: &World, reason: &str, new: &str) {
    let series = format!("podrefresh_refresh_held_pods{{reason=\"{reason}\"}}");
    world.controllers()[0].shows(&series, 2.0).await;
    world.kube.told("shop", "Outdated", new).await;
}

/// Checks that the rule `reason` holds both pods and is told to, and returns what is told of the first.
async fn check(name: &str, value: &str, reason: &str, others: &[&str]) -> Value {
    let world = World::running(&[]).await;
    let wishes = json!({format!("podrefresh.io/{name}"): value});
    let (pods, old, new) = outdated(&world, wishes).await;
    held(&world, reason, &new).await;
    let found = explain(&world, &pods[0]).await;
    let mut expected = vec![format!("hold {reason}")];
    expected.extend(others.iter().map(|other| (*other).to_owned()));
    assert_eq!(rules(&found, &["hold", "unknown"]), expected, "{found:#}");
    assert_eq!(found["reason"], reason);
    assert_eq!(found["outdated"], true);
    let container = &found["containers"][0];
    assert_eq!(container["verdict"], "outdated");
    assert_eq!(container["target"]["digest"], new);
    assert_eq!(container["stamp"]["digest"], old);
    assert_eq!(container["running"]["digest"], old);
    let since: Timestamp = found["since"].as_str().unwrap().parse().unwrap();
    assert!(since <= Timestamp::now());
    let leader = why(&found, "not_leader");
    assert!(
        leader.contains("holds the Lease podrefresh/podrefresh, renewed"),
        "{leader}"
    );
    let events = found["events"].as_array().unwrap();
    let told = (events.iter())
        .find(|it| it["reason"] == "Outdated")
        .unwrap();
    assert_eq!(told["about"], "Deployment/web");
    assert!(told["note"].as_str().unwrap().contains(&new), "{told}");
    found
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
async fn a_closed_window_is_told_with_its_opening() {
    let wish = window(2, 4);
    let found = check("window", &wish, "window", &["hold pdb"]).await;
    let why = why(&found, "window");
    let closed = format!("the window {wish:?} is closed and opens at ");
    assert!(why.starts_with(&closed) && why.contains(", in 1h"), "{why}");
    let next = found["next"].as_str().unwrap();
    assert!(
        next.starts_with("It waits for its window, until "),
        "{next}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_min_age_is_told_with_what_is_left() {
    let found = check("min-age", "1h", "min_age", &["hold pdb"]).await;
    let why = why(&found, "min_age");
    assert!(
        why.starts_with("T must have been seen for 1h, and has been for "),
        "{why}"
    );
    assert!(why.contains("; 59m"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_only_tells_is_told() {
    let found = check("strategy", "notify", "notify", &["hold pdb"]).await;
    assert_eq!(why(&found, "notify"), "the strategy is notify");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_told_with_its_numbers() {
    let world = World::running(&[]).await;
    let (pods, _, new) = outdated(&world, json!({})).await;
    world.kube.told("shop", "Outdated", &new).await;
    world
        .kube
        .told("shop", "EvictionBlocked", "disruption budget web")
        .await;
    let found = eventually("the budget's word", || async {
        let found = explain(&world, &pods[0]).await;
        (found["reason"] == "pdb").then_some(found)
    })
    .await;
    assert_eq!(
        rules(&found, &["hold", "unknown"]),
        ["hold pdb"],
        "{found:#}"
    );
    assert_eq!(
        why(&found, "pdb"),
        "PodDisruptionBudget web allows no disruption now: 2 healthy, 2 wanted"
    );
    assert_eq!(
        why(&found, "pace"),
        "2 wanted, 2 ready, 1 may be unavailable"
    );
    let refused = why(&found, "refused");
    assert!(refused.ends_with("was a budget's"), "{refused}");

    let other = json!({"spec": {"minAvailable": 0}});
    let budgets = world.kube.clone();
    budgets
        .patch::<k8s_openapi::api::policy::v1::PodDisruptionBudget>("shop", "web", other)
        .await;
    let pods = world.kube.running("shop", 2, &new).await;
    let found = explain(&world, &pods[0]).await;
    assert_eq!(found["containers"][0]["verdict"], "current");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_budgets_keep_a_pod_for_good() {
    let world = World::running(&[]).await;
    let wishes = json!({"podrefresh.io/strategy": "notify"});
    let (pods, ..) = outdated(&world, wishes).await;
    world.kube.budget("shop", "other", "web", 0).await;
    let found = explain(&world, &pods[0]).await;
    let told = why(&found, "pdb");
    assert!(
        told.contains("PodDisruptionBudget other") && told.contains("PodDisruptionBudget web"),
        "{told}"
    );
    assert!(
        rules(&found, &["hold"]).contains(&"hold refused".to_owned()),
        "{found:#}"
    );
    assert_eq!(
        why(&found, "refused"),
        "no pod can be evicted that more than one PodDisruptionBudget selects: other and web"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_for_a_container_that_does_not_count_holds_nobody() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let (agent, _) = world.push("shop/agent", "stable", "1");
    let enabled = json!({"podrefresh.io/enabled": "true"});
    let wishes = json!({"podrefresh.io/containers": "!agent"});
    world.kube.namespace("shop", enabled, wishes).await;
    let container = |name: &str, image: &str| json!({"name": name, "image": image, "imagePullPolicy": "Always"});
    let both = [container("app", &image), container("agent", &agent)];
    let spec = json!({"replicas": 1, "template": {"spec": {"containers": both}}});
    let object = workload("web", &image, spec);
    world.kube.create::<Deployment>("shop", object).await;
    let pods = world.kube.running("shop", 1, &old).await;
    world.push("shop/web", "stable", "2");
    let away = Target::all().repository("shop/agent");
    let _away = world.registry.inject(Fault::Status(503), away);
    let found = explain(&world, &pods[0]).await;
    assert_eq!(found["containers"][1]["uncounted"]["reason"], "left_out");
    assert_eq!(found["containers"][1]["fault"]["reason"], "unavailable");
    assert_eq!(rules(&found, &["hold"]), [""; 0], "{found:#}");
    assert_eq!(why(&found, "registry_failing"), "the registry answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_what_only_it_knows_is_named() {
    let world = World::start().await;
    let wishes = json!({"podrefresh.io/min-age": "1h"});
    let (pods, old, new) = outdated(&world, wishes).await;
    let found = explain(&world, &pods[0]).await;
    let expected = [
        "unknown not_leader",
        "unknown unconfirmed",
        "unknown min_age",
        "hold pdb",
    ];
    assert_eq!(rules(&found, &["hold", "unknown"]), expected, "{found:#}");
    assert_eq!(found["reason"], "pdb");
    assert_eq!(found["since"], Value::Null);
    let container = &found["containers"][0];
    assert_eq!(container["stamp"], Value::Null);
    assert_eq!(container["verdict"], "outdated");
    assert_eq!(
        (
            &container["target"]["digest"],
            &container["running"]["digest"]
        ),
        (&json!(new), &json!(old))
    );
    assert_eq!(
        why(&found, "not_leader"),
        "there is no Lease podrefresh/podrefresh: no controller runs there, or one without election"
    );
    assert!(why(&found, "unconfirmed").contains("two lookups at least 10s apart"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_lets_one_go_after_the_other() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.stateful_set("shop", "db", 2, &image).await;
    let pods = world.kube.running("shop", 2, &old).await;
    world.push("shop/web", "stable", "2");
    let first = explain(&world, &pods[0]).await;
    assert_eq!((name(&pods[0]), &first["reason"]), ("db-0", &json!("pace")));
    assert_eq!(
        why(&first, "pace"),
        "2 wanted, 2 ready, 1 may be unavailable; it is not the turn of this one"
    );
    let last = explain(&world, &pods[1]).await;
    assert_eq!(
        (name(&pods[1]), &last["reason"]),
        ("db-1", &json!("unconfirmed"))
    );
    assert_eq!(last["owner"], "StatefulSet/db");
    assert_eq!(last["workload"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_behind_indexes_are_told_for_the_pods_node() {
    let world = World::running(&[]).await;
    let multi = |seed| Format::Oci.multi_platform(seed);
    let (image, old) = world.push_image("shop/web", "stable", &multi("1"));
    let wishes = json!({"podrefresh.io/strategy": "notify"});
    let enabled = json!({"podrefresh.io/enabled": "true"});
    world.kube.namespace("shop", enabled, wishes).await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let pod = &world.kube.ready("shop", 1).await[0];
    let (_, new) = world.push_image("shop/web", "stable", &multi("2"));
    let found = explain(&world, pod).await;
    let container = &found["containers"][0];
    assert_eq!(container["stamp"]["digest"], old);
    assert_eq!(container["target"]["digest"], new);
    let (stamp, target) = (&container["stamp"]["image"], &container["target"]["image"]);
    for (image, index) in [(stamp, &old), (target, &new)] {
        assert!(image.is_string() && *image != json!(index), "{container:#}");
    }
    assert_ne!(stamp, target);
    assert_eq!(found["platform"], "linux/amd64");
    assert_eq!(container["verdict"], "outdated");
}
