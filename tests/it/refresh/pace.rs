//! How many pods go at once, and which one first.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::json;
use testbed::{controllers::Controller, kubelet};

use crate::support::{
    history::History,
    kube::{eventually, image_id, is_ready, workload},
    look::on_testbed,
    simulated::Setup,
    world::World,
};

/// Starts a world whose pods take a moment to become ready, so that it shows when others do not wait for them.
async fn slow_world(flags: &[&str]) -> World {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_millis(400),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(flags).await;
    world.kube.opted_in("shop").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_loses_one_pod_at_a_time_and_each_once() {
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.deployment("shop", "web", 4, &image).await;
    let before = world.kube.running("shop", 4, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 4, &new).await;
    assert_eq!(history.fewest_up(), 3);
    let mut gone = history.gone();
    gone.sort();
    let names: Vec<_> = before
        .iter()
        .filter_map(|pod| pod.metadata.name.clone())
        .collect();
    assert_eq!(gone, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_pods_are_down_at_once_as_the_owner_allows() {
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let half = json!({"metadata": {"annotations": {"podrefresh.io/max-unavailable": "50%"}}});
    let spec = json!({"replicas": 4, "template": half});
    let deployment = workload("web", &image, spec);
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>("shop", deployment)
        .await;
    world.kube.running("shop", 4, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 4, &new).await;
    assert_eq!(history.fewest_up(), 2);
    assert_eq!(history.gone().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_turns_over_from_its_highest_ordinal() {
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.kube.stateful_set("shop", "db", 3, &image).await;
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "db-").await;

    let (_, new) = world.push("shop/db", "stable", "2");
    world.kube.running("shop", 3, &new).await;
    assert_eq!(history.gone(), ["db-2", "db-1", "db-0"]);
    assert_eq!(history.fewest_up(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_pod_waits_until_its_predecessor_is_available() {
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let spec = json!({"replicas": 2, "minReadySeconds": 4});
    let web = workload("web", &image, spec);
    world.kube.create::<Deployment>("shop", web).await;
    world.kube.running("shop", 2, &old).await;
    let deployments = world.kube.api::<Deployment>("shop");
    let available = async || {
        let status = deployments.get("web").await.unwrap().status;
        status.and_then(|it| it.available_replicas).unwrap_or(0)
    };
    eventually("both pods to be available", async || {
        (available().await == 2).then_some(())
    })
    .await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    world.push("shop/web", "stable", "2");
    // As others see it who act on what is available.
    eventually("both pods to go", async || {
        assert_ne!(available().await, 0);
        (history.gone().len() == 2).then_some(())
    })
    .await;
    assert_ne!(available().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_loses_one_pod_at_a_time() {
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/agent", "stable", "1");
    world.kube.daemon_set("shop", "agent", &image).await;
    // One for each node, however many there are.
    let nodes = kube::Api::<k8s_openapi::api::core::v1::Node>::all(world.kube.0.clone());
    let nodes = nodes.list(&Default::default()).await.unwrap().items.len();
    world.kube.running("shop", nodes, &old).await;
    let history = History::begin(&world.kube, "shop", "agent-").await;

    let (_, new) = world.push("shop/agent", "stable", "2");
    world.kube.running("shop", nodes, &new).await;
    assert_eq!(history.fewest_up(), nodes - 1);
    assert_eq!(history.gone().len(), nodes);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_pods_go_in_a_minute_than_the_budget_allows() {
    let world = slow_world(&["--max-evictions-per-minute=2"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    for name in ["a", "b", "c"] {
        world.kube.deployment("shop", name, 1, &image).await;
    }
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "").await;

    world.push("shop/web", "stable", "2");
    let controller = &world.controllers()[0];
    controller
        .shows(
            "podrefresh_refresh_evictions_total{outcome=\"evicted\"}",
            2.0,
        )
        .await;
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"budget\"}", 1.0)
        .await;
    world.kube.ready("shop", 3).await;
    world.looks(5).await;
    assert_eq!(history.gone().len(), 2);
    controller
        .shows("podrefresh_refresh_held_pods{reason=\"budget\"}", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_not_ready_go_first_and_cost_nothing() {
    if !on_testbed() {
        return;
    }
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.testbed().kubelet.set_bad_digests([&*old]);
    world.kube.deployment("shop", "web", 3, &image).await;
    let unready = async || {
        let pods = world.kube.pods("shop").await;
        let started = |pod: &&k8s_openapi::api::core::v1::Pod| {
            crate::support::kube::image_id(pod).ends_with(&old)
        };
        (pods.iter().filter(started).count() == 3).then_some(())
    };
    crate::support::kube::eventually("three pods that run and are not ready", unready).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    // A fix: none of the broken ones has to wait for another.
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 3, &new).await;
    assert_eq!(history.gone().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_goes_before_the_last_one_has_been_replaced() {
    if !on_testbed() {
        return;
    }
    let world = slow_world(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.deployment("shop", "web", 3, &image).await;
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "web-").await;

    let controllers = &world.testbed().controllers;
    controllers.pause(Controller::ReplicaSet);
    let (_, new) = world.push("shop/web", "stable", "2");
    world.controllers()[0]
        .shows("podrefresh_refresh_held_pods{reason=\"pace\"}", 2.0)
        .await;
    world.looks(8).await;
    assert_eq!(history.gone().len(), 1);
    controllers.resume(Controller::ReplicaSet);
    world.kube.running("shop", 3, &new).await;
    assert_eq!((history.gone().len(), history.fewest_up()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_hangs_holds_nobody_back_while_enough_pods_are_ready() {
    // Simulated nodes of a real control plane may start what no registry has, and the rollout does not hang.
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let enabled = json!({"podrefresh.io/enabled": "true"});
    let notify = json!({"podrefresh.io/strategy": "notify"});
    world.kube.namespace("shop", enabled, notify).await;
    let one_more = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let spec = json!({"replicas": 3, "strategy": one_more});
    let web = workload("web", &image, spec);
    world.kube.create::<Deployment>("shop", web).await;
    world.kube.running("shop", 3, &old).await;
    let missing = world.registry.reference("shop/web", "missing");
    let container = json!({"name": "app", "image": missing, "imagePullPolicy": "Always"});
    let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    world
        .kube
        .patch::<Deployment>("shop", "web", template)
        .await;
    let up = async |digest: &str| {
        let pods = world.kube.pods("shop").await;
        let up = |pod: &&Pod| is_ready(pod) && image_id(pod).ends_with(digest);
        (pods.len() == 4 && pods.iter().filter(up).count() == 3).then_some(())
    };
    eventually("a pod too many", async || up(&old).await).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Outdated", &new).await;

    // What was read to tell of it is too old by then to let anybody go.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let evict = json!({"metadata": {"annotations": {"podrefresh.io/strategy": "evict"}}});
    world.kube.patch_namespace("shop", evict).await;
    eventually("three new pods", async || up(&new).await).await;
}
