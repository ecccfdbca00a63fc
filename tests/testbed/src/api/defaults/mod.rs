//! What the server writes into fields that a client leaves out.

mod cluster;
mod pod;
mod workload;

use serde_json::Value;

use super::{Resource, resource};

/// Fills in the defaults of an object's kind.
pub(crate) fn apply(resource: &Resource, object: &mut Value) {
    let group = (resource.group, resource.plural);
    if group == (resource::PODS.group, resource::PODS.plural) {
        pod::pod(object);
        return;
    }
    match group {
        ("apps" | "batch", _) | ("", "replicationcontrollers") => workload::apply(resource, object),
        _ => cluster::apply(resource, object),
    }
}
