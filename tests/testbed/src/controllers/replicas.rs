//! ReplicaSets and ReplicationControllers: as many pods as asked for.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::emit;
use super::pods;
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, Resource, object, resource};

/// The controller of one of the two kinds.
pub(super) struct Replicas {
    kind: &'static Resource,
    component: &'static str,
}

impl Replicas {
    pub(super) const SETS: Self = Self {
        kind: &resource::REPLICA_SETS,
        component: "replicaset-controller",
    };
    pub(super) const CONTROLLERS: Self = Self {
        kind: &resource::REPLICATION_CONTROLLERS,
        component: "replication-controller",
    };

    /// Makes or deletes pods until there are as many as asked for; returns the refusal of a creation.
    async fn scale(
        &self,
        api: &Api,
        owner: &Value,
        active: Vec<Arc<Value>>,
    ) -> Result<(), ApiError> {
        let wanted =
            usize::try_from(object::number(owner, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
        if let Some(missing) = wanted
            .checked_sub(active.len())
            .filter(|missing| *missing > 0)
        {
            let pod = pods::from_template(self.kind, owner, &owner["spec"]["template"]);
            let (made, outcome) = pods::create_many(api, &pod, missing).await;
            for pod in &made {
                let message = format!("Created pod: {}", object::name(pod));
                emit(
                    api,
                    self.component,
                    owner,
                    "Normal",
                    "SuccessfulCreate",
                    &message,
                )
                .await;
            }
            if let Err(error) = &outcome {
                let message = format!("Error creating: {error}");
                emit(
                    api,
                    self.component,
                    owner,
                    "Warning",
                    "FailedCreate",
                    &message,
                )
                .await;
            }
            return outcome;
        }
        let surplus = active.len() - wanted;
        for pod in to_delete(active, surplus) {
            pods::delete(api, &pod)?;
            let message = format!("Deleted pod: {}", object::name(&pod));
            emit(
                api,
                self.component,
                owner,
                "Normal",
                "SuccessfulDelete",
                &message,
            )
            .await;
        }
        Ok(())
    }
}

/// Returns the pods to do without: first those not on a node, then pending, then not ready ones, then the youngest.
fn to_delete(mut active: Vec<Arc<Value>>, surplus: usize) -> Vec<Arc<Value>> {
    active.sort_by_key(|pod| {
        let assigned = !object::text(pod, "/spec/nodeName").is_empty();
        let running = object::text(pod, "/status/phase") == "Running";
        let created = object::text(pod, "/metadata/creationTimestamp").to_owned();
        (
            assigned,
            running,
            pods::is_ready(pod),
            Reverse(created),
            Reverse(object::revision(pod)),
        )
    });
    active.truncate(surplus);
    active
}

impl Controller for Replicas {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(self.kind, None)
            .iter()
            .map(|owner| Name::of(owner))
            .collect()
    }

    fn concerned(&self, _: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == *self.kind {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::PODS {
            pods::controllers_of(change, self.kind.kind)
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let Some(owner) = api.get(self.kind, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        let owned = pods::owned(api, &name.namespace, object::uid(&owner));
        let active: Vec<_> = owned
            .iter()
            .filter(|pod| pods::is_active(pod))
            .cloned()
            .collect();
        let scaled = if object::is_terminating(&owner) {
            Ok(())
        } else {
            self.scale(api, &owner, active).await
        };
        let owned = pods::owned(api, &name.namespace, object::uid(&owner));
        let now = Timestamp::now();
        let failure = scaled.as_ref().err();
        let written = api.update_status(self.kind, &name.namespace, &name.name, |status| {
            self.fill(status, &owner, &owned, failure, now);
        });
        pods::gone_is_fine(written)?;
        scaled?;
        let min_ready = object::number(&owner, "/spec/minReadySeconds").unwrap_or(0);
        Ok(pods::next_available(&owned, min_ready, now))
    }
}

impl Replicas {
    fn fill(
        &self,
        status: &mut Value,
        owner: &Value,
        owned: &[Arc<Value>],
        failure: Option<&ApiError>,
        now: Timestamp,
    ) {
        let min_ready = object::number(owner, "/spec/minReadySeconds").unwrap_or(0);
        let labels = owner["spec"]["template"]["metadata"]["labels"].as_object();
        let labelled = |pod: &Value| {
            let mut labels = labels.into_iter().flatten();
            labels.all(|(key, value)| pod["metadata"]["labels"][key] == *value)
        };
        let active = || owned.iter().filter(|pod| pods::is_active(pod));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        if !status.is_object() {
            *status = json!({});
        }
        status["replicas"] = json!(active().count());
        pods::put_counts(
            status,
            &[
                (
                    "fullyLabeledReplicas",
                    count(active().filter(|pod| labelled(pod)).count()),
                ),
                (
                    "readyReplicas",
                    count(active().filter(|pod| pods::is_ready(pod)).count()),
                ),
                (
                    "availableReplicas",
                    count(
                        active()
                            .filter(|pod| pods::is_available(pod, min_ready, now))
                            .count(),
                    ),
                ),
            ],
        );
        if *self.kind == resource::REPLICA_SETS {
            let terminating = owned
                .iter()
                .filter(|pod| object::is_terminating(pod) && !pods::is_over(pod));
            status["terminatingReplicas"] = json!(terminating.count());
        }
        status["observedGeneration"] = json!(object::generation(owner));
        let failed_before = status["conditions"]
            .as_array()
            .is_some_and(|conditions| !conditions.is_empty());
        match failure {
            // The time of the first refusal stays: the same status again is no change, and so no reason to look again.
            Some(error)
                if !failed_before || status["conditions"][0]["message"] != error.message =>
            {
                status["conditions"] = json!([{
                    "type": "ReplicaFailure", "status": "True", "lastTransitionTime": object::time(now),
                    "reason": "FailedCreate", "message": error.message,
                }]);
            }
            Some(_) => {}
            None => {
                status
                    .as_object_mut()
                    .map(|status| status.remove("conditions"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: &str, created: &str) -> Arc<Value> {
        Arc::new(json!({
            "metadata": { "name": name, "creationTimestamp": created },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
        }))
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let pods = vec![
            pod("old", "n", "Running", "True", "2026-01-01T00:00:00Z"),
            pod("young", "n", "Running", "True", "2026-01-01T00:00:01Z"),
            pod("broken", "n", "Running", "False", "2026-01-01T00:00:00Z"),
            pod("starting", "n", "Pending", "False", "2026-01-01T00:00:00Z"),
            pod("unbound", "", "Pending", "False", "2026-01-01T00:00:00Z"),
        ];
        let going = to_delete(pods, 4);
        let names: Vec<_> = going.iter().map(|pod| object::name(pod)).collect();
        assert_eq!(names, ["unbound", "starting", "broken", "young"]);
    }
}
