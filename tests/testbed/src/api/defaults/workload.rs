//! Defaults of the workloads that make pods.

use serde_json::{Map, Value, json};

use super::pod::pod_spec;
use crate::api::Resource;
use crate::api::object::{default, map_at, metadata};

/// Fills in a workload and its pod template.
pub(super) fn apply(resource: &Resource, object: &mut Value) {
    if resource.plural == "daemonsets" {
        let annotations = map_at(metadata(object), "annotations");
        default(
            annotations,
            "deprecated.daemonset.template.generation",
            json!("0"),
        );
    }
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    match resource.plural {
        "deployments" => deployment(spec),
        "replicasets" => default(spec, "replicas", json!(1)),
        "replicationcontrollers" => {
            default(spec, "replicas", json!(1));
            if let Some(labels) = labels {
                default(spec, "selector", labels);
            }
        }
        "statefulsets" => stateful_set(spec),
        "daemonsets" => {
            rolling_update(
                spec,
                "updateStrategy",
                &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))],
            );
            default(spec, "revisionHistoryLimit", json!(10));
        }
        "jobs" => job(spec),
        "cronjobs" => {
            default(spec, "concurrencyPolicy", json!("Allow"));
            default(spec, "suspend", json!(false));
            default(spec, "successfulJobsHistoryLimit", json!(3));
            default(spec, "failedJobsHistoryLimit", json!(1));
            if let Some(spec) = spec
                .get_mut("jobTemplate")
                .and_then(|t| t.get_mut("spec"))
                .and_then(Value::as_object_mut)
            {
                template(spec);
            }
        }
        _ => {}
    }
    template(spec);
}

fn template(spec: &mut Map<String, Value>) {
    let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) else {
        return;
    };
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
        for key in ["annotations", "labels"] {
            if metadata
                .get(key)
                .and_then(Value::as_object)
                .is_some_and(Map::is_empty)
            {
                metadata.remove(key);
            }
        }
    }
    if let Some(spec) = template.get_mut("spec").and_then(Value::as_object_mut) {
        pod_spec(spec);
    }
}

fn deployment(spec: &mut Map<String, Value>) {
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    rolling_update(
        spec,
        "strategy",
        &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))],
    );
}

fn stateful_set(spec: &mut Map<String, Value>) {
    default(spec, "replicas", json!(1));
    default(spec, "podManagementPolicy", json!("OrderedReady"));
    default(spec, "revisionHistoryLimit", json!(10));
    rolling_update(spec, "updateStrategy", &[("partition", json!(0))]);
    let retention = map_at(spec, "persistentVolumeClaimRetentionPolicy");
    default(retention, "whenDeleted", json!("Retain"));
    default(retention, "whenScaled", json!("Retain"));
}

fn job(spec: &mut Map<String, Value>) {
    for (key, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
    ] {
        default(spec, key, value);
    }
    default(spec, "manualSelector", json!(false));
    default(spec, "completionMode", json!("NonIndexed"));
    default(spec, "suspend", json!(false));
    default(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
}

fn rolling_update(spec: &mut Map<String, Value>, key: &str, parameters: &[(&str, Value)]) {
    let strategy = map_at(spec, key);
    default(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return;
    }
    let rolling = map_at(strategy, "rollingUpdate");
    for (key, value) in parameters {
        default(rolling, key, value.clone());
    }
}
