//! Server-side apply: who has applied which field?
//!
//! An approximation of managed fields. What each manager applied last is remembered beside the objects,
//! so that another's apply of a different value conflicts and a field that its only manager leaves out
//! is removed. Writes other than apply own nothing here, and objects show no `managedFields`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::strategic;
use crate::api::{ApiError, Resource, object};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Item { by: &'static str, id: Id },
}

/// What tells an element from the others of its list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Id(Value);

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.to_string().cmp(&other.0.to_string())
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

type Path = Vec<Step>;
type Applied = BTreeMap<String, BTreeSet<Path>>;

/// The fields applied so far, by the uid of the object: a cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners(Arc<Mutex<HashMap<String, Applied>>>);

impl Owners {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Applied>> {
        self.0
            .lock()
            .expect("no holder of the owners' lock must panic")
    }

    /// Returns the object as an apply by a manager makes it, or the conflict.
    pub(crate) fn apply(
        &self,
        resource: &Resource,
        manager: &str,
        force: bool,
        current: &Value,
        wanted: &Value,
    ) -> Result<Value, ApiError> {
        let applied = self
            .lock()
            .get(object::uid(current))
            .cloned()
            .unwrap_or_default();
        let paths = paths(resource.kind, wanted);
        let conflicts: Vec<(&String, &Path)> = applied
            .iter()
            .filter(|(other, _)| *other != manager)
            .flat_map(|(other, theirs)| theirs.intersection(&paths).map(move |path| (other, path)))
            .filter(|(_, path)| find(current, path) != find(wanted, path))
            .collect();
        if !conflicts.is_empty() && !force {
            return Err(conflict(&conflicts));
        }
        let mut next = current.clone();
        for path in applied
            .get(manager)
            .into_iter()
            .flatten()
            .filter(|path| !paths.contains(*path))
        {
            let is_shared = applied
                .iter()
                .any(|(other, theirs)| other != manager && theirs.contains(path));
            if !is_shared {
                remove(&mut next, path);
            }
        }
        strategic::merge(&mut next, wanted, resource.kind)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        Ok(next)
    }

    /// Remembers what a manager has applied. `before` is the object as the others left it: fields that the
    /// manager changed by force are theirs no longer, those on whose value they agree are shared.
    pub(crate) fn remember(
        &self,
        resource: &Resource,
        manager: &str,
        wanted: &Value,
        before: &Value,
    ) {
        let paths = paths(resource.kind, wanted);
        let mut all = self.lock();
        let applied = all.entry(object::uid(before).to_owned()).or_default();
        for (_, theirs) in applied.iter_mut().filter(|(other, _)| *other != manager) {
            theirs.retain(|path| !paths.contains(path) || find(before, path) == find(wanted, path));
        }
        applied.insert(manager.to_owned(), paths);
    }
}

// The leaves of what is applied, but not what identifies the object.
fn paths(kind: &str, wanted: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    collect(kind, wanted, &mut Vec::new(), &mut found);
    let identity = |path: &Path| {
        let fields: Vec<&str> = path
            .iter()
            .map(|s| {
                if let Step::Field(name) = s {
                    name.as_str()
                } else {
                    ""
                }
            })
            .collect();
        matches!(
            fields.as_slice(),
            ["apiVersion" | "kind"] | ["metadata", "name" | "namespace"]
        )
    };
    found.retain(|path| !identity(path));
    found
}

fn collect(holder: &str, value: &Value, at: &mut Path, found: &mut BTreeSet<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                at.push(Step::Field(key.clone()));
                match (value, strategic::merge_key(holder, key)) {
                    (Value::Array(items), Some(by)) => {
                        for item in items {
                            at.push(Step::Item {
                                by,
                                id: Id(item[by].clone()),
                            });
                            collect(key, item, at, found);
                            at.pop();
                        }
                    }
                    _ => collect(key, value, at, found),
                }
                at.pop();
            }
        }
        _ => {
            found.insert(at.clone());
        }
    }
}

fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item { by, id } => value.as_array()?.iter().find(|item| item[*by] == id.0),
    })
}

fn remove(value: &mut Value, path: &[Step]) {
    let Some((last, before)) = path.split_last() else {
        return;
    };
    let mut value = value;
    for step in before {
        let next = match step {
            Step::Field(name) => value.get_mut(name),
            Step::Item { by, id } => value
                .as_array_mut()
                .and_then(|items| items.iter_mut().find(|item| item[*by] == id.0)),
        };
        let Some(next) = next else { return };
        value = next;
    }
    match last {
        Step::Field(name) => {
            if let Some(map) = value.as_object_mut() {
                map.remove(name);
            }
        }
        Step::Item { by, id } => {
            if let Some(items) = value.as_array_mut() {
                items.retain(|item| item[*by] != id.0);
            }
        }
    }
}

fn spelled(path: &Path) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Item { by, id } => format!("[{by}={}]", id.0),
        })
        .collect()
}

fn conflict(conflicts: &[(&String, &Path)]) -> ApiError {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            let message = format!("conflict with {manager:?}");
            json!({ "reason": "FieldManagerConflict", "message": message, "field": spelled(path) })
        })
        .collect();
    let count = conflicts.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = Vec::new();
    for (manager, path) in conflicts {
        text.push(format!("conflict with {manager:?}: {}", spelled(path)));
    }
    ApiError::new(
        409,
        "Conflict",
        format!(
            "Apply failed with {count} conflict{plural}: {}",
            text.join("\n")
        ),
    )
    .with_details(json!({ "causes": causes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource;

    fn config_map(data: Value) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ssa", "uid": "u" }, "data": data })
    }

    #[test]
    fn another_managers_field_conflicts_until_it_is_forced() {
        let (owners, maps) = (Owners::default(), &resource::CONFIG_MAPS);
        let current = config_map(json!({ "k": "a" }));
        owners.remember(maps, "a", &current, &current);
        let wanted = config_map(json!({ "k": "b" }));
        let error = owners
            .apply(maps, "b", false, &current, &wanted)
            .unwrap_err();
        assert_eq!(
            error.message,
            "Apply failed with 1 conflict: conflict with \"a\": .data.k"
        );
        let forced = owners.apply(maps, "b", true, &current, &wanted).unwrap();
        assert_eq!(forced["data"]["k"], "b");
        let same = config_map(json!({ "k": "a" }));
        assert!(owners.apply(maps, "b", false, &current, &same).is_ok());
    }

    #[test]
    fn what_its_manager_leaves_out_is_removed() {
        let (owners, maps) = (Owners::default(), &resource::CONFIG_MAPS);
        let current = config_map(json!({ "k": "a", "l": "b" }));
        owners.remember(maps, "a", &current, &current);
        let next = owners
            .apply(maps, "a", false, &current, &config_map(json!({ "k": "a" })))
            .unwrap();
        assert_eq!(next["data"], json!({ "k": "a" }));
        let next = owners
            .apply(maps, "z", false, &current, &config_map(json!({})))
            .unwrap();
        assert_eq!(next["data"], json!({ "k": "a", "l": "b" }));
    }
}
