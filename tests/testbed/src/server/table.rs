//! Rows for `kubectl get`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::request::Request;
use crate::api::{Resource, object};

mod cells;

pub(super) use cells::Column;

/// Returns a table of objects.
pub(super) fn of(
    resource: &'static Resource,
    items: &[Arc<Value>],
    metadata: Value,
    request: &Request,
    with_columns: bool,
) -> Value {
    let with_object = request.query.get("includeObject") != Some("None");
    let rows: Vec<Value> = items
        .iter()
        .map(|item| row(resource, item, with_object))
        .collect();
    table(resource, metadata, rows, with_columns)
}

/// Returns a table of one object, as watches send it: columns come with the first alone.
pub(super) fn of_one(
    resource: &'static Resource,
    item: &Value,
    with_object: bool,
    with_columns: bool,
) -> Value {
    let metadata = json!({ "resourceVersion": object::text(item, "/metadata/resourceVersion") });
    table(
        resource,
        metadata,
        vec![row(resource, item, with_object)],
        with_columns,
    )
}

fn table(resource: &Resource, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Value {
    let columns: Vec<Value> = cells::columns(resource).iter().map(definition).collect();
    let columns = if with_columns {
        json!(columns)
    } else {
        Value::Null
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": if column.name == "Name" { "name" } else { "" },
        "description": "", "priority": column.priority,
    })
}

fn row(resource: &Resource, item: &Value, with_object: bool) -> Value {
    let object = if with_object {
        super::object_reply::metadata_only(item)
    } else {
        Value::Null
    };
    json!({ "cells": cells::of(resource, item), "object": object })
}
