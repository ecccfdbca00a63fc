//! A request, read completely.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::Value;

use super::protobuf;
use super::query::Query;
use super::route::Attributes;
use crate::api::{ApiError, FieldSelector, LabelSelector, Options, Resource, Target, User};

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) uri: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) user: User,
    pub(crate) attributes: Attributes,
}

impl Request {
    /// Returns a header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// Returns the namespace objects are stored in.
    pub(crate) fn namespace(&self, resource: &Resource) -> &str {
        self.attributes.storage_namespace(resource)
    }

    /// Returns the media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> &str {
        self.header("content-type")
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
    }

    /// Returns the body as JSON. `kind` is what it should be.
    pub(crate) fn json(&self, kind: &str) -> Result<Value, ApiError> {
        match self.content_type() {
            "" | "application/json" => {}
            protobuf::TYPE => return protobuf::decode(&self.body, kind),
            _ => {
                return Err(ApiError::new(
                    415,
                    "UnsupportedMediaType",
                    // The real server lists YAML and protobuf as well; here is JSON alone.
                    "the body of the request was in an unknown format - accepted media types include: application/json",
                ));
            }
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let text = String::from_utf8_lossy(&self.body);
            let (why, text) = match text.trim() {
                "" => ("unexpected end of JSON input".to_owned(), "<empty>".to_owned()),
                text => (go_syntax_error(&error, text), text.to_owned()),
            };
            ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({text})"
            ))
        })
    }

    /// Returns the options of a write.
    pub(crate) fn options(&self, kind: &str) -> Result<Options, ApiError> {
        let unsupported = |field: &str, value: String, supported: &str| {
            let message = format!("Unsupported value: {value}: supported values: {supported}");
            let cause = crate::api::Cause::new("FieldValueNotSupported", message, field);
            ApiError::invalid_kind("meta.k8s.io", kind, "", &[cause])
        };
        let dry_run: Vec<&str> = self
            .query
            .all("dryRun")
            .into_iter()
            .filter(|v| !v.is_empty())
            .collect();
        if dry_run.iter().any(|value| *value != "All") {
            return Err(unsupported("dryRun", format!("{dry_run:?}"), "\"All\""));
        }
        let validation = self.query.get("fieldValidation");
        if let Some(value) =
            validation.filter(|value| !["Ignore", "Strict", "Warn"].contains(value))
        {
            let supported = "\"\", \"Ignore\", \"Strict\", \"Warn\"";
            return Err(unsupported(
                "fieldValidation",
                format!("{value:?}"),
                supported,
            ));
        }
        Ok(Options {
            dry_run: !dry_run.is_empty(),
            field_manager: self.query.get("fieldManager").map(str::to_owned),
            field_validation: validation.map(str::to_owned),
        })
    }

    /// Returns what a write is about.
    pub(crate) fn target<'a>(
        &'a self,
        resource: &'static Resource,
        options: &'a Options,
    ) -> Target<'a> {
        Target {
            resource,
            namespace: self.namespace(resource),
            name: &self.attributes.name,
            subresource: &self.attributes.subresource,
            options,
            user: &self.user,
        }
    }

    /// Returns the selectors of a list or watch.
    pub(crate) fn selectors(
        &self,
        resource: &Resource,
    ) -> Result<(LabelSelector, FieldSelector), ApiError> {
        let bad = |error: crate::api::InvalidSelector| ApiError::bad_request(error.to_string());
        let labels =
            LabelSelector::parse(self.query.get("labelSelector").unwrap_or("")).map_err(bad)?;
        let fields = FieldSelector::parse(self.query.get("fieldSelector").unwrap_or(""), resource)
            .map_err(bad)?;
        Ok((labels, fields))
    }

    /// Returns the wanted resourceVersion; `None` when there is none.
    pub(crate) fn resource_version(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.query.get("resourceVersion") else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
        })
    }
}

/// Words a syntax error as Go's decoder does.
pub(crate) fn go_syntax_error(error: &serde_json::Error, text: &str) -> String {
    let at = error.column().saturating_sub(1);
    match text.chars().nth(at) {
        Some(c) if error.is_syntax() => {
            let looking = if text.starts_with('{') {
                "object key string"
            } else {
                "value"
            };
            format!("invalid character '{c}' looking for beginning of {looking}")
        }
        _ => "unexpected end of JSON input".to_owned(),
    }
}
