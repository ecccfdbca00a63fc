//! What is outdated goes, as fast as it may and no faster.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{Node, ReplicationController},
};
use kube::Api;
use serde_json::json;
use testbed::kubelet;

use super::{check, lines, namespace, private_world, run, states, world};
use crate::support::{
    history::History,
    kube::{annotation, image_id, workload},
    simulated::Setup,
    world::World,
};

async fn slow_world() -> World {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_millis(300),
        ..kubelet::Options::default()
    };
    world(Setup {
        nodes,
        ..Setup::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_every_owner_run_the_new_image_without_webhook_and_stamps() {
    let world = private_world().await;
    let kube = &world.kube;
    let (image, old) = world.push("team/app", "stable", "1");
    namespace(&world, "once-owners").await;
    let host = world.registry.host();
    kube.pull_secret("once-owners", "pull", &host, "ann", "a-password")
        .await;
    let template = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let spec = json!({"replicas": 2, "template": template});
    kube.create::<Deployment>("once-owners", workload("web", &image, spec.clone()))
        .await;
    let mut db = workload("db", &image, spec);
    db["spec"]["serviceName"] = json!("db");
    kube.create::<StatefulSet>("once-owners", db).await;
    let agent = workload("agent", &image, json!({"template": template}));
    kube.create::<DaemonSet>("once-owners", agent).await;
    let one = json!({"replicas": 1, "template": template});
    let mut old_kind = workload("old-kind", &image, one);
    old_kind["spec"]["selector"] = json!({"app": "old-kind"});
    kube.create::<ReplicationController>("once-owners", old_kind)
        .await;
    let nodes = Api::<Node>::all(kube.0.clone());
    let count = 5 + nodes.list(&Default::default()).await.unwrap().items.len();
    for pod in kube.running("once-owners", count, &old).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), "");
    }

    let (_, new) = world.push("team/app", "stable", "2");
    let outcome = run(&world, &["--namespace=once-owners"]).await;
    let all = json!({
        "checked": count, "current": 0, "outdated": count, "evicted": count, "held": {}, "failed": 0,
        "left": 0, "end": "done",
    });
    check(&outcome, 0, &all);
    // It waits for the last replacement, so nothing is left to wait for here.
    let pods = kube.ready("once-owners", count).await;
    assert!(pods.iter().all(|pod| image_id(pod).ends_with(&new)));
    kube.told("once-owners", "Evicted", "has moved on").await;
    let owners: Vec<_> = (lines(&outcome).iter())
        .filter_map(|line| line["owner"].as_str().map(str::to_owned))
        .collect();
    for owner in [
        "DaemonSet/agent",
        "Deployment/web",
        "ReplicationController/old-kind",
        "StatefulSet/db",
    ] {
        assert!(owners.iter().any(|it| it == owner), "{owner}: {outcome}");
    }

    let again = run(&world, &["--namespace=once-owners", "--exit-code"]).await;
    let none = json!({"checked": count, "current": count, "outdated": 0, "evicted": 0});
    check(&again, 0, &none);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pod_at_a_time_goes_and_a_budget_is_kept() {
    let world = slow_world().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "once-pace").await;
    world.kube.deployment("once-pace", "web", 3, &image).await;
    world.kube.budget("once-pace", "web", "web", 2).await;
    world.kube.running("once-pace", 3, &old).await;
    let history = History::begin(&world.kube, "once-pace", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let outcome = run(&world, &["--namespace=once-pace"]).await;
    check(&outcome, 0, &json!({"evicted": 3, "unready": []}));
    assert_eq!(states(&outcome), ["evicted"; 3]);
    world.kube.running("once-pace", 3, &new).await;
    assert_eq!((history.fewest_up(), history.gone().len()), (2, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_pods_go_in_a_minute_than_the_flag_says() {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "once-budget").await;
    for name in ["a", "b", "c"] {
        world.kube.deployment("once-budget", name, 1, &image).await;
    }
    world.kube.running("once-budget", 3, &old).await;
    world.push("shop/web", "stable", "2");
    let flags = [
        "--namespace=once-budget",
        "--max-evictions-per-minute=2",
        "--timeout=8s",
    ];
    let outcome = run(&world, &flags).await;
    let expected = json!({"evicted": 2, "held": {"budget": 1}, "end": "timed_out"});
    check(&outcome, 1, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_a_controller_takes_no_pod_twice() {
    let mut world = slow_world().await;
    world.controller(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("once-beside").await;
    world.kube.deployment("once-beside", "web", 4, &image).await;
    world.kube.running("once-beside", 4, &old).await;
    let history = History::begin(&world.kube, "once-beside", "web-").await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let outcome = run(&world, &["--opted-in", "--namespace=once-beside"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    world.kube.running("once-beside", 4, &new).await;
    // Both read the pace from the cluster; between a reading and an eviction the other may have taken one.
    assert_eq!(history.gone().len(), 4);
    assert!(2 <= history.fewest_up(), "{}", history.fewest_up());
}
