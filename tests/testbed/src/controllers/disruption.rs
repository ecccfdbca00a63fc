//! PodDisruptionBudgets: how many pods may be evicted now?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pods::{gone_is_fine, is_ready, scaled};
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, LabelSelector, object, resource};

// As in Kubernetes: an eviction that was allowed but deleted nothing is forgotten after this time.
const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(2);

/// The controller.
pub(super) struct Disruption;

/// The counts of a budget's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    expected: i64,
    desired: i64,
    healthy: i64,
}

impl Counts {
    fn allowed(self) -> i64 {
        if self.expected <= 0 {
            0
        } else {
            (self.healthy - self.desired).max(0)
        }
    }
}

impl Controller for Disruption {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(&resource::POD_DISRUPTION_BUDGETS, None)
            .iter()
            .map(|budget| Name::of(budget))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::POD_DISRUPTION_BUDGETS {
            return vec![Name::of(&change.object)];
        }
        // The size of a workload is part of the sum, too.
        let scales = [
            &resource::REPLICA_SETS,
            &resource::STATEFUL_SETS,
            &resource::DEPLOYMENTS,
        ];
        let sized = scales.contains(&change.resource)
            || *change.resource == resource::REPLICATION_CONTROLLERS;
        if !sized && *change.resource != resource::PODS {
            return Vec::new();
        }
        let budgets = api.list(
            &resource::POD_DISRUPTION_BUDGETS,
            Some(object::namespace(&change.object)),
        );
        let concerns = |budget: &&Arc<Value>| {
            let versions = change.before.iter().chain([&change.object]);
            sized || versions.into_iter().any(|pod| selects(budget, pod))
        };
        budgets
            .iter()
            .filter(concerns)
            .map(|budget| Name::of(budget))
            .collect()
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let budgets = &resource::POD_DISRUPTION_BUDGETS;
        let Some(budget) = api.get(budgets, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        let now = Timestamp::now();
        let written = api.update_status(budgets, &name.namespace, &name.name, |status| {
            // Looked at here, so that a pod whose eviction was noted meanwhile is not seen as it was before.
            let mut pods = api.list(&resource::PODS, Some(&name.namespace));
            pods.retain(|pod| selects(&budget, pod));
            let disrupted = still_disrupted(&status["disruptedPods"], &pods, now);
            let counts = count(api, &budget, &pods, &disrupted);
            fill(
                status,
                &counts,
                &disrupted,
                object::generation(&budget),
                now,
            );
        });
        let waits = written
            .as_ref()
            .is_ok_and(|budget| budget["status"].get("disruptedPods").is_some());
        gone_is_fine(written)?;
        Ok(if waits {
            Next::After(Duration::from_secs(1))
        } else {
            Next::OnChange
        })
    }
}

/// Says whether a pod is the budget's. A selector without rules selects all pods of the namespace, a missing one none.
fn selects(budget: &Value, pod: &Value) -> bool {
    let selector = &budget["spec"]["selector"];
    selector.is_object()
        && LabelSelector::from_object(selector).is_ok_and(|selector| selector.selects(pod))
}

/// Returns the pods whose eviction was allowed and has not begun: they must not count as healthy.
fn still_disrupted(noted: &Value, pods: &[Arc<Value>], now: Timestamp) -> BTreeMap<String, Value> {
    let noted = noted.as_object().into_iter().flatten();
    let lives = |name: &str| {
        pods.iter()
            .any(|pod| object::name(pod) == name && !object::is_terminating(pod))
    };
    let recent = |at: &Value| {
        let at = at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
        at.is_some_and(|at| now - FORGET_AFTER < at)
    };
    noted
        .filter(|(name, at)| lives(name) && recent(at))
        .map(|(name, at)| (name.clone(), at.clone()))
        .collect()
}

fn count(
    api: &Api,
    budget: &Value,
    pods: &[Arc<Value>],
    disrupted: &BTreeMap<String, Value>,
) -> Result<Counts, String> {
    let healthy = pods.iter().filter(|pod| {
        !object::is_terminating(pod) && is_ready(pod) && !disrupted.contains_key(object::name(pod))
    });
    let healthy = i64::try_from(healthy.count()).unwrap_or(i64::MAX);
    let present = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let least = &budget["spec"]["minAvailable"];
    if least.is_i64() {
        return Ok(Counts {
            expected: present,
            desired: least.as_i64().unwrap_or(0),
            healthy,
        });
    }
    let expected = expected(api, pods)?;
    let most = &budget["spec"]["maxUnavailable"];
    let desired = if most.is_null() {
        scaled(least, expected, true)
    } else {
        (expected - scaled(most, expected, true)).max(0)
    };
    Ok(Counts {
        expected,
        desired,
        healthy,
    })
}

/// Returns how many pods the pods' controllers ask for. Pods without controller count for nothing; those of a controller
/// without a size (a DaemonSet, a Job) make the budget fail.
fn expected(api: &Api, pods: &[Arc<Value>]) -> Result<i64, String> {
    let mut sizes = BTreeMap::new();
    for pod in pods {
        let Some(owner) = object::controller(pod) else {
            continue;
        };
        let uid = owner["uid"].as_str().unwrap_or_default();
        if sizes.contains_key(uid) {
            continue;
        }
        let size = size(api, object::namespace(pod), owner);
        let size =
            size.ok_or_else(|| format!("found no controllers for pod {:?}", object::name(pod)))?;
        sizes.insert(uid.to_owned(), size);
    }
    // ReplicaSets of one Deployment stand for the Deployment, once.
    let distinct: BTreeMap<String, i64> = sizes.into_values().collect();
    Ok(distinct.into_values().sum())
}

/// Returns the uid and the size of the workload that an owner reference leads to.
fn size(api: &Api, namespace: &str, owner: &Value) -> Option<(String, i64)> {
    let name = owner["name"].as_str()?;
    let kind = match owner["kind"].as_str()? {
        "ReplicaSet" => &resource::REPLICA_SETS,
        "StatefulSet" => &resource::STATEFUL_SETS,
        "ReplicationController" => &resource::REPLICATION_CONTROLLERS,
        "Deployment" => &resource::DEPLOYMENTS,
        _ => return None,
    };
    let Some(found) = api.get(kind, namespace, name) else {
        return Some((name.to_owned(), 0));
    };
    if let Some(above) = object::controller(&found).filter(|above| above["kind"] == "Deployment") {
        return size(api, namespace, above);
    }
    Some((
        object::uid(&found).to_owned(),
        object::number(&found, "/spec/replicas").unwrap_or(1),
    ))
}

fn fill(
    status: &mut Value,
    counts: &Result<Counts, String>,
    disrupted: &BTreeMap<String, Value>,
    generation: i64,
    now: Timestamp,
) {
    let (allowed, reason, message) = match counts {
        Ok(counts) => {
            status["currentHealthy"] = json!(counts.healthy);
            status["desiredHealthy"] = json!(counts.desired);
            status["expectedPods"] = json!(counts.expected);
            let enough = 0 < counts.allowed();
            (
                counts.allowed(),
                if enough {
                    "SufficientPods"
                } else {
                    "InsufficientPods"
                },
                "",
            )
        }
        Err(why) => (0, "SyncFailed", why.as_str()),
    };
    status["disruptionsAllowed"] = json!(allowed);
    status["observedGeneration"] = json!(generation);
    if disrupted.is_empty() {
        status
            .as_object_mut()
            .map(|status| status.remove("disruptedPods"));
    } else {
        status["disruptedPods"] = json!(disrupted);
    }
    let value = if 0 < allowed { "True" } else { "False" };
    let old = status["conditions"]
        .as_array()
        .and_then(|conditions| conditions.first())
        .cloned()
        .unwrap_or_default();
    let since = if old["status"] == value {
        old["lastTransitionTime"].clone()
    } else {
        json!(object::time(now))
    };
    status["conditions"] = json!([{
        "type": "DisruptionAllowed", "status": value, "observedGeneration": generation, "lastTransitionTime": since,
        "reason": reason, "message": message,
    }]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: i64, desired: i64, healthy: i64, allowed: i64) {
        assert_eq!(
            Counts {
                expected,
                desired,
                healthy
            }
            .allowed(),
            allowed
        );
    }

    #[test]
    fn what_is_healthy_beyond_the_wish_may_go() {
        check(3, 2, 3, 1);
        check(3, 2, 2, 0);
        check(3, 2, 1, 0);
        // A budget over bare pods expects none, and so allows nothing.
        check(0, 0, 2, 0);
    }

    #[test]
    fn a_disruption_is_forgotten_when_it_began_or_never_will() {
        let pod = |name: &str| Arc::new(json!({ "metadata": { "name": name } }));
        let going =
            json!({ "metadata": { "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        let pods = [pod("new"), pod("old"), Arc::new(going)];
        let noted = json!({
            "new": "2026-01-01T00:00:01Z", "old": "2026-01-01T00:00:00Z", "going": "2026-01-01T00:00:01Z",
            "gone": "2026-01-01T00:00:01Z",
        });
        let left = still_disrupted(&noted, &pods, "2026-01-01T00:02:00Z".parse().unwrap());
        assert_eq!(left.keys().collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn a_selector_without_rules_selects_all() {
        let pod = json!({ "metadata": { "labels": { "app": "web" } } });
        assert!(selects(&json!({ "spec": { "selector": {} } }), &pod));
        assert!(!selects(&json!({ "spec": {} }), &pod));
        assert!(!selects(
            &json!({ "spec": { "selector": { "matchLabels": { "app": "db" } } } }),
            &pod
        ));
    }
}
