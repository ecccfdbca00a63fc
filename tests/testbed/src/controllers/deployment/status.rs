//! What a Deployment says about itself: counts and conditions, such that `kubectl rollout status` can follow.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::pods::{put_counts, scaled};
use super::super::runner::Next;
use super::sets::Sets;
use crate::api::object;

/// Writes the status; returns when the rollout's deadline is to be looked at.
pub(super) fn fill(status: &mut Value, deployment: &Value, sets: &Sets, now: Timestamp) -> Next {
    if !status.is_object() {
        *status = json!({});
    }
    let before = status.clone();
    let all = || sets.new.iter().chain(&sets.old);
    let count = |key: &str| all().map(|set| field(set, key)).sum::<i64>();
    let wanted = all()
        .map(|set| object::number(set, "/spec/replicas").unwrap_or(0))
        .sum::<i64>();
    let (replicas, available) = (count("replicas"), count("availableReplicas"));
    let updated = sets.new.as_ref().map_or(0, |set| field(set, "replicas"));
    status["observedGeneration"] = json!(object::generation(deployment));
    put_counts(
        status,
        &[
            ("replicas", replicas),
            ("updatedReplicas", updated),
            ("readyReplicas", count("readyReplicas")),
            ("availableReplicas", available),
            ("unavailableReplicas", (wanted - available).max(0)),
        ],
    );
    status["terminatingReplicas"] = json!(count("terminatingReplicas"));
    let desired = object::number(deployment, "/spec/replicas").unwrap_or(1);
    let allowed = scaled(
        &deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"],
        desired,
        false,
    );
    if desired - allowed.min(desired) <= available {
        condition(
            status,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        );
    } else {
        let message = "Deployment does not have minimum availability.";
        condition(
            status,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            message,
            now,
        );
    }
    if deployment["spec"]["paused"] == true {
        condition(
            status,
            "Progressing",
            "Unknown",
            "DeploymentPaused",
            "Deployment is paused",
            now,
        );
        return Next::OnChange;
    }
    let Some(new) = &sets.new else {
        return Next::OnChange;
    };
    let complete = updated == desired && replicas == desired && available == desired;
    progress(status, &before, deployment, new, complete, now)
}

fn progress(
    status: &mut Value,
    before: &Value,
    deployment: &Value,
    new: &Arc<Value>,
    complete: bool,
    now: Timestamp,
) -> Next {
    let set = format!("ReplicaSet {:?}", object::name(new));
    let told = told(before);
    let is_complete_already = told.is_some_and(|told| told["reason"] == "NewReplicaSetAvailable");
    let moved = moved(before, status) || told.is_none_or(|told| told["status"] == "Unknown");
    if complete {
        let message = format!("{set} has successfully progressed.");
        condition(
            status,
            "Progressing",
            "True",
            "NewReplicaSetAvailable",
            &message,
            now,
        );
        return Next::OnChange;
    }
    let observed_before = before["observedGeneration"].as_i64();
    if moved || is_complete_already && observed_before != Some(object::generation(deployment)) {
        let reason = if told.is_none() {
            "NewReplicaSetCreated"
        } else {
            "ReplicaSetUpdated"
        };
        let message = if told.is_none() {
            format!("Created new replica set {:?}", object::name(new))
        } else {
            format!("{set} is progressing.")
        };
        // Progress starts the deadline anew, even where the words stay the same.
        forget_update(status);
        condition(status, "Progressing", "True", reason, &message, now);
    } else if is_complete_already {
        // Pods come and go after a rollout; that is no rollout.
        return Next::OnChange;
    }
    let Some(deadline) = object::number(deployment, "/spec/progressDeadlineSeconds") else {
        return Next::OnChange;
    };
    let last = told_now(status)
        .and_then(|told| told["lastUpdateTime"].as_str()?.parse::<Timestamp>().ok());
    let left = last.unwrap_or(now) + SignedDuration::from_secs(deadline) - now;
    let left = left.total(jiff::Unit::Second).unwrap_or(0.0);
    if 0.0 < left {
        return Next::After(Duration::from_secs_f64(left));
    }
    let message = format!("{set} has timed out progressing.");
    condition(
        status,
        "Progressing",
        "False",
        "ProgressDeadlineExceeded",
        &message,
        now,
    );
    Next::OnChange
}

fn field(set: &Value, key: &str) -> i64 {
    set["status"][key].as_i64().unwrap_or(0)
}

fn told(status: &Value) -> Option<&Value> {
    status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == "Progressing")
}

fn told_now(status: &Value) -> Option<Value> {
    told(status).cloned()
}

/// Says whether the counts show progress: more updated, fewer old, more ready or available pods.
fn moved(before: &Value, after: &Value) -> bool {
    let number = |status: &Value, key: &str| status[key].as_i64().unwrap_or(0);
    let old = |status: &Value| number(status, "replicas") - number(status, "updatedReplicas");
    let grew = |key: &str| number(before, key) < number(after, key);
    grew("updatedReplicas")
        || old(after) < old(before)
        || grew("readyReplicas")
        || grew("availableReplicas")
}

fn forget_update(status: &mut Value) {
    let conditions = status["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions.filter(|condition| condition["type"] == "Progressing") {
        condition["reason"] = json!("");
    }
}

/// Sets a condition. The time of the last update changes with reason or message, that of the transition with the status.
fn condition(
    status: &mut Value,
    kind: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let now = object::time(now);
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let fresh = json!({
        "type": kind, "status": value, "lastUpdateTime": now, "lastTransitionTime": now, "reason": reason, "message": message,
    });
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
    {
        None => conditions.push(fresh),
        Some(old) if old["status"] == value && old["reason"] == reason => {}
        Some(old) => {
            let transition = old["lastTransitionTime"].clone();
            let same = old["status"] == value;
            *old = fresh;
            if same {
                old["lastTransitionTime"] = transition;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, size: i64, available: i64) -> Arc<Value> {
        let counts =
            json!({ "replicas": size, "readyReplicas": available, "availableReplicas": available });
        Arc::new(
            json!({ "metadata": { "name": name }, "spec": { "replicas": size }, "status": counts }),
        )
    }

    fn deployment() -> Value {
        let rolling = json!({ "maxSurge": 1, "maxUnavailable": 0 });
        json!({
            "metadata": { "generation": 1 },
            "spec": { "replicas": 2, "progressDeadlineSeconds": 60, "strategy": { "rollingUpdate": rolling } },
        })
    }

    #[track_caller]
    fn check(status: &Value, kind: &str, value: &str, reason: &str) {
        let conditions = status["conditions"].as_array().unwrap();
        let condition = conditions
            .iter()
            .find(|condition| condition["type"] == kind)
            .unwrap();
        assert_eq!(
            (condition["status"].as_str(), condition["reason"].as_str()),
            (Some(value), Some(reason))
        );
    }

    #[test]
    fn a_rollout_is_told_from_start_to_end() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut status = json!({});
        let sets = |available| Sets {
            new: Some(set("web-a", 2, available)),
            old: Vec::new(),
        };
        let next = fill(&mut status, &deployment(), &sets(0), now);
        assert_eq!(next, Next::After(Duration::from_secs(60)));
        check(&status, "Progressing", "True", "NewReplicaSetCreated");
        check(&status, "Available", "False", "MinimumReplicasUnavailable");
        assert_eq!(status["unavailableReplicas"], 2);
        fill(&mut status, &deployment(), &sets(2), now);
        check(&status, "Progressing", "True", "NewReplicaSetAvailable");
        check(&status, "Available", "True", "MinimumReplicasAvailable");
        assert_eq!(status.get("unavailableReplicas"), None);
    }

    #[test]
    fn a_rollout_that_stands_still_exceeds_its_deadline() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let mut status = json!({});
        let sets = Sets {
            new: Some(set("web-a", 2, 0)),
            old: Vec::new(),
        };
        fill(&mut status, &deployment(), &sets, at(0));
        assert_eq!(
            fill(&mut status, &deployment(), &sets, at(59)),
            Next::After(Duration::from_secs(1))
        );
        assert_eq!(
            fill(&mut status, &deployment(), &sets, at(60)),
            Next::OnChange
        );
        check(&status, "Progressing", "False", "ProgressDeadlineExceeded");
    }

    #[test]
    fn a_lost_pod_after_a_rollout_is_no_rollout() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut status = json!({});
        let sets = |available| Sets {
            new: Some(set("web-a", 2, available)),
            old: Vec::new(),
        };
        fill(&mut status, &deployment(), &sets(2), now);
        assert_eq!(
            fill(&mut status, &deployment(), &sets(1), now),
            Next::OnChange
        );
        check(&status, "Progressing", "True", "NewReplicaSetAvailable");
    }
}
