//! Is this object one that the server may store?

mod event;
mod lease;
mod meta;
mod spec;
mod webhook;

use serde_json::Value;

use super::write::Target;
use super::{ApiError, Cause, Resource, resource};

/// Checks a new object.
pub(crate) fn create(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let mut causes = meta::check(resource, object);
    causes.extend(of_kind(resource, object)?);
    refuse(resource, super::object::name(object), &causes)
}

/// Checks a changed object against what it was.
pub(crate) fn update(target: &Target<'_>, before: &Value, after: &Value) -> Result<(), ApiError> {
    let resource = target.resource;
    let mut causes = meta::check(resource, after);
    if target.subresource.is_empty() {
        causes.extend(of_kind(resource, after)?);
        causes.extend(match resource.storage_name() {
            "pods" => spec::pod_change(before, after),
            "events" => event::change(before, after),
            _ => spec::fixed_change(resource, before, after),
        });
    }
    refuse(resource, target.name, &causes)
}

/// The refusal of a write whose uid is not that of the object: worded by the storage, or by validation for /status.
pub(crate) fn wrong_uid(target: &Target<'_>, given: &str, stored: &str) -> ApiError {
    let resource = target.resource;
    if target.subresource == "status" {
        let message = format!("Invalid value: {given:?}: field is immutable");
        let cause = Cause::new("FieldValueInvalid", message, "metadata.uid");
        // The real server says it twice in the causes, once in the message.
        let mut error = ApiError::invalid(resource, target.name, std::slice::from_ref(&cause));
        if let Some(causes) = error
            .details
            .as_mut()
            .and_then(|details| details["causes"].as_array_mut())
        {
            causes.push(causes[0].clone());
        }
        return error;
    }
    storage_conflict(target, given, stored)
}

/// The storage's refusal of a write that insists on another uid.
pub(crate) fn storage_conflict(target: &Target<'_>, given: &str, stored: &str) -> ApiError {
    let (plural, namespace, name) = (target.resource.plural, target.namespace, target.name);
    let path = if namespace.is_empty() {
        format!("{plural}/{name}")
    } else {
        format!("{plural}/{namespace}/{name}")
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
    );
    ApiError::conflict(target.resource, name, &why)
}

fn of_kind(resource: &Resource, object: &Value) -> Result<Vec<Cause>, ApiError> {
    Ok(match resource.storage_name() {
        "pods" => spec::pod(object),
        "leases" => lease::check(object)?,
        "events" => event::check(object),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => spec::workload(object),
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            webhook::check(object)?
        }
        _ => Vec::new(),
    })
}

fn refuse(resource: &Resource, name: &str, causes: &[Cause]) -> Result<(), ApiError> {
    if causes.is_empty() {
        return Ok(());
    }
    // Events are validated as core Events, whichever API they came through.
    let resource = if *resource == resource::EVENTS_V1 {
        &resource::EVENTS
    } else {
        resource
    };
    Err(ApiError::invalid(resource, name, causes))
}

fn required(field: &str) -> Cause {
    Cause::new("FieldValueRequired", "Required value", field)
}

fn invalid(field: &str, value: &Value, why: &str) -> Cause {
    Cause::new(
        "FieldValueInvalid",
        format!("Invalid value: {value}: {why}"),
        field,
    )
}
