//! Objects in the form the client asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::accept::{self, Form};
use super::reply::Reply;
use super::request::Request;
use super::{event, table};
use crate::api::{ApiError, Resource, object, resource};

/// Returns one object.
pub(super) fn one(
    status: u16,
    resource: &'static Resource,
    stored: &Value,
    request: &Request,
) -> Result<Reply, ApiError> {
    Ok(match accept::form(request.header("accept"))? {
        Form::Object | Form::Discovery => Reply::json(status, &shown(resource, stored)),
        Form::Metadata => Reply::json(status, &metadata_only(stored)),
        Form::Table => {
            let version = object::text(stored, "/metadata/resourceVersion");
            let metadata = json!({ "resourceVersion": version });
            Reply::json(
                status,
                &table::of(
                    resource,
                    &[Arc::new(stored.clone())],
                    metadata,
                    request,
                    true,
                ),
            )
        }
    })
}

/// Returns a list of objects with the list's own metadata.
pub(super) fn many(
    resource: &'static Resource,
    items: &[Arc<Value>],
    metadata: Value,
    request: &Request,
) -> Result<Reply, ApiError> {
    Ok(match accept::form(request.header("accept"))? {
        Form::Object | Form::Discovery => {
            let items: Vec<Value> = items
                .iter()
                .map(|item| without_kind(shown(resource, item)))
                .collect();
            let (kind, version) = (format!("{}List", resource.kind), resource.api_version());
            Reply::json(
                200,
                &json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items }),
            )
        }
        Form::Metadata => {
            let items: Vec<Value> = items.iter().map(|item| metadata_only(item)).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
            });
            Reply::json(200, &list)
        }
        Form::Table => Reply::json(200, &table::of(resource, items, metadata, request, true)),
    })
}

/// Returns a stored object as its API shows it.
pub(super) fn shown(resource: &Resource, stored: &Value) -> Value {
    if *resource == resource::EVENTS_V1 {
        event::to_v1(stored)
    } else {
        stored.clone()
    }
}

/// Returns the object's metadata as an object of its own.
pub(super) fn metadata_only(stored: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"] })
}

fn without_kind(mut item: Value) -> Value {
    if let Some(map) = item.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    item
}
