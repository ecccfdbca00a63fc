//! Strategic merge patches: lists of things with names are merged by name.

use serde_json::{Map, Value};

/// Why a patch could not be merged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Unmergeable {
    /// An element without the key that its list is merged by.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoKey { element: String, key: &'static str },
    /// A `$patch` that is none of `replace`, `delete` and `merge`.
    #[error("Unknown patch type: {0}")]
    Directive(String),
}

/// Returns the key that a list is merged by, from the names of the list and of what holds it.
///
/// Lists that are not here are replaced as a whole, as are lists of plain values but `finalizers`.
pub(super) fn merge_key(holder: &str, list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "volumeDevices"
        | "resourceClaims"
        | "webhooks" => "name",
        "secrets" if holder == "ServiceAccount" => "name",
        "volumeMounts" => "mountPath",
        "ports" if holder == "containers" || holder == "initContainers" => "containerPort",
        "ports" => "port",
        "ownerReferences" => "uid",
        "conditions" | "addresses" => "type",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "taints" => "key",
        "matchConditions" => "name",
        _ => return None,
    })
}

/// Merges a patch into an object of a kind.
pub(super) fn merge(object: &mut Value, patch: &Value, kind: &str) -> Result<(), Unmergeable> {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return Ok(());
    };
    merge_map(object, patch, kind)
}

fn merge_map(
    target: &mut Value,
    patch: &Map<String, Value>,
    holder: &str,
) -> Result<(), Unmergeable> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(Unmergeable::Directive(other.to_owned())),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| kept.iter().any(|one| one == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !value.as_array().is_some_and(|gone| gone.contains(item)));
            }
        } else if key.starts_with('$') {
            // Other directives are read where they matter.
        } else if value.is_null() {
            map.remove(key);
        } else {
            let slot = map.entry(key.clone()).or_insert(Value::Null);
            merge_value(slot, value, holder, key)?;
        }
    }
    for (key, order) in patch {
        let Some(list) = key.strip_prefix("$setElementOrder/") else {
            continue;
        };
        if let (Some(items), Some(order)) = (
            map.get_mut(list).and_then(Value::as_array_mut),
            order.as_array(),
        ) {
            sort(items, order, merge_key(holder, list));
        }
    }
    Ok(())
}

fn merge_value(
    slot: &mut Value,
    value: &Value,
    holder: &str,
    key: &str,
) -> Result<(), Unmergeable> {
    match value {
        Value::Object(patch) => merge_map(slot, patch, key),
        Value::Array(patch) if key == "finalizers" => {
            let mut items = slot.as_array().cloned().unwrap_or_default();
            items.extend(
                patch
                    .iter()
                    .filter(|item| !items.contains(item))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            *slot = Value::Array(items);
            Ok(())
        }
        Value::Array(patch) => match merge_key(holder, key) {
            Some(by) => merge_list(slot, patch, key, by),
            None => {
                *slot = value.clone();
                Ok(())
            }
        },
        value => {
            *slot = value.clone();
            Ok(())
        }
    }
}

fn merge_list(
    slot: &mut Value,
    patch: &[Value],
    list: &str,
    by: &'static str,
) -> Result<(), Unmergeable> {
    let replaces = patch
        .iter()
        .any(|element| element["$patch"] == "replace" && element.get(by).is_none());
    let mut items = if replaces {
        Vec::new()
    } else {
        slot.as_array().cloned().unwrap_or_default()
    };
    for element in patch {
        let Some(map) = element.as_object() else {
            continue;
        };
        if map.get("$patch").and_then(Value::as_str) == Some("replace") && !map.contains_key(by) {
            continue;
        }
        let Some(id) = map.get(by) else {
            return Err(Unmergeable::NoKey {
                element: element.to_string(),
                key: by,
            });
        };
        if map.get("$patch").and_then(Value::as_str) == Some("delete") {
            items.retain(|item| item.get(by) != Some(id));
            continue;
        }
        match items.iter_mut().find(|item| item.get(by) == Some(id)) {
            Some(item) => merge_map(item, map, list)?,
            None => {
                let mut item = Value::Object(Map::new());
                merge_map(&mut item, map, list)?;
                items.push(item);
            }
        }
    }
    *slot = Value::Array(items);
    Ok(())
}

// Elements that the order names come in its order; the others keep theirs, after them.
fn sort(items: &mut [Value], order: &[Value], by: Option<&str>) {
    let id = |item: &Value| by.map_or_else(|| item.clone(), |by| item[by].clone());
    items.sort_by_key(|item| {
        order
            .iter()
            .position(|one| id(one) == id(item))
            .unwrap_or(usize::MAX)
    });
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(current: Value, patch: Value, expected: Value) {
        let mut object = current;
        merge(&mut object, &patch, "Pod").unwrap();
        assert_eq!(object, expected, "{patch}");
    }

    #[test]
    fn containers_merge_by_name() {
        check(
            json!({ "containers": [{ "name": "a", "image": "x" }, { "name": "b", "image": "y" }] }),
            json!({ "containers": [{ "name": "b", "image": "z" }, { "name": "c", "image": "w" }] }),
            json!({ "containers": [{ "name": "a", "image": "x" }, { "name": "b", "image": "z" }, { "name": "c", "image": "w" }] }),
        );
        check(
            json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
            json!({ "containers": [{ "name": "a", "$patch": "delete" }] }),
            json!({ "containers": [{ "name": "b" }] }),
        );
        check(
            json!({ "containers": [{ "name": "a", "env": [{ "name": "E", "value": "1" }] }] }),
            json!({ "containers": [{ "name": "a", "env": [{ "name": "F", "value": "2" }] }] }),
            json!({ "containers": [{ "name": "a", "env": [{ "name": "E", "value": "1" }, { "name": "F", "value": "2" }] }] }),
        );
    }

    #[test]
    fn the_order_can_be_set() {
        check(
            json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
            json!({ "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }], "containers": [{ "name": "a", "image": "x" }] }),
            json!({ "containers": [{ "name": "b" }, { "name": "a", "image": "x" }] }),
        );
    }

    #[test]
    fn null_removes_and_other_lists_are_replaced() {
        check(
            json!({ "metadata": { "labels": { "a": "1", "b": "2" } }, "args": ["x"] }),
            json!({ "metadata": { "labels": { "a": null } }, "args": ["y"] }),
            json!({ "metadata": { "labels": { "b": "2" } }, "args": ["y"] }),
        );
    }

    #[test]
    fn directives_replace_retain_and_delete() {
        check(
            json!({ "strategy": { "type": "RollingUpdate", "rollingUpdate": {} } }),
            json!({ "strategy": { "$retainKeys": ["type"], "type": "Recreate" } }),
            json!({ "strategy": { "type": "Recreate" } }),
        );
        check(
            json!({ "selector": { "a": "1" } }),
            json!({ "selector": { "$patch": "replace", "b": "2" } }),
            json!({ "selector": { "b": "2" } }),
        );
        check(
            json!({ "finalizers": ["a", "b"] }),
            json!({ "$deleteFromPrimitiveList/finalizers": ["a"] }),
            json!({ "finalizers": ["b"] }),
        );
    }

    #[test]
    fn an_element_needs_its_key() {
        let mut object = json!({ "containers": [] });
        let error = merge(
            &mut object,
            &json!({ "containers": [{ "image": "x" }] }),
            "Pod",
        )
        .unwrap_err();
        assert!(matches!(error, Unmergeable::NoKey { key: "name", .. }));
    }
}
