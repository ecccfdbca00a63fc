//! Pods that their nodes have ended, and that their ReplicaSets leave lying.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{
    kube::{eventually, image_id, is_ready, name},
    look::on_testbed,
    world::World,
};

/// Ends a pod as a node does that is short of memory, and waits until `count` others are Ready.
async fn end(world: &World, pod: &Pod, count: usize) {
    let since = pod.metadata.creation_timestamp.clone();
    let ready = json!({"type": "Ready", "status": "False", "lastTransitionTime": since});
    let status = json!({"phase": "Failed", "reason": "Evicted", "conditions": [ready]});
    let (api, params) = (world.kube.api::<Pod>("shop"), PatchParams::default());
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name(pod), &params, &patch).await.unwrap();
    up(world, count, "").await;
}

/// Waits until `count` pods are Ready that run `digest`, beside one that has ended.
async fn up(world: &World, count: usize, digest: &str) {
    eventually(&format!("{count} Ready pods and a dead one"), async || {
        let pods = world.kube.pods("shop").await;
        let up = |pod: &&Pod| is_ready(pod) && image_id(pod).ends_with(digest);
        (pods.len() == count + 1 && pods.iter().filter(up).count() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_ended_and_is_left_lying_keeps_no_other_from_being_refreshed() {
    let world = World::running(&["--progress-deadline=1s"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 3, &image).await;
    let pods = world.kube.running("shop", 3, &old).await;
    end(&world, &pods[0], 3).await;

    let (_, new) = world.push("shop/web", "stable", "2");
    up(&world, 3, &new).await;
    world.kube.told("shop", "Refreshed", "").await;
    // Where a pod takes longer than the deadline to start, that is a halt indeed.
    if on_testbed() {
        assert!(world.kube.notes("shop", "RefreshHalted").await.is_empty());
    }
    let left = world.kube.pods("shop").await;
    let uid = |pod: &Pod| pod.metadata.uid.clone();
    assert!(left.iter().any(|pod| uid(pod) == uid(&pods[0])));
}
