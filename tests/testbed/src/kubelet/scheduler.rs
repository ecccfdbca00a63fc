//! The scheduler: pods without a node go to the fitting nodes in turn.
//!
//! It looks at node selectors, cordons, and the node name that DaemonSets ask for by affinity; not at resources, taints or
//! spreading.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, Change, object, resource};
use crate::controllers::events::emit;
use crate::controllers::pods::{gone_is_fine, is_active};
use crate::controllers::runner::{Controller, Name, Next};

/// The scheduler.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    turn: AtomicUsize,
}

fn waits(pod: &Value) -> bool {
    let gated = !object::list(pod, "/spec/schedulingGates").is_empty();
    object::text(pod, "/spec/nodeName").is_empty() && is_active(pod) && !gated
}

impl Controller for Scheduler {
    fn all(&self, api: &Api) -> Vec<Name> {
        let pods = api.list(&resource::PODS, None);
        pods.iter()
            .filter(|pod| waits(pod))
            .map(|pod| Name::of(pod))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::PODS && waits(&change.object) {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::NODES {
            self.all(api)
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let pod = api
            .get(&resource::PODS, &name.namespace, &name.name)
            .filter(|pod| waits(pod));
        let Some(pod) = pod else {
            return Ok(Next::OnChange);
        };
        let mut nodes = api.list(&resource::NODES, None);
        let all = nodes.len();
        nodes.retain(|node| fits(&pod, node));
        if nodes.is_empty() {
            gone_is_fine(tell_unschedulable(api, name, all))?;
            return Ok(Next::OnChange);
        }
        let node = &nodes[self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len()];
        let node = object::name(node);
        match api.bind(&name.namespace, &name.name, node) {
            Ok(pod) => {
                let message = format!(
                    "Successfully assigned {}/{} to {node}",
                    name.namespace, name.name
                );
                emit(
                    api,
                    "default-scheduler",
                    &pod,
                    "Normal",
                    "Scheduled",
                    &message,
                )
                .await;
            }
            refused => gone_is_fine(refused)?,
        }
        Ok(Next::OnChange)
    }
}

fn tell_unschedulable(api: &Api, pod: &Name, nodes: usize) -> Result<Arc<Value>, ApiError> {
    let message = format!(
        "0/{nodes} nodes are available: {nodes} node(s) didn't match Pod's node affinity/selector."
    );
    api.update_status(&resource::PODS, &pod.namespace, &pod.name, |status| {
        let told = object::is_condition_true(&json!({ "status": status }), "PodScheduled");
        let same = status["conditions"][0]["message"] == *message;
        if !told && !same {
            status["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": null, "lastTransitionTime": object::time(Timestamp::now()),
            }]);
        }
    })
}

/// Says whether a pod may run on a node.
fn fits(pod: &Value, node: &Value) -> bool {
    let wanted = pod["spec"]["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten();
    let selected = wanted
        .into_iter()
        .all(|(key, value)| object::label(node, key) == value.as_str());
    let of_daemon_set = object::controller(pod).is_some_and(|owner| owner["kind"] == "DaemonSet");
    let cordoned = node["spec"]["unschedulable"] == true && !of_daemon_set;
    selected && !cordoned && node_names(pod).is_none_or(|names| names.contains(&object::name(node)))
}

/// Returns the node names that the pod's required affinity allows, if it names any.
fn node_names(pod: &Value) -> Option<Vec<&str>> {
    const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let fields = object::list(pod, TERMS)
        .iter()
        .flat_map(|term| object::list(term, "/matchFields"));
    let mut named = fields
        .filter(|field| field["key"] == "metadata.name")
        .peekable();
    named.peek()?;
    Some(
        named
            .flat_map(|field| object::list(field, "/values"))
            .filter_map(Value::as_str)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: Value, cordoned: bool, expected: bool) {
        let labels = json!({ "kubernetes.io/arch": "amd64" });
        let node = json!({ "metadata": { "name": "n1", "labels": labels }, "spec": { "unschedulable": cordoned } });
        assert_eq!(fits(&json!({ "spec": spec }), &node), expected);
    }

    fn on(name: &str) -> Value {
        let fields = json!([{ "key": "metadata.name", "operator": "In", "values": [name] }]);
        let terms = json!({ "nodeSelectorTerms": [{ "matchFields": fields }] });
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": terms } } })
    }

    #[test]
    fn selectors_cordons_and_names_are_heeded() {
        check(json!({}), false, true);
        check(json!({}), true, false);
        check(
            json!({ "nodeSelector": { "kubernetes.io/arch": "amd64" } }),
            false,
            true,
        );
        check(
            json!({ "nodeSelector": { "kubernetes.io/arch": "arm64" } }),
            false,
            false,
        );
        check(on("n1"), false, true);
        check(on("n2"), false, false);
    }
}
