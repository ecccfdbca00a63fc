//! The three kinds of patches that change an object in place.

mod owners;
mod strategic;

use serde_json::Value;

use super::{ApiError, Resource};

pub(crate) use owners::Owners;

/// Content type of server-side apply.
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Content types that a PATCH may have.
pub(crate) const TYPES: &[&str] = &[APPLY, JSON, MERGE, STRATEGIC];

/// Returns an object as a patch makes it.
pub(crate) fn apply(
    kind: &str,
    resource: &Resource,
    current: &Value,
    body: &Value,
) -> Result<Value, ApiError> {
    let mut next = current.clone();
    match kind {
        JSON => {
            if !body.is_array() {
                return Err(not_a("object", "[]handlers.jsonPatchOp", body));
            }
            let patch: json_patch::Patch = serde_json::from_value(body.clone())
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut next, &patch).map_err(|_| ApiError::patch_does_not_apply())?;
        }
        _ if !body.is_object() => return Err(not_a("array", "map[string]interface {}", body)),
        MERGE => json_patch::merge(&mut next, body),
        _ => strategic::merge(&mut next, body, resource.kind)
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
    }
    Ok(next)
}

fn not_a(usual: &str, wanted: &str, body: &Value) -> ApiError {
    let given = match body {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => usual,
    };
    ApiError::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {given} into Go value of type {wanted}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::resource;

    #[track_caller]
    fn check(kind: &str, body: Value, expected: Result<Value, u16>) {
        let current = json!({ "metadata": { "name": "pp" }, "data": { "a": "1", "b": "2" } });
        let patched = apply(kind, &resource::CONFIG_MAPS, &current, &body);
        let data = patched
            .map(|object| object["data"].clone())
            .map_err(|error| error.code);
        assert_eq!(data, expected, "{body}");
    }

    #[test]
    fn a_json_patch_applies_as_a_whole_or_not_at_all() {
        let test = |value: &str| json!([{ "op": "test", "path": "/data/a", "value": value }, { "op": "replace", "path": "/data/a", "value": "x" }]);
        check(JSON, test("1"), Ok(json!({ "a": "x", "b": "2" })));
        check(JSON, test("nope"), Err(422));
        check(
            JSON,
            json!([{ "op": "remove", "path": "/data/zzz" }]),
            Err(422),
        );
        check(
            JSON,
            json!([{ "op": "add", "path": "/metadata/annotations/x", "value": "y" }]),
            Err(422),
        );
        check(JSON, json!({ "not": "a list" }), Err(400));
    }

    #[test]
    fn a_merge_patch_removes_what_is_null() {
        check(
            MERGE,
            json!({ "data": { "b": null, "c": "3" } }),
            Ok(json!({ "a": "1", "c": "3" })),
        );
        check(MERGE, json!("{bad"), Err(400));
    }
}
