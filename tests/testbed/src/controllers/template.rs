//! Pod templates: are two the same, and what short name does one get?

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The label that tells the pods of a Deployment's ReplicaSets apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Returns a template without the label that Deployments add to it.
pub(super) fn bare(template: &Value) -> Value {
    let mut bare = template.clone();
    if let Some(labels) = bare
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(HASH_LABEL);
    }
    bare
}

/// Returns ten characters that follow from the template and `salt` (the collisions so far), from the alphabet that
/// Kubernetes uses. Unlike there, equal templates have equal names whatever their order of writing.
pub(super) fn hash(template: &Value, salt: i64) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // Maps of this JSON library are sorted by key, so equal values have equal texts.
    let digest = Sha256::digest(format!("{template}{salt}"));
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    digest.iter().take(10).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_added_label_does_not_count() {
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "a": 1 } });
        let mut labelled = template.clone();
        labelled["metadata"]["labels"][HASH_LABEL] = json!("x");
        assert_eq!(bare(&labelled), template);
        assert_eq!(hash(&bare(&labelled), 0), hash(&template, 0));
    }

    #[test]
    fn another_template_or_collision_gives_another_name() {
        let template = json!({ "spec": { "a": 1 } });
        assert_ne!(hash(&template, 0), hash(&json!({ "spec": { "a": 2 } }), 0));
        assert_ne!(hash(&template, 0), hash(&template, 1));
        assert_eq!(hash(&template, 0).len(), 10);
    }
}
