//! Events: what controllers and kubelets tell those who run `kubectl describe`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, object, resource};

/// Writes an Event about `about`. One that cannot be written is lost, as in a real cluster.
pub(crate) async fn emit(
    api: &Api,
    component: &str,
    about: &Value,
    kind: &str,
    reason: &str,
    message: &str,
) {
    let now = object::time(Timestamp::now());
    let namespace = object::namespace(about);
    // Events about cluster-scoped objects live in the namespace `default`.
    let home = if namespace.is_empty() {
        "default"
    } else {
        namespace
    };
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": format!("{}.{}", object::name(about), object::new_suffix(16)), "namespace": home },
        "involvedObject": {
            "apiVersion": about["apiVersion"], "kind": about["kind"], "namespace": namespace, "name": object::name(about),
            "uid": object::uid(about), "resourceVersion": object::text(about, "/metadata/resourceVersion"),
        },
        "type": kind, "reason": reason, "message": message,
        "source": { "component": component }, "reportingComponent": component, "reportingInstance": "",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    if let Err(error) = api.create(&resource::EVENTS, home, event).await {
        tracing::debug!(%error, reason, "An Event was not written");
    }
}
