//! What does a URL mean?

use super::query::{Query, decode};
use crate::api::{ApiError, Resource, resource};

/// What a request is about, in the terms of RBAC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whether it is about a resource at all.
    pub(crate) is_resource: bool,
}

impl Attributes {
    /// Reads a method, a path and a query.
    pub(crate) fn read(method: &str, path: &str, query: &Query) -> Self {
        let parts: Vec<String> = path
            .trim_start_matches('/')
            .split('/')
            .map(|part| decode(part, false))
            .collect();
        let mut parts = parts.into_iter();
        let mut route = Self::default();
        let verb = match method {
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "get",
        };
        route.verb = verb;
        match parts.next().as_deref() {
            Some("api") => {}
            Some("apis") => route.group = parts.next().unwrap_or_default(),
            _ => return route,
        }
        route.version = parts.next().unwrap_or_default();
        let mut rest: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        let watches = rest.first().is_some_and(|part| part == "watch");
        if watches {
            rest.remove(0);
        }
        // A namespace is a prefix of what lies in it, and an object with subresources of its own.
        let own = |part: Option<&String>| part.is_some_and(|p| p == "status" || p == "finalize");
        if rest.first().is_some_and(|part| part == "namespaces")
            && rest.len() > 2
            && !own(rest.get(2))
        {
            route.namespace = rest.remove(1);
            rest.remove(0);
        }
        let mut rest = rest.into_iter();
        let Some(plural) = rest.next() else {
            return route;
        };
        route.is_resource = true;
        route.plural = plural;
        route.name = rest.next().unwrap_or_default();
        route.subresource = rest.collect::<Vec<_>>().join("/");
        if route.plural == "namespaces" && route.group.is_empty() {
            route.namespace.clone_from(&route.name);
        }
        route.verb = match verb {
            "get" if watches || (route.name.is_empty() && query.flag("watch")) => "watch",
            "get" if route.name.is_empty() => "list",
            "delete" if route.name.is_empty() => "deletecollection",
            verb => verb,
        };
        route
    }

    /// Returns the namespace objects are stored in: none for cluster-scoped ones.
    pub(crate) fn storage_namespace(&self, resource: &Resource) -> &str {
        if resource.namespaced {
            &self.namespace
        } else {
            ""
        }
    }

    /// Returns the resource, or why there is none.
    pub(crate) fn resource(&self) -> Result<&'static Resource, ApiError> {
        if let Some(resource) = resource::find(&self.group, &self.version, &self.plural) {
            return Ok(resource);
        }
        let what = if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        };
        if UNMODELLED_GROUPS.contains(&self.group.as_str())
            || UNMODELLED_RESOURCES.contains(&self.plural.as_str())
        {
            return Err(ApiError::unmodelled(&what));
        }
        if resource::has_group_version(&self.group, &self.version) {
            return Err(ApiError::no_such_resource());
        }
        Err(ApiError::no_such_path())
    }

    /// Checks that the resource has the subresource.
    pub(crate) fn check_subresource(&self, resource: &Resource) -> Result<(), ApiError> {
        if self.subresource.is_empty() || resource.has(&self.subresource) {
            return Ok(());
        }
        let sub = self.subresource.split('/').next().unwrap_or("");
        if UNMODELLED_SUBRESOURCES.contains(&(resource.plural, sub)) {
            return Err(ApiError::unmodelled(&format!("{}/{sub}", resource.plural)));
        }
        Err(ApiError::no_such_resource())
    }
}

// What a real server has and this one has not: a test that needs it must not take a 404 for the truth.
const UNMODELLED_GROUPS: &[&str] = &[
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "autoscaling",
    "certificates.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];
const UNMODELLED_RESOURCES: &[&str] = &[
    "bindings",
    "componentstatuses",
    "ingressclasses",
    "ingresses",
    "localsubjectaccessreviews",
    "persistentvolumeclaims",
    "persistentvolumes",
    "podtemplates",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];
const UNMODELLED_SUBRESOURCES: &[(&str, &str)] = &[
    ("nodes", "proxy"),
    ("pods", "attach"),
    ("pods", "exec"),
    ("pods", "portforward"),
    ("pods", "proxy"),
    ("pods", "resize"),
    ("services", "proxy"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, uri: &str, expected: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let a = Attributes::read(method, path, &Query::parse(query));
        let read = format!(
            "{} {}|{}|{}|{}|{}",
            a.verb, a.group, a.plural, a.namespace, a.name, a.subresource
        );
        assert_eq!(read, expected, "{method} {uri}");
    }

    #[test]
    fn a_path_names_a_resource() {
        check("GET", "/api/v1/pods", "list |pods|||");
        check("GET", "/api/v1/pods?watch=true", "watch |pods|||");
        check(
            "GET",
            "/api/v1/namespaces/a/pods/b?watch=1",
            "get |pods|a|b|",
        );
        check("GET", "/api/v1/watch/namespaces/a/pods", "watch |pods|a||");
        check(
            "POST",
            "/api/v1/namespaces/a/pods/b/eviction",
            "create |pods|a|b|eviction",
        );
        check("GET", "/api/v1/namespaces/a", "get |namespaces|a|a|");
        check(
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update |namespaces|a|a|finalize",
        );
        check("GET", "/api/v1/namespaces", "list |namespaces|||");
        check(
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments",
            "deletecollection apps|deployments|a||",
        );
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            "patch apps|deployments|a|b|scale",
        );
        check("GET", "/version", "get ||||");
    }

    #[test]
    fn what_is_not_modelled_is_told_from_what_does_not_exist() {
        let code = |uri: &str| {
            let route = Attributes::read("GET", uri, &Query::default());
            route
                .resource()
                .map_err(|error| (error.code, error.plain))
                .map(|r| r.plural)
        };
        assert_eq!(code("/api/v1/pods"), Ok("pods"));
        assert_eq!(code("/api/v1/persistentvolumes"), Err((501, false)));
        assert_eq!(
            code("/apis/storage.k8s.io/v1/storageclasses"),
            Err((501, false))
        );
        assert_eq!(code("/api/v1/nosuch"), Err((404, false)));
        assert_eq!(code("/apis/nosuch/v1/things"), Err((404, true)));
    }
}
