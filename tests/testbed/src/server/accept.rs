//! In which form does the client want objects?

use crate::api::ApiError;

/// A form of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects themselves.
    Object,
    /// Rows to print.
    Table,
    /// Metadata alone.
    Metadata,
    /// Discovery of all groups at once.
    Discovery,
}

const OFFERED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Returns the first form in an `Accept` header that is offered here.
///
/// Protobuf is passed over, as clients that prefer it also take JSON.
pub(crate) fn form(accept: &str) -> Result<Form, ApiError> {
    let mut refused_conversion = false;
    for range in accept
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let mut kind = "";
        let mut version = "";
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                "as" => kind = value,
                "v" => version = value,
                _ => {}
            }
        }
        match (kind, version) {
            ("", _) => return Ok(Form::Object),
            ("Table", "v1") => return Ok(Form::Table),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => {
                return Ok(Form::Metadata);
            }
            ("APIGroupDiscoveryList", "v2") => return Ok(Form::Discovery),
            _ => refused_conversion = true,
        }
    }
    if accept.trim().is_empty() {
        return Ok(Form::Object);
    }
    if accept.contains("application/yaml") {
        return Err(ApiError::unmodelled("answers in YAML"));
    }
    Err(if refused_conversion {
        ApiError::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {OFFERED}"),
        )
    } else {
        ApiError::new(
            406,
            "NotAcceptable",
            format!("406: Not Acceptable\n\nAvailable representations: {OFFERED}"),
        )
        .with_details(serde_json::json!({}))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Result<Form, u16>) {
        assert_eq!(
            form(accept).map_err(|error| error.code),
            expected,
            "{accept}"
        );
    }

    #[test]
    fn the_first_form_that_is_offered_wins() {
        check("", Ok(Form::Object));
        check("*/*", Ok(Form::Object));
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Ok(Form::Object),
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Ok(Form::Table),
        );
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Ok(Form::Metadata),
        );
        check("application/json;as=Nonsense;g=meta.k8s.io;v=v1", Err(406));
        check("text/html", Err(406));
        check("application/yaml", Err(501));
    }
}
