//! A refusal as the API server words it: an HTTP status and a `Status` object.

use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use super::Resource;

/// One entry of a Status's `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// Path of the field, empty where none is meant.
    pub field: String,
}

impl Cause {
    /// A cause that names a field.
    pub fn new(reason: &str, message: impl Into<String>, field: &str) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({ "reason": self.reason, "message": self.message });
        if !self.field.is_empty() {
            value["field"] = json!(self.field);
        }
        value
    }
}

/// An answer other than success.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub code: u16,
    /// `reason` of the Status; empty where the real server sends none.
    pub reason: String,
    /// `message` of the Status.
    pub message: String,
    /// `details` of the Status.
    pub details: Option<Value>,
    /// A token to go on with an expired list.
    pub continue_token: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// Whether the answer is the message as plain text instead of a Status.
    pub plain: bool,
    /// Warnings that webhooks gave before the refusal.
    pub warnings: Vec<String>,
}

/// A [`Refusal`] as an error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ApiError(Box<Refusal>);

impl Deref for ApiError {
    type Target = Refusal;

    fn deref(&self) -> &Refusal {
        &self.0
    }
}

impl DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut Refusal {
        &mut self.0
    }
}

impl ApiError {
    /// An answer with this code, reason and message.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
            retry_after: None,
            plain: false,
            warnings: Vec::new(),
        }))
    }

    /// Adds `details`.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// 404 for an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified()),
        )
        .with_details(details(name, resource.group, resource.plural))
    }

    /// 404 for a path that no group serves: plain text.
    pub fn no_such_path() -> Self {
        let mut error = Self::new(404, "", "404 page not found");
        error.plain = true;
        error
    }

    /// 404 for a resource or subresource that its group does not have.
    pub fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(json!({}))
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 409 for a name that is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", resource.qualified()),
        )
        .with_details(details(name, resource.group, resource.plural))
    }

    /// 409 for a write with an old `resourceVersion`.
    pub fn stale(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for a write that the storage refuses, in the storage's words.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let qualified = resource.qualified();
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}"),
        )
        .with_details(details(name, resource.group, resource.plural))
    }

    /// 409 for a precondition of a deletion; names the kind where other conflicts name the resource.
    pub fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let kind = resource.qualified_kind();
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {kind} {name:?}: {why}"),
        )
        .with_details(details(name, resource.group, resource.kind))
    }

    /// 403, with the words after "is forbidden: ".
    pub fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let what = match name {
            "" => resource.qualified(),
            name => format!("{} {name:?}", resource.qualified()),
        };
        Self::new(403, "Forbidden", format!("{what} is forbidden: {why}")).with_details(details(
            name,
            resource.group,
            resource.plural,
        ))
    }

    /// 422 for an object with invalid fields.
    pub fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(resource.group, resource.kind, name, causes)
    }

    /// 422 for an object, or for options, of a kind.
    pub fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let all: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        let all = if let [one] = all.as_slice() {
            one.clone()
        } else {
            format!("[{}]", all.join(", "))
        };
        let mut details = details(name, group, kind);
        details["causes"] = causes.iter().map(Cause::to_value).collect();
        Self::new(
            422,
            "Invalid",
            format!("{qualified} {name:?} is invalid: {all}"),
        )
        .with_details(details)
    }

    /// 422 for a JSON patch that does not apply: says nothing about the cause.
    pub fn patch_does_not_apply() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(json!({}))
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 501 for a part of the API that the testbed does not model.
    pub fn unmodelled(what: &str) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the testbed does not model {what}"),
        )
    }

    /// Returns the body: a `Status` object.
    pub fn to_status(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.continue_token {
            metadata["continue"] = json!(token);
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(seconds) = self.retry_after {
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        status
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = json!({ "kind": kind });
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !group.is_empty() {
        details["group"] = json!(group);
    }
    details
}
