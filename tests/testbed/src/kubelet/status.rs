//! What a kubelet says about a pod: the status, built from what its containers do.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::object;
use crate::images::digest;

/// What kind of container this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the others.
    Init,
    /// An init container that goes on running.
    Sidecar,
    /// An ordinary one.
    Main,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: String, message: String },
    Running { since: Timestamp },
    Ended { since: Timestamp, until: Timestamp },
}

/// A container as the kubelet knows it.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) role: Role,
    /// As the pod asks for it.
    pub(super) image: String,
    pub(super) policy: String,
    /// Empty until it is pulled.
    pub(super) image_id: String,
    /// The digest that the image stood for; empty until it is pulled.
    pub(super) digest: String,
    pub(super) restarts: u32,
    pub(super) state: State,
    /// When the run before this one ended.
    pub(super) ended: Option<(Timestamp, Timestamp)>,
    pub(super) is_ready: bool,
}

/// A pod as the kubelet knows it, beside its containers.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) host_ip: String,
    pub(super) pod_ip: String,
    pub(super) started_at: Timestamp,
    /// Readiness gates of the pod.
    pub(super) gates: Vec<String>,
}

impl Container {
    /// Reads a container of a pod's specification.
    pub(super) fn of(spec: &Value, role: Role) -> Self {
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        let reason = if role == Role::Main {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        Self {
            name: text("name"),
            role,
            image: text("image"),
            policy: text("imagePullPolicy"),
            image_id: String::new(),
            digest: String::new(),
            restarts: 0,
            state: State::Waiting {
                reason: reason.into(),
                message: String::new(),
            },
            ended: None,
            is_ready: false,
        }
    }

    fn id(&self, uid: &str, restarts: u32) -> String {
        let hash = digest(format!("{uid}/{}/{restarts}", self.name).as_bytes());
        format!("containerd://{}", hash.trim_start_matches("sha256:"))
    }

    fn status(&self, uid: &str) -> Value {
        let mut status = json!({
            "name": self.name, "state": {}, "lastState": {}, "ready": self.is_ready, "restartCount": self.restarts,
            "image": self.image, "imageID": self.image_id, "started": matches!(self.state, State::Running { .. }),
        });
        match &self.state {
            State::Waiting { reason, message } => {
                status["state"]["waiting"] = json!({ "reason": reason });
                if !message.is_empty() {
                    status["state"]["waiting"]["message"] = json!(message);
                }
            }
            State::Running { since } => {
                status["state"]["running"] = json!({ "startedAt": object::time(*since) });
                status["containerID"] = json!(self.id(uid, self.restarts));
            }
            State::Ended { since, until } => {
                let id = self.id(uid, self.restarts);
                status["state"]["terminated"] = ended(*since, *until, &id);
                status["containerID"] = json!(id);
            }
        }
        if let Some((since, until)) = self.ended {
            status["lastState"]["terminated"] =
                ended(since, until, &self.id(uid, self.restarts.saturating_sub(1)));
        }
        status
    }
}

fn ended(since: Timestamp, until: Timestamp, id: &str) -> Value {
    json!({
        "exitCode": 0, "reason": "Completed", "startedAt": object::time(since), "finishedAt": object::time(until),
        "containerID": id,
    })
}

/// Writes the status. Conditions of others (PodScheduled, DisruptionTarget, readiness gates) stay.
pub(super) fn fill(status: &mut Value, facts: &Facts, containers: &[Container], now: Timestamp) {
    if !status.is_object() {
        *status = json!({});
    }
    let of = |role: Role| {
        containers
            .iter()
            .filter(move |container| container.role == role)
    };
    let waits = |container: &Container| matches!(container.state, State::Waiting { .. });
    let is_over = of(Role::Main).all(|container| matches!(container.state, State::Ended { .. }));
    let is_running = of(Role::Main).any(|container| !waits(container));
    let phase = if is_over {
        "Succeeded"
    } else if is_running {
        "Running"
    } else {
        "Pending"
    };
    let initialized = !containers
        .iter()
        .any(|container| container.role != Role::Main && waits(container));
    let ready = !is_over
        && containers
            .iter()
            .filter(|c| c.role != Role::Init)
            .all(|container| container.is_ready);
    let gates = facts.gates.iter().all(|gate| {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|condition| condition["type"] == **gate && condition["status"] == "True")
    });
    let sandbox = containers.iter().any(|container| !waits(container)) && !is_over;
    let unready = if is_over {
        "PodCompleted"
    } else {
        "ContainersNotReady"
    };
    let pod_unready = if ready {
        "ReadinessGatesNotReady"
    } else {
        unready
    };

    status["observedGeneration"] = json!(facts.generation);
    status["phase"] = json!(phase);
    let conditions = [
        ("PodReadyToStartContainers", sandbox, ""),
        ("Initialized", initialized, "ContainersNotInitialized"),
        ("Ready", ready && gates, pod_unready),
        ("ContainersReady", ready, unready),
    ];
    set_conditions(status, &conditions, facts.generation, now);
    status["hostIP"] = json!(facts.host_ip);
    status["hostIPs"] = json!([{ "ip": facts.host_ip }]);
    if sandbox || is_over {
        status["podIP"] = json!(facts.pod_ip);
        status["podIPs"] = json!([{ "ip": facts.pod_ip }]);
    }
    status["startTime"] = json!(object::time(facts.started_at));
    let (init, main): (Vec<_>, Vec<_>) = containers
        .iter()
        .partition(|container| container.role != Role::Main);
    let statuses = |list: Vec<&Container>| {
        Value::from_iter(list.iter().map(|container| container.status(&facts.uid)))
    };
    if !init.is_empty() {
        status["initContainerStatuses"] = statuses(init);
    }
    status["containerStatuses"] = statuses(main);
}

fn set_conditions(
    status: &mut Value,
    ours: &[(&str, bool, &str)],
    generation: i64,
    now: Timestamp,
) {
    let before = status["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions = Vec::new();
    for (kind, holds, reason) in ours {
        let value = if *holds { "True" } else { "False" };
        let old = before
            .iter()
            .find(|condition| condition["type"] == *kind && condition["status"] == value);
        let since = old.map_or_else(
            || json!(object::time(now)),
            |old| old["lastTransitionTime"].clone(),
        );
        let mut condition = json!({
            "type": kind, "observedGeneration": generation, "status": value, "lastProbeTime": null,
            "lastTransitionTime": since,
        });
        if !holds && !reason.is_empty() {
            condition["reason"] = json!(reason);
        }
        conditions.push(condition);
    }
    let of_others = |condition: &&Value| ours.iter().all(|(kind, _, _)| condition["type"] != *kind);
    conditions.extend(before.iter().filter(of_others).cloned());
    status["conditions"] = Value::Array(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(gates: &[&str]) -> Facts {
        Facts {
            uid: "u".into(),
            generation: 1,
            host_ip: "127.1.0.1".into(),
            pod_ip: "127.2.0.1".into(),
            started_at: Timestamp::UNIX_EPOCH,
            gates: gates.iter().map(|gate| (*gate).into()).collect(),
        }
    }

    fn container(role: Role, state: State, is_ready: bool) -> Container {
        let spec = json!({ "name": "app", "image": "a/b:c", "imagePullPolicy": "Always" });
        Container {
            state,
            is_ready,
            ..Container::of(&spec, role)
        }
    }

    fn running() -> State {
        State::Running {
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[track_caller]
    fn check(
        mut status: Value,
        facts: &Facts,
        containers: &[Container],
        phase: &str,
        ready: bool,
    ) -> Value {
        fill(&mut status, facts, containers, Timestamp::UNIX_EPOCH);
        let pod = json!({ "status": status });
        assert_eq!(
            (
                &pod["status"]["phase"],
                object::is_condition_true(&pod, "Ready")
            ),
            (&json!(phase), ready)
        );
        pod
    }

    #[test]
    fn a_pod_is_ready_when_all_that_run_are() {
        let main = |ready| container(Role::Main, running(), ready);
        check(json!({}), &facts(&[]), &[main(true)], "Running", true);
        check(
            json!({}),
            &facts(&[]),
            &[main(true), main(false)],
            "Running",
            false,
        );
        let sidecar = |ready| container(Role::Sidecar, running(), ready);
        check(
            json!({}),
            &facts(&[]),
            &[sidecar(false), main(true)],
            "Running",
            false,
        );
        let ended = State::Ended {
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
        };
        check(
            json!({}),
            &facts(&[]),
            &[container(Role::Init, ended.clone(), false), main(true)],
            "Running",
            true,
        );
        check(
            json!({}),
            &facts(&[]),
            &[container(Role::Main, ended, false)],
            "Succeeded",
            false,
        );
    }

    #[test]
    fn a_pod_that_waits_for_its_image_is_pending() {
        let spec = json!({ "name": "app", "image": "a" });
        let pod = check(
            json!({}),
            &facts(&[]),
            &[Container::of(&spec, Role::Main)],
            "Pending",
            false,
        );
        assert_eq!(
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ContainerCreating"
        );
        assert_eq!(pod["status"]["containerStatuses"][0]["imageID"], "");
        assert_eq!(pod["status"].get("podIP"), None);
    }

    #[test]
    fn a_readiness_gate_holds_the_pod_back() {
        let gates = facts(&["example.com/gate"]);
        let ready = [container(Role::Main, running(), true)];
        check(json!({}), &gates, &ready, "Running", false);
        let open = json!({ "conditions": [{ "type": "example.com/gate", "status": "True" }] });
        check(open, &gates, &ready, "Running", true);
    }

    #[test]
    fn conditions_of_others_and_old_times_stay() {
        let before = json!({ "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" },
            { "type": "PodScheduled", "status": "True" },
            { "type": "DisruptionTarget", "status": "True" },
        ] });
        let pod = check(
            before,
            &facts(&[]),
            &[container(Role::Main, running(), true)],
            "Running",
            true,
        );
        let kinds: Vec<_> = pod["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["type"])
            .collect();
        assert_eq!(
            kinds,
            [
                "PodReadyToStartContainers",
                "Initialized",
                "Ready",
                "ContainersReady",
                "PodScheduled",
                "DisruptionTarget"
            ]
        );
        assert_eq!(
            object::condition(&pod, "Ready").unwrap()["lastTransitionTime"],
            "2020-01-01T00:00:00Z"
        );
    }
}
