//! Which groups, versions and resources are there?

use serde_json::{Value, json};

use super::reply::Reply;
use crate::api::{ApiError, Resource, resource};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Returns the server's version: that of the release it is modelled on.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": "v1.36.2",
        "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406", "gitTreeState": "clean",
        "buildDate": "2026-08-21T00:00:00Z", "goVersion": "go1.26.10", "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// Returns the versions of the core group.
pub(super) fn core_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

fn group_names() -> Vec<(&'static str, &'static str)> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for resource in resource::ALL
        .iter()
        .filter(|resource| !resource.group.is_empty())
    {
        if !names.contains(&(resource.group, resource.version)) {
            names.push((resource.group, resource.version));
        }
    }
    names
}

fn group_entry(name: &str, version: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

/// Returns all groups but the core one.
pub(super) fn groups() -> Value {
    let groups: Vec<Value> = group_names()
        .iter()
        .map(|(name, version)| group_entry(name, version))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// Returns one group.
pub(super) fn group(name: &str) -> Result<Value, ApiError> {
    let names = group_names();
    let (name, version) = names
        .iter()
        .find(|(group, _)| *group == name)
        .ok_or_else(ApiError::no_such_path)?;
    let mut entry = group_entry(name, version);
    entry["kind"] = json!("APIGroup");
    entry["apiVersion"] = json!("v1");
    Ok(entry)
}

/// Returns the resources of a group's version.
pub(super) fn resources(group: &str, version: &str) -> Result<Value, ApiError> {
    if !resource::has_group_version(group, version) {
        return Err(ApiError::no_such_path());
    }
    let mut list = Vec::new();
    for resource in of_group(group) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if resource.in_all {
            entry["categories"] = json!(["all"]);
        }
        list.push(entry);
        for subresource in resource.subresources {
            let (group, version, kind, verbs) = subresource_facts(resource, subresource);
            let mut entry = json!({
                "name": format!("{}/{subresource}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
            });
            if !version.is_empty() {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    let name = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut answer = json!({ "kind": "APIResourceList", "groupVersion": name, "resources": list });
    if !group.is_empty() {
        answer["apiVersion"] = json!("v1");
    }
    Ok(answer)
}

fn of_group(group: &str) -> impl Iterator<Item = &'static Resource> {
    resource::ALL
        .iter()
        .copied()
        .filter(move |resource| resource.group == group)
}

fn verbs(resource: &Resource) -> Vec<&'static str> {
    if !resource.stored {
        return vec!["create"];
    }
    let is_namespace = *resource == resource::NAMESPACES;
    VERBS
        .iter()
        .copied()
        .filter(|verb| !is_namespace || *verb != "deletecollection")
        .collect()
}

fn subresource_facts(
    resource: &Resource,
    subresource: &str,
) -> (&'static str, &'static str, &'static str, Vec<&'static str>) {
    match subresource {
        "eviction" => ("policy", "v1", "Eviction", vec!["create"]),
        "token" => (
            "authentication.k8s.io",
            "v1",
            "TokenRequest",
            vec!["create"],
        ),
        "scale" => ("autoscaling", "v1", "Scale", vec!["get", "patch", "update"]),
        "binding" => ("", "", "Binding", vec!["create"]),
        "log" => ("", "", "Pod", vec!["get"]),
        "finalize" => ("", "", "Namespace", vec!["update"]),
        _ => ("", "", resource.kind, vec!["get", "patch", "update"]),
    }
}

/// Returns all groups with their resources at once: the core group, or all others.
pub(super) fn aggregated(core: bool) -> Reply {
    let groups = if core {
        vec![("", "v1")]
    } else {
        group_names()
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, version)| aggregated_group(name, version))
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    Reply::json(200, &list)
        .typed(AGGREGATED)
        .with("cache-control", "public")
        .with("vary", "Accept")
}

fn aggregated_group(name: &str, version: &str) -> Value {
    let resources: Vec<Value> = of_group(name)
        .map(|resource| {
            let mut entry = json!({
                "resource": resource.plural,
                "responseKind": { "group": resource.group, "version": resource.version, "kind": resource.kind },
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": resource.singular,
                "verbs": verbs(resource),
            });
            if !resource.short_names.is_empty() {
                entry["shortNames"] = json!(resource.short_names);
            }
            if resource.in_all {
                entry["categories"] = json!(["all"]);
            }
            let subresources: Vec<Value> = resource
                .subresources
                .iter()
                .map(|subresource| {
                    let (group, version, kind, verbs) = subresource_facts(resource, subresource);
                    let kind = json!({ "group": group, "version": version, "kind": kind });
                    json!({ "subresource": subresource, "responseKind": kind, "verbs": verbs })
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = json!(subresources);
            }
            entry
        })
        .collect();
    let metadata = if name.is_empty() {
        json!({})
    } else {
        json!({ "name": name })
    };
    let version = json!({ "version": version, "resources": resources, "freshness": "Current" });
    json!({ "metadata": metadata, "versions": [version] })
}
