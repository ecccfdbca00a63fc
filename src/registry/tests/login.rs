//! Which credential is shown to whom.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{error::Chain, observe::metrics::Reason};

/// Answers as a registry that lets in who shows `accepted`, and else asks for `challenge`.
fn guarded(request: &Request, accepted: &str, challenge: &str) -> Reply {
    match request.authorization() {
        Some(shown) if shown == accepted => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", challenge),
    }
}

/// Starts a token service that answers by `script`, and a registry that lets in its token `t0ken`.
async fn with_tokens(
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Server, Server) {
    let service = Server::start(script).await;
    let challenge = format!("Bearer realm=\"{}/token\",service=\"reg\"", service.root());
    let registry = Server::start(move |request| guarded(request, "Bearer t0ken", &challenge)).await;
    (registry, service)
}

#[tokio::test]
async fn basic_is_shown_where_it_is_asked_for() {
    let server = Server::start(|r| guarded(r, &basic("pw"), "Basic realm=\"x\"")).await;
    let api = api(&server, "pw").await;
    let answer = pull(&resolver(Some(&api)), &server).await.unwrap();
    assert_eq!(
        answer.trail.source().to_string(),
        format!("secret shop/pull key {}", server.host())
    );
    assert_eq!(server.count("HEAD "), 1);
    let asked = &api.requests("GET /api/")[0];
    assert_eq!(asked.path(), "/api/v1/namespaces/shop/secrets/pull");
}

#[tokio::test]
async fn an_open_registry_sees_no_credential() {
    let server = Server::start(manifest).await;
    let api = api(&server, "pw").await;
    pull(&resolver(Some(&api)), &server).await.unwrap();
    assert!(
        server
            .requests("")
            .iter()
            .all(|r| r.authorization().is_none())
    );
}

#[tokio::test]
async fn candidates_are_tried_in_turn_and_the_right_one_is_remembered() {
    let server = Server::start(|r| guarded(r, &basic("right"), "Basic realm=\"x\"")).await;
    let host = server.host();
    let api = Server::start(move |request| {
        let password = request.path().rsplit('/').next().unwrap();
        secret(&config(&host, password))
    })
    .await;
    let resolver = resolver(Some(&api));
    let lookup = lookup(&server, "app:1", "shop", &["wrong", "right"]);
    let answer = resolver.digest(&lookup, Duration::ZERO).await.unwrap();
    assert_eq!(
        answer.trail.source().to_string(),
        format!("secret shop/right key {}", server.host())
    );
    assert_eq!(server.count("HEAD "), 2);
    resolver.digest(&lookup, Duration::ZERO).await.unwrap();
    assert_eq!(server.count("HEAD "), 3);
}

#[tokio::test]
async fn anonymous_is_tried_last() {
    let server = Server::start(|request| match request.authorization() {
        Some(_) => Reply::new(403),
        None if request.path() == "/v2/" => {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
        }
        None => manifest(request),
    })
    .await;
    let api = api(&server, "wrong").await;
    let answer = pull(&resolver(Some(&api)), &server).await.unwrap();
    assert_eq!(answer.trail.source(), &Source::Anonymous);
}

#[tokio::test]
async fn a_token_is_exchanged_once_and_used_until_it_ends() {
    let script = |_: &Request| Reply::new(200).body(r#"{"token": "t0ken", "expires_in": 300}"#);
    let (registry, service) = with_tokens(script).await;
    let api = api(&registry, "pw").await;
    let resolver = resolver(Some(&api));
    for _ in 0..3 {
        pull(&resolver, &registry).await.unwrap();
    }
    let [asked] = &service.requests("")[..] else {
        panic!("{:?}", service.requests(""));
    };
    assert_eq!(
        asked.target,
        "/token?scope=repository%3Aorg%2Fapp%3Apull&service=reg"
    );
    assert_eq!(asked.authorization(), Some(&*basic("pw")));
    assert_eq!(
        (registry.count("GET /v2/"), registry.count("HEAD ")),
        (1, 3)
    );
    assert!(
        registry
            .requests("")
            .iter()
            .all(|r| r.authorization() != Some(&*basic("pw")))
    );
}

#[tokio::test]
async fn nobody_gets_a_token_too() {
    let script = |_: &Request| Reply::new(200).body(r#"{"access_token": "t0ken"}"#);
    let (registry, service) = with_tokens(script).await;
    ask(&resolver(None), &registry, "app:1").await.unwrap();
    assert_eq!(service.requests("")[0].authorization(), None);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_oauth() {
    let script = |_: &Request| Reply::new(200).body(r#"{"access_token": "t0ken"}"#);
    let (registry, service) = with_tokens(script).await;
    let auth = json!({"auth": "MDAwMDo=", "identitytoken": "r3fresh"});
    let config = json!({"auths": {registry.host(): auth}});
    let api = Server::start(move |_| secret(&config)).await;
    pull(&resolver(Some(&api)), &registry).await.unwrap();
    let [asked] = &service.requests("POST /token")[..] else {
        panic!("{:?}", service.requests(""));
    };
    assert_eq!(
        asked.body,
        "scope=repository%3Aorg%2Fapp%3Apull&service=reg&grant_type=refresh_token\
         &client_id=podrefresh&refresh_token=r3fresh"
    );
}

#[tokio::test]
async fn a_revoked_token_is_renewed() {
    let issued = AtomicUsize::new(0);
    let service = Server::start(move |_| {
        let n = issued.fetch_add(1, Ordering::Relaxed);
        Reply::new(200).body(&format!(r#"{{"token": "t{n}"}}"#))
    })
    .await;
    let challenge = format!("Bearer realm=\"{}/token\"", service.root());
    let shown = AtomicUsize::new(0);
    let registry = Server::start(move |request| match request.authorization() {
        // From the second use on, the first token is no good any more.
        Some("Bearer t0") if shown.fetch_add(1, Ordering::Relaxed) == 0 => manifest(request),
        Some("Bearer t1") => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", &challenge),
    })
    .await;
    let resolver = resolver(None);
    ask(&resolver, &registry, "app:1").await.unwrap();
    ask(&resolver, &registry, "app:1").await.unwrap();
    assert_eq!((service.count(""), registry.count("HEAD ")), (2, 3));
}

/// Checks the outcome where the token service answers by `reply`.
async fn check_service(reply: Reply, expected: &str) {
    let (registry, service) = with_tokens(move |_| reply.clone()).await;
    let resolver = resolver_for(expected);
    let error = ask(&resolver, &registry, "app:1").await.unwrap_err();
    assert_eq!((error.label(), registry.count("HEAD ")), (expected, 0));
    let text = Chain(&error).to_string();
    assert!(
        text.contains("127.0.0.1") && !text.contains("t0ken"),
        "{text}"
    );
    assert!(service.count("") >= 1);
}

#[tokio::test]
async fn the_token_services_faults_are_told_apart() {
    check_service(Reply::new(401), "unauthorized").await;
    check_service(Reply::new(403), "forbidden").await;
    check_service(Reply::new(404), "refused").await;
    check_service(Reply::new(500), "unavailable").await;
    check_service(Reply::new(429).header("Retry-After", "5"), "rate_limited").await;
    check_service(Reply::Silence, "timeout").await;
    check_service(Reply::HangUp, "unreachable").await;
    check_service(Reply::Endless(Duration::ZERO), "malformed").await;
    check_service(Reply::new(200).body("<html>"), "malformed").await;
    check_service(
        Reply::new(200).body(r#"{"token": "t0ken\nX-Evil: 1"}"#),
        "malformed",
    )
    .await;
    let away = Reply::new(302).header("Location", "http://127.0.0.1:1/");
    check_service(away, "refused").await;
}

#[tokio::test]
async fn a_password_never_goes_to_an_unsafe_realm() {
    let challenge = "Bearer realm=\"http://auth.test/token\"";
    let server = Server::start(move |r| guarded(r, "never", challenge)).await;
    let api = api(&server, "pw").await;
    let error = pull(&resolver(Some(&api)), &server).await.unwrap_err();
    assert_eq!(error.label(), "malformed");
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_at_once() {
    let server = Server::start(|r| guarded(r, &basic("new"), "Basic realm=x")).await;
    let (read, host) = (AtomicUsize::new(0), server.host());
    let api = Server::start(move |_| {
        let n = read.fetch_add(1, Ordering::Relaxed);
        secret(&config(&host, ["old", "new"][n.min(1)]))
    })
    .await;
    let patient = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
    pull(&patient, &server).await.unwrap();
    assert_eq!(api.count("GET "), 2);
    pull(&patient, &server).await.unwrap();
    assert_eq!(api.count("GET "), 2);
}

#[tokio::test]
async fn a_denial_names_what_was_tried_and_shows_no_secret() {
    let server = Server::start(|r| guarded(r, "never", "Basic realm=x")).await;
    let api = api(&server, "hunter2").await;
    let error = pull(&resolver(Some(&api)), &server).await.unwrap_err();
    let text = Chain(&error).to_string();
    let tried = format!("secret shop/pull key {}, anonymous", server.host());
    assert!(text.contains(&tried), "{text}");
    let shown = format!("{text} {error:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains(&basic("hunter2")[6..]),
        "{shown}"
    );
}

#[tokio::test]
async fn of_thousands_of_entries_that_fit_a_few_are_tried_and_told() {
    let server = Server::start(|r| guarded(r, "never", "Basic realm=x")).await;
    let host = server.host();
    let entry = |n| {
        let entry = json!({"username": "ann", "password": format!("p{n}")});
        [
            (format!("{host}?{n}"), entry),
            (format!("broken{n}"), json!(7)),
        ]
    };
    let auths: BTreeMap<String, _> = (0..5000).flat_map(entry).collect();
    let api = Server::start(move |_| secret(&json!({ "auths": auths }))).await;
    let error = pull(&resolver(Some(&api)), &server).await.unwrap_err();
    // Each credential and anonymous, which shows nothing.
    assert_eq!(server.count("HEAD "), 17);
    let text = Chain(&error).to_string();
    assert_eq!(text.matches(&format!("key {host}")).count(), 16, "{text}");
    assert!(text.contains("4993 more of its entries"), "{text}");
    assert!(text.len() < 4096, "{text}");
}

/// Checks that a secret that is of no use is named, and stops nothing.
async fn check_problem(reply: Reply, expected: &str) {
    let api = Server::start(move |_| reply.clone()).await;
    let server = Server::start(manifest).await;
    let answer = pull(&resolver(Some(&api)), &server).await.unwrap();
    let [problem] = answer.trail.problems() else {
        panic!("{:?}", answer.trail.problems());
    };
    assert_eq!(problem.label(), expected);
    assert_eq!(problem.origin.to_string(), "secret shop/pull");
}

#[tokio::test]
async fn a_useless_secret_stops_nothing() {
    let opaque = json!({"metadata": {}, "type": "Opaque", "data": {"a": "e30="}});
    let broken = json!({"auths": {"127.0.0.1": {"auth": "%"}}});
    check_problem(status(404, "NotFound"), "secret_missing").await;
    check_problem(status(403, "Forbidden"), "secret_forbidden").await;
    check_problem(status(500, "InternalError"), "secret_unavailable").await;
    check_problem(Reply::HangUp, "secret_unavailable").await;
    check_problem(
        Reply::new(200).body(&opaque.to_string()),
        "secret_wrong_type",
    )
    .await;
    check_problem(secret(&json!("no config")), "config_malformed").await;
    check_problem(secret(&broken), "entry_malformed").await;
}

#[tokio::test]
async fn a_useless_secret_is_counted_once_until_it_changes() {
    let server = Server::start(manifest).await;
    let (reads, host) = (AtomicUsize::new(0), server.host());
    let api = Server::start(move |_| match reads.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => status(404, "NotFound"),
        2 => status(403, "Forbidden"),
        _ => secret(&config(&host, "pw")),
    })
    .await;
    let metrics = Metrics::new();
    let resolver = resolver_with(metrics.clone(), Network::default(), Some(&api));
    let count = |reason| {
        let counters = &metrics.credentials_problems;
        counters.get_or_create(&Reason { reason }).get()
    };
    // Each lookup reads the secret anew.
    let eager = resolver.with_secrets_max_age(Duration::ZERO);
    for (missing, forbidden) in [(1, 0), (1, 0), (1, 1), (1, 1)] {
        pull(&eager, &server).await.unwrap();
        assert_eq!(
            (count("secret_missing"), count("secret_forbidden")),
            (missing, forbidden)
        );
    }
    let answer = pull(&resolver, &server).await.unwrap();
    assert!(answer.trail.problems().is_empty());
}
