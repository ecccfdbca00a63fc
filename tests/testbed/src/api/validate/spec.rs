//! Specifications: containers and selectors.

use serde_json::{Value, json};

use super::{invalid, required};
use crate::api::{Cause, LabelSelector, Resource, object};

const POD_UPDATES: &str = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63 && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// Returns what is wrong with a pod.
pub(super) fn pod(pod: &Value) -> Vec<Cause> {
    pod_spec(pod, "/spec", "spec")
}

fn pod_spec(object: &Value, pointer: &str, path: &str) -> Vec<Cause> {
    let containers = object::list(object, &format!("{pointer}/containers"));
    if containers.is_empty() {
        return vec![required(&format!("{path}.containers"))];
    }
    let mut causes = Vec::new();
    for key in ["initContainers", "containers"] {
        for (at, container) in object::list(object, &format!("{pointer}/{key}"))
            .iter()
            .enumerate()
        {
            for field in ["name", "image"] {
                if container[field].as_str().is_none_or(str::is_empty) {
                    causes.push(required(&format!("{path}.{key}[{at}].{field}")));
                }
            }
            let name = container["name"].as_str().unwrap_or("");
            if !name.is_empty() && !is_label(name) {
                causes.push(invalid(
                    &format!("{path}.{key}[{at}].name"),
                    &json!(name),
                    LABEL,
                ));
            }
            let image = container["image"].as_str().unwrap_or("");
            if image != image.trim() {
                let field = format!("{path}.{key}[{at}].image");
                causes.push(invalid(
                    &field,
                    &json!(image),
                    "must not have leading or trailing whitespace",
                ));
            }
        }
    }
    causes
}

/// Returns what a pod update changes that it must not.
pub(super) fn pod_change(before: &Value, after: &Value) -> Vec<Cause> {
    if changeable_removed(before) == changeable_removed(after) {
        return Vec::new();
    }
    // The real server adds a diff of its internal form, which no client can rely on.
    vec![Cause::new("FieldValueForbidden", POD_UPDATES, "spec")]
}

fn changeable_removed(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for key in ["initContainers", "containers"] {
        for container in spec
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            container["image"] = Value::Null;
        }
    }
    for key in [
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
        "ephemeralContainers",
    ] {
        spec[key] = Value::Null;
    }
    spec
}

/// Returns what is wrong with a workload: its selector must choose its own pods.
pub(super) fn workload(workload: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let selector = &workload["spec"]["selector"];
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    if selector.is_null() {
        causes.push(required("spec.selector"));
    } else if !LabelSelector::from_object(selector)
        .is_ok_and(|selector| selector.selects(&json!({ "metadata": { "labels": labels } })))
    {
        let field = "spec.template.metadata.labels";
        causes.push(invalid(
            field,
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    causes.extend(pod_spec(
        workload,
        "/spec/template/spec",
        "spec.template.spec",
    ));
    causes
}

/// Returns what was changed that is fixed for ever: a workload's selector, a Secret's type, a binding's role.
pub(super) fn fixed_change(resource: &Resource, before: &Value, after: &Value) -> Vec<Cause> {
    let (pointer, field) = match (resource.group, resource.plural) {
        ("apps", "controllerrevisions") => return Vec::new(),
        ("apps", _) => ("/spec/selector", "spec.selector"),
        ("", "secrets") => ("/type", "type"),
        (_, "rolebindings" | "clusterrolebindings") => ("/roleRef", "roleRef"),
        _ => return Vec::new(),
    };
    if before.pointer(pointer) == after.pointer(pointer) {
        return Vec::new();
    }
    let value = after.pointer(pointer).unwrap_or(&Value::Null);
    vec![invalid(field, value, "field is immutable")]
}
