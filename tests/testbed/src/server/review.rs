//! Requests that are answered and not stored: reviews and tokens.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Request;
use super::route::Attributes;
use super::{Server, rbac};
use crate::api::{Api, ApiError, Cause, Resource, User, object, resource, user_info};

// The bounds of a token's life, in seconds.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const USUAL: i64 = 3600;

/// Answers a review.
pub(super) fn answer(
    api: &Api,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    if request.attributes.verb != "create" {
        return Err(ApiError::method_not_allowed());
    }
    let mut review = request.json(resource.kind)?;
    let status = match resource.plural {
        "selfsubjectreviews" => {
            review["metadata"] = json!({ "creationTimestamp": object::time(Timestamp::now()) });
            json!({ "userInfo": user_info(&request.user) })
        }
        "selfsubjectaccessreviews" => access(api, &request.user, &review["spec"]),
        "subjectaccessreviews" => access(api, &subject(&review["spec"]), &review["spec"]),
        "selfsubjectrulesreviews" => {
            rules(api, &request.user, object::text(&review, "/spec/namespace"))
        }
        other => return Err(ApiError::unmodelled(other)),
    };
    review["kind"] = json!(resource.kind);
    review["apiVersion"] = json!(resource.api_version());
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    review["status"] = status;
    Ok(Reply::json(201, &review))
}

fn subject(spec: &Value) -> User {
    let groups = object::list(spec, "/groups")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    User {
        name: object::text(spec, "/user").to_owned(),
        groups,
        ..User::default()
    }
}

fn access(api: &Api, user: &User, spec: &Value) -> Value {
    let (wanted, path) = match spec.get("resourceAttributes") {
        Some(attributes) => {
            let text = |key: &str| attributes[key].as_str().unwrap_or("").to_owned();
            let verbs = [
                "get",
                "list",
                "watch",
                "create",
                "update",
                "patch",
                "delete",
                "deletecollection",
            ];
            // A verb that no rule can name is one that only `*` permits.
            let verb = verbs
                .into_iter()
                .find(|verb| *verb == text("verb"))
                .unwrap_or("*");
            let wanted = Attributes {
                verb,
                group: text("group"),
                version: text("version"),
                plural: text("resource"),
                subresource: text("subresource"),
                namespace: text("namespace"),
                name: text("name"),
                is_resource: true,
            };
            (wanted, String::new())
        }
        None => {
            let path = object::text(spec, "/nonResourceAttributes/path").to_owned();
            (
                Attributes {
                    verb: "get",
                    ..Attributes::default()
                },
                path,
            )
        }
    };
    json!({ "allowed": rbac::is_allowed(api, user, &wanted, &path) })
}

fn rules(api: &Api, user: &User, namespace: &str) -> Value {
    let rules = if user.groups.iter().any(|group| group == "system:masters") {
        vec![json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] })]
    } else {
        rbac::rules_of(api, user, namespace)
    };
    let (paths, resources): (Vec<Value>, Vec<Value>) = rules
        .into_iter()
        .partition(|rule| !rule["nonResourceURLs"].is_null());
    json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false })
}

/// Answers a TokenRequest.
pub(super) fn token(server: &Server, request: &Request) -> Result<Reply, ApiError> {
    let mut body = request.json("TokenRequest")?;
    let seconds = object::number(&body, "/spec/expirationSeconds").unwrap_or(USUAL);
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        let why = if seconds < SHORTEST {
            "may not specify a duration less than 10 minutes"
        } else {
            "may not specify a duration larger than 2^32 seconds"
        };
        let cause = Cause::new(
            "FieldValueInvalid",
            format!("Invalid value: {seconds}: {why}"),
            "spec.expirationSeconds",
        );
        return Err(ApiError::invalid_kind(
            "authentication.k8s.io",
            "TokenRequest",
            "",
            &[cause],
        ));
    }
    let (namespace, name) = (&request.attributes.namespace, &request.attributes.name);
    let (token, expires) = server
        .tokens
        .service_account(&server.api, namespace, name, seconds)?;
    let account = server.api.get(&resource::SERVICE_ACCOUNTS, namespace, name);
    let uid = account
        .map(|account| object::uid(&account).to_owned())
        .unwrap_or_default();
    body["kind"] = json!("TokenRequest");
    body["apiVersion"] = json!("authentication.k8s.io/v1");
    body["metadata"] = json!({
        "name": name, "namespace": namespace, "uid": uid, "creationTimestamp": object::time(Timestamp::now()),
    });
    body["spec"]["expirationSeconds"] = json!(seconds);
    if object::list(&body, "/spec/audiences").is_empty() {
        body["spec"]["audiences"] = json!(["https://kubernetes.default.svc.cluster.local"]);
    }
    if body["spec"].get("boundObjectRef").is_none() {
        body["spec"]["boundObjectRef"] = Value::Null;
    }
    body["status"] = json!({ "token": token, "expirationTimestamp": object::time(expires) });
    Ok(Reply::json(201, &body))
}
