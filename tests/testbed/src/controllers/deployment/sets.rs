//! The ReplicaSets of a Deployment.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::pods::{owner_reference, scaled};
use super::super::template::{HASH_LABEL, bare, hash};
use super::COMPONENT;
use super::emit;
use crate::api::{Api, ApiError, object, resource};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
// Written by `kubectl apply`; on the ReplicaSet it would describe another object.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The one with the Deployment's template, and all others, oldest first.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) new: Option<Arc<Value>>,
    pub(super) old: Vec<Arc<Value>>,
}

impl Sets {
    pub(super) fn of(api: &Api, deployment: &Value) -> Self {
        let mut sets = api.list(&resource::REPLICA_SETS, Some(object::namespace(deployment)));
        sets.retain(|set| {
            object::controller(set).is_some_and(|owner| owner["uid"] == object::uid(deployment))
        });
        sets.sort_by_key(|set| {
            (
                object::text(set, "/metadata/creationTimestamp").to_owned(),
                revision(set),
            )
        });
        let template = &deployment["spec"]["template"];
        let (mut new, mut old) = (None, Vec::new());
        for set in sets {
            if new.is_none() && bare(&set["spec"]["template"]) == *template {
                new = Some(set);
            } else {
                old.push(set);
            }
        }
        Self { new, old }
    }

    /// Returns the ReplicaSets that are to have pods.
    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.new.iter().chain(&self.old).filter(|set| 0 < size(set))
    }

    /// Says whether the Deployment's size has changed since its ReplicaSets were last sized.
    pub(super) fn was_scaled(&self, replicas: i64) -> bool {
        let noted = self
            .active()
            .filter_map(|set| object::annotation(set, DESIRED));
        noted.into_iter().any(|noted| noted != replicas.to_string())
    }

    /// Makes the ReplicaSet for the Deployment's template unless there is one, and gives it the highest revision.
    pub(super) async fn ensure_new(
        &mut self,
        api: &Api,
        deployment: &Value,
    ) -> Result<(), ApiError> {
        let newest = self.old.iter().map(|set| revision(set)).max().unwrap_or(0);
        let wanted = match &self.new {
            Some(new) if newest < revision(new) => revision(new),
            _ => newest + 1,
        };
        let set = match &self.new {
            Some(new) => {
                let (namespace, name) = (object::namespace(new), object::name(new));
                api.update(&resource::REPLICA_SETS, namespace, name, |set| {
                    describe(set, deployment, wanted)
                })
                .await?
            }
            None => self.create(api, deployment, wanted).await?,
        };
        self.new = Some(set);
        let (namespace, name) = (object::namespace(deployment), object::name(deployment));
        let noted =
            |deployment: &mut Value| object::annotate(deployment, REVISION, &wanted.to_string());
        api.update(&resource::DEPLOYMENTS, namespace, name, noted)
            .await?;
        Ok(())
    }

    async fn create(
        &self,
        api: &Api,
        deployment: &Value,
        revision: i64,
    ) -> Result<Arc<Value>, ApiError> {
        let mut template = deployment["spec"]["template"].clone();
        let hash = hash(
            &template,
            object::number(deployment, "/status/collisionCount").unwrap_or(0),
        );
        object::set_label(&mut template, HASH_LABEL, &hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH_LABEL] = json!(hash);
        let namespace = object::namespace(deployment);
        let name = format!("{}-{hash}", object::name(deployment));
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": namespace, "labels": template["metadata"]["labels"],
                "ownerReferences": [owner_reference(&resource::DEPLOYMENTS, deployment)],
            },
            "spec": { "replicas": 0, "selector": selector, "template": template },
        });
        if let Some(seconds) =
            object::number(deployment, "/spec/minReadySeconds").filter(|seconds| 0 < *seconds)
        {
            set["spec"]["minReadySeconds"] = json!(seconds);
        }
        describe(&mut set, deployment, revision);
        if self.old.is_empty() || object::text(deployment, "/spec/strategy/type") != "Recreate" {
            // The first size is part of the creation; what it may be is the same rule as later.
            let set_value = Arc::new(set.clone());
            let first = super::rolling::plan(deployment, &set_value, &self.old).new;
            set["spec"]["replicas"] = json!(first);
            let message = format!("Scaled up replica set {name} from 0 to {first}");
            let made = api.create(&resource::REPLICA_SETS, namespace, set).await?;
            emit(
                api,
                COMPONENT,
                deployment,
                "Normal",
                "ScalingReplicaSet",
                &message,
            )
            .await;
            return Ok(made);
        }
        api.create(&resource::REPLICA_SETS, namespace, set).await
    }
}

/// Writes on a ReplicaSet what it should say about its Deployment.
fn describe(set: &mut Value, deployment: &Value, revision: i64) {
    for (key, value) in object::annotations(deployment) {
        if key != REVISION && key != APPLIED {
            object::annotate(set, &key, &value);
        }
    }
    let (desired, most) = sizes(deployment);
    object::annotate(set, REVISION, &revision.to_string());
    if object::annotation(set, DESIRED).is_none() {
        object::annotate(set, DESIRED, &desired.to_string());
        object::annotate(set, MOST, &most.to_string());
    }
}

/// Returns the Deployment's size, and the most pods a rollout may have.
pub(super) fn sizes(deployment: &Value) -> (i64, i64) {
    let replicas = object::number(deployment, "/spec/replicas").unwrap_or(1);
    let surge = &deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"];
    (replicas, replicas + scaled(surge, replicas, true))
}

/// Returns how many pods a ReplicaSet is to have.
pub(super) fn size(set: &Value) -> i64 {
    object::number(set, "/spec/replicas").unwrap_or(0)
}

pub(super) fn revision(set: &Value) -> i64 {
    object::annotation(set, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Says whether a ReplicaSet neither has nor wants pods.
pub(super) fn is_empty(set: &Value) -> bool {
    let settled =
        object::number(set, "/status/observedGeneration") == Some(object::generation(set));
    size(set) == 0
        && object::number(set, "/status/replicas").unwrap_or(0) == 0
        && settled
        && !object::is_terminating(set)
}
