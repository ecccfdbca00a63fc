//! The API server calls the webhook, by the manifests' own registration and rights.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use testbed::images::Format;

use crate::support::world::World;

mod calls;
mod conditions;
mod meddler;
mod opting_in;
mod opting_out;
mod port;
mod rewritten;
mod stamps;
mod unresolved;
mod update;
mod validate;

/// What a pod's creator got.
#[derive(Debug)]
struct Created {
    status: u16,
    /// The `Warning` headers.
    warnings: Vec<String>,
    /// The pod, or the refusal.
    body: Value,
}

impl Created {
    /// Returns the pod's annotations of ours, with their values.
    fn stamps(&self) -> Vec<(&str, &str)> {
        let annotations = self.body["metadata"]["annotations"].as_object();
        let all = annotations.into_iter().flatten();
        all.filter(|(key, _)| key.contains("podrefresh.io/"))
            .map(|(key, value)| (&**key, value.as_str().unwrap()))
            .collect()
    }
}

/// Creates a bare pod with one container `app`, unless `query` makes it a dry run.
async fn create(
    world: &World,
    namespace: &str,
    metadata: Value,
    image: &str,
    query: &str,
) -> Created {
    let containers = json!([{"name": "app", "image": image, "imagePullPolicy": "Always"}]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods{query}");
    let (status, warnings, body) = world.send("POST", &path, &pod).await;
    Created {
        status,
        warnings,
        body,
    }
}

/// Creates a bare pod as a dry run.
async fn try_pod(world: &World, namespace: &str, image: &str) -> Created {
    create(
        world,
        namespace,
        json!({"generateName": "try-"}),
        image,
        "?dryRun=All",
    )
    .await
}

/// Returns the pod's annotations of ours.
fn stamps(pod: &Pod) -> Vec<(&str, &str)> {
    let annotations = pod.metadata.annotations.iter().flatten();
    annotations
        .filter(|(key, _)| key.contains("podrefresh.io/"))
        .map(|(key, value)| (&**key, &**value))
        .collect()
}

/// Pushes an image for several platforms under `shop/<name>:stable`; returns its reference and its index' digest.
fn push(world: &World, name: &str) -> (String, String) {
    let image = Format::Oci.multi_platform(name);
    world.push_image(&format!("shop/{name}"), "stable", &image)
}
