//! As much of OpenAPI v3 as kubectl needs to create and apply: who validates fields? The server does.

use serde_json::{Map, Value, json};

use super::reply::Reply;
use super::request::Request;
use crate::api::{ApiError, Resource, resource};

// The documents never change while the process runs, so any fixed text will do.
const HASH: &str = "TESTBED";
const MODIFIED: &str = "Fri, 21 Aug 2026 00:00:00 GMT";

/// Answers a path below `/openapi/v3`.
pub(super) fn v3(rest: &[&str], request: &Request) -> Result<Reply, ApiError> {
    let document = match rest {
        [] if !request.header("if-modified-since").is_empty() => {
            return Ok(Reply::text(304, "").with("last-modified", MODIFIED));
        }
        [] => index(),
        ["api", version] => group("", version)?,
        ["apis", name, version] => group(name, version)?,
        _ => return Err(ApiError::no_such_path()),
    };
    let reply = Reply::json(200, &document);
    // The real server calls its index plain text.
    Ok(if rest.is_empty() {
        reply
            .typed("text/plain; charset=utf-8")
            .with("last-modified", MODIFIED)
    } else {
        reply
    })
}

fn index() -> Value {
    let mut paths = Map::new();
    for resource in resource::ALL {
        let path = base(resource);
        let url = format!("/openapi/v3/{path}?hash={HASH}");
        paths
            .entry(path)
            .or_insert_with(|| json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

fn base(resource: &Resource) -> String {
    match resource.group {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}

fn group(name: &str, version: &str) -> Result<Value, ApiError> {
    let mut paths = Map::new();
    let members = resource::ALL
        .iter()
        .filter(|r| r.group == name && r.version == version);
    for resource in members {
        let place = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!("/{}/{place}{}/{{name}}", base(resource), resource.plural);
        let kind =
            json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
            .iter()
            .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string", "uniqueItems": true } }))
            .collect();
        paths.insert(
            path,
            json!({ "patch": {
                "operationId": format!("patch{}", resource.kind),
                "parameters": parameters,
                "responses": { "200": { "description": "OK" } },
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": kind,
            } }),
        );
    }
    if paths.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let info = json!({ "title": "Kubernetes", "version": "v1.36.2" });
    Ok(json!({ "openapi": "3.0.0", "info": info, "paths": paths, "components": { "schemas": {} } }))
}
