//! ControllerRevisions: the templates that a StatefulSet or DaemonSet has had.

use std::sync::Arc;

use serde_json::{Value, json};

use super::pods::owner_reference;
use super::template::hash;
use crate::api::{Api, ApiError, Resource, object, resource};

/// The label that tells pods of different templates apart.
pub(super) const LABEL: &str = "controller-revision-hash";

/// Returns the revisions of an owner, oldest first.
pub(super) fn of(api: &Api, owner: &Value) -> Vec<Arc<Value>> {
    let mut revisions = api.list(
        &resource::CONTROLLER_REVISIONS,
        Some(object::namespace(owner)),
    );
    revisions.retain(|revision| {
        object::controller(revision).is_some_and(|by| by["uid"] == object::uid(owner))
    });
    revisions.sort_by_key(|revision| number(revision));
    revisions
}

/// Returns the newest revision, which is that of the owner's template: made, or raised when the template is an older one again.
pub(super) async fn ensure(
    api: &Api,
    kind: &'static Resource,
    owner: &Value,
) -> Result<Arc<Value>, ApiError> {
    let known = of(api, owner);
    let data = data(owner);
    let newest = known.last().map_or(0, |revision| number(revision));
    let namespace = object::namespace(owner);
    match known.iter().find(|revision| revision["data"] == data) {
        Some(found) if number(found) == newest => Ok(Arc::clone(found)),
        Some(found) => {
            let raise = |revision: &mut Value| revision["revision"] = json!(newest + 1);
            api.update(
                &resource::CONTROLLER_REVISIONS,
                namespace,
                object::name(found),
                raise,
            )
            .await
        }
        None => {
            let hash = hash(
                &owner["spec"]["template"],
                object::number(owner, "/status/collisionCount").unwrap_or(0),
            );
            let mut labels = owner["spec"]["template"]["metadata"]["labels"].clone();
            labels[LABEL] = json!(hash_label(kind, owner, &hash));
            let revision = json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision",
                "metadata": {
                    "name": format!("{}-{hash}", object::name(owner)), "namespace": namespace, "labels": labels,
                    "ownerReferences": [owner_reference(kind, owner)],
                },
                "data": data, "revision": newest + 1,
            });
            api.create(&resource::CONTROLLER_REVISIONS, namespace, revision)
                .await
        }
    }
}

/// Returns the value of a pod's label: StatefulSets use the revision's whole name, DaemonSets the hash alone.
fn hash_label(kind: &Resource, owner: &Value, hash: &str) -> String {
    if *kind == resource::STATEFUL_SETS {
        format!("{}-{hash}", object::name(owner))
    } else {
        hash.to_owned()
    }
}

/// Returns the revision's number.
pub(super) fn number(revision: &Value) -> i64 {
    object::number(revision, "/revision").unwrap_or(0)
}

/// Returns the template that a revision keeps.
pub(super) fn template(revision: &Value) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    template
        .as_object_mut()
        .map(|template| template.remove("$patch"));
    template
}

fn data(owner: &Value) -> Value {
    let mut template = owner["spec"]["template"].clone();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}
