//! The question to a webhook, byte for byte in the order the real server writes it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::object;
use crate::api::write::Target;
use crate::api::{User, resource};

#[derive(Serialize)]
struct GroupVersionKind<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

#[derive(Serialize)]
struct GroupVersionResource<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
}

/// What is asked about one write.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review<'a> {
    uid: &'a str,
    kind: GroupVersionKind<'a>,
    resource: GroupVersionResource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub_resource: &'a str,
    request_kind: GroupVersionKind<'a>,
    request_resource: GroupVersionResource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    operation: &'a str,
    user_info: Value,
    object: &'a Value,
    old_object: Option<&'a Value>,
    dry_run: bool,
    options: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    kind: &'a str,
    api_version: &'a str,
    request: Review<'a>,
}

impl Review<'_> {
    /// Returns a review's uid and body.
    pub(super) fn body(
        target: &Target<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> (String, Vec<u8>) {
        let uid = object::new_uid();
        let r = target.resource;
        let kind = || GroupVersionKind {
            group: r.group,
            version: r.version,
            kind: r.kind,
        };
        let plural = || GroupVersionResource {
            group: r.group,
            version: r.version,
            resource: r.plural,
        };
        let name = object::name(object);
        // A namespace lies in itself.
        let namespace = if *r == resource::NAMESPACES {
            name
        } else {
            target.namespace
        };
        let request = Review {
            uid: &uid,
            kind: kind(),
            resource: plural(),
            sub_resource: target.subresource,
            request_kind: kind(),
            request_resource: plural(),
            request_sub_resource: target.subresource,
            name,
            namespace,
            operation: if old.is_some() { "UPDATE" } else { "CREATE" },
            user_info: user_info(target.user),
            object,
            old_object: old,
            dry_run: target.options.dry_run,
            options: options(target, old.is_some()),
        };
        let envelope = Envelope {
            kind: "AdmissionReview",
            api_version: "admission.k8s.io/v1",
            request,
        };
        let mut body = serde_json::to_vec(&envelope).expect("a review must serialise");
        body.push(b'\n');
        (uid, body)
    }
}

fn options(target: &Target<'_>, is_update: bool) -> Value {
    let kind = if is_update {
        "UpdateOptions"
    } else {
        "CreateOptions"
    };
    let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    if target.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if let Some(manager) = &target.options.field_manager {
        options["fieldManager"] = json!(manager);
    }
    if let Some(validation) = &target.options.field_validation {
        options["fieldValidation"] = json!(validation);
    }
    options
}

/// Returns a user as reviews show one.
pub(crate) fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    info["groups"] = json!(user.groups);
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}
