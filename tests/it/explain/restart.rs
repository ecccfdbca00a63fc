//! Outdated pods whose owner is to be restarted, and pods whose tag has nothing for their node.

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::Pod,
};
use serde_json::{Value, json};
use testbed::images::Format;

use super::{explain, rules, run, why};
use crate::support::{kube::eventually, world::World};

/// Opts a namespace in that wishes for restarts.
async fn opted_in(world: &World) {
    let labels = json!({"podrefresh.io/enabled": "true"});
    let wishes = json!({"podrefresh.io/strategy": "restart"});
    world.kube.namespace("shop", labels, wishes).await;
}

/// Starts a Deployment that nobody may evict a pod of, and moves its tag; returns its pods and the new digest.
async fn outdated(world: &World) -> (Vec<Pod>, String) {
    opted_in(world).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.budget("shop", "web", "web", 2).await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let pods = world.kube.running("shop", 2, &old).await;
    let paused = json!({"spec": {"paused": true}});
    world.kube.patch::<Deployment>("shop", "web", paused).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    (pods, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_owner_and_the_restart_after_it_are_told() {
    let world = World::running(&[]).await;
    let (pods, new) = outdated(&world).await;
    let held = "podrefresh_refresh_held_pods{reason=\"paused\"}";
    world.controllers()[0].shows(held, 2.0).await;
    world.kube.told("shop", "Outdated", &new).await;
    let found = explain(&world, &pods[0]).await;
    // Its budget allows no eviction, but nobody asks for one.
    assert_eq!(
        rules(&found, &["hold", "unknown"]),
        ["hold paused"],
        "{found:#}"
    );
    assert_eq!(found["reason"], "paused");
    assert_eq!(why(&found, "paused"), "Deployment/web is paused");
    assert_eq!(why(&found, "pdb"), "a restart asks no PodDisruptionBudget");
    assert_eq!(
        why(&found, "pace"),
        "2 wanted, 2 ready; a restart goes at its owner's own pace, not by max-unavailable"
    );
    assert!(found["next"].as_str().unwrap().contains("paused no more"));

    let resumed = json!({"spec": {"paused": false}});
    world.kube.patch::<Deployment>("shop", "web", resumed).await;
    let pods = world.kube.running("shop", 2, &new).await;
    let found = explain(&world, &pods[0]).await;
    assert_eq!(found["containers"][0]["verdict"], "current");
    let events = found["events"].as_array().unwrap();
    assert!(
        events.iter().any(|it| it["reason"] == "Restarted"),
        "{found:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_no_restart_helps_is_told() {
    let world = World::running(&[]).await;
    opted_in(&world).await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.kube.stateful_set("shop", "db", 1, &image).await;
    let pods = world.kube.running("shop", 1, &old).await;
    let strategy = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    world
        .kube
        .patch::<StatefulSet>("shop", "db", strategy)
        .await;
    let (_, new) = world.push("shop/db", "stable", "2");
    world.kube.told("shop", "Outdated", &new).await;
    let found = explain(&world, &pods[0]).await;
    assert_eq!(found["reason"], "no_rollout", "{found:#}");
    assert_eq!(
        why(&found, "no_rollout"),
        "a new template of StatefulSet/db would not replace all its pods: its update strategy is OnDelete, or has a \
         partition"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_an_image_for_the_node_is_told() {
    let world = World::start().await;
    let index = |platform| Format::Oci.index([Format::Oci.image(platform, "1")]);
    let (image, old) = world.push_image("shop/web", "stable", &index("linux/amd64"));
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let pods = world.kube.running("shop", 1, &old).await;
    world.push_image("shop/web", "stable", &index("linux/arm64"));
    let found = eventually("the other index to be seen", || async {
        let found = explain(&world, &pods[0]).await;
        (found["containers"][0]["unfit"] == true).then_some(found)
    })
    .await;
    assert_eq!(found["containers"][0]["verdict"], "unknown");
    assert_eq!(
        (&found["outdated"], &found["reason"]),
        (&json!(false), &json!("unfit"))
    );
    let outcome = run(
        &world.administrator(),
        &["status", "-n", "shop", "-o", "json"],
    )
    .await;
    let status: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let row = &status["containers"][0];
    assert_eq!(
        (&row["verdict"], &row["reason"]),
        (&json!("unknown"), &json!("unfit"))
    );
    assert_eq!(
        found["next"],
        "Nothing until its tag has an image for the pod's node: a replacement could not start there."
    );
}
