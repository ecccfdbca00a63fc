//! What is shared, and with whom not.

use futures::future::join_all;

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Starts an API server whose secrets hold passwords called as their namespace.
async fn passwords(registry: &Server) -> Server {
    let host = registry.host();
    Server::start(move |request| {
        let namespace = request.path().split('/').nth(4).unwrap();
        secret(&config(&host, namespace))
    })
    .await
}

/// Starts a registry with a token service; both let in only `ann` with the password `rich`.
async fn private() -> (Server, Server) {
    let service = Server::start(|request| match request.authorization() {
        Some(shown) if shown == basic("rich") => Reply::new(200).body(r#"{"token": "rich"}"#),
        Some(_) => Reply::new(401),
        None => Reply::new(200).body(r#"{"token": "nobody"}"#),
    })
    .await;
    let challenge = format!("Bearer realm=\"{}/token\"", service.root());
    let registry = Server::start(move |request| match request.authorization() {
        Some("Bearer rich") => manifest(request),
        _ => Reply::new(401).header("WWW-Authenticate", &challenge),
    })
    .await;
    (registry, service)
}

#[tokio::test]
async fn a_crowd_makes_one_question() {
    let (registry, service) = private().await;
    let api = passwords(&registry).await;
    let resolver = resolver(Some(&api));
    let lookup = lookup(&registry, "app:1", "rich", &["pull"]);
    let crowd = join_all((0..1000).map(|_| resolver.digest(&lookup, LONG)));
    assert!(
        crowd
            .await
            .iter()
            .all(|answer| answer.as_ref().unwrap().digest == digest())
    );
    assert_eq!(
        (registry.count("HEAD "), service.count(""), api.count("")),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn one_namespaces_credentials_never_serve_another() {
    let (registry, service) = private().await;
    let api = passwords(&registry).await;
    let resolver = resolver(Some(&api));
    let rich = lookup(&registry, "app:1", "rich", &["pull"]);
    let poor = lookup(&registry, "app:1", "poor", &["pull"]);
    let none = lookup(&registry, "app:1", "none", &[]);
    // The cache and the tokens are warm, and flights of all three are under way at a time.
    for _ in 0..2 {
        let turns = join_all((0..30).map(|n| {
            let lookup = [&rich, &poor, &none][n % 3];
            resolver.digest(lookup, LONG)
        }));
        for (n, answer) in turns.await.into_iter().enumerate() {
            match n % 3 {
                0 => assert_eq!(answer.unwrap().digest, digest()),
                _ => assert_eq!(answer.unwrap_err().label(), "unauthorized"),
            }
        }
    }
    // Each asked with its own, and only the one that may was let in.
    let with = |password: &str| {
        let requests = service.requests("GET /token");
        let shown = basic(password);
        requests
            .iter()
            .filter(|r| r.authorization() == Some(&shown))
            .count()
    };
    assert_eq!(with("rich"), 1);
    assert!(with("poor") >= 1);
    let heads = registry.requests("HEAD ");
    let rich = heads
        .iter()
        .filter(|r| r.authorization() == Some("Bearer rich"));
    assert_eq!(rich.count(), 1);
}

#[tokio::test]
async fn a_rotated_secret_does_not_open_the_door_for_its_old_holders() {
    let (registry, _service) = private().await;
    // `shop` and `thief` hold the same old password; only `shop` gets the new one.
    let host = registry.host();
    let reads = std::sync::atomic::AtomicUsize::new(0);
    let api = Server::start(move |request| {
        let is_shop = request.path().contains("/shop/");
        let n = reads.fetch_add(usize::from(is_shop), std::sync::atomic::Ordering::Relaxed);
        let password = if is_shop && n > 0 { "rich" } else { "old" };
        secret(&config(&host, password))
    })
    .await;
    let resolver = resolver(Some(&api));
    let shop = lookup(&registry, "app:1", "shop", &["pull"]);
    let thief = lookup(&registry, "app:1", "thief", &["pull"]);
    let (shop, thief) = tokio::join!(resolver.digest(&shop, LONG), resolver.digest(&thief, LONG));
    assert_eq!(shop.unwrap().digest, digest());
    assert_eq!(thief.unwrap_err().label(), "unauthorized");
}

#[tokio::test]
async fn equal_credentials_share_but_keep_their_own_names() {
    let (registry, service) = private().await;
    let api = api(&registry, "rich").await;
    let resolver = resolver(Some(&api));
    for namespace in ["shop", "bank"] {
        let lookup = lookup(&registry, "app:1", namespace, &["pull"]);
        let answer = resolver.digest(&lookup, LONG).await.unwrap();
        let source = format!("secret {namespace}/pull key {}", registry.host());
        assert_eq!(answer.trail.source().to_string(), source);
    }
    assert_eq!((registry.count("HEAD "), service.count("")), (1, 1));
}

#[tokio::test]
async fn tags_of_one_repository_share_a_token_and_nothing_else() {
    let (registry, service) = private().await;
    let api = passwords(&registry).await;
    let resolver = resolver(Some(&api));
    for tag in ["app:1", "app:2", "other:1"] {
        let lookup = lookup(&registry, tag, "rich", &["pull"]);
        resolver.digest(&lookup, LONG).await.unwrap();
    }
    assert_eq!((registry.count("HEAD "), service.count("")), (3, 2));
}

#[tokio::test]
async fn no_more_lookups_at_once_than_the_host_may_have() {
    let (now, most) = (
        Arc::new(std::sync::atomic::AtomicUsize::new(0)),
        Arc::default(),
    );
    let (seen_now, seen_most) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |request| {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let most: &AtomicUsize = &seen_most;
        if request.method == "HEAD" {
            let n = seen_now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(n, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            seen_now.fetch_sub(1, Ordering::SeqCst);
        }
        manifest(request)
    })
    .await;
    // The last of them may wait for a while on a busy machine.
    let metrics = Metrics::new();
    let keychain = keychain(&metrics, None);
    let resolver = Resolver::new(Settings::default(), keychain, metrics).unwrap();
    let lookups: Vec<Lookup> = (0..100)
        .map(|n| lookup(&server, &format!("app:{n}"), "shop", &[]))
        .collect();
    let answers = join_all(lookups.iter().map(|lookup| resolver.digest(lookup, LONG))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(server.count("HEAD "), 100);
    assert!(most.load(std::sync::atomic::Ordering::SeqCst) <= 16);
}
