//! Manifests read by their digest.

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::cluster::Platform;

/// An index of one image for linux/amd64, whose digest is all ones.
fn index() -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"digest": child().to_string(), "platform": {"os": "linux", "architecture": "amd64"}}],
    })
    .to_string()
}

fn child() -> Digest {
    Digest::Sha256([0x11; 32])
}

fn sha256(text: &str) -> Digest {
    Digest::Sha256(Sha256::digest(text).into())
}

/// Answers as a registry that has [`index`] under every reference.
fn stored(request: &Request) -> Reply {
    match request.path() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(200).body(&index()),
    }
}

async fn read(
    resolver: &Resolver,
    server: &Server,
    digest: &Digest,
) -> Result<Arc<Manifest>, LookupError> {
    let lookup = lookup(server, "app:1", "shop", &[]);
    resolver.manifest(&lookup, digest).await
}

#[tokio::test]
async fn a_manifest_is_read_once_and_for_all() {
    let server = Server::start(stored).await;
    let (resolver, digest) = (resolver(None), sha256(&index()));
    let linux = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
    };
    let all = join_all((0..100).map(|_| read(&resolver, &server, &digest))).await;
    for manifest in all {
        assert_eq!(manifest.unwrap().image_for(Some(&linux)), Some(&child()));
    }
    drop(read(&resolver, &server, &digest).await.unwrap());
    let path = format!("GET /v2/app/manifests/{digest}");
    assert_eq!(server.count(&path), 1);
    // Its name is its digest: nobody need say it once more.
    assert_eq!(server.count("HEAD "), 0);
}

/// Checks what comes of reading a digest from a registry that answers by `script`.
#[track_caller]
fn check(
    script: impl Fn() -> Reply + Send + Sync + 'static,
    expected: &'static str,
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let server = Server::start(move |request| match request.path() {
            "/v2/" => Reply::new(200),
            _ => script(),
        })
        .await;
        let begun = Instant::now();
        let error = read(&resolver_for(expected), &server, &sha256(&index())).await;
        assert_eq!(error.unwrap_err().label(), expected, "{place}");
        assert!(begun.elapsed() < 2 * LOOKUP_TIMEOUT);
    }
}

#[tokio::test]
async fn only_its_own_bytes_are_the_manifest() {
    check(|| Reply::new(200).body(MANIFEST), "malformed").await;
    let lying = || {
        let digest = sha256(&index()).to_string();
        Reply::new(200).header("Docker-Content-Digest", &digest)
    };
    check(move || lying().body(MANIFEST), "malformed").await;
    check(|| Reply::Endless(Duration::ZERO), "malformed").await;
    check(|| Reply::Endless(SHORT_TIMEOUT / 4), "timeout").await;
    check(|| Reply::new(404), "not_found").await;
    check(|| Reply::new(403), "forbidden").await;
}

#[tokio::test]
async fn bytes_that_are_no_manifest_are_told_by_their_digest_too() {
    let page = "<html>";
    let server = Server::start(move |_| Reply::new(200).body(page)).await;
    let error = read(&resolver(None), &server, &sha256(page))
        .await
        .unwrap_err();
    let text = crate::error::Chain(&error).to_string();
    let expected = format!("no manifest {}/app@{}", server.host(), sha256(page));
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(error.label(), "malformed");
}

#[tokio::test]
async fn what_one_credential_read_no_other_is_shown() {
    let server = Server::start(|request| match request.authorization() {
        Some(_) => stored(request),
        None => Reply::new(401).header("WWW-Authenticate", "Basic realm=x"),
    })
    .await;
    let api = api(&server, "pw").await;
    let (resolver, digest) = (resolver(Some(&api)), sha256(&index()));
    let member = lookup(&server, "app:1", "shop", &["pull"]);
    assert!(resolver.manifest(&member, &digest).await.is_ok());
    let stranger = lookup(&server, "app:1", "other", &[]);
    let refused = resolver.manifest(&stranger, &digest).await;
    assert_eq!(refused.unwrap_err().label(), "unauthorized");
}

/// Answers as a registry that has [`MANIFEST`] and tells what is left of a limit of 100; HEAD tells no digest.
fn limited(remaining: &'static str) -> impl Fn(&Request) -> Reply + Send + Sync {
    move |request| {
        let reply = match request.path() {
            "/v2/" => Reply::new(200),
            _ => Reply::new(200).body(MANIFEST),
        };
        let reply = reply.header("RateLimit-Limit", "100;w=21600");
        reply.header("RateLimit-Remaining", remaining)
    }
}

#[tokio::test]
async fn little_that_is_left_is_left_to_the_nodes() {
    for (remaining, expected) in [("11;w=21600", Ok(())), ("10;w=21600", Err("allowance_low"))] {
        let server = Server::start(limited(remaining)).await;
        let metrics = Metrics::new();
        let resolver = resolver_with(metrics.clone(), Network::default(), None);
        assert!(metrics.registry_allowance.get().is_nan());
        let found = ask(&resolver, &server, "app:1").await;
        let found = found.map(drop).map_err(|error| error.label());
        assert_eq!(found, expected);
        let read = read(&resolver, &server, &digest()).await;
        assert_eq!(read.map(drop).map_err(|error| error.label()), expected);
        let gets = if expected.is_ok() { 2 } else { 0 };
        assert_eq!(server.count("GET /v2/app"), gets);
        let image = lookup(&server, "app:1", "shop", &[]).image;
        let left = resolver.allowance(&image).await.unwrap();
        assert_eq!(left.is_low(), expected.is_err());
        assert_eq!(metrics.registry_allowance.get(), left.remaining as f64);
    }
}

#[tokio::test]
async fn what_a_refusal_says_of_its_end_is_believed() {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 7m0.5s, allowed: 44000/minute"}]}"#;
    let refusals = [
        (Reply::new(429).body(body), Some(420.5)),
        (
            Reply::new(429).header("Retry-After", "3").body(body),
            Some(3.0),
        ),
        (Reply::new(429), Some(30.0)),
        (Reply::new(503).header("Retry-After", "60"), Some(60.0)),
        (Reply::new(503).body(body), None),
    ];
    for (refusal, expected) in refusals {
        let with_time = expected.is_some();
        let server = Server::start(move |request| match request.path() {
            "/v2/" => Reply::new(200),
            _ => refusal.clone(),
        })
        .await;
        let resolver = resolver(None);
        let error = read(&resolver, &server, &digest()).await.unwrap_err();
        assert_eq!(error.retry_after().map(|it| it.as_secs_f64()), expected);
        // Who names a time is not asked before, whatever it is about.
        assert_eq!(server.count("GET /v2/app"), if with_time { 1 } else { 3 });
        let next = ask(&resolver, &server, "other:1").await.unwrap_err();
        assert_eq!(next.retry_after().is_some(), with_time);
        assert_eq!(
            server.count("HEAD /v2/other"),
            if with_time { 0 } else { 3 }
        );
    }
}
