//! The subresource `scale`: how many replicas?

use std::sync::Arc;

use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Request;
use super::{Server, write};
use crate::api::{ApiError, Cause, Options, Resource, Target, object};

/// Answers GET, PUT and PATCH of a scale.
pub(super) async fn answer(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let (namespace, name) = (request.namespace(resource), &request.attributes.name);
    let stored = server
        .api
        .get(resource, namespace, name)
        .ok_or_else(|| ApiError::not_found(resource, name))?;
    if request.attributes.verb == "get" {
        return Ok(Reply::json(200, &of(&stored)));
    }
    let body = if request.attributes.verb == "patch" {
        Value::Null
    } else {
        request.json("Scale")?
    };
    let options: Options = request.options("UpdateOptions")?;
    // The scale's change is one of the object itself.
    let target = Target {
        subresource: "",
        ..request.target(resource, &options)
    };
    let change = |current: &Value| {
        let scale = of(current);
        let wanted = if body.is_null() {
            write::patched(server, resource, request, &scale)?
        } else {
            body.clone()
        };
        let version = object::text(&wanted, "/metadata/resourceVersion");
        if !version.is_empty() && version != object::text(current, "/metadata/resourceVersion") {
            return Err(ApiError::stale(resource, name));
        }
        let replicas = object::number(&wanted, "/spec/replicas").unwrap_or(0);
        if replicas < 0 {
            let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            let cause = Cause::new("FieldValueInvalid", message, "spec.replicas");
            return Err(ApiError::invalid_kind(
                "autoscaling",
                "Scale",
                name,
                &[cause],
            ));
        }
        let mut next = current.clone();
        next["spec"]["replicas"] = json!(replicas);
        Ok(next)
    };
    let written = server.api.update_object(&target, change).await?;
    Ok(Reply::json(200, &of(&written.object)).warned(written.warnings))
}

fn of(stored: &Value) -> Value {
    let mut metadata = json!({});
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        metadata[key] = stored["metadata"][key].clone();
    }
    let selector = &stored["spec"]["selector"];
    let labels = selector
        .get("matchLabels")
        .unwrap_or(selector)
        .as_object()
        .into_iter()
        .flatten();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    let replicas = |pointer: &str| object::number(stored, pointer).unwrap_or(0);
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": { "replicas": replicas("/spec/replicas") },
        "status": { "replicas": replicas("/status/replicas"), "selector": labels.join(",") },
    })
}
