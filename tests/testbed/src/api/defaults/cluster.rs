//! Defaults of everything that is neither a pod nor a workload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::api::Resource;
use crate::api::object::{default, map_at, metadata, name};

/// Fills in an object.
pub(super) fn apply(resource: &Resource, object: &mut Value) {
    match resource.plural {
        "mutatingwebhookconfigurations" => webhooks(object, true),
        "validatingwebhookconfigurations" => webhooks(object, false),
        "secrets" => secret(object),
        "services" => service(object),
        "namespaces" => {
            let name = name(object).to_owned();
            map_at(metadata(object), "labels")
                .insert("kubernetes.io/metadata.name".to_owned(), json!(name));
            let map = object
                .as_object_mut()
                .expect("an object with metadata must be a map");
            default(map, "spec", json!({}));
            default(map_at(map, "status"), "phase", json!("Active"));
        }
        "rolebindings" | "clusterrolebindings" => binding(object),
        "networkpolicies" => network_policy(object),
        _ => {}
    }
}

fn webhooks(object: &mut Value, mutating: bool) {
    let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        default(webhook, "failurePolicy", json!("Fail"));
        default(webhook, "matchPolicy", json!("Equivalent"));
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", json!(10));
        if mutating {
            default(webhook, "reinvocationPolicy", json!("Never"));
        }
        if let Some(service) = webhook
            .get_mut("clientConfig")
            .and_then(|c| c.get_mut("service"))
            .and_then(Value::as_object_mut)
        {
            default(service, "port", json!(443));
        }
        for rule in webhook
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(rule) = rule.as_object_mut() {
                default(rule, "scope", json!("*"));
            }
        }
    }
}

fn secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    default(map, "type", json!("Opaque"));
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = map_at(map, "data");
        for (key, value) in texts {
            data.insert(key, json!(STANDARD.encode(value.as_str().unwrap_or(""))));
        }
    }
}

// No address is ever connected to, so each Service may have the same: what it routes to is the harness's business.
const CLUSTER_IP: &str = "10.96.0.10";

fn service(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    default(map, "status", json!({ "loadBalancer": {} }));
    let spec = map_at(map, "spec");
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    if spec.get("type") != Some(&json!("ExternalName")) {
        default(spec, "clusterIP", json!(CLUSTER_IP));
        let address = spec["clusterIP"].clone();
        default(spec, "clusterIPs", json!([address]));
        default(spec, "ipFamilies", json!(["IPv4"]));
        default(spec, "ipFamilyPolicy", json!("SingleStack"));
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", json!("TCP"));
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            default(port, "targetPort", number);
        }
    }
}

fn network_policy(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let types = match spec.get("egress").and_then(Value::as_array) {
        Some(rules) if !rules.is_empty() => json!(["Ingress", "Egress"]),
        _ => json!(["Ingress"]),
    };
    default(spec, "policyTypes", types);
    for direction in ["ingress", "egress"] {
        let rules = spec.get_mut(direction).and_then(Value::as_array_mut);
        let ports = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule.get_mut("ports").and_then(Value::as_array_mut));
        for port in ports.flatten().filter_map(Value::as_object_mut) {
            default(port, "protocol", json!("TCP"));
        }
    }
}

fn binding(object: &mut Value) {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(role) = map.get_mut("roleRef").and_then(Value::as_object_mut) {
        set_group(role, RBAC);
    }
    for subject in map
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(subject) = subject.as_object_mut() else {
            continue;
        };
        if subject.get("kind") != Some(&json!("ServiceAccount")) {
            set_group(subject, RBAC);
        }
    }
}

fn set_group(map: &mut Map<String, Value>, group: &str) {
    default(map, "apiGroup", json!(group));
}
