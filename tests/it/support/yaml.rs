//! Manifests as real kubectl renders them, checked against the API's own types.

use std::path::Path;

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
    batch::v1::CronJob,
    core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    files::{below, read, root},
    kubectl::Kubectl,
};

/// Returns the folders that `kubectl apply -k` takes; a component is only part of others.
pub(crate) fn kustomizations() -> Vec<String> {
    let named = |path: &Path| path.ends_with("kustomization.yaml");
    ["manifests", "certs"]
        .into_iter()
        .flat_map(|folder| below(folder, named))
        .filter(|path| !read(path).contains("kind: Component"))
        .map(|path| path.parent().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Returns the objects that `kubectl apply -k <folder>` would send.
#[track_caller]
pub(crate) fn render(kubectl: &Kubectl, folder: &str) -> Vec<Value> {
    let folder = root().join(folder);
    let text = kubectl.ok(["kustomize", folder.to_str().unwrap()]);
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Returns the kind and name of `object`, for messages.
pub(crate) fn title(object: &Value) -> String {
    let word = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or("?");
    format!("{} {}", word("/kind"), word("/metadata/name"))
}

/// Returns the array at `pointer` in `object`, which must be there.
#[track_caller]
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a Vec<Value> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .unwrap_or_else(|| panic!("{} must have a list {pointer}", title(object)))
}

/// Returns the fields of `object` that its type does not have, or says why it cannot be read.
///
/// Reading drops what a type does not know: what is not there when written again was misspelt.
pub(crate) fn unknown_fields(object: &Value) -> Result<Vec<String>, String> {
    let word = |key: &str| object[key].as_str().unwrap_or("");
    let again = match (word("apiVersion"), word("kind")) {
        ("v1", "Namespace") => again::<Namespace>(object),
        ("v1", "ConfigMap") => again::<ConfigMap>(object),
        ("v1", "Service") => again::<Service>(object),
        ("v1", "ServiceAccount") => again::<ServiceAccount>(object),
        ("apps/v1", "Deployment") => again::<Deployment>(object),
        ("batch/v1", "CronJob") => again::<CronJob>(object),
        ("policy/v1", "PodDisruptionBudget") => again::<PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => again::<NetworkPolicy>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => again::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            again::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => again::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => again::<RoleBinding>(object),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            again::<MutatingWebhookConfiguration>(object)
        }
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            again::<ValidatingWebhookConfiguration>(object)
        }
        // Others' types are in no crate of ours.
        ("cert-manager.io/v1", "Certificate" | "Issuer")
        | ("monitoring.coreos.com/v1", "PodMonitor" | "PrometheusRule") => Ok(object.clone()),
        (version, kind) => Err(format!("no type for {version} {kind}")),
    }?;
    let mut lost = Vec::new();
    compare(object, &again, "", &mut lost);
    Ok(lost)
}

fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone())
        .map_err(|error| format!("{}: {error}", title(object)))?;
    serde_json::to_value(&typed).map_err(|error| error.to_string())
}

/// Collects into `lost` what is in `before` and not in `after`, by path.
fn compare(before: &Value, after: &Value, at: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let missing = Value::Null;
                compare(
                    value,
                    after.get(key).unwrap_or(&missing),
                    &format!("{at}/{key}"),
                    lost,
                );
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (n, (before, after)) in before.iter().zip(after).enumerate() {
                compare(before, after, &format!("{at}/{n}"), lost);
            }
        }
        _ if before == after => {}
        _ => lost.push(format!("{at} ({before} became {after})")),
    }
}

#[test]
fn a_misspelt_field_is_found_wherever_it_is() {
    let object = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "x"}, "spec": {"maxUnavailable": 1, "maxUnavailble": 1}
    });
    assert_eq!(
        unknown_fields(&object).unwrap(),
        ["/spec/maxUnavailble (1 became null)"]
    );
    let object = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "arg": []}]}}}
    });
    assert_eq!(
        unknown_fields(&object).unwrap(),
        ["/spec/template/spec/containers/0/arg ([] became null)"]
    );
}

#[test]
fn a_wrong_type_is_found() {
    let object = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"},
        "spec": {"replicas": "two", "selector": {}, "template": {}}
    });
    let error = unknown_fields(&object).unwrap_err();
    assert!(error.starts_with("Deployment x: "), "{error}");
}
