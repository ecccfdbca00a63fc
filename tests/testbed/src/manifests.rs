//! Reads the manifests of a kustomize base: its resources, with the namespace it sets.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::api::{object, resource};

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file is not there or not readable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not YAML.
    #[error("{path} is not YAML")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
}

/// Returns the objects of a kustomize folder in the order of its `resources`, folders among them included.
///
/// Of kustomize only `resources` and `namespace` are understood: no patches, generators or components.
pub fn load(folder: &Path) -> Result<Vec<Value>, ManifestError> {
    let path = folder.join("kustomization.yaml");
    let kustomization = read(&path)?.into_iter().next().unwrap_or(Value::Null);
    let mut objects = Vec::new();
    for entry in object::list(&kustomization, "/resources")
        .iter()
        .filter_map(Value::as_str)
    {
        let path = folder.join(entry);
        objects.extend(if path.is_dir() {
            load(&path)?
        } else {
            read(&path)?
        });
    }
    if let Some(namespace) = kustomization["namespace"].as_str() {
        for object in &mut objects {
            move_to(object, namespace);
        }
    }
    Ok(objects)
}

/// Returns the documents of one YAML file.
pub fn read(path: &Path) -> Result<Vec<Value>, ManifestError> {
    let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|source| ManifestError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Returns the documents of a YAML text; empty ones are left out.
pub fn parse(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

fn move_to(object: &mut Value, namespace: &str) {
    let (version, kind) = (
        object::text(object, "/apiVersion"),
        object::text(object, "/kind"),
    );
    match resource::of_kind(version, kind) {
        Some(resource) if *resource == resource::NAMESPACES => {
            object::metadata(object).insert("name".to_owned(), json!(namespace));
        }
        Some(resource) if resource.namespaced => {
            object::metadata(object).insert("namespace".to_owned(), json!(namespace));
        }
        _ => {}
    }
    for subject in object
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if subject["kind"] == "ServiceAccount" && subject.get("namespace").is_some() {
            subject["namespace"] = json!(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_documents_are_read() {
        let text = "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: Secret\nmetadata:\n  name: b\n  labels: {x: 'true'}\n---\n";
        let documents = parse(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0]["metadata"]["name"], "a");
        assert_eq!(documents[1]["metadata"]["labels"]["x"], "true");
        assert_eq!(
            parse("a: 1\nb: true\nc: yes-text\n").unwrap()[0],
            json!({ "a": 1, "b": true, "c": "yes-text" })
        );
    }

    #[test]
    fn the_namespace_is_set_where_there_is_one() {
        let mut role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {} });
        move_to(&mut role, "n");
        assert_eq!(object::namespace(&role), "");
        let mut map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "namespace": "old" } });
        move_to(&mut map, "n");
        assert_eq!(object::namespace(&map), "n");
    }
}
