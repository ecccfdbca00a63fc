//! Whom nodes show, and what they get for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    hosts::behind,
    tls::{Authority, NAME},
    *,
};
use crate::error::Chain;

/// Starts a registry that lets in `right`, and who shows nothing, and nobody else.
async fn public() -> Server {
    Server::start(|request| match request.authorization() {
        Some(shown) if shown != basic("right") => Reply::new(401),
        None if request.path() == "/v2/" => {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
        }
        _ => manifest(request),
    })
    .await
}

#[tokio::test]
async fn what_nodes_cannot_pull_has_no_digest_for_their_sake() {
    let server = public().await;
    let host = server.host();
    let passwords = AtomicUsize::new(0);
    let api = Server::start(move |_| {
        let nth = passwords.fetch_add(1, Ordering::Relaxed);
        secret(&config(&host, ["ended", "ended", "right"][nth.min(2)]))
    })
    .await;
    let resolver = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
    pull(&resolver, &server).await.unwrap();
    // From memory: what is known so serves admission, and not the poller.
    let error = pull(&resolver.for_nodes(), &server).await.unwrap_err();
    assert_eq!(error.label(), "nodes_cannot_pull");
    let path = server.host();
    assert_eq!(
        Chain(&error).to_string(),
        format!(
            "no digest for {path}/org/app:1 from {path} (tried secret shop/pull key {path}, anonymous): it answers who \
             shows nothing, but nodes cannot pull: they show credentials, and none of these gets an answer"
        )
    );
    // The secret is read again for it, and found mended.
    let answer = pull(&resolver.for_nodes(), &server).await.unwrap();
    assert_eq!(
        answer.trail.source().to_string(),
        format!("secret shop/pull key {path}")
    );
}

#[tokio::test]
async fn a_malformed_secret_keeps_nodes_from_public_images_too() {
    let server = public().await;
    let api =
        Server::start(|_| secret(&serde_json::json!({"auths": {"h.io": {"auth": "?"}}}))).await;
    let resolver = resolver(Some(&api));
    pull(&resolver, &server).await.unwrap();
    let error = pull(&resolver.for_nodes(), &server).await.unwrap_err();
    assert_eq!(error.label(), "nodes_cannot_pull");
    assert!(
        Chain(&error)
            .to_string()
            .ends_with("they cannot read one of the pull secrets")
    );
}

/// Starts an API server whose every secret holds `ann` of the registry at `host`, and never changes.
async fn kept(host: &str) -> Server {
    let secret = secret(&config(host, "pw"));
    Server::start(move |_| secret.clone()).await
}

/// Checks what the poller is told of a public image whose registry refuses a good secret once by `refusal`, then and later.
async fn check_refused_once(refusal: Reply, expected: &str) {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.authorization() {
        _ if request.path() == "/v2/" => {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
        }
        Some(_) if asked.fetch_add(1, Ordering::Relaxed) == 0 => refusal.clone(),
        _ => manifest(request),
    })
    .await;
    let api = kept(&server.host()).await;
    let resolver = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
    let error = pull(&resolver.for_nodes(), &server).await.unwrap_err();
    assert_eq!(error.label(), expected);
    // For admission any digest is better than none.
    pull(&resolver, &server).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let answer = pull(&resolver.for_nodes(), &server).await.unwrap();
    let expected = format!("secret shop/pull key {}", server.host());
    assert_eq!(answer.trail.source().to_string(), expected);
}

#[tokio::test]
async fn who_was_refused_once_is_shown_again() {
    for status in [401, 403, 404, 400] {
        check_refused_once(Reply::new(status), "nodes_cannot_pull").await;
    }
}

#[tokio::test]
async fn who_may_not_ask_now_may_later() {
    let limited = Reply::new(429).header("Retry-After", "50");
    check_refused_once(limited, "rate_limited").await;
}

/// Checks which host answers the poller, or why none does, where the registry lets in who shows `accepted` of `ann`'s
/// passwords, and has a mirror that lets in nobody but who shows nothing.
async fn check_behind_open_mirror(accepted: &'static str, expected: Result<&str, &str>) {
    let mirror = Server::start(|request| match request.authorization() {
        None if request.path() != "/v2/" => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let server = Server::start(move |request| match request.authorization() {
        Some(shown) if shown == basic(accepted) => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let dir = Folder::new();
    dir.write(&format!("{NAME}/hosts.toml"), behind(&mirror, &server));
    let settings = Settings {
        network: Network {
            extra_roots: vec![Authority::new().pem.into()],
            ..Network::default()
        },
        hosts: Some(HostsDir::open(&dir.0).unwrap()),
        ..Settings::default()
    };
    let (metrics, api) = (Metrics::new(), kept(NAME).await);
    let resolver = Resolver::new(settings, keychain(&metrics, Some(&api)), metrics).unwrap();
    let mut lookup = lookup(&server, "org/app:1", "shop", &["pull"]);
    lookup.image = Arc::new(format!("{NAME}/org/app:1").parse().unwrap());
    let answer = resolver.for_nodes().digest(&lookup, Duration::ZERO).await;
    let told = match &answer {
        Ok(answer) if answer.trail.host() == server.host() => Ok("server"),
        Ok(answer) => Ok(answer.trail.host()),
        Err(error) => Err(error.label()),
    };
    assert_eq!(told, expected);
    let answer = resolver.digest(&lookup, Duration::ZERO).await.unwrap();
    let admitting = if expected.is_ok() { &server } else { &mirror };
    assert_eq!(answer.trail.host(), admitting.host());
}

#[tokio::test]
async fn a_mirror_that_refuses_what_nodes_show_has_no_last_word() {
    check_behind_open_mirror("pw", Ok("server")).await;
    check_behind_open_mirror("other", Err("nodes_cannot_pull")).await;
}
