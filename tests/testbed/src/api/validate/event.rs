//! Events: strict where `events.k8s.io` made them, lenient for the older form.

use serde_json::{Value, json};

use super::{invalid, required};
use crate::api::{Cause, object};

/// Returns what is wrong with an Event, in its core form.
///
/// The older form has no eventTime and is hardly checked; `events.k8s.io` refuses one without
/// before it gets here.
pub(super) fn check(event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (namespace, about) = (
        object::namespace(event),
        object::text(event, "/involvedObject/namespace"),
    );
    // An object without a namespace is reported in the default one.
    if (about.is_empty() && namespace != "default" && !namespace.is_empty())
        || (!about.is_empty() && about != namespace)
    {
        causes.push(invalid(
            "involvedObject.namespace",
            &json!(""),
            "does not match event.namespace",
        ));
    }
    if event["eventTime"].is_null() {
        return causes;
    }
    for (field, longest) in [("action", 128), ("reason", 128)] {
        match event[field].as_str().unwrap_or("") {
            "" => causes.push(required(field)),
            text if text.len() > longest => causes.push(too_long(field, longest)),
            _ => {}
        }
    }
    if object::text(event, "/reportingComponent").is_empty() {
        causes.push(required("reportingController"));
    }
    if object::text(event, "/reportingInstance").is_empty() {
        causes.push(required("reportingInstance"));
    }
    if object::text(event, "/message").len() > 1024 {
        causes.push(too_long("message", 1024));
    }
    let kind = object::text(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        causes.push(invalid(
            "type",
            &json!(""),
            &format!("has invalid value: {kind}"),
        ));
    }
    causes
}

/// Returns which fields of an Event were changed that must not be.
pub(super) fn change(before: &Value, after: &Value) -> Vec<Cause> {
    if before["eventTime"].is_null() {
        return Vec::new();
    }
    let fixed = [
        "involvedObject",
        "reason",
        "message",
        "type",
        "eventTime",
        "action",
        "reportingComponent",
        "reportingInstance",
    ];
    let changed = fixed
        .into_iter()
        .filter(|field| before[field] != after[field]);
    changed
        .map(|field| invalid(field, &after[field], "field is immutable"))
        .collect()
}

fn too_long(field: &str, longest: usize) -> Cause {
    invalid(
        field,
        &json!(""),
        &format!("can have at most {longest} characters"),
    )
}
