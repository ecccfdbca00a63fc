//! StatefulSets and DaemonSets roll a new template out by themselves, or not at all.

use k8s_openapi::api::{
    apps::v1::{DaemonSet, ReplicaSet, StatefulSet},
    core::v1::Node,
};
use kube::Api;
use serde_json::json;

use super::{EVICTED, REFRESHED, RESTARTED, change_wish, wishing};
use crate::{
    refresh::uids,
    support::{
        history::History,
        kube::{annotation, eventually, image_id, workload},
        look::on_testbed,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_rolls_by_itself_from_its_highest_ordinal() {
    let world = wishing("restart", &[]).await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.kube.stateful_set("shop", "db", 3, &image).await;
    world.kube.running("shop", 3, &old).await;
    let history = History::begin(&world.kube, "shop", "db-").await;
    let (_, new) = world.push("shop/db", "stable", "2");
    for pod in world.kube.running("shop", 3, &new).await {
        assert_ne!(annotation(&pod, REFRESHED), "");
    }
    world.looks(4).await;
    assert_eq!(history.gone(), ["db-2", "db-1", "db-0"]);
    assert_eq!(history.fewest_up(), 2);
    assert_eq!(world.controllers()[0].metric(EVICTED).await, 0.0);
    assert_eq!(world.controllers()[0].metric(RESTARTED).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_its_stateful_set_waits_for_in_vain_is_evicted() {
    if !on_testbed() {
        return;
    }
    let world = wishing("restart", &["--progress-deadline=2s"]).await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.testbed().kubelet.set_bad_digests([&*old]);
    world.kube.stateful_set("shop", "db", 2, &image).await;
    let begun = async || {
        let pods = world.kube.pods("shop").await;
        pods.iter()
            .any(|pod| image_id(pod).ends_with(&old))
            .then_some(())
    };
    eventually("a pod that runs and is not ready", begun).await;
    let (_, new) = world.push("shop/db", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    assert_eq!(world.controllers()[0].metric(EVICTED).await, 1.0);
    assert_eq!(world.controllers()[0].metric(RESTARTED).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_stateful_set_does_not_wait_no_pod_is_evicted_instead() {
    if !on_testbed() {
        return;
    }
    let world = wishing("restart", &["--progress-deadline=2s"]).await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.testbed().kubelet.set_bad_digests([&*old]);
    let spec = json!({"replicas": 1, "serviceName": "db", "updateStrategy": {"type": "OnDelete"}});
    let db = workload("db", &image, spec);
    world.kube.create::<StatefulSet>("shop", db).await;
    let begun = async || {
        let pods = world.kube.pods("shop").await;
        let runs = pods.iter().any(|pod| image_id(pod).ends_with(&old));
        runs.then_some(pods)
    };
    let before = eventually("a pod that runs and is not ready", begun).await;
    world.push("shop/db", "stable", "2");
    let held = "podrefresh_refresh_held_pods{reason=\"no_rollout\"}";
    world.controllers()[0].shows(held, 1.0).await;
    // Longer than a rollout would be waited for.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    world.looks(4).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    assert_eq!(world.controllers()[0].metric(EVICTED).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_rolls_by_itself() {
    let world = wishing("restart", &[]).await;
    let (image, old) = world.push("shop/agent", "stable", "1");
    world.kube.daemon_set("shop", "agent", &image).await;
    let nodes = Api::<Node>::all(world.kube.0.clone());
    let nodes = nodes.list(&Default::default()).await.unwrap().items.len();
    world.kube.running("shop", nodes, &old).await;
    let history = History::begin(&world.kube, "shop", "agent-").await;
    let (_, new) = world.push("shop/agent", "stable", "2");
    for pod in world.kube.running("shop", nodes, &new).await {
        assert_ne!(annotation(&pod, REFRESHED), "");
    }
    world.looks(4).await;
    assert_eq!(
        (history.gone().len(), history.fewest_up()),
        (nodes, nodes - 1)
    );
    assert_eq!(world.controllers()[0].metric(EVICTED).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rollout_would_replace_is_told_of_and_left_alone() {
    let world = wishing("restart", &[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    let agent = workload("agent", &image, on_delete);
    world.kube.create::<DaemonSet>("shop", agent).await;
    let mut spec = json!({"replicas": 1, "serviceName": "db"});
    spec["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
    let db = workload("db", &image, spec);
    world.kube.create::<StatefulSet>("shop", db).await;
    let set = workload("set", &image, json!({"replicas": 1}));
    world.kube.create::<ReplicaSet>("shop", set).await;
    let nodes = Api::<Node>::all(world.kube.0.clone());
    let nodes = nodes.list(&Default::default()).await.unwrap().items.len();
    let before = world.kube.running("shop", nodes + 2, &old).await;

    let (_, new) = world.push("shop/web", "stable", "2");
    world
        .kube
        .told("shop", "EvictionBlocked", "Not restarted")
        .await;
    let held = "podrefresh_refresh_held_pods{reason=\"no_rollout\"}";
    let all = f64::from(u32::try_from(nodes + 2).unwrap());
    world.controllers()[0].shows(held, all).await;
    world.looks(4).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    let told =
        async || (world.kube.notes("shop", "EvictionBlocked").await.len() == 3).then_some(());
    eventually("each of the three to be told of, once", told).await;

    // As the Event says, evictions would.
    change_wish(&world, "evict").await;
    world.kube.running("shop", nodes + 2, &new).await;
}
