//! `tokenAttributes` of a credential provider: whether it acts for a pod's ServiceAccount, and by which token (KEP-4412).

use std::collections::BTreeSet;

use serde::Deserialize;

/// The protocol that has fields for tokens.
const PROTOCOL: &str = "credentialprovider.kubelet.k8s.io/v1";

/// What a provider wants to know of a pod's ServiceAccount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Whom the tokens are for.
    pub(super) audience: Box<str>,
    pub(super) cache: CacheType,
    /// Whether it is not asked at all without an account.
    pub(super) requires_account: bool,
    /// Annotations without which it is not asked.
    pub(super) required: Vec<String>,
    /// Annotations that it is told if they are there.
    pub(super) optional: Vec<String>,
}

/// What an answer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheType {
    /// All tokens of the account.
    ServiceAccount,
    /// The one token that it was given for.
    Token,
}

/// The attributes as they are written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    service_account_token_audience: String,
    #[serde(default)]
    cache_type: String,
    require_service_account: Option<bool>,
    #[serde(default)]
    required_service_account_annotation_keys: Vec<String>,
    #[serde(default)]
    optional_service_account_annotation_keys: Vec<String>,
}

/// What can be wrong with attributes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributesFault {
    /// The provider speaks a protocol without tokens.
    #[error("it takes `apiVersion: {PROTOCOL}`")]
    Protocol,
    /// There is no audience.
    #[error("`serviceAccountTokenAudience` must not be empty")]
    Audience,
    /// The type of the cache.
    #[error("`cacheType` is {0:?}, allowed are ServiceAccount, Token")]
    CacheType(Box<str>),
    /// Not said whether an account is required.
    #[error("`requireServiceAccount` must be true or false")]
    Require,
    /// Annotations required of an account that is not.
    #[error("`requiredServiceAccountAnnotationKeys` takes `requireServiceAccount: true`")]
    Annotations,
    /// A key that no annotation can have.
    #[error("{0:?} is not the key of an annotation")]
    Key(Box<str>),
    /// A key that is there twice.
    #[error("the annotation {0:?} must be there only once")]
    Double(Box<str>),
}

impl Attributes {
    /// Reads attributes by the kubelet's own rules, of a provider that speaks `protocol`.
    pub(super) fn read(written: Written, protocol: &str) -> Result<Self, AttributesFault> {
        let (required, optional) = (
            written.required_service_account_annotation_keys,
            written.optional_service_account_annotation_keys,
        );
        if protocol != PROTOCOL {
            return Err(AttributesFault::Protocol);
        }
        if written.service_account_token_audience.is_empty() {
            return Err(AttributesFault::Audience);
        }
        let cache = match written.cache_type.as_str() {
            "ServiceAccount" => CacheType::ServiceAccount,
            "Token" => CacheType::Token,
            _ => return Err(AttributesFault::CacheType(written.cache_type.into())),
        };
        let requires_account = written.require_service_account;
        let requires_account = requires_account.ok_or(AttributesFault::Require)?;
        if !requires_account && !required.is_empty() {
            return Err(AttributesFault::Annotations);
        }
        let mut seen = BTreeSet::new();
        for key in required.iter().chain(&optional) {
            if !is_key(key) {
                return Err(AttributesFault::Key(key.as_str().into()));
            }
            if !seen.insert(key) {
                return Err(AttributesFault::Double(key.as_str().into()));
            }
        }
        Ok(Self {
            audience: written.service_account_token_audience.into(),
            cache,
            requires_account,
            required,
            optional,
        })
    }
}

/// Says whether annotations can have this key: a name, with the name of a domain and a slash before it or without.
fn is_key(key: &str) -> bool {
    let ends = |text: &str| {
        let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        alphanumeric(text.chars().next()) && alphanumeric(text.chars().last())
    };
    let (domain, name) = key.split_once('/').unwrap_or(("x", key));
    let in_domain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    domain.len() <= 253
        && (domain.split('.')).all(|label| ends(label) && label.chars().all(in_domain))
        && name.len() <= 63
        && ends(name)
        && name.chars().all(in_name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Reads sound attributes with these fields changed; null takes one away.
    fn read(change: Value) -> Result<Attributes, AttributesFault> {
        let mut written = json!({
            "serviceAccountTokenAudience": "registry", "cacheType": "Token", "requireServiceAccount": true,
            "requiredServiceAccountAnnotationKeys": ["a.test/role"],
            "optionalServiceAccountAnnotationKeys": ["tenant"],
        });
        json_patch::merge(&mut written, &change);
        Attributes::read(serde_json::from_value(written).unwrap(), PROTOCOL)
    }

    #[test]
    fn the_kubelets_fields_are_read() {
        let expected = Attributes {
            audience: "registry".into(),
            cache: CacheType::Token,
            requires_account: true,
            required: vec!["a.test/role".to_owned()],
            optional: vec!["tenant".to_owned()],
        };
        assert_eq!(read(json!({})), Ok(expected));
        let found = read(json!({"cacheType": "ServiceAccount"})).unwrap();
        assert_eq!(found.cache, CacheType::ServiceAccount);
        let optional =
            json!({"requireServiceAccount": false, "requiredServiceAccountAnnotationKeys": null});
        assert!(!read(optional).unwrap().requires_account);
    }

    #[track_caller]
    fn check(change: Value, words: &str) {
        let text = read(change).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn what_the_kubelet_refuses_is_refused() {
        check(
            json!({"serviceAccountTokenAudience": ""}),
            "Audience` must not",
        );
        check(
            json!({"cacheType": null}),
            "allowed are ServiceAccount, Token",
        );
        check(json!({"cacheType": "token"}), "`cacheType` is \"token\"");
        check(
            json!({"requireServiceAccount": null}),
            "must be true or false",
        );
        check(
            json!({"requireServiceAccount": false}),
            "`requireServiceAccount: true`",
        );
        let twice = json!({"optionalServiceAccountAnnotationKeys": ["a.test/role"]});
        check(twice, "\"a.test/role\" must be there only once");
        for key in [
            "",
            "/x",
            "x/",
            "a b",
            "-x",
            "a_b.test/x",
            "a/b/c",
            &"x".repeat(64),
        ] {
            let keys = json!({"optionalServiceAccountAnnotationKeys": [key]});
            check(keys, "is not the key of an annotation");
        }
        let written = json!({"serviceAccountTokenAudience": "x"});
        let older = "credentialprovider.kubelet.k8s.io/v1beta1";
        let fault = Attributes::read(serde_json::from_value(written).unwrap(), older);
        assert_eq!(fault, Err(AttributesFault::Protocol));
        assert!(serde_json::from_value::<Written>(json!({"audience": "x"})).is_err());
    }
}
