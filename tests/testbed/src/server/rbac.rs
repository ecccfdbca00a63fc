//! May this user do that?

use serde_json::Value;

use super::route::Attributes;
use crate::api::{Api, ApiError, Resource, User, object, resource};

/// Checks a request against the stored roles and bindings.
pub(crate) fn authorize(
    api: &Api,
    user: &User,
    wanted: &Attributes,
    path: &str,
) -> Result<(), ApiError> {
    if is_allowed(api, user, wanted, path) {
        return Ok(());
    }
    let name = &user.name;
    if !wanted.is_resource {
        let message = format!(
            "forbidden: User {name:?} cannot {} path {path:?}",
            wanted.verb
        );
        return Err(ApiError::new(403, "Forbidden", message).with_details(serde_json::json!({})));
    }
    let what = match wanted.subresource.as_str() {
        "" => wanted.plural.clone(),
        subresource => format!("{}/{subresource}", wanted.plural),
    };
    let place = match wanted.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {name:?} cannot {} resource {what:?} in API group {:?} {place}",
        wanted.verb, wanted.group
    );
    Err(forbidden(wanted, &why))
}

fn forbidden(wanted: &Attributes, why: &str) -> ApiError {
    if let Some(resource) = resource::find(&wanted.group, &wanted.version, &wanted.plural) {
        return ApiError::forbidden(resource, &wanted.name, why);
    }
    let qualified = if wanted.group.is_empty() {
        wanted.plural.clone()
    } else {
        format!("{}.{}", wanted.plural, wanted.group)
    };
    ApiError::new(403, "Forbidden", format!("{qualified} is forbidden: {why}"))
        .with_details(serde_json::json!({ "kind": wanted.plural, "group": wanted.group }))
}

/// Says whether a user may do something.
pub(crate) fn is_allowed(api: &Api, user: &User, wanted: &Attributes, path: &str) -> bool {
    let in_group = |group: &str| user.groups.iter().any(|g| g == group);
    if in_group("system:masters") || is_public(wanted, path) {
        return true;
    }
    if in_group("system:authenticated") && is_basic(wanted, path) {
        return true;
    }
    rules_of(api, user, &wanted.namespace)
        .iter()
        .any(|rule| permits(rule, wanted, path))
}

// The role system:public-info-viewer, bound to everybody.
fn is_public(wanted: &Attributes, path: &str) -> bool {
    wanted.verb == "get"
        && ["/healthz", "/livez", "/readyz", "/version"].contains(&path.trim_end_matches('/'))
}

// The roles system:discovery and system:basic-user, bound to all who have logged in.
fn is_basic(wanted: &Attributes, path: &str) -> bool {
    if !wanted.is_resource {
        let open = [
            "/api", "/apis", "/openapi", "/livez", "/readyz", "/healthz", "/version",
        ];
        return wanted.verb == "get"
            && open
                .iter()
                .any(|p| path == *p || path.starts_with(&format!("{p}/")));
    }
    wanted.verb == "create"
        && [
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "selfsubjectreviews",
        ]
        .contains(&wanted.plural.as_str())
}

/// Returns the rules that hold for a user in a namespace; across the cluster for the empty one.
pub(crate) fn rules_of(api: &Api, user: &User, namespace: &str) -> Vec<Value> {
    let mut rules = Vec::new();
    for binding in api.list(&resource::CLUSTER_ROLE_BINDINGS, None) {
        if binds(&binding, user, "") {
            rules.extend(role_rules(
                api,
                &resource::CLUSTER_ROLES,
                "",
                object::text(&binding, "/roleRef/name"),
            ));
        }
    }
    if namespace.is_empty() {
        return rules;
    }
    for binding in api.list(&resource::ROLE_BINDINGS, Some(namespace)) {
        if binds(&binding, user, namespace) {
            let name = object::text(&binding, "/roleRef/name");
            rules.extend(match object::text(&binding, "/roleRef/kind") {
                "ClusterRole" => role_rules(api, &resource::CLUSTER_ROLES, "", name),
                _ => role_rules(api, &resource::ROLES, namespace, name),
            });
        }
    }
    rules
}

fn role_rules(api: &Api, resource: &'static Resource, namespace: &str, name: &str) -> Vec<Value> {
    api.get(resource, namespace, name)
        .map(|role| object::list(&role, "/rules").to_vec())
        .unwrap_or_default()
}

fn binds(binding: &Value, user: &User, namespace: &str) -> bool {
    object::list(binding, "/subjects").iter().any(|subject| {
        let name = subject["name"].as_str().unwrap_or("");
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or(namespace);
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn permits(rule: &Value, wanted: &Attributes, path: &str) -> bool {
    let has = |key: &str, value: &str| {
        object::list(rule, &format!("/{key}"))
            .iter()
            .any(|one| one == "*" || one.as_str() == Some(value))
    };
    if !has("verbs", wanted.verb) {
        return false;
    }
    if !wanted.is_resource {
        return object::list(rule, "/nonResourceURLs")
            .iter()
            .filter_map(Value::as_str)
            .any(|pattern| {
                pattern == path
                    || pattern
                        .strip_suffix('*')
                        .is_some_and(|prefix| path.starts_with(prefix))
            });
    }
    let (plural, subresource) = (&wanted.plural, &wanted.subresource);
    let fits = if subresource.is_empty() {
        has("resources", plural)
    } else {
        has("resources", &format!("{plural}/{subresource}"))
            || has("resources", &format!("*/{subresource}"))
    };
    let names = object::list(rule, "/resourceNames");
    let named = names.is_empty()
        || names
            .iter()
            .any(|name| !wanted.name.is_empty() && *name == *wanted.name);
    fits && named && has("apiGroups", &wanted.group)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(rule: Value, wanted: &str, name: &str, expected: bool) {
        let (verb, resource) = wanted.split_once(' ').unwrap();
        let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let verb = ["get", "list", "create"]
            .into_iter()
            .find(|v| *v == verb)
            .unwrap();
        let wanted = Attributes {
            verb,
            plural: plural.into(),
            subresource: subresource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        };
        assert_eq!(permits(&rule, &wanted, ""), expected, "{rule}");
    }

    #[test]
    fn a_rule_permits_what_it_names() {
        let rule = |resources: &[&str], verbs: &[&str], names: &[&str]| json!({ "apiGroups": [""], "resources": resources, "verbs": verbs, "resourceNames": names });
        check(rule(&["pods"], &["get"], &[]), "get pods", "a", true);
        check(rule(&["pods"], &["get"], &[]), "list pods", "", false);
        check(
            rule(&["pods"], &["*"], &[]),
            "create pods/eviction",
            "a",
            false,
        );
        check(
            rule(&["pods/eviction"], &["create"], &[]),
            "create pods/eviction",
            "a",
            true,
        );
        check(
            rule(&["*/eviction"], &["create"], &[]),
            "create pods/eviction",
            "a",
            true,
        );
        check(
            rule(&["secrets"], &["get"], &["mine"]),
            "get secrets",
            "mine",
            true,
        );
        check(
            rule(&["secrets"], &["get"], &["mine"]),
            "get secrets",
            "other",
            false,
        );
        check(
            rule(&["secrets"], &["list"], &["mine"]),
            "list secrets",
            "",
            false,
        );
    }
}
