//! The resolver over real sockets, against servers that answer by script.

mod accounts;
mod answers;
mod faults;
mod hidden;
mod hosts;
mod identity;
mod limits;
mod login;
mod manifests;
mod moved;
mod nodes;
mod providers;
mod proxy;
mod scopes;
mod server;
mod sharing;
mod tls;

use std::{path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::server::{Reply, Request, Server};
use super::*;
use crate::{
    cluster::{self, Secrets},
    credentials::Keychain,
    observe::metrics::Metrics,
};

/// Never met by an answer, on however busy a machine.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Short enough to be waited for, where no answer comes; a request must have been sent by then.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);

const MANIFEST: &str =
    r#"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}"#;

/// The digest of [`MANIFEST`].
fn digest() -> Digest {
    Digest::Sha256(Sha256::digest(MANIFEST).into())
}

/// Answers as a registry that has [`MANIFEST`] under every tag.
fn manifest(request: &Request) -> Reply {
    match request.path() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(200)
            .header("Docker-Content-Digest", &digest().to_string())
            .body(MANIFEST),
    }
}

/// Returns a resolver whose secrets come from `api`, if any.
fn resolver(api: Option<&Server>) -> Resolver {
    resolver_over(Network::default(), api)
}

fn resolver_over(network: Network, api: Option<&Server>) -> Resolver {
    resolver_with(Metrics::new(), network, api)
}

fn resolver_with(metrics: Metrics, network: Network, api: Option<&Server>) -> Resolver {
    resolver_within(LOOKUP_TIMEOUT, metrics, network, api)
}

/// Returns a resolver for lookups that come to this end: one that is over soon if they are to time out.
fn resolver_for(expected: &str) -> Resolver {
    let limit = if expected == "timeout" {
        SHORT_TIMEOUT
    } else {
        LOOKUP_TIMEOUT
    };
    resolver_within(limit, Metrics::new(), Network::default(), None)
}

fn resolver_within(
    lookup_timeout: Duration,
    metrics: Metrics,
    network: Network,
    api: Option<&Server>,
) -> Resolver {
    let settings = Settings {
        lookup_timeout,
        network,
        ..Settings::default()
    };
    let keychain = keychain(&metrics, api);
    Resolver::new(settings, keychain, metrics).unwrap()
}

/// Returns a keychain whose secrets come from `api`, if any.
fn keychain(metrics: &Metrics, api: Option<&Server>) -> Keychain {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secrets = api.map(|api| Secrets::new(cluster::Server::plain(&api.root())));
    Keychain::new(secrets, None, metrics.clone())
}

/// A folder of one's own; it is removed when dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and the folders on its way.
    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns a lookup of `path` at `server` for a pod of `namespace` with `secrets`.
fn lookup(server: &Server, path: &str, namespace: &str, secrets: &[&str]) -> Lookup {
    Lookup {
        image: Arc::new(format!("{}/{path}", server.host()).parse().unwrap()),
        identity: Arc::new(PullIdentity {
            namespace: namespace.into(),
            secrets: secrets.iter().map(|name| Arc::from(*name)).collect(),
            service_account: "default".into(),
        }),
    }
}

/// Looks up `path` at `server` with nobody's credentials, now.
async fn ask(resolver: &Resolver, server: &Server, path: &str) -> Result<Answer, LookupError> {
    let lookup = lookup(server, path, "shop", &[]);
    resolver.digest(&lookup, Duration::ZERO).await
}

/// Looks up an image at `server` with the pull secret of its pod, now.
async fn pull(resolver: &Resolver, server: &Server) -> Result<Answer, LookupError> {
    let lookup = lookup(server, "org/app:1", "shop", &["pull"]);
    resolver.digest(&lookup, Duration::ZERO).await
}

/// Answers as an API server that has the secret `config` under a name.
fn secret(config: &serde_json::Value) -> Reply {
    Reply::new(200).body(
        &json!({
            "kind": "Secret", "apiVersion": "v1",
            "metadata": {"uid": "u", "resourceVersion": fastrand::u32(..).to_string()},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": STANDARD.encode(config.to_string())},
        })
        .to_string(),
    )
}

/// Answers as an API server that refuses.
fn status(code: u16, reason: &str) -> Reply {
    Reply::new(code).body(
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("secrets \"pull\" is {reason}"), "reason": reason, "code": code,
        })
        .to_string(),
    )
}

/// Starts an API server whose every secret holds the user `ann` of `registry`, with `password`.
async fn api(registry: &Server, password: &'static str) -> Server {
    let host = registry.host();
    Server::start(move |_| secret(&config(&host, password))).await
}

/// A docker config for the user `ann` of the registry at `host`.
fn config(host: &str, password: &str) -> serde_json::Value {
    json!({"auths": {host: {"username": "ann", "password": password}}})
}

/// The `Authorization` of `ann`.
fn basic(password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("ann:{password}")))
}
