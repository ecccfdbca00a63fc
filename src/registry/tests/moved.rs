//! Token services that move, and such as only fail.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

/// Longer than what a registry said of its login holds, and than tokens live.
const LATER: Duration = Duration::from_secs(61);

/// A registry whose tokens come from `old` until it is told otherwise, and one who asks there.
struct Moving {
    registry: Server,
    _api: Server,
    resolver: Resolver,
    realm: Arc<Mutex<String>>,
    /// What the old token service answers, if not with a token.
    reply: Arc<Mutex<Option<Reply>>>,
    old: Server,
}

/// Answers as a token service whose tokens are good.
fn token() -> Reply {
    Reply::new(200).body(r#"{"token": "t0ken"}"#)
}

impl Moving {
    async fn start() -> Self {
        let reply = Arc::new(Mutex::new(None::<Reply>));
        let said = Arc::clone(&reply);
        let old = Server::start(move |_| said.lock().unwrap().clone().unwrap_or_else(token)).await;
        let realm = Arc::new(Mutex::new(old.root()));
        let named = Arc::clone(&realm);
        let registry = Server::start(move |request| match request.authorization() {
            Some("Bearer t0ken") => manifest(request),
            _ => {
                let realm = named.lock().unwrap();
                Reply::new(401).header("WWW-Authenticate", &format!("Bearer realm=\"{realm}/t\""))
            }
        })
        .await;
        let api = api(&registry, "pw").await;
        Self {
            resolver: resolver(Some(&api)),
            registry,
            _api: api,
            realm,
            reply,
            old,
        }
    }

    /// Lets the old service answer so from now on.
    fn fails(&self, reply: Reply) {
        *self.reply.lock().unwrap() = Some(reply);
    }

    /// Looks up the image after a while; returns the outcome, and how many requests showed nothing.
    async fn ask(&self, after: Duration) -> (&'static str, usize) {
        tokio::time::pause();
        tokio::time::advance(after).await;
        tokio::time::resume();
        let bare = || {
            let heads = self.registry.requests("HEAD ");
            let bare = heads.iter().filter(|r| r.authorization().is_none());
            bare.count()
        };
        let before = bare();
        let lookup = lookup(&self.registry, "app:1", "shop", &["pull"]);
        let answer = self.resolver.digest(&lookup, Duration::ZERO).await;
        let label = answer.map_or_else(|error| error.label(), |_| "found");
        (label, bare() - before)
    }
}

/// Checks that a service is found where it is now, whose old name answers by `reply`.
async fn check_found(reply: Reply) {
    let shown = format!("{reply:?}");
    let moving = Moving::start().await;
    assert_eq!(moving.ask(LATER).await, ("found", 0));
    let new = Server::start(|_| token()).await;
    *moving.realm.lock().unwrap() = new.root();
    moving.fails(reply);
    assert_eq!(moving.ask(LATER).await, ("found", 1), "{shown}");
    let asked = moving.old.count("");
    assert_eq!(moving.ask(LATER).await, ("found", 0), "{shown}");
    // It is remembered: the old one is not asked any more.
    assert_eq!((moving.old.count(""), new.count("")), (asked, 2), "{shown}");
}

#[tokio::test]
async fn a_token_service_that_has_moved_is_found() {
    check_found(Reply::HangUp).await;
    check_found(Reply::new(401)).await;
    check_found(Reply::new(403)).await;
    check_found(Reply::new(404)).await;
    check_found(Reply::new(500)).await;
    check_found(Reply::new(200).body("<html>")).await;
    check_found(Reply::new(302).header("Location", "http://127.0.0.1:1/")).await;
}

/// Checks that a service that is where it was, and answers by `reply`, costs the registry so many requests.
async fn check_failing(reply: Reply, expected: &'static str, extra: usize) {
    let moving = Moving::start().await;
    assert_eq!(moving.ask(LATER).await, ("found", 0));
    moving.fails(reply);
    let soon = KEEP_FAILURE * 2;
    // The first goes by the token that is still good.
    assert_eq!(moving.ask(soon).await, ("found", 0));
    for _ in 0..2 {
        assert_eq!(moving.ask(LATER).await, (expected, extra));
        assert_eq!(moving.ask(soon).await, (expected, 0));
    }
    *moving.reply.lock().unwrap() = None;
    assert_eq!(moving.ask(LATER).await, ("found", 0));
}

#[tokio::test]
async fn one_that_only_fails_costs_one_request_in_a_while() {
    check_failing(Reply::HangUp, "unreachable", 1).await;
    check_failing(Reply::new(401), "unauthorized", 1).await;
    check_failing(Reply::new(404), "refused", 1).await;
    check_failing(Reply::new(503), "unavailable", 1).await;
}

#[tokio::test]
async fn one_that_limits_the_rate_of_requests_is_where_it_was() {
    let limited = || Reply::new(429).header("Retry-After", "1");
    check_failing(limited(), "rate_limited", 0).await;
}

/// Starts a registry that wants tokens of a service that fails, and shows `open` to who shows none from the second on.
async fn half_open(open: Reply) -> (Server, Server) {
    let issued = AtomicUsize::new(0);
    let service = Server::start(move |_| match issued.fetch_add(1, Ordering::Relaxed) {
        0 => token(),
        _ => Reply::new(404),
    })
    .await;
    let challenge = format!("Bearer realm=\"{}/t\"", service.root());
    let registry = Server::start(move |request| match request.authorization() {
        Some(_) => manifest(request),
        None if request.path() == "/v2/" => Reply::new(401).header("WWW-Authenticate", &challenge),
        None => open.clone(),
    })
    .await;
    (registry, service)
}

/// Checks what comes of a lookup whose token service fails, where the registry answers `open` to who shows nothing.
async fn check_open(open: Reply, expected: &str) {
    let (registry, _service) = half_open(open).await;
    let resolver = resolver(None);
    ask(&resolver, &registry, "app:1").await.unwrap();
    tokio::time::pause();
    tokio::time::advance(LATER).await;
    tokio::time::resume();
    let answer = ask(&resolver, &registry, "app:1").await;
    let label = answer.map_or_else(|error| error.label(), |_| "found");
    assert_eq!(label, expected);
}

#[tokio::test]
async fn the_services_fault_is_told_unless_the_registry_says_more() {
    let digest = digest().to_string();
    let open = Reply::new(200).header("Docker-Content-Digest", &digest);
    check_open(open, "found").await;
    check_open(Reply::new(404), "refused").await;
    check_open(Reply::new(401), "refused").await;
    check_open(Reply::new(500), "refused").await;
    let limited = Reply::new(429).header("Retry-After", "9");
    check_open(limited, "refused").await;
    let down = Reply::new(503).header("Retry-After", "9");
    check_open(down, "unavailable").await;
}
