//! Webhooks as they are registered: which requests do they want?

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::conditions::Condition;
use super::{Endpoint, is_exempt};
use crate::api::write::Target;
use crate::api::{Api, ApiError, LabelSelector, Resource, object, resource};

/// One webhook of one configuration.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) timeout_seconds: u64,
    pub(super) ignores_failure: bool,
    pub(super) reinvoked: bool,
    rules: Vec<Value>,
    namespace_selector: LabelSelector,
    object_selector: LabelSelector,
    conditions: Vec<Condition>,
}

/// Returns the webhooks of all configurations in the order they are called, for requests about a resource.
pub(super) fn of(api: &Api, configurations: &'static Resource, about: &Resource) -> Vec<Webhook> {
    if is_exempt(about) {
        return Vec::new();
    }
    let configurations = api.list(configurations, None);
    configurations
        .iter()
        .flat_map(|one| {
            object::list(one, "/webhooks")
                .iter()
                .map(|hook| read(api, hook))
        })
        .collect()
}

fn read(api: &Api, hook: &Value) -> Webhook {
    let selector = |key: &str| LabelSelector::from_object(&hook[key]).unwrap_or_default();
    Webhook {
        name: hook["name"].as_str().unwrap_or("").to_owned(),
        endpoint: endpoint(api, &hook["clientConfig"]),
        timeout_seconds: hook["timeoutSeconds"].as_u64().unwrap_or(10),
        ignores_failure: hook["failurePolicy"] == "Ignore",
        reinvoked: hook["reinvocationPolicy"] == "IfNeeded",
        rules: object::list(hook, "/rules").to_vec(),
        namespace_selector: selector("namespaceSelector"),
        object_selector: selector("objectSelector"),
        conditions: object::list(hook, "/matchConditions")
            .iter()
            .map(|condition| Condition {
                expression: object::text(condition, "/expression").to_owned(),
            })
            .collect(),
    }
}

fn endpoint(api: &Api, client: &Value) -> Endpoint {
    let ca = client["caBundle"]
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    let Some(service) = client.get("service").filter(|service| service.is_object()) else {
        return Endpoint::at_url(client["url"].as_str().unwrap_or(""), ca);
    };
    let text = |key: &str| service[key].as_str().unwrap_or("").to_owned();
    let port = service["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(443);
    let (namespace, name) = (text("namespace"), text("name"));
    let exists = api.get(&resource::SERVICES, &namespace, &name).is_some();
    Endpoint::at_service(&namespace, &name, port, &text("path"), ca, exists)
}

impl Webhook {
    /// Says whether the webhook is to be asked about a write.
    pub(super) fn wants(
        &self,
        api: &Api,
        target: &Target<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let is_selected = self.rules.iter().any(|rule| fits(rule, operation, target))
            && self.wants_namespace(api, target, object)
            && (self.object_selector.is_empty()
                || self.object_selector.selects(object)
                || old.is_some_and(|old| self.object_selector.selects(old)));
        if !is_selected {
            return Ok(false);
        }
        let programs = &api.webhooks.programs;
        match programs.hold(&self.conditions, target, object, old) {
            Ok(held) => Ok(held),
            Err(_) if self.ignores_failure => Ok(false),
            Err(why) => Err(ApiError::forbidden(
                target.resource,
                object::name(object),
                &why,
            )),
        }
    }

    fn wants_namespace(&self, api: &Api, target: &Target<'_>, object: &Value) -> bool {
        if self.namespace_selector.is_empty() {
            return true;
        }
        // A namespace is judged by its own labels, as they will be; other cluster-scoped objects by none.
        let labels: BTreeMap<String, String> = match target.namespace {
            "" if *target.resource == resource::NAMESPACES => object::labels(object),
            "" => return true,
            namespace => api.namespace_labels(namespace),
        };
        self.namespace_selector.matches(&labels)
    }
}

fn fits(rule: &Value, operation: &str, target: &Target<'_>) -> bool {
    let resource = target.resource;
    let has = |key: &str, value: &str| {
        object::list(rule, &format!("/{key}"))
            .iter()
            .any(|one| one == "*" || one.as_str() == Some(value))
    };
    let scope = match rule["scope"].as_str().unwrap_or("*") {
        "Namespaced" => resource.namespaced,
        "Cluster" => !resource.namespaced,
        _ => true,
    };
    let named = object::list(rule, "/resources")
        .iter()
        .filter_map(Value::as_str)
        .any(|wanted| {
            let (plural, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            (plural == "*" || plural == resource.plural)
                && (subresource == target.subresource
                    || (subresource == "*" && wanted.contains('/')))
        });
    scope
        && named
        && has("operations", operation)
        && has("apiGroups", resource.group)
        && has("apiVersions", resource.version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Options, User};

    #[track_caller]
    fn check(resources: &[&str], scope: &str, subresource: &str, expected: bool) {
        let rule = json!({
            "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": resources, "scope": scope,
        });
        let (options, user) = (Options::default(), User::admin());
        let target = Target {
            resource: &resource::PODS,
            namespace: "a",
            name: "",
            subresource,
            options: &options,
            user: &user,
        };
        assert_eq!(fits(&rule, "CREATE", &target), expected, "{rule}");
        assert!(!fits(&rule, "UPDATE", &target));
    }

    #[test]
    fn a_rule_names_resources_and_subresources() {
        check(&["pods"], "*", "", true);
        check(&["pods"], "*", "ephemeralcontainers", false);
        check(&["pods/*"], "*", "ephemeralcontainers", true);
        check(&["*"], "*", "", true);
        check(&["*"], "*", "ephemeralcontainers", false);
        check(&["*/*"], "*", "ephemeralcontainers", true);
        check(&["deployments"], "*", "", false);
        check(&["pods"], "Cluster", "", false);
        check(&["pods"], "Namespaced", "", true);
    }
}
