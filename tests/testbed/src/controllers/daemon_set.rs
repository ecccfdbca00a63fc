//! DaemonSets: one pod on each fitting node.
//!
//! Not modelled: `maxSurge`, taints, trimming the revision history.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::emit;
use super::pods::{self, gone_is_fine};
use super::revisions;
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, object, resource};

const COMPONENT: &str = "daemonset-controller";
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The controller.
pub(super) struct DaemonSets;

impl Controller for DaemonSets {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(&resource::DAEMON_SETS, None)
            .iter()
            .map(|set| Name::of(set))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::DAEMON_SETS {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::PODS {
            pods::controllers_of(change, "DaemonSet")
        } else if *change.resource == resource::NODES {
            self.all(api)
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let sets = &resource::DAEMON_SETS;
        let Some(set) = api.get(sets, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        let revision = revisions::ensure(api, sets, &set).await?;
        let now = Timestamp::now();
        let mut outcome = Ok(());
        if !object::is_terminating(&set) {
            outcome = View::of(api, &set, &revision, now).step(api).await;
        }
        let view = View::of(api, &set, &revision, now);
        gone_is_fine(
            api.update_status(sets, &name.namespace, &name.name, |status| {
                view.fill(status)
            }),
        )?;
        let min_ready = view.min_ready;
        let pods: Vec<_> = view.pods.into_values().flatten().collect();
        outcome.map(|()| pods::next_available(&pods, min_ready, now))
    }
}

/// A DaemonSet, the nodes it fits, and its pods by node.
struct View<'a> {
    set: &'a Value,
    hash: &'a str,
    nodes: Vec<Arc<Value>>,
    pods: BTreeMap<String, Vec<Arc<Value>>>,
    min_ready: i64,
    now: Timestamp,
}

/// Returns the node that a pod runs on, or that it asks for.
fn node_of(pod: &Value) -> &str {
    const WANTED: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution\
        /nodeSelectorTerms/0/matchFields/0/values/0";
    let bound = object::text(pod, "/spec/nodeName");
    if bound.is_empty() {
        object::text(pod, WANTED)
    } else {
        bound
    }
}

impl<'a> View<'a> {
    fn of(api: &Api, set: &'a Value, revision: &'a Value, now: Timestamp) -> Self {
        let mut nodes = api.list(&resource::NODES, None);
        let selector = &set["spec"]["template"]["spec"]["nodeSelector"];
        let selector = selector.as_object().cloned().unwrap_or_default();
        nodes.retain(|node| {
            selector
                .iter()
                .all(|(key, value)| object::label(node, key) == value.as_str())
        });
        let mut pods: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for pod in pods::owned(api, object::namespace(set), object::uid(set)) {
            pods.entry(node_of(&pod).to_owned()).or_default().push(pod);
        }
        let min_ready = object::number(set, "/spec/minReadySeconds").unwrap_or(0);
        let hash = object::label(revision, revisions::LABEL).unwrap_or_default();
        Self {
            set,
            hash,
            nodes,
            pods,
            min_ready,
            now,
        }
    }

    fn is_updated(&self, pod: &Value) -> bool {
        object::label(pod, revisions::LABEL) == Some(self.hash)
    }

    fn is_available(&self, pod: &Value) -> bool {
        !object::is_terminating(pod) && pods::is_available(pod, self.min_ready, self.now)
    }

    fn on<'b>(&'b self, node: &Value) -> &'b [Arc<Value>] {
        self.pods.get(object::name(node)).map_or(&[], Vec::as_slice)
    }

    async fn step(&self, api: &Api) -> Result<(), ApiError> {
        for pod in self.pods.values().flatten() {
            let misplaced = !self
                .nodes
                .iter()
                .any(|node| object::name(node) == node_of(pod));
            if (misplaced || pods::is_over(pod)) && !object::is_terminating(pod) {
                self.delete(api, pod).await?;
            }
        }
        for node in self.nodes.iter().filter(|node| self.on(node).is_empty()) {
            self.create(api, node).await?;
        }
        if object::text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return Ok(());
        }
        for pod in self.to_replace() {
            self.delete(api, pod).await?;
        }
        Ok(())
    }

    /// Returns the old pods that may go: those that are not available at any time, of the others as many as may be missing.
    fn to_replace(&self) -> Vec<&Arc<Value>> {
        let total = i64::try_from(self.nodes.len()).unwrap_or(i64::MAX);
        let most = pods::scaled(
            &self.set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
            total,
            true,
        );
        let mut missing = 0;
        let (mut going, mut candidates) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            let pods = self.on(node);
            if !pods.iter().any(|pod| self.is_available(pod)) {
                missing += 1;
            }
            for pod in pods
                .iter()
                .filter(|pod| !self.is_updated(pod) && !object::is_terminating(pod))
            {
                if self.is_available(pod) {
                    candidates.push(pod)
                } else {
                    going.push(pod)
                }
            }
        }
        let may_go = usize::try_from(most - missing).unwrap_or(0);
        going.extend(candidates.into_iter().take(may_go));
        going
    }

    async fn create(&self, api: &Api, node: &Value) -> Result<(), ApiError> {
        let mut pod = pods::from_template(
            &resource::DAEMON_SETS,
            self.set,
            &self.set["spec"]["template"],
        );
        object::set_label(&mut pod, revisions::LABEL, self.hash);
        let generation = object::annotation(self.set, GENERATION).unwrap_or("1");
        object::set_label(&mut pod, "pod-template-generation", generation);
        let fields =
            json!([{ "key": "metadata.name", "operator": "In", "values": [object::name(node)] }]);
        let required = json!({ "nodeSelectorTerms": [{ "matchFields": fields }] });
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            required;
        add_tolerations(&mut pod);
        match api
            .create(&resource::PODS, object::namespace(self.set), pod)
            .await
        {
            Ok(pod) => {
                let message = format!("Created pod: {}", object::name(&pod));
                emit(
                    api,
                    COMPONENT,
                    self.set,
                    "Normal",
                    "SuccessfulCreate",
                    &message,
                )
                .await;
                Ok(())
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                emit(
                    api,
                    COMPONENT,
                    self.set,
                    "Warning",
                    "FailedCreate",
                    &message,
                )
                .await;
                Err(error)
            }
        }
    }

    async fn delete(&self, api: &Api, pod: &Value) -> Result<(), ApiError> {
        pods::delete(api, pod)?;
        let message = format!("Deleted pod: {}", object::name(pod));
        emit(
            api,
            COMPONENT,
            self.set,
            "Normal",
            "SuccessfulDelete",
            &message,
        )
        .await;
        Ok(())
    }

    fn fill(&self, status: &mut Value) {
        if !status.is_object() {
            *status = json!({});
        }
        let count = |holds: &dyn Fn(&Arc<Value>) -> bool| {
            let nodes = self.nodes.iter().filter(|node| {
                self.on(node)
                    .iter()
                    .any(|pod| !object::is_terminating(pod) && holds(pod))
            });
            i64::try_from(nodes.count()).unwrap_or(i64::MAX)
        };
        let desired = i64::try_from(self.nodes.len()).unwrap_or(i64::MAX);
        let available = count(&|pod| self.is_available(pod));
        status["currentNumberScheduled"] = json!(count(&|_| true));
        status["numberMisscheduled"] = json!(0);
        status["desiredNumberScheduled"] = json!(desired);
        status["numberReady"] = json!(count(&|pod| pods::is_ready(pod)));
        status["observedGeneration"] = json!(object::generation(self.set));
        pods::put_counts(
            status,
            &[
                ("updatedNumberScheduled", count(&|pod| self.is_updated(pod))),
                ("numberAvailable", available),
                ("numberUnavailable", desired - available),
            ],
        );
    }
}

/// Adds what lets daemons stay on nodes in trouble.
fn add_tolerations(pod: &mut Value) {
    let keys = [
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    if let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() {
        tolerations.extend(keys.iter().map(|(key, effect)| {
            json!({ "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect })
        }));
    }
}
