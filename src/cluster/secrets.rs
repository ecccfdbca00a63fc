//! Pull secrets, read by name when an image is looked up.
//!
//! There is no watch: that would need `list` on every secret of the cluster, and keep them all in memory.

use std::{sync::Arc, time::Duration};

mod content;

pub use content::{Format, PullSecret};

use super::{
    call::{Segment, Server},
    refusal::CallError,
};
use crate::{
    memo::{Keep, Memo},
    policy::names::is_object_name,
};

/// An API server that has not answered within this will not.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the remembered secrets take together. Each is at most 1 MiB, commonly one KiB: 5,000 of these.
const CAPACITY: u64 = 8 << 20;

/// Secrets that nobody asked for so long leave the memory.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// Pods often name secrets that do not exist. A patient reader looks again this much later.
const KEEP_REFUSAL: Duration = Duration::from_secs(600);

/// How long an API server that does not answer is spared.
const KEEP_FAILURE: Duration = Duration::from_secs(5);

/// Reads pull secrets; a clone shares the memory.
#[derive(Debug, Clone)]
pub struct Secrets {
    server: Server,
    memo: Arc<Memo<SecretName, Read>>,
    missing: Read,
}

/// One reading of a secret. Equal pointers mean that nothing has changed between two of them.
pub type Read = Arc<Result<PullSecret, SecretError>>;

/// Why there is no pull secret of that name.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
    /// There is no such object.
    #[error("it does not exist")]
    Missing,
    /// We may not read it.
    #[error("podrefresh may not read it: {0}")]
    Forbidden(String),
    /// It is a secret of another kind.
    #[error(
        "it is of type {found:?}, not kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"
    )]
    WrongType {
        /// Its type.
        found: String,
    },
    /// It is of the right type, but empty.
    #[error("it has nothing under the key {key:?}")]
    NoData {
        /// The key its type asks for.
        key: &'static str,
    },
    /// The API server could not say.
    #[error("it could not be read")]
    Unavailable(#[source] Arc<CallError>),
}

type SecretName = (Arc<str>, Arc<str>);

impl Secrets {
    /// Returns a reader that asks `server`.
    pub fn new(server: Server) -> Self {
        let keep = |read: &Read| match **read {
            Ok(_) => Keep::Good(Duration::MAX),
            Err(SecretError::Unavailable(_)) => Keep::Bad(KEEP_FAILURE),
            Err(_) => Keep::Bad(KEEP_REFUSAL),
        };
        let memo = Memo::weighed(
            CAPACITY,
            IDLE,
            keep,
            |(namespace, name): &SecretName, read| {
                let secret = (**read).as_ref().map_or(0, |secret| secret.data.len());
                namespace.len() + name.len() + secret
            },
        );
        Self {
            server,
            memo: Arc::new(memo),
            missing: Arc::new(Err(SecretError::Missing)),
        }
    }

    /// Returns the secret `name` of `namespace`, from a reading at most `max_age` old.
    ///
    /// When the API server does not answer, the last good reading stands, whatever its age.
    pub async fn get(&self, namespace: &Arc<str>, name: &Arc<str>, max_age: Duration) -> Read {
        // What is no object's name names no object, and is no key to be kept either.
        if !is_object_name(namespace) || !is_object_name(name) {
            return Arc::clone(&self.missing);
        }
        let key = (Arc::clone(namespace), Arc::clone(name));
        let ask = |last: Option<Read>| {
            let server = self.server.clone();
            let (namespace, name) = key.clone();
            async move { newer(last, read(&server, &namespace, &name).await) }
        };
        match self.memo.get(&key, max_age, ask).await {
            Ok(hit) => hit.value,
            Err(aborted) => {
                let cause = CallError::Unreachable(Box::new(aborted));
                Arc::new(Err(SecretError::Unavailable(Arc::new(cause))))
            }
        }
    }
}

/// Returns the last reading where the new one says the same or nothing.
fn newer(last: Option<Read>, new: Result<PullSecret, SecretError>) -> Read {
    match (last, &new) {
        (Some(last), Err(SecretError::Unavailable(_))) if last.is_ok() => last,
        (Some(last), Ok(secret)) if last.as_ref().as_ref().is_ok_and(|old| old == secret) => last,
        _ => Arc::new(new),
    }
}

async fn read(server: &Server, namespace: &str, name: &str) -> Result<PullSecret, SecretError> {
    let (namespace, name) = (Segment(namespace), Segment(name));
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    let body = server.get(&path, CALL_TIMEOUT).await;
    PullSecret::decode(&body.map_err(SecretError::of_call)?)
}

impl SecretError {
    /// Returns the stable, documented name of the error.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "secret_missing",
            Self::Forbidden(_) => "secret_forbidden",
            Self::WrongType { .. } => "secret_wrong_type",
            Self::NoData { .. } => "secret_no_data",
            Self::Unavailable(_) => "secret_unavailable",
        }
    }

    fn of_call(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) if refusal.code == 404 => Self::Missing,
            CallError::Refused(refusal) if refusal.code == 403 => Self::Forbidden(refusal.message),
            other => Self::unavailable(other),
        }
    }

    fn unavailable(error: CallError) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake::Fake;

    const SECRET: &str = r#"{"metadata": {"uid": "u", "resourceVersion": "7"},
        "type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30="}}"#;

    #[tokio::test]
    async fn only_object_names_reach_the_api_server() {
        let (mut fake, server) = Fake::start();
        let secrets = Secrets::new(server);
        let get = async |namespace: &str, name: &str| {
            let (namespace, name) = (Arc::from(namespace), Arc::from(name));
            secrets.get(&namespace, &name, Duration::MAX).await
        };
        for (namespace, name) in [
            ("shop", "../x"),
            ("shop", ""),
            ("a/b", "pull"),
            ("", "pull"),
        ] {
            let [once, again] = [get(namespace, name).await, get(namespace, name).await];
            assert!(
                matches!(*once, Err(SecretError::Missing)),
                "{namespace}/{name}"
            );
            assert!(Arc::ptr_eq(&once, &again), "nothing has changed");
        }
        assert!(fake.is_quiet());
        let (read, path) = tokio::join!(get("shop", "pull"), async {
            let call = fake.next().await;
            let path = call.path.clone();
            call.reply(200, &serde_json::from_str(SECRET).unwrap());
            path
        });
        assert_eq!(path, "/api/v1/namespaces/shop/secrets/pull");
        assert!(read.is_ok());
    }

    #[test]
    fn the_same_content_keeps_its_identity() {
        let first = newer(None, PullSecret::decode(SECRET.as_bytes()));
        let second = newer(
            Some(Arc::clone(&first)),
            PullSecret::decode(SECRET.as_bytes()),
        );
        assert!(Arc::ptr_eq(&first, &second));
        let moved = SECRET.replace("\"7\"", "\"8\"");
        assert!(!Arc::ptr_eq(
            &first,
            &newer(
                Some(Arc::clone(&first)),
                PullSecret::decode(moved.as_bytes())
            )
        ));
    }

    #[test]
    fn a_silent_api_server_takes_nothing_away_but_a_refusal_does() {
        let good = newer(None, PullSecret::decode(SECRET.as_bytes()));
        let silent = SecretError::unavailable(CallError::Timeout(CALL_TIMEOUT));
        assert!(newer(Some(Arc::clone(&good)), Err(silent.clone())).is_ok());
        assert!(newer(None, Err(silent)).is_err());
        assert!(newer(Some(good), Err(SecretError::Missing)).is_err());
    }
}
