//! What a credential provider prints: credentials, and how long and for what they may be kept.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::ProviderFault;
use crate::{
    credentials::{Config, Credential, Entry, EntryFault, Scope, config::basic},
    policy::go_duration,
};

/// What an answer is good for, the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reach {
    /// The repository that was asked about.
    Image,
    /// All of its registry.
    Registry,
    /// Everything the provider is asked about.
    Global,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) config: Config,
    pub(super) reach: Reach,
    /// How long it may be kept; zero is not at all.
    pub(super) keep: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, Auth>>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Response {
    /// Reads what a plugin printed that speaks `protocol`.
    pub(super) fn parse(
        json: &[u8],
        protocol: &str,
        default_keep: Duration,
    ) -> Result<Self, ProviderFault> {
        use ProviderFault::Malformed;

        // The error may repeat a password.
        let written: Written = serde_json::from_slice(json)
            .map_err(|_| Malformed("it is not a CredentialProviderResponse in JSON"))?;
        if written.kind != "CredentialProviderResponse" {
            return Err(Malformed("its kind is not CredentialProviderResponse"));
        }
        if written.api_version != protocol {
            return Err(Malformed(
                "its apiVersion is not the one that is configured",
            ));
        }
        let reach = match written.cache_key_type.as_str() {
            "Image" => Reach::Image,
            "Registry" => Reach::Registry,
            "Global" => Reach::Global,
            _ => {
                return Err(Malformed(
                    "its cacheKeyType is not Image, Registry or Global",
                ));
            }
        };
        let keep = match written.cache_duration {
            None => default_keep,
            Some(text) => {
                let duration = go_duration::parse(&text);
                let duration =
                    duration.map_err(|_| Malformed("its cacheDuration is no duration"))?;
                // Less than nothing has ended already.
                Duration::try_from(duration).unwrap_or(Duration::ZERO)
            }
        };
        Ok(Self {
            config: config(written.auth.unwrap_or_default()),
            reach,
            keep,
        })
    }
}

impl Response {
    /// Says whether `token` is one of its passwords.
    pub(super) fn hands_on(&self, token: &str) -> bool {
        let is_token = |entry: &Entry| match &entry.credential {
            Credential::Basic { password, .. } => **password == *token,
            Credential::Anonymous | Credential::Identity(_) => false,
        };
        self.config.entries.iter().any(is_token)
    }
}

fn config(auth: BTreeMap<String, Auth>) -> Config {
    let mut config = Config::default();
    for (key, Auth { username, password }) in auth {
        match (Scope::parse(&key), basic(&username, &password)) {
            (Ok(_), Credential::Anonymous) => {}
            (Ok(scope), credential) => config.entries.push(Entry { scope, credential }),
            (Err(fault), _) => config.note_broken(&key, EntryFault::Key(fault)),
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PROTOCOL: &str = "credentialprovider.kubelet.k8s.io/v1";

    fn parse(change: Value) -> Result<Response, &'static str> {
        let mut answer = json!({
            "apiVersion": PROTOCOL, "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry", "cacheDuration": "6h0m0s",
            "auth": {"ghcr.io/org": {"username": "ann", "password": "pw"}},
        });
        for (key, value) in change.as_object().unwrap() {
            answer[key] = value.clone();
        }
        let default = Duration::from_secs(60);
        Response::parse(answer.to_string().as_bytes(), PROTOCOL, default)
            .map_err(|fault| fault.label())
    }

    #[test]
    fn credentials_are_read_as_from_a_docker_config() {
        let response = parse(json!({})).unwrap();
        let [entry] = &response.config.entries[..] else {
            panic!("{response:?}")
        };
        assert_eq!(entry.scope, Scope::parse("ghcr.io/org").unwrap());
        assert_eq!(entry.credential, basic("ann", "pw"));
        let auth = json!({"auth": {"a b": {"username": "ann", "password": "pw"}, "c.io": {}}});
        let config = parse(auth).unwrap().config;
        assert_eq!((config.entries.len(), config.broken.len()), (0, 1));
    }

    #[test]
    fn no_credentials_are_an_answer() {
        for auth in [json!(null), json!({})] {
            let response = parse(json!({ "auth": auth })).unwrap();
            assert_eq!(response.config, Config::default());
        }
    }

    #[test]
    fn reach_and_time_are_as_it_says() {
        for (word, reach) in [
            ("Image", Reach::Image),
            ("Registry", Reach::Registry),
            ("Global", Reach::Global),
        ] {
            assert_eq!(parse(json!({"cacheKeyType": word})).unwrap().reach, reach);
        }
        for (duration, seconds) in [
            (json!("6h0m0s"), 6 * 3600),
            (json!(null), 60),
            (json!("0s"), 0),
            (json!("-5m"), 0),
        ] {
            let response = parse(json!({"cacheDuration": duration})).unwrap();
            assert_eq!(response.keep.as_secs(), seconds, "{duration}");
        }
    }

    #[test]
    fn what_the_kubelet_ignores_is_an_error() {
        for change in [
            json!({"cacheKeyType": ""}),
            json!({"cacheKeyType": "image"}),
            json!({"cacheDuration": "soon"}),
            json!({"cacheDuration": 5}),
            json!({"kind": "CredentialProviderRequest"}),
            json!({"apiVersion": "credentialprovider.kubelet.k8s.io/v1beta1"}),
            json!({"auth": []}),
            json!({"auth": {"ghcr.io": {"username": 7}}}),
        ] {
            assert_eq!(parse(change.clone()), Err("provider_malformed"), "{change}");
        }
        for text in ["", "\0\u{1}", "null", "[]", "{\"auth\""] {
            let answer = Response::parse(text.as_bytes(), PROTOCOL, Duration::ZERO);
            assert_eq!(answer.unwrap_err().label(), "provider_malformed", "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let text = r#"{"auth": {"x": {"username": "ann", "password": hunter2}}}"#;
        let fault = Response::parse(text.as_bytes(), PROTOCOL, Duration::ZERO).unwrap_err();
        let response = parse(json!({"auth": {"c.io": {"password": "hunter2"}}}));
        assert!(!format!("{fault:?} {fault} {response:?}").contains("hunter2"));
    }
}
