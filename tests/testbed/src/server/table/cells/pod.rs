//! The row of a pod: its state in one word.

use serde_json::{Value, json};

use super::{Column, text, wide};
use crate::api::object;

/// The columns of pods.
pub(super) const COLUMNS: &[Column] = &[
    text("Name"),
    text("Ready"),
    text("Status"),
    text("Restarts"),
    text("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];

/// Returns a pod's cells.
pub(super) fn cells(pod: &Value, age: Value) -> Vec<Value> {
    let or_none = |pointer: &str| match object::text(pod, pointer) {
        "" => json!("<none>"),
        text => json!(text),
    };
    let statuses = object::list(pod, "/status/containerStatuses");
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true)
        .count();
    let restarts: i64 = statuses
        .iter()
        .filter_map(|status| status["restartCount"].as_i64())
        .sum();
    let total = object::list(pod, "/spec/containers").len();
    vec![
        json!(object::name(pod)),
        json!(format!("{ready}/{total}")),
        json!(state(pod)),
        json!(restarts.to_string()),
        age,
        or_none("/status/podIP"),
        or_none("/spec/nodeName"),
        or_none("/status/nominatedNodeName"),
        json!("<none>"),
    ]
}

// The phase, unless a container has something more telling to say.
fn state(pod: &Value) -> String {
    if object::is_terminating(pod) {
        return "Terminating".to_owned();
    }
    let reason = |status: &Value| {
        ["waiting", "terminated"].iter().find_map(|kind| {
            let reason = status["state"][*kind]["reason"].as_str()?;
            (!reason.is_empty()).then(|| reason.to_owned())
        })
    };
    let inits = object::list(pod, "/status/initContainerStatuses");
    let waiting_init = inits
        .iter()
        .position(|status| status["ready"] != true && status["started"] != true);
    if let Some(at) = waiting_init {
        let total = object::list(pod, "/spec/initContainers").len();
        return match reason(&inits[at]) {
            Some(reason) if reason != "PodInitializing" && reason != "Completed" => {
                format!("Init:{reason}")
            }
            _ => format!("Init:{at}/{total}"),
        };
    }
    let stated = object::list(pod, "/status/containerStatuses")
        .iter()
        .rev()
        .find_map(reason);
    let own = object::text(pod, "/status/reason");
    match stated {
        Some(reason) => reason,
        None if !own.is_empty() => own.to_owned(),
        None => object::text(pod, "/status/phase").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Value, expected: &str) {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{}] }, "status": status });
        assert_eq!(state(&pod), expected);
    }

    #[test]
    fn the_most_telling_word_wins() {
        check(
            json!({ "phase": "Running", "containerStatuses": [{ "ready": true, "state": { "running": {} } }] }),
            "Running",
        );
        check(
            json!({ "phase": "Pending", "containerStatuses": [{ "state": { "waiting": { "reason": "ImagePullBackOff" } } }] }),
            "ImagePullBackOff",
        );
        check(
            json!({ "phase": "Pending", "initContainerStatuses": [{ "ready": false }] }),
            "Init:0/0",
        );
    }
}
