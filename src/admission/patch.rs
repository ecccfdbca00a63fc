//! Edits in, the JSON patch for the API server out, tried before it is sent.
//!
//! A patch that does not apply makes the API server answer its client 500 *even under failurePolicy Ignore*, so one
//! wrong operation would stop all pods. Hence it is built only from the object received, and applied here first.

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
    jsonptr::{PointerBuf, Token},
};
use serde_json::{Map, Value, json};

use super::{
    edits::Edit,
    pod::{Part, Pod},
    review::Strings,
};

/// Why a patch cannot be sent: a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum PatchFault {
    /// It does not apply to the pod that was received.
    #[error("the patch does not apply to the pod it was made for")]
    DoesNotApply(#[source] json_patch::PatchError),
    /// It cannot be written.
    #[error("the patch cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
}

/// Returns the patch that makes `edits` to `pod`, in base64; `None` when there is nothing to change.
pub fn encode(pod: &Pod<'_>, edits: &[Edit]) -> Result<Option<String>, PatchFault> {
    if edits.is_empty() {
        return Ok(None);
    }
    let patch = build(pod, edits);
    json_patch::patch(&mut outline(pod), &patch).map_err(PatchFault::DoesNotApply)?;
    let json = serde_json::to_vec(&patch).map_err(PatchFault::Unwritable)?;
    Ok(Some(BASE64_STANDARD.encode(json)))
}

/// Returns the pod's annotations, unless the map itself is missing.
fn annotations<'p, 'a>(pod: &'p Pod<'a>) -> Option<&'p Strings<'a>> {
    pod.metadata.as_ref()?.annotations.as_ref()
}

fn build(pod: &Pod<'_>, edits: &[Edit]) -> Patch {
    let mut operations = Vec::with_capacity(edits.len() + 1);
    let annotates = edits
        .iter()
        .any(|edit| matches!(edit, Edit::Annotate { .. }));
    if annotates && annotations(pod).is_none() {
        operations.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["metadata", "annotations"]),
            value: json!({}),
        }));
    }
    operations.extend(edits.iter().map(|edit| {
        match edit {
            Edit::Annotate { key, value } => PatchOperation::Add(AddOperation {
                path: annotation(key),
                value: Value::from(value.as_str()),
            }),
            Edit::Strip { key } => PatchOperation::Remove(RemoveOperation {
                path: annotation(key),
            }),
            Edit::SetImage { place, image } => PatchOperation::Replace(ReplaceOperation {
                path: PointerBuf::from_tokens(
                    [
                        Token::new("spec"),
                        Token::new(place.list.field()),
                        Token::from(place.index),
                    ]
                    .into_iter()
                    .chain(place.list.image().iter().map(|field| Token::new(*field))),
                ),
                value: Value::from(image.as_str()),
            }),
        }
    }));
    Patch(operations)
}

/// Returns the pointer to an annotation; a slash in the key becomes `~1`.
fn annotation(key: &str) -> PointerBuf {
    PointerBuf::from_tokens([
        Token::new("metadata"),
        Token::new("annotations"),
        Token::new(key),
    ])
}

/// Returns the pod reduced to what a patch may touch.
///
/// Whether an operation applies depends on nothing but which of the places on its path are there. The outline
/// has the same ones as the pod, and spares us a tree of its other 12 KB.
fn outline(pod: &Pod<'_>) -> Value {
    let mut outline = Map::new();
    if pod.metadata.is_some() {
        let mut metadata = Map::new();
        if let Some(annotations) = annotations(pod) {
            let entries = annotations.keys().map(|key| (key.to_string(), Value::Null));
            metadata.insert("annotations".to_owned(), Value::Object(entries.collect()));
        }
        outline.insert("metadata".to_owned(), Value::Object(metadata));
    }
    let mut spec = Map::new();
    for part in pod.parts().chain(pod.ephemeral()) {
        let list = spec
            .entry(part.place.list.field())
            .or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            // Volumes that are no images stand between those that are.
            list.resize(part.place.index, Value::Null);
            list.push(outline_of(&part));
        }
    }
    outline.insert("spec".to_owned(), Value::Object(spec));
    Value::Object(outline)
}

/// Returns a part reduced to its image.
fn outline_of(part: &Part<'_>) -> Value {
    let mut outline = match part.image {
        Some(_) => Value::Null,
        None => return json!({}),
    };
    for field in part.place.list.image().iter().rev() {
        outline = json!({ *field: outline });
    }
    outline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::pod::{List, Place};

    /// Returns `object` as the API server stores it after the edits.
    #[track_caller]
    fn check(object: Value, edits: &[Edit], expected: Value) {
        let text = object.to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        let patch = encode(&pod, edits).unwrap().expect("must change something");
        let patch: Patch = serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
        let mut stored = object;
        json_patch::patch(&mut stored, &patch).unwrap();
        assert_eq!(stored, expected);
    }

    fn annotate(key: &str, value: &str) -> Edit {
        Edit::Annotate {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    fn strip(key: &str) -> Edit {
        Edit::Strip {
            key: key.to_owned(),
        }
    }

    #[test]
    fn a_missing_map_is_added_first() {
        let annotated = json!({"metadata": {"name": "a", "annotations": {"x/y": "1"}}});
        check(
            json!({"metadata": {"name": "a"}}),
            &[annotate("x/y", "1")],
            annotated.clone(),
        );
        check(
            json!({"metadata": {"name": "a", "annotations": null}}),
            &[annotate("x/y", "1")],
            annotated.clone(),
        );
        check(
            json!({"metadata": {"name": "a", "annotations": {}}}),
            &[annotate("x/y", "1")],
            annotated,
        );
    }

    #[test]
    fn other_annotations_stay() {
        check(
            json!({"metadata": {"annotations": {"a": "1", "b/c": "2", "d~e": "3"}}}),
            &[strip("b/c"), annotate("d~e", "4"), annotate("f", "5")],
            json!({"metadata": {"annotations": {"a": "1", "d~e": "4", "f": "5"}}}),
        );
    }

    fn set_image(list: List, index: usize, image: &str) -> Edit {
        Edit::SetImage {
            place: Place { list, index },
            image: image.to_owned(),
        }
    }

    #[test]
    fn images_are_written_where_they_stand() {
        check(
            json!({"metadata": {}, "spec": {
                "containers": [{"name": "app", "image": "a"}, {"name": "b", "image": "b"}],
                "ephemeralContainers": [{"image": "c"}],
                "volumes": [{"emptyDir": {}}, {"image": {"reference": "d", "pullPolicy": "Always"}}],
            }}),
            &[
                set_image(List::Containers, 1, "B"),
                set_image(List::EphemeralContainers, 0, "C"),
                set_image(List::Volumes, 1, "D"),
            ],
            json!({"metadata": {}, "spec": {
                "containers": [{"name": "app", "image": "a"}, {"name": "b", "image": "B"}],
                "ephemeralContainers": [{"image": "C"}],
                "volumes": [{"emptyDir": {}}, {"image": {"reference": "D", "pullPolicy": "Always"}}],
            }}),
        );
    }

    #[test]
    fn no_edit_is_no_patch() {
        assert_eq!(encode(&Pod::default(), &[]).unwrap(), None);
    }

    #[track_caller]
    fn check_fault(object: &str, edit: Edit) {
        let pod: Pod<'_> = serde_json::from_str(object).unwrap();
        let fault = encode(&pod, &[edit]).expect_err("must not apply");
        assert!(matches!(fault, PatchFault::DoesNotApply(_)), "{fault}");
    }

    #[test]
    fn a_patch_that_does_not_apply_is_never_sent() {
        check_fault("{}", annotate("a", "1"));
        check_fault(r#"{"metadata":{"annotations":{}}}"#, strip("a"));
        check_fault(r#"{"metadata":{}}"#, strip("a"));
        let volumes = r#"{"metadata":{},"spec":{"volumes":[{"image":{"reference":"a"}},{"name":"b","image":{}}]}}"#;
        check_fault(volumes, set_image(List::Volumes, 1, "b"));
        check_fault(volumes, set_image(List::Volumes, 2, "b"));
    }

    #[test]
    fn the_operations_are_those_of_rfc_6902() {
        let pod: Pod<'_> = serde_json::from_str(r#"{"metadata":{}}"#).unwrap();
        assert_eq!(
            serde_json::to_value(build(&pod, &[annotate("a/b~c", "1")])).unwrap(),
            json!([
                {"op": "add", "path": "/metadata/annotations", "value": {}},
                {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "1"},
            ])
        );
    }
}
