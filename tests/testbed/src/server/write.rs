//! Creating, changing and deleting over HTTP.

use std::sync::Arc;

use serde_json::{Value, json};

use super::event;
use super::eviction::delete_options;
use super::reply::Reply;
use super::request::{Request, go_syntax_error};
use super::{Server, object_reply};
use crate::api::{
    ApiError, Cause, Resource, Target, Written, check_kind, creates_on_put, object, patch,
    resource, storage_conflict,
};

/// Answers a POST to a collection.
pub(super) async fn create(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let options = request.options("CreateOptions")?;
    let body = stored_form(resource, request.json(resource.kind)?, true)?;
    let target = request.target(resource, &options);
    finish(
        resource,
        request,
        server.api.create_object(&target, body).await?,
    )
}

/// Answers a PUT or PATCH of an object.
pub(super) async fn change(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let is_patch = request.attributes.verb == "patch";
    let options = request.options(if is_patch {
        "PatchOptions"
    } else {
        "UpdateOptions"
    })?;
    let target = request.target(resource, &options);
    if is_patch {
        let kind = request.content_type();
        if !patch::TYPES.contains(&kind) {
            return Err(
                ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
                    .with_details(json!({})),
            );
        }
        if kind == patch::APPLY {
            return apply(server, resource, request, &target).await;
        }
        let change = |current: &Value| {
            let shown = object_reply::shown(resource, current);
            stored_form(resource, patched(server, resource, request, &shown)?, false)
        };
        return finish(
            resource,
            request,
            server.api.update_object(&target, change).await?,
        );
    }
    let body = stored_form(resource, request.json(resource.kind)?, false)?;
    let exists = server
        .api
        .get(resource, target.namespace, target.name)
        .is_some();
    if !exists && creates_on_put(resource) {
        let uid = object::uid(&body);
        if !uid.is_empty() {
            return Err(storage_conflict(&target, uid, ""));
        }
        let target = Target { name: "", ..target };
        return finish(
            resource,
            request,
            server.api.create_object(&target, body).await?,
        );
    }
    finish(
        resource,
        request,
        server
            .api
            .update_object(&target, |_| Ok(body.clone()))
            .await?,
    )
}

async fn apply(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
    target: &Target<'_>,
) -> Result<Reply, ApiError> {
    let Some(manager) = target.options.field_manager.as_deref() else {
        let cause = Cause::new(
            "FieldValueRequired",
            "Required value: is required for apply patch",
            "fieldManager",
        );
        return Err(ApiError::invalid_kind(
            "meta.k8s.io",
            "PatchOptions",
            "",
            &[cause],
        ));
    };
    let mut wanted: Value = serde_json::from_slice(&request.body)
        .map_err(|_| ApiError::unmodelled("server-side apply of YAML; send JSON"))?;
    if wanted["kind"].is_null() || wanted["apiVersion"].is_null() {
        let (version, kind) = (
            object::text(&wanted, "/apiVersion"),
            object::text(&wanted, "/kind"),
        );
        return Err(ApiError::bad_request(
            format!("invalid object type: {version}/, Kind={kind}").replacen("//", "/", 1),
        ));
    }
    if wanted["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    object::metadata(&mut wanted).insert("name".to_owned(), json!(target.name));
    let force = request.query.flag("force");
    let key = server.api.key(resource, target.namespace, target.name);
    let before = server.api.store.get(&key);
    let written = if before.is_some() {
        let change = |current: &Value| {
            server
                .owners
                .apply(resource, manager, force, current, &wanted)
        };
        server.api.update_object(target, change).await?
    } else {
        server
            .api
            .create_object(
                &Target {
                    name: "",
                    ..*target
                },
                wanted.clone(),
            )
            .await?
    };
    if !target.options.dry_run {
        server.owners.remember(
            resource,
            manager,
            &wanted,
            before.as_ref().unwrap_or(&written.object),
        );
    }
    finish(resource, request, written)
}

/// Returns an object as the request's patch makes it.
pub(super) fn patched(
    _server: &Server,
    resource: &'static Resource,
    request: &Request,
    current: &Value,
) -> Result<Value, ApiError> {
    let body: Value = serde_json::from_slice(&request.body).map_err(|error| {
        let text = String::from_utf8_lossy(&request.body);
        ApiError::bad_request(format!(
            "error decoding patch: {}",
            go_syntax_error(&error, &text)
        ))
    })?;
    patch::apply(request.content_type(), resource, current, &body)
}

// Both Event APIs share one storage; the newer one insists on an eventTime.
fn stored_form(resource: &'static Resource, body: Value, is_new: bool) -> Result<Value, ApiError> {
    if *resource == resource::EVENTS {
        let mut body = body;
        event::complete(&mut body);
        return Ok(body);
    }
    if *resource != resource::EVENTS_V1 {
        return Ok(body);
    }
    let mut body = body;
    check_kind(resource, &mut body)?;
    if is_new && body["eventTime"].is_null() {
        let cause = Cause::new("FieldValueRequired", "Required value", "eventTime");
        return Err(ApiError::invalid(
            &resource::EVENTS,
            object::name(&body),
            &[cause],
        ));
    }
    Ok(event::to_core(&body))
}

fn finish(
    resource: &'static Resource,
    request: &Request,
    written: Written,
) -> Result<Reply, ApiError> {
    let status = if written.created { 201 } else { 200 };
    Ok(object_reply::one(status, resource, &written.object, request)?.warned(written.warnings))
}

/// Answers a DELETE of an object.
pub(super) fn delete(
    server: &Server,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let options = request_delete_options(request)?;
    let key = server.api.key(
        resource,
        request.namespace(resource),
        &request.attributes.name,
    );
    let (last, gone) = server.api.delete_object(&key, &options)?;
    // Pods and namespaces go in steps, so the client sees how far they are; so does all that waits for finalizers.
    if *resource == resource::PODS
        || *resource == resource::NAMESPACES
        || !(gone || options.dry_run)
    {
        return object_reply::one(200, resource, &last, request);
    }
    let mut details =
        json!({ "name": key.name, "kind": resource.plural, "uid": object::uid(&last) });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(Reply::json(200, &status))
}

/// Answers a DELETE of a collection.
pub(super) fn delete_collection(
    server: &Server,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let options = request_delete_options(request)?;
    let (labels, fields) = request.selectors(resource)?;
    let namespace = Some(request.namespace(resource)).filter(|namespace| !namespace.is_empty());
    let (mut items, _) = server.api.store.list(resource, namespace);
    items.retain(|item| labels.selects(item) && fields.selects(resource, item));
    for item in &items {
        let key = server
            .api
            .key(resource, object::namespace(item), object::name(item));
        match server.api.delete_object(&key, &options) {
            Err(error) if error.code != 404 => return Err(error),
            _ => {}
        }
    }
    let metadata = json!({ "resourceVersion": server.api.store.revision().to_string() });
    object_reply::many(resource, &items, metadata, request)
}

fn request_delete_options(request: &Request) -> Result<crate::api::Delete, ApiError> {
    let body = if request.body.is_empty() {
        Value::Null
    } else {
        request.json("DeleteOptions")?
    };
    let mut options = delete_options(&body);
    options.dry_run |= request.options("DeleteOptions")?.dry_run;
    if let Some(seconds) = request.query.whole("gracePeriodSeconds")? {
        options.grace_seconds = Some(seconds);
    }
    if let Some(policy) = request.query.get("propagationPolicy") {
        options.propagation = delete_options(&json!({ "propagationPolicy": policy })).propagation;
    }
    Ok(options)
}

/// Answers a POST to `pods/NAME/binding`.
pub(super) fn bind(server: &Server, request: &Request) -> Result<Reply, ApiError> {
    let body = request.json("Binding")?;
    let (namespace, name) = (&request.attributes.namespace, &request.attributes.name);
    server
        .api
        .bind(namespace, name, object::text(&body, "/target/name"))?;
    Ok(super::success(201))
}

/// Answers a PUT to `namespaces/NAME/finalize`.
pub(super) fn finalize(server: &Server, request: &Request) -> Result<Reply, ApiError> {
    let body = request.json("Namespace")?;
    if !object::list(&body, "/spec/finalizers").is_empty() {
        return Err(ApiError::unmodelled(
            "finalizers of namespaces other than kubernetes",
        ));
    }
    server.api.finalize_namespace(&request.attributes.name)?;
    Ok(Reply::json(200, &body))
}
