//! Sidecars restart the owner of their pods: once, however many they are, and only when they may.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::support::{
    kube::{eventually, workload},
    world::World,
};

mod holds;
mod older;
mod program;
mod references;
mod restart;
mod rights;

/// What a sidecar sees in the pod template of an owner.
const REFRESHED: &str = "/spec/template/metadata/annotations/podrefresh.io~1refreshed";

/// Returns a Deployment, StatefulSet or DaemonSet as JSON.
async fn read(world: &World, kind: &str, namespace: &str, name: &str) -> Value {
    let kube = &world.kube;
    let object = match kind {
        "Deployment" => {
            serde_json::to_value(kube.api::<Deployment>(namespace).get(name).await.unwrap())
        }
        "StatefulSet" => {
            serde_json::to_value(kube.api::<StatefulSet>(namespace).get(name).await.unwrap())
        }
        _ => serde_json::to_value(kube.api::<DaemonSet>(namespace).get(name).await.unwrap()),
    };
    object.unwrap()
}

/// Returns the value that the last restart of a Deployment wrote, or nothing.
async fn refreshed(world: &World, namespace: &str, name: &str) -> String {
    let owner = read(world, "Deployment", namespace, name).await;
    let value = owner.pointer(REFRESHED).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// Returns how often the specification of a Deployment has been written.
async fn generation(world: &World, namespace: &str, name: &str) -> i64 {
    let owner = read(world, "Deployment", namespace, name).await;
    owner["metadata"]["generation"].as_i64().unwrap()
}

/// Returns how many ReplicaSets a namespace has: one for each template that its Deployments have had.
async fn templates(world: &World, namespace: &str) -> usize {
    let sets = world
        .kube
        .api::<k8s_openapi::api::apps::v1::ReplicaSet>(namespace);
    sets.list(&ListParams::default()).await.unwrap().items.len()
}

/// Creates a Deployment of pods that run as the sidecars' account, and waits until they run `digest`.
async fn deploy(world: &World, name: &str, image: &str, spec: Value) {
    let mut object = workload(name, image, spec);
    object["spec"]["template"]["spec"]["serviceAccountName"] = json!("podrefresh-sidecar");
    world.kube.create::<Deployment>("shop", object).await;
}

/// Returns the platform that a sidecar takes its node to have.
fn own_platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        _ => "linux/amd64",
    }
}

/// Waits until a Deployment's template was restarted to another value than `before`, and returns the new one.
async fn restarted(world: &World, name: &str, before: &str) -> String {
    eventually(&format!("a restart of {name}"), async || {
        let value = refreshed(world, "shop", name).await;
        (value != before).then_some(value)
    })
    .await
}
