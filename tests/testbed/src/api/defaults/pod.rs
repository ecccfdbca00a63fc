//! Defaults of pods and pod templates.

use serde_json::{Map, Value, json};

use crate::api::object::default;

/// Fills in a pod: its specification and what admission plugins add to pods alone.
pub(super) fn pod(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    pod_spec(spec);
    default(spec, "enableServiceLinks", json!(true));
    default(spec, "priority", json!(0));
    default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            if !tolerations
                .iter()
                .any(|t| t["key"] == key || (t["key"].is_null() && t["operator"] == "Exists"))
            {
                tolerations.push(
                    json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }),
                );
            }
        }
    }
}

/// Fills in the specification of a pod or a template.
pub(super) fn pod_spec(spec: &mut Map<String, Value>) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "securityContext", json!({}));
    default(spec, "schedulerName", json!("default-scheduler"));
    // Either name of the field sets both.
    let account = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned();
    if let Some(account) =
        account.filter(|account| account.as_str().is_some_and(|name| !name.is_empty()))
    {
        spec.insert("serviceAccountName".to_owned(), account.clone());
        spec.insert("serviceAccount".to_owned(), account);
    }
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for one in spec
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(one) = one.as_object_mut() {
                container(one);
            }
        }
    }
    for one in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        volume(one);
    }
}

fn container(container: &mut Map<String, Value>) {
    if container.get("image").and_then(Value::as_str) == Some("") {
        container.remove("image");
    }
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .map(str::to_owned);
    default(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
    // A missing image is found out later, and does not count as one without a tag.
    let policy = image.as_deref().map_or("IfNotPresent", pull_policy);
    default(container, "imagePullPolicy", json!(policy));
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", json!("TCP"));
        }
    }
    for env in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(field) = env
            .pointer_mut("/valueFrom/fieldRef")
            .and_then(Value::as_object_mut)
        {
            default(field, "apiVersion", json!("v1"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) else {
            continue;
        };
        for (key, value) in [
            ("timeoutSeconds", 1),
            ("periodSeconds", 10),
            ("successThreshold", 1),
            ("failureThreshold", 3),
        ] {
            default(probe, key, json!(value));
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            default(get, "scheme", json!("HTTP"));
            default(get, "path", json!("/"));
        }
    }
    let limits = container["resources"].get("limits").cloned();
    if let Some(Value::Object(limits)) = limits {
        for (key, value) in limits {
            let resources = container["resources"]
                .as_object_mut()
                .expect("resources with limits must be a map");
            default(
                crate::api::object::map_at(resources, "requests"),
                &key,
                value,
            );
        }
    }
}

fn volume(volume: &mut Value) {
    for source in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            default(source, "defaultMode", json!(420));
        }
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let reference = image
            .get("reference")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        default(image, "pullPolicy", json!(pull_policy(&reference)));
    }
    if let Some(token) = volume
        .pointer_mut("/projected/sources")
        .and_then(Value::as_array_mut)
    {
        for source in token {
            if let Some(token) = source
                .get_mut("serviceAccountToken")
                .and_then(Value::as_object_mut)
            {
                default(token, "expirationSeconds", json!(3600));
            }
        }
    }
}

/// Returns the pull policy of an image without one: `Always` for the tag `latest`, written or implied.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(image: &str, expected: &str) {
        assert_eq!(pull_policy(image), expected, "{image}");
    }

    #[test]
    fn the_tag_decides_when_to_pull() {
        check("nginx", "Always");
        check("nginx:latest", "Always");
        check("nginx:1.27", "IfNotPresent");
        check("127.0.0.1:5000/app", "Always");
        check("127.0.0.1:5000/app:v1", "IfNotPresent");
        check("nginx@sha256:00", "IfNotPresent");
        check("nginx:latest@sha256:00", "IfNotPresent");
    }
}
