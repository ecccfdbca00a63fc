//! The garbage collector: what an object owns goes with it, in the order that its deletion asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::pods::gone_is_fine;
use super::runner::{Controller, Name, Next};
use crate::api::{
    Api, ApiError, Change, ChangeKind, Delete, Propagation, Resource, object, resource,
};

/// Kinds that are owned by others here.
const OWNED: [&Resource; 8] = [
    &resource::PODS,
    &resource::REPLICA_SETS,
    &resource::CONTROLLER_REVISIONS,
    &resource::JOBS,
    &resource::DEPLOYMENTS,
    &resource::STATEFUL_SETS,
    &resource::SECRETS,
    &resource::CONFIG_MAPS,
];
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// The collector for the objects of one kind that own others, or are owned: one look per object.
pub(super) struct Garbage(pub(super) &'static Resource);

impl Garbage {
    /// The kinds that are looked at: owners that wait for what they own, and what is owned.
    pub(super) const KINDS: [&'static Resource; 10] = [
        &resource::PODS,
        &resource::REPLICA_SETS,
        &resource::CONTROLLER_REVISIONS,
        &resource::JOBS,
        &resource::DEPLOYMENTS,
        &resource::STATEFUL_SETS,
        &resource::DAEMON_SETS,
        &resource::REPLICATION_CONTROLLERS,
        &resource::SECRETS,
        &resource::CONFIG_MAPS,
    ];
}

impl Controller for Garbage {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(self.0, None)
            .iter()
            .filter(|object| matters(object))
            .map(|object| Name::of(object))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        let mut names = Vec::new();
        // Seen once when it appears (its owner may be gone by then) and whenever it is to be deleted.
        let appears = change.kind == ChangeKind::Added;
        let deleting =
            change.kind == ChangeKind::Modified && object::is_terminating(&change.object);
        if *change.resource == *self.0 && matters(&change.object) && (appears || deleting) {
            names.push(Name::of(&change.object));
        }
        if change.kind == ChangeKind::Deleted {
            let uid = object::uid(&change.object);
            // What it owned may have to follow; its owner may be waiting for it.
            let owned = owned(api, self.0, object::namespace(&change.object), uid);
            names.extend(owned.iter().map(|object| Name::of(object)));
            let owners = object::list(&change.object, "/metadata/ownerReferences").iter();
            let owners = owners.filter(|owner| owner["kind"] == self.0.kind);
            names.extend(owners.filter_map(|owner| {
                Some(Name::new(
                    object::namespace(&change.object),
                    owner["name"].as_str()?,
                ))
            }));
        }
        names
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let Some(found) = api.get(self.0, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        if object::is_terminating(&found) {
            return self.let_go(api, &found).await;
        }
        let owners = object::list(&found, "/metadata/ownerReferences");
        let lost = |owner: &Value| !exists(api, &name.namespace, owner);
        if !owners.is_empty() && owners.iter().all(lost) {
            let options = Delete {
                uid: Some(object::uid(&found).into()),
                propagation: Some(Propagation::Background),
                ..Delete::default()
            };
            gone_is_fine(api.delete(self.0, &name.namespace, &name.name, &options))?;
        }
        Ok(Next::OnChange)
    }
}

impl Garbage {
    /// Does what the finalizers of a terminating owner ask for.
    async fn let_go(&self, api: &Api, owner: &Value) -> Result<Next, ApiError> {
        let finalizers = object::list(owner, "/metadata/finalizers");
        let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
        let (orphans, foreground) = (has(ORPHAN), has(FOREGROUND));
        if !orphans && !foreground {
            return Ok(Next::OnChange);
        }
        let (namespace, uid) = (object::namespace(owner), object::uid(owner));
        let mut waits = false;
        for kind in OWNED {
            for dependent in owned(api, kind, namespace, uid) {
                if orphans {
                    disown(api, kind, &dependent, uid).await?;
                    continue;
                }
                // Only dependents that say so hold their owner back.
                waits |= reference(&dependent, uid)
                    .is_some_and(|owner| owner["blockOwnerDeletion"] == true);
                if !object::is_terminating(&dependent) {
                    let options = Delete {
                        uid: Some(object::uid(&dependent).into()),
                        propagation: Some(Propagation::Foreground),
                        ..Delete::default()
                    };
                    gone_is_fine(api.delete(kind, namespace, object::name(&dependent), &options))?;
                    waits |= api.get(kind, namespace, object::name(&dependent)).is_some();
                }
            }
        }
        if !waits || orphans || !still_owned(api, namespace, uid) {
            let done = if orphans { ORPHAN } else { FOREGROUND };
            let written = api.update(self.0, namespace, object::name(owner), |owner| {
                remove_finalizer(owner, done)
            });
            gone_is_fine(written.await)?;
        }
        Ok(Next::OnChange)
    }
}

fn still_owned(api: &Api, namespace: &str, uid: &str) -> bool {
    OWNED
        .iter()
        .any(|kind| !owned(api, kind, namespace, uid).is_empty())
}

fn matters(object: &Value) -> bool {
    !object::list(object, "/metadata/ownerReferences").is_empty() || object::is_terminating(object)
}

fn reference<'a>(object: &'a Value, uid: &str) -> Option<&'a Value> {
    object::list(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner["uid"] == uid)
}

fn owned(api: &Api, kind: &'static Resource, namespace: &str, uid: &str) -> Vec<Arc<Value>> {
    let mut objects = api.list(kind, Some(namespace));
    objects.retain(|object| reference(object, uid).is_some());
    objects
}

/// Says whether an owner is there, with the uid that its dependent names. Kinds the server does not know count as there.
fn exists(api: &Api, namespace: &str, owner: &Value) -> bool {
    let text = |key: &str| owner[key].as_str().unwrap_or_default();
    let Some(kind) = resource::of_kind(text("apiVersion"), text("kind")) else {
        return true;
    };
    api.get(kind, namespace, text("name"))
        .is_some_and(|found| object::uid(&found) == text("uid"))
}

async fn disown(
    api: &Api,
    kind: &'static Resource,
    dependent: &Value,
    uid: &str,
) -> Result<(), ApiError> {
    let written = api.update(
        kind,
        object::namespace(dependent),
        object::name(dependent),
        |object| {
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != uid);
            }
        },
    );
    gone_is_fine(written.await)
}

fn remove_finalizer(object: &mut Value, name: &str) {
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|finalizer| *finalizer != json!(name));
    }
}
