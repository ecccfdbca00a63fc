//! A webhook's answer: what counts, and what is refused in which words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

/// What a webhook says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The write may go on, with this patch.
    Allowed(Option<Patch>),
    /// The write must not go on; with the webhook's `status`.
    Denied(Value),
}

/// An answer whose envelope is right.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) verdict: Verdict,
    pub(super) warnings: Vec<String>,
    patch: Option<Vec<u8>>,
    patch_type: Option<String>,
}

impl Response {
    /// Reads an answer to the review with this uid, or says what is wrong with it.
    pub(super) fn read(
        status: u16,
        content_type: &str,
        body: &[u8],
        uid: &str,
    ) -> Result<Self, String> {
        if !(200..300).contains(&status) {
            return Err(format!("failed to call webhook: {}", refused(status, body)));
        }
        if body.is_empty() {
            let text = format!(
                "0-length response with status code: {status} and content type: {content_type}"
            );
            return Err(format!("failed to call webhook: {text}"));
        }
        let review: Value = serde_json::from_slice(body).map_err(|error| {
            format!("failed to call webhook: couldn't get version/kind; json parse error: {error}")
        })?;
        let (version, kind) = (
            review["apiVersion"].as_str().unwrap_or(""),
            review["kind"].as_str().unwrap_or(""),
        );
        if !version.is_empty() && version != "admission.k8s.io/v1" && kind == "AdmissionReview" {
            let short = version.rsplit('/').next().unwrap_or(version);
            let text =
                format!("converting ({short}.{kind}) to (v1.AdmissionReview): unknown conversion");
            return Err(format!("failed to call webhook: {text}"));
        }
        let invalid = |why: String| format!("received invalid webhook response: {why}");
        let Some(response) = review
            .get("response")
            .filter(|response| response.is_object())
        else {
            return Err(invalid("webhook response was absent".into()));
        };
        let patch = decode_patch(response.get("patch"))?;
        if version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
            let group = if version.is_empty() { "/" } else { version };
            let text = format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}, Kind={kind}"
            );
            return Err(invalid(text));
        }
        let given = response["uid"].as_str().unwrap_or("");
        if given != uid {
            return Err(invalid(format!(
                "expected response.uid={uid:?}, got {given:?}"
            )));
        }
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let verdict = if response["allowed"] == true {
            Verdict::Allowed(None)
        } else {
            Verdict::Denied(response.get("status").cloned().unwrap_or_else(|| json!({})))
        };
        Ok(Self {
            verdict,
            warnings: warnings
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            patch: patch.filter(|patch| !patch.is_empty()),
            patch_type: response["patchType"].as_str().map(str::to_owned),
        })
    }

    /// Returns a mutating webhook's answer with its patch read.
    pub(super) fn patched(mut self) -> Result<Self, String> {
        let invalid = |why: &str| Err(format!("received invalid webhook response: {why}"));
        let patch = match (&self.patch, self.patch_type.as_deref()) {
            (None, None) => return Ok(self),
            (Some(_), None) => {
                return invalid("webhook returned response.patch but not response.patchType");
            }
            (None, Some(_)) => {
                return invalid("webhook returned response.patchType but not response.patch");
            }
            (Some(_), Some(other)) if other != "JSONPatch" => {
                return Err(format!("unsupported patch type {other:?}"));
            }
            (Some(patch), Some(_)) => patch,
        };
        let patch: Patch = serde_json::from_slice(patch)
            .map_err(|error| format!("received undecodable patch in webhook response: {error}"))?;
        if let Verdict::Allowed(slot) = &mut self.verdict {
            *slot = Some(patch);
        }
        Ok(self)
    }

    /// Returns a validating webhook's answer, which may not have a patch.
    pub(super) fn unpatched(self) -> Result<Self, String> {
        let part = match (&self.patch, &self.patch_type) {
            (None, None) => return Ok(self),
            (Some(_), _) => "response.patch",
            (None, Some(_)) => "response.patchType",
        };
        Err(format!(
            "received invalid webhook response: validating webhook may not return {part}"
        ))
    }
}

// Bytes are base64 text; a list of numbers is taken for them, too.
fn decode_patch(patch: Option<&Value>) -> Result<Option<Vec<u8>>, String> {
    match patch {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => STANDARD
            .decode(text)
            .map(Some)
            .map_err(|_| "failed to call webhook: illegal base64 data at input byte 0".to_owned()),
        Some(Value::Array(numbers)) => numbers
            .iter()
            .map(|number| number.as_u64().and_then(|number| u8::try_from(number).ok()))
            .collect::<Option<Vec<u8>>>()
            .map(Some)
            .ok_or_else(|| unmarshal("object")),
        Some(_) => Err(unmarshal("object")),
    }
}

fn unmarshal(given: &str) -> String {
    format!(
        "failed to call webhook: json: cannot unmarshal {given} into Go struct field AdmissionResponse.response.patch of type uint8"
    )
}

fn refused(status: u16, body: &[u8]) -> String {
    match status {
        404 => "the server could not find the requested resource".into(),
        429 => {
            "the server has received too many requests and has asked us to try again later".into()
        }
        503 => "the server is currently unable to handle the request".into(),
        _ => {
            let is_json =
                serde_json::from_slice::<Value>(body).is_ok_and(|value| value.is_object());
            let text = if is_json {
                "unknown".into()
            } else {
                String::from_utf8_lossy(body)
            };
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
    }
}

/// Applies a patch operation by operation, or says which does not apply, as the real server's library words it.
pub(super) fn apply(object: &Value, patch: &Patch) -> Result<Value, String> {
    let mut next = object.clone();
    for operation in &patch.0 {
        json_patch::patch(&mut next, std::slice::from_ref(operation)).map_err(|_| {
            let (name, path) = (name(operation), operation.path());
            match operation {
                PatchOperation::Test(_) => format!("testing value {path} failed: test failed"),
                PatchOperation::Replace(_) => {
                    format!("{name} operation does not apply: doc is missing path: {path}: missing value")
                }
                _ => format!("{name} operation does not apply: doc is missing path: \"{path}\": missing value"),
            }
        })?;
    }
    Ok(next)
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_read(response: Value, expected: Result<bool, &str>) {
        let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
        let read = Response::read(200, "application/json", body.to_string().as_bytes(), "u")
            .and_then(Response::patched);
        let allowed = read.map(|response| matches!(response.verdict, Verdict::Allowed(_)));
        assert_eq!(
            allowed.as_ref().map(|b| *b).map_err(String::as_str),
            expected,
            "{body}"
        );
    }

    #[test]
    fn an_answer_counts_only_if_it_is_well_formed() {
        check_read(json!({ "uid": "u", "allowed": true }), Ok(true));
        check_read(json!({ "uid": "u", "allowed": false }), Ok(false));
        check_read(
            json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": "W10=" }),
            Ok(true),
        );
        check_read(
            json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch", "patch": [91, 93] }),
            Ok(true),
        );
        check_read(
            json!({ "allowed": true }),
            Err("received invalid webhook response: expected response.uid=\"u\", got \"\""),
        );
        check_read(
            json!({ "uid": "u", "allowed": true, "patch": "W10=" }),
            Err(
                "received invalid webhook response: webhook returned response.patch but not response.patchType",
            ),
        );
        check_read(
            json!({ "uid": "u", "allowed": true, "patchType": "JSONPatch" }),
            Err(
                "received invalid webhook response: webhook returned response.patchType but not response.patch",
            ),
        );
        check_read(
            json!({ "uid": "u", "allowed": true, "patch": "W10=", "patchType": "MergePatch" }),
            Err("unsupported patch type \"MergePatch\""),
        );
        check_read(
            json!({ "uid": "u", "allowed": true, "patch": "!!!", "patchType": "JSONPatch" }),
            Err("failed to call webhook: illegal base64 data at input byte 0"),
        );
    }

    #[track_caller]
    fn check_apply(patch: Value, expected: &str) {
        let patch: Patch = serde_json::from_value(patch).unwrap();
        let pod = json!({ "metadata": { "name": "p" } });
        assert_eq!(apply(&pod, &patch).unwrap_err(), expected);
    }

    #[test]
    fn a_patch_that_does_not_apply_is_named() {
        check_apply(
            json!([{ "op": "add", "path": "/metadata/annotations/rec.example~1x", "value": "x" }]),
            "add operation does not apply: doc is missing path: \"/metadata/annotations/rec.example~1x\": missing value",
        );
        check_apply(
            json!([{ "op": "replace", "path": "/metadata/nosuch/thing", "value": "x" }]),
            "replace operation does not apply: doc is missing path: /metadata/nosuch/thing: missing value",
        );
        check_apply(
            json!([{ "op": "test", "path": "/metadata/name", "value": "never" }]),
            "testing value /metadata/name failed: test failed",
        );
    }
}
