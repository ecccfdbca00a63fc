//! Registrations of webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::invalid;
use crate::api::{ApiError, Cause, admission, object};

/// Returns what is wrong with a webhook configuration.
pub(super) fn check(configuration: &Value) -> Result<Vec<Cause>, ApiError> {
    let mut causes = Vec::new();
    for (at, webhook) in object::list(configuration, "/webhooks").iter().enumerate() {
        let field = |name: &str| format!("webhooks[{at}].{name}");
        if webhook["name"]
            .as_str()
            .is_none_or(|name| name.split('.').count() < 3)
        {
            let why = "should be a domain with at least three segments separated by dots";
            causes.push(invalid(&field("name"), &webhook["name"], why));
        }
        if !matches!(
            webhook["sideEffects"].as_str(),
            Some("None" | "NoneOnDryRun")
        ) {
            let message = "Required value: must specify one of None, NoneOnDryRun";
            causes.push(Cause::new(
                "FieldValueRequired",
                message,
                &field("sideEffects"),
            ));
        }
        if object::list(webhook, "/admissionReviewVersions").is_empty() {
            let message = "Required value: must specify one of v1, v1beta1";
            causes.push(Cause::new(
                "FieldValueRequired",
                message,
                &field("admissionReviewVersions"),
            ));
        }
        let seconds = webhook["timeoutSeconds"].as_i64().unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            let why = "the timeout value must be between 1 and 30 seconds";
            causes.push(invalid(&field("timeoutSeconds"), &json!(seconds), why));
        }
        for condition in object::list(webhook, "/matchConditions") {
            let expression = object::text(condition, "/expression");
            if let Some(error) = admission::condition_fault(expression) {
                return Err(error);
            }
        }
        let client = &webhook["clientConfig"];
        if client["service"].is_null() == client["url"].is_null() {
            let message = "Required value: exactly one of url or service is required";
            causes.push(Cause::new(
                "FieldValueRequired",
                message,
                &field("clientConfig"),
            ));
        }
        // Bytes that are no certificate are taken; text that is no base64 cannot be decoded.
        if client["caBundle"]
            .as_str()
            .is_some_and(|bundle| STANDARD.decode(bundle).is_err())
        {
            causes.push(invalid(
                "patch",
                &client["caBundle"],
                "illegal base64 data at input byte 0",
            ));
        }
    }
    Ok(causes)
}
