//! What the server itself writes into objects: metadata, generation, who may change status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::write::Target;
use super::{ApiError, Resource, object, resource};

/// Checks `apiVersion` and `kind` of a body in its stored form and fills them in where they are left out.
pub(crate) fn check_stored_kind(
    resource: &'static Resource,
    object: &mut Value,
) -> Result<(), ApiError> {
    check_kind(resource.storage(), object)
}

/// Checks `apiVersion` and `kind` of a body and fills them in where they are left out.
pub(crate) fn check_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let (version, kind) = (
        object["apiVersion"].as_str().unwrap_or(""),
        object["kind"].as_str().unwrap_or(""),
    );
    let expected = resource.api_version();
    if !kind.is_empty() && kind != resource.kind {
        let (wanted, group) = (
            resource.kind,
            if resource.group.is_empty() {
                "core"
            } else {
                resource.group
            },
        );
        let package = group.split('.').next().unwrap_or(group);
        let short = version.rsplit('/').next().unwrap_or(version);
        return Err(ApiError::bad_request(format!(
            "{kind} in version {short:?} cannot be handled as a {wanted}: converting ({short}.{kind}) to ({package}.{wanted}): unknown conversion"
        )));
    }
    if !version.is_empty() && version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    object["apiVersion"] = json!(expected);
    object["kind"] = json!(resource.kind);
    Ok(())
}

/// Takes out what a client may not set, before mutating webhooks see a new object.
pub(crate) fn before_admission(resource: &Resource, object: &mut Value) {
    let metadata = object::metadata(object);
    for key in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
        "managedFields",
    ] {
        metadata.remove(key);
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(key);
    }
    drop_empty(metadata);
    if resource.has("status") && !keeps_status(resource) {
        object["status"] = json!({});
    }
}

// Nodes and namespaces are created with a status by those who register them.
fn keeps_status(resource: &Resource) -> bool {
    *resource == resource::NODES || *resource == resource::NAMESPACES
}

/// Fills in what the server gives a new object: name, uid, time, generation and first status.
pub(crate) fn before_create(resource: &Resource, object: &mut Value, now: Timestamp) {
    let generated = object::text(object, "/metadata/generateName").to_owned();
    let metadata = object::metadata(object);
    if !generated.is_empty()
        && metadata
            .get("name")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    {
        metadata.insert(
            "name".to_owned(),
            json!(format!("{generated}{}", object::new_suffix(5))),
        );
    }
    for key in ["resourceVersion", "selfLink", "managedFields"] {
        metadata.remove(key);
    }
    drop_empty(metadata);
    metadata.insert("uid".to_owned(), json!(object::new_uid()));
    metadata.insert("creationTimestamp".to_owned(), json!(object::time(now)));
    if resource.generation {
        metadata.insert("generation".to_owned(), json!(1));
    }
    if *resource == resource::PODS {
        object["status"] = json!({ "phase": "Pending", "qosClass": qos_class(object) });
    } else if *resource == resource::POD_DISRUPTION_BUDGETS {
        object["status"] = json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 });
    } else if *resource == resource::NAMESPACES {
        let name = object::name(object).to_owned();
        object::set_label(object, "kubernetes.io/metadata.name", &name);
        object["spec"] = json!({ "finalizers": ["kubernetes"] });
        object["status"] = json!({ "phase": "Active" });
    }
}

// An empty map of labels or annotations is not stored.
fn drop_empty(metadata: &mut serde_json::Map<String, Value>) {
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match metadata.get(key) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if is_empty {
            metadata.remove(key);
        }
    }
}

/// Restores what the written part may not touch, and counts the generation.
pub(crate) fn before_update(target: &Target<'_>, current: &Value, next: &mut Value) {
    let resource = target.resource;
    if target.subresource == "status" {
        let status = next["status"].take();
        let metadata = next["metadata"].take();
        *next = current.clone();
        next["status"] = status;
        // The rest of the metadata belongs to the object itself.
        for key in ["annotations", "labels", "finalizers"] {
            if let Some(value) = metadata
                .get(key)
                .filter(|_| *resource == resource::PODS || *resource == resource::NODES)
            {
                next["metadata"][key] = value.clone();
            }
        }
        drop_empty(object::metadata(next));
        return;
    }
    if target.subresource == "ephemeralcontainers" {
        keep_but_ephemeral_containers(current, next);
    }
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "name",
        "namespace",
        "generateName",
        "resourceVersion",
    ];
    let metadata = object::metadata(next);
    for key in kept {
        match current["metadata"].get(key) {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.remove(key),
        };
    }
    metadata.remove("managedFields");
    drop_empty(metadata);
    if resource.has("status") {
        match current.get("status") {
            Some(status) => next["status"] = status.clone(),
            None => {
                next.as_object_mut().map(|object| object.remove("status"));
            }
        }
    }
    if *resource == resource::NAMESPACES && target.subresource.is_empty() {
        next["spec"] = current["spec"].clone();
    }
    if resource.generation && body(current) != body(next) {
        object::metadata(next).insert(
            "generation".to_owned(),
            json!(object::generation(current) + 1),
        );
    }
}

// By this subresource nothing else can be changed, and no metadata: what comes along is dropped without a word.
fn keep_but_ephemeral_containers(current: &Value, next: &mut Value) {
    let ephemeral = next["spec"]["ephemeralContainers"].take();
    *next = current.clone();
    if !ephemeral.is_null() {
        next["spec"]["ephemeralContainers"] = ephemeral;
    }
}

fn body(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
        .collect()
}

/// Says whether a terminating object has nothing left to wait for.
pub(crate) fn is_finished(resource: &Resource, object: &Value) -> bool {
    object::is_terminating(object)
        && object::list(object, "/metadata/finalizers").is_empty()
        && object::number(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) == 0
        && (*resource != resource::NAMESPACES
            || object::list(object, "/spec/finalizers").is_empty())
}

/// Says whether updates must carry a resourceVersion.
pub(crate) fn needs_version(resource: &Resource) -> bool {
    *resource == resource::LEASES || *resource == resource::POD_DISRUPTION_BUDGETS
}

/// Says whether a PUT to a missing name creates the object.
pub(crate) fn creates_on_put(resource: &Resource) -> bool {
    *resource == resource::LEASES
}

/// Returns the class that a pod's requests and limits put it in.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let containers = || {
        object::list(pod, "/spec/containers")
            .iter()
            .chain(object::list(pod, "/spec/initContainers"))
    };
    let has =
        |container: &Value, part: &str, key: &str| !container["resources"][part][key].is_null();
    if !containers().any(|c| {
        ["cpu", "memory"]
            .iter()
            .any(|key| has(c, "requests", key) || has(c, "limits", key))
    }) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|c| {
        ["cpu", "memory"].iter().all(|key| {
            has(c, "limits", key)
                && (!has(c, "requests", key)
                    || c["resources"]["requests"][key] == c["resources"]["limits"][key])
        })
    });
    if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
