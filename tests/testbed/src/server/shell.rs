//! The empty objects that bookmarks carry.

use serde_json::{Value, json};

use crate::api::Resource;

/// Returns an empty object of a resource, with the fields that the real server's types always encode.
pub(super) fn of(resource: &Resource) -> Value {
    let mut shell =
        json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": {} });
    let fields = fields(resource);
    if let (Some(shell), Value::Object(fields)) = (shell.as_object_mut(), fields) {
        shell.extend(fields);
    }
    shell
}

fn fields(resource: &Resource) -> Value {
    let template = || json!({ "metadata": {}, "spec": { "containers": null } });
    match (resource.group, resource.plural) {
        ("", "pods") => json!({ "spec": { "containers": null }, "status": {} }),
        ("", "namespaces") => json!({ "spec": {}, "status": {} }),
        ("", "services") => json!({ "spec": {}, "status": { "loadBalancer": {} } }),
        ("", "nodes") => {
            let facts = [
                "machineID",
                "systemUUID",
                "bootID",
                "kernelVersion",
                "osImage",
                "containerRuntimeVersion",
                "kubeletVersion",
                "kubeProxyVersion",
                "operatingSystem",
                "architecture",
            ];
            let facts: serde_json::Map<String, Value> = facts
                .iter()
                .map(|fact| ((*fact).to_owned(), json!("")))
                .collect();
            let endpoints = json!({ "kubeletEndpoint": { "Port": 0 } });
            json!({ "spec": {}, "status": { "daemonEndpoints": endpoints, "nodeInfo": facts } })
        }
        ("apps", "deployments") => json!({
            "spec": { "replicas": 0, "selector": null, "template": template(), "strategy": {} }, "status": {},
        }),
        ("apps", "replicasets") => json!({
            "spec": { "replicas": 0, "selector": null, "template": template() }, "status": { "replicas": 0 },
        }),
        ("apps", "statefulsets") => json!({
            "spec": {
                "replicas": 0, "selector": null, "template": template(), "serviceName": "", "updateStrategy": {},
            },
            "status": { "replicas": 0, "availableReplicas": 0 },
        }),
        ("apps", "daemonsets") => json!({
            "metadata": { "annotations": { "deprecated.daemonset.template.generation": "0" } },
            "spec": { "selector": null, "template": template(), "updateStrategy": {} },
            "status": {
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
            },
        }),
        ("policy", _) => json!({
            "spec": {},
            "status": { "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 },
        }),
        ("coordination.k8s.io", _) => json!({ "spec": {} }),
        ("batch", "jobs") => json!({ "spec": { "template": template() }, "status": {} }),
        ("", "events") => json!({
            "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
            "reportingComponent": "", "reportingInstance": "",
        }),
        ("events.k8s.io", _) => json!({
            "eventTime": null, "regarding": {}, "deprecatedSource": {},
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        }),
        _ => json!({}),
    }
}
