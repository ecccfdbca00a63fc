//! The product's resolver on its own, outside of a controller.

use std::{fmt::Display, sync::Arc, time::Duration};

use kube::Client;
use podrefresh::{
    cluster::{Secrets, Server},
    credentials::Keychain,
    error::Chain,
    observe::metrics::Metrics,
    policy::PullIdentity,
    registry::{Answer, Lookup, LookupError, Resolver, Settings},
};

/// Returns a resolver with `settings` that reads pull secrets through `client`, if any.
pub(crate) fn resolver(settings: Settings, client: Option<Client>) -> Resolver {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Metrics::new();
    let keychain = Keychain::new(
        client.map(Server::new).map(Secrets::new),
        None,
        metrics.clone(),
    );
    Resolver::new(settings, keychain, metrics).unwrap()
}

/// Returns a lookup of `image` for a pod of `namespace` with these pull secrets.
#[track_caller]
pub(crate) fn lookup(image: &str, namespace: &str, secrets: &[&str]) -> Lookup {
    Lookup {
        image: Arc::new(image.parse().unwrap()),
        identity: Arc::new(PullIdentity {
            namespace: namespace.into(),
            secrets: secrets.iter().map(|name| Arc::from(*name)).collect(),
            service_account: "default".into(),
        }),
    }
}

/// Asks the registry of `lookup` now.
pub(crate) async fn ask(resolver: &Resolver, lookup: &Lookup) -> Result<String, LookupError> {
    let answer: Result<Answer, LookupError> = resolver.digest(lookup, Duration::ZERO).await;
    answer.map(|answer| answer.digest.to_string())
}

/// Checks that a lookup failed so, and that its text holds all of `words`.
#[track_caller]
pub(crate) fn check_refused<T>(
    answer: Result<T, LookupError>,
    label: &str,
    words: &[&dyn Display],
) {
    let Err(error) = answer else {
        panic!("a digest instead of {label}")
    };
    let text = Chain(&error).to_string();
    assert_eq!(error.label(), label, "{text}");
    for word in words {
        assert!(text.contains(&word.to_string()), "{text:?} lacks {word}");
    }
}
