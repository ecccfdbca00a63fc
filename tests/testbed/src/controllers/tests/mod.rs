//! A small cluster, and what the controllers make of it.

mod deployments;
mod life;
mod sets;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::Life;
use crate::api::{Delete, Propagation, Resource, object, resource};
use crate::images::Format;
use crate::kubelet;
use crate::registry::Registry;

/// A cluster with one image, `127.0.0.1:…/app:latest`.
struct Cluster {
    api: Api,
    life: Life,
    registry: Registry,
}

impl Cluster {
    async fn start() -> Self {
        let api = Api::new();
        api.seed_namespace("default");
        let registry = Registry::anonymous().await.unwrap();
        registry.store("app", "latest", &Format::Oci.multi_platform("one"));
        let life = Life::start(&api, kubelet::Options::default())
            .await
            .unwrap();
        Self {
            api,
            life,
            registry,
        }
    }

    fn image(&self) -> String {
        self.registry.reference("app", "latest")
    }

    fn template(&self, app: &str) -> Value {
        let container =
            json!({ "name": "app", "image": self.image(), "imagePullPolicy": "Always" });
        json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": [container] } })
    }

    fn workload(&self, resource: &Resource, name: &str, replicas: i64) -> Value {
        json!({
            "apiVersion": resource.api_version(), "kind": resource.kind, "metadata": { "name": name },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": { "app": name } }, "template": self.template(name),
            },
        })
    }

    async fn create(&self, resource: &'static Resource, object: Value) -> Arc<Value> {
        self.api.create(resource, "default", object).await.unwrap()
    }

    fn get(&self, resource: &'static Resource, name: &str) -> Arc<Value> {
        self.api.get(resource, "default", name).unwrap()
    }

    fn pods(&self) -> Vec<Arc<Value>> {
        self.api.list(&resource::PODS, Some("default"))
    }

    fn ready(&self) -> usize {
        self.pods()
            .iter()
            .filter(|pod| pods::is_active(pod) && pods::is_ready(pod))
            .count()
    }

    /// Waits until `holds`, looking again after each change.
    #[track_caller]
    fn until<'a>(
        &'a self,
        what: &'a str,
        holds: impl Fn() -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        let mut changes = self.api.subscribe();
        async move {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            while !holds() {
                let change = tokio::time::timeout_at(deadline, changes.next()).await;
                assert!(
                    change.is_ok(),
                    "{caller}: not in time: {what}; {:#?}",
                    self.pods()
                );
            }
        }
    }
}

fn rolled_out(deployment: &Value, replicas: i64) -> bool {
    let status = |key: &str| deployment["status"][key].as_i64().unwrap_or(0);
    let observed = status("observedGeneration") == object::generation(deployment);
    observed
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|key| status(key) == replicas)
}
