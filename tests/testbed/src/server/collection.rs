//! Lists: selectors, pages, revisions.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Request;
use super::{Server, object_reply};
use crate::api::{ApiError, Resource, object};

// How long a list waits for a revision that is not there yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// Where a page starts: the revision of the first page, and the key before the next object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

impl Continue {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token must serialise"))
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let invalid = |why: String| {
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|e| invalid(e.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))
    }
}

/// Answers a list.
pub(super) async fn list(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let (labels, fields) = request.selectors(resource)?;
    let version = request
        .resource_version()
        .map_err(|error| ApiError::bad_request(format!("invalid resource version: {error}")))?;
    let limit = request
        .query
        .whole("limit")?
        .filter(|limit| *limit > 0)
        .map(|limit| limit as usize);
    let token = request.query.get("continue");
    if token.is_some() && version.is_some_and(|version| version != 0) {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let token = token.map(Continue::decode).transpose()?;
    wait_for(server, version.unwrap_or(0)).await?;

    let is_exact = request.query.get("resourceVersionMatch") == Some("Exact");
    let namespace = Some(request.namespace(resource)).filter(|namespace| !namespace.is_empty());
    let (mut items, revision) = match (&token, version) {
        (Some(token), _) if token.rv >= 0 => {
            let revision = token.rv as u64;
            let items = server.api.store.list_at(resource, namespace, revision);
            (items.map_err(|_| expired_page(token))?, revision)
        }
        (None, Some(version)) if is_exact => {
            let items = server
                .api
                .store
                .list_at(resource, namespace, version)
                .map_err(|_| {
                    ApiError::new(
                        410,
                        "Expired",
                        "The resourceVersion for the provided list is too old.",
                    )
                })?;
            (items, version)
        }
        _ => server.api.store.list(resource, namespace),
    };
    items.retain(|item| labels.selects(item) && fields.selects(resource, item));
    if let Some(token) = &token {
        items.retain(|item| *key(item) > *token.start.trim_end_matches('\0'));
    }
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    // A list from the watch cache is not cut into pages.
    let from_cache = version == Some(0) && token.is_none();
    if let Some(limit) = limit.filter(|limit| *limit < items.len() && !from_cache) {
        let left = items.len() - limit;
        items.truncate(limit);
        let start = items.last().map(|last| key(last)).unwrap_or_default();
        let next = Continue {
            v: "meta.k8s.io/v1".into(),
            rv: revision as i64,
            start: format!("{start}\0"),
        };
        metadata["continue"] = json!(next.encode());
        if labels.is_empty() && fields.is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    object_reply::many(resource, &items, metadata, request)
}

fn key(item: &Value) -> String {
    format!("{}/{}", object::namespace(item), object::name(item))
}

async fn wait_for(server: &Arc<Server>, version: u64) -> Result<(), ApiError> {
    let mut changes = server.api.subscribe();
    let deadline = tokio::time::Instant::now() + FUTURE_WAIT;
    while server.api.store.revision() < version {
        if tokio::time::timeout_at(deadline, changes.next())
            .await
            .is_err()
        {
            let current = server.api.store.revision();
            let message =
                format!("Timeout: Too large resource version: {version}, current: {current}");
            let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
            let mut error =
                ApiError::new(504, "Timeout", message).with_details(json!({ "causes": [cause] }));
            error.retry_after = Some(1);
            return Err(error);
        }
    }
    Ok(())
}

fn expired_page(token: &Continue) -> ApiError {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    let mut error = ApiError::new(410, "Expired", message);
    error.continue_token = Some(
        Continue {
            rv: -1,
            ..token.clone()
        }
        .encode(),
    );
    error
}
