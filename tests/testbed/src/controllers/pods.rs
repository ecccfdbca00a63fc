//! What controllers ask and do about pods.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::runner::Next;
use crate::api::{Api, ApiError, Change, Delete, Resource, object, resource};

/// Returns the pods whose controller is the object with this uid.
pub(crate) fn owned(api: &Api, namespace: &str, uid: &str) -> Vec<Arc<Value>> {
    let mut pods = api.list(&resource::PODS, Some(namespace));
    // This runs over every pod of the namespace at every change of one, so it looks without reading a JSON pointer.
    pods.retain(|pod| {
        let owners = pod["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        owners
            .into_iter()
            .any(|owner| owner["controller"] == true && owner["uid"] == uid)
    });
    pods
}

/// Says whether a pod still counts: neither over nor on its way out.
pub(crate) fn is_active(pod: &Value) -> bool {
    !is_over(pod) && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Says whether all containers have ended for good.
pub(crate) fn is_over(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    ready_condition(pod).is_some_and(|ready| ready["status"] == "True")
}

fn ready_condition(pod: &Value) -> Option<&Value> {
    pod["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == "Ready")
}

/// Returns how long until a ready pod is available; `None` while it is not ready.
pub(crate) fn until_available(
    pod: &Value,
    min_ready_seconds: i64,
    now: Timestamp,
) -> Option<Duration> {
    let ready = ready_condition(pod).filter(|ready| ready["status"] == "True")?;
    let since: Timestamp = ready["lastTransitionTime"].as_str()?.parse().ok()?;
    let left = since + SignedDuration::from_secs(min_ready_seconds) - now;
    let left = left.total(jiff::Unit::Millisecond).unwrap_or(0.0);
    Some(if min_ready_seconds == 0 {
        Duration::ZERO
    } else {
        Duration::from_millis(left.max(0.0).ceil() as u64)
    })
}

pub(crate) fn is_available(pod: &Value, min_ready_seconds: i64, now: Timestamp) -> bool {
    until_available(pod, min_ready_seconds, now) == Some(Duration::ZERO)
}

/// Returns when the next of the ready pods will be available.
pub(crate) fn next_available(pods: &[Arc<Value>], min_ready_seconds: i64, now: Timestamp) -> Next {
    let left = pods
        .iter()
        .filter_map(|pod| until_available(pod, min_ready_seconds, now));
    left.filter(|left| !left.is_zero())
        .min()
        .map_or(Next::OnChange, Next::After)
}

/// Returns an owner reference with `controller: true`.
pub(crate) fn owner_reference(kind: &Resource, owner: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "name": object::name(owner), "uid": object::uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Returns a pod made from a template, without a name.
pub(crate) fn from_template(kind: &Resource, owner: &Value, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", object::name(owner)),
        "namespace": object::namespace(owner),
        "ownerReferences": [owner_reference(kind, owner)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(key) {
            metadata[key] = value.clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Creates `count` pods, in batches of 1, 2, 4, …: a refusal that all would get stops the rest. Returns those made and the
/// refusal.
pub(crate) async fn create_many(
    api: &Api,
    pod: &Value,
    count: usize,
) -> (Vec<Arc<Value>>, Result<(), ApiError>) {
    let namespace = object::namespace(pod);
    let (mut made, mut batch) = (Vec::new(), 1);
    while made.len() < count {
        let size = batch.min(count - made.len());
        let creating = (0..size).map(|_| api.create(&resource::PODS, namespace, pod.clone()));
        let mut refused = None;
        for outcome in join_all(creating).await {
            match outcome {
                Ok(pod) => made.push(pod),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return (made, Err(error));
        }
        batch *= 2;
    }
    (made, Ok(()))
}

/// Deletes a pod, as gracefully as it asks for. One that is gone already is fine.
pub(crate) fn delete(api: &Api, pod: &Value) -> Result<(), ApiError> {
    let options = Delete {
        uid: Some(object::uid(pod).into()),
        ..Delete::default()
    };
    gone_is_fine(api.delete(
        &resource::PODS,
        object::namespace(pod),
        object::name(pod),
        &options,
    ))
}

/// Takes 404 (gone) and 409 (another object of that name by now) for success.
pub(crate) fn gone_is_fine<T>(outcome: Result<T, ApiError>) -> Result<(), ApiError> {
    match outcome {
        Err(error) if error.code != 404 && error.code != 409 => Err(error),
        _ => Ok(()),
    }
}

/// Returns the controller of the changed pod, before or after the change, if it is of this kind.
pub(crate) fn controllers_of(change: &Change, kind: &str) -> Vec<super::runner::Name> {
    let versions = change.before.iter().chain([&change.object]);
    let owners = versions.filter_map(|object| {
        let owner = object::controller(object).filter(|owner| owner["kind"] == kind)?;
        Some(super::runner::Name::new(
            object::namespace(object),
            owner["name"].as_str()?,
        ))
    });
    let mut owners: Vec<_> = owners.collect();
    owners.dedup();
    owners
}

/// Returns a number or a share of `total` such as `25%`, rounded up or down.
pub(crate) fn scaled(value: &Value, total: i64, up: bool) -> i64 {
    let percent = value
        .as_str()
        .and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) if up => (percent * total + 99).div_euclid(100),
        Some(percent) => (percent * total).div_euclid(100),
        None => value.as_i64().unwrap_or(0),
    }
}

/// Puts non-zero counts into a status; zero ones are left out, as the real controllers' types do.
pub(crate) fn put_counts(status: &mut Value, counts: &[(&str, i64)]) {
    for (key, count) in counts {
        match status.as_object_mut() {
            Some(status) if *count == 0 => {
                status.remove(*key);
            }
            _ => status[*key] = json!(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, total: i64, up: i64, down: i64) {
        assert_eq!(
            (scaled(&value, total, true), scaled(&value, total, false)),
            (up, down)
        );
    }

    #[test]
    fn shares_are_rounded_as_asked() {
        check(json!("25%"), 5, 2, 1);
        check(json!("25%"), 4, 1, 1);
        check(json!("0%"), 5, 0, 0);
        check(json!("100%"), 5, 5, 5);
        check(json!(3), 5, 3, 3);
        check(Value::Null, 5, 0, 0);
    }

    #[track_caller]
    fn check_available(status: &str, min_ready: i64, now: &str, expected: Option<u64>) {
        let ready = json!({ "type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:10Z" });
        let pod = json!({ "status": { "conditions": [ready] } });
        let left = until_available(&pod, min_ready, now.parse().unwrap());
        assert_eq!(left, expected.map(Duration::from_millis));
    }

    #[test]
    fn a_pod_is_available_after_min_ready_seconds() {
        check_available("True", 3, "2026-01-01T00:00:12.5Z", Some(500));
        check_available("True", 3, "2026-01-01T00:00:13Z", Some(0));
        check_available("True", 0, "2026-01-01T00:00:09Z", Some(0));
        check_available("False", 0, "2026-01-01T00:00:13Z", None);
    }
}
