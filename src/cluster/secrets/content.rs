//! What a pull secret holds, and how the API server's answer is read.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::ByteString;
use serde::{Deserialize, de::Error as _};

use super::SecretError;
use crate::{cluster::refusal::CallError, policy::excerpt};

/// A secret's content, as far as images are pulled with it.
#[derive(Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// How `data` is to be read.
    pub format: Format,
    /// The configuration's bytes.
    pub data: Vec<u8>,
    pub(super) version: (String, String),
}

/// The two types of pull secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `kubernetes.io/dockerconfigjson`: a `config.json`, under the key `.dockerconfigjson`.
    DockerConfigJson,
    /// `kubernetes.io/dockercfg`: the older form, only the inner map, under the key `.dockercfg`.
    DockerCfg,
}

impl PullSecret {
    pub(super) fn decode(body: &[u8]) -> Result<Self, SecretError> {
        let object: Object = serde_json::from_slice(body).map_err(|error| {
            // The decoder's own words may quote the text, which is a secret.
            let place = format!("line {}, column {}", error.line(), error.column());
            let safe = serde_json::Error::custom(format!("it is not a Secret ({place})"));
            SecretError::unavailable(CallError::Malformed(safe))
        })?;
        let format = match object.type_.as_str() {
            "kubernetes.io/dockerconfigjson" => Format::DockerConfigJson,
            "kubernetes.io/dockercfg" => Format::DockerCfg,
            _ => {
                return Err(SecretError::WrongType {
                    found: excerpt(&object.type_),
                });
            }
        };
        let key = format.key();
        match object.data.and_then(|mut data| data.remove(key)) {
            Some(ByteString(data)) if !data.is_empty() => Ok(Self {
                format,
                data,
                version: (object.metadata.uid, object.metadata.resource_version),
            }),
            _ => Err(SecretError::NoData { key }),
        }
    }
}

impl Format {
    /// Returns the key of a secret's data that the configuration stands under.
    pub const fn key(self) -> &'static str {
        match self {
            Self::DockerConfigJson => ".dockerconfigjson",
            Self::DockerCfg => ".dockercfg",
        }
    }
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSecret")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// As much of a Secret as we read.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(rename = "type", default)]
    type_: String,
    data: Option<BTreeMap<String, ByteString>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(type_: &str, data: serde_json::Value) -> String {
        json!({
            "kind": "Secret", "apiVersion": "v1",
            "metadata": {"name": "pull", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
            "type": type_, "data": data,
        })
        .to_string()
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(Format, &[u8]), &str>) {
        let found = PullSecret::decode(text.as_bytes());
        let found = found.as_ref().map(|s| (s.format, s.data.as_slice()));
        assert_eq!(found.map_err(SecretError::label), expected);
    }

    #[test]
    fn both_types_are_read_under_their_own_key() {
        let json = "kubernetes.io/dockerconfigjson";
        let cfg = "kubernetes.io/dockercfg";
        let both = json!({".dockerconfigjson": "e30=", ".dockercfg": "e30K"});
        check(
            &secret(json, both.clone()),
            Ok((Format::DockerConfigJson, b"{}")),
        );
        check(&secret(cfg, both), Ok((Format::DockerCfg, b"{}\n")));
        check(
            &secret(json, json!({".dockercfg": "e30="})),
            Err("secret_no_data"),
        );
        check(
            &secret(json, json!({".dockerconfigjson": ""})),
            Err("secret_no_data"),
        );
        check(&secret(json, json!(null)), Err("secret_no_data"));
    }

    #[test]
    fn other_types_and_other_objects_are_refused() {
        check(
            &secret("Opaque", json!({".dockerconfigjson": "e30="})),
            Err("secret_wrong_type"),
        );
        // Whoever makes a secret chooses its type, of any length.
        let text = secret(&"x".repeat(1 << 19), json!({}));
        let error = PullSecret::decode(text.as_bytes()).unwrap_err();
        assert!(error.to_string().len() < 512);
        check("{}", Err("secret_unavailable"));
        check("<html>", Err("secret_unavailable"));
    }

    #[test]
    fn an_undecodable_answer_is_not_repeated() {
        let text = secret(
            "kubernetes.io/dockerconfigjson",
            json!({".dockerconfigjson": ["hunter2"]}),
        );
        let error = PullSecret::decode(text.as_bytes()).unwrap_err();
        assert!(!format!("{error:?} {}", crate::error::Chain(&error)).contains("hunter2"));
    }

    #[test]
    fn debug_shows_no_content() {
        let text = secret(
            "kubernetes.io/dockercfg",
            json!({".dockercfg": "aHVudGVyMg=="}),
        );
        let shown = format!("{:?}", PullSecret::decode(text.as_bytes()).unwrap());
        assert_eq!(shown, "PullSecret { format: DockerCfg, .. }");
    }
}
