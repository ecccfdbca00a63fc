//! Registries that answer one credential otherwise than another.

use super::*;
use crate::error::Chain;

/// Returns the status that the password of `ann` begins with, if she asks.
fn wished(request: &Request) -> Option<u16> {
    let shown = request.authorization()?.strip_prefix("Basic ")?;
    let shown = String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap();
    let status = shown.strip_prefix("ann:")?.get(..3)?;
    Some(status.parse().unwrap())
}

/// Starts a registry that answers `ann` with the status that her password begins with, and `anonymous` with that one.
async fn hiding(anonymous: u16) -> Server {
    Server::start(move |request| match wished(request).unwrap_or(anonymous) {
        _ if request.path() == "/v2/" => {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
        }
        200 => manifest(request),
        status => Reply::new(status),
    })
    .await
}

/// Starts an API server whose secrets hold the password of `ann` that they are called.
async fn named(registry: &Server) -> Server {
    let host = registry.host();
    Server::start(move |request| {
        let password = request.path().rsplit('/').next().unwrap();
        secret(&config(&host, password))
    })
    .await
}

/// Checks what comes of the tag and of a manifest for who has `secrets`, and how many requests each took.
async fn check(secrets: &[&str], anonymous: u16, expected: [&str; 2], requests: usize) {
    let registry = hiding(anonymous).await;
    let api = named(&registry).await;
    let resolver = resolver(Some(&api));
    let lookup = lookup(&registry, "app:1", "shop", secrets);
    let tag = resolver.digest(&lookup, Duration::ZERO).await;
    let tag = tag.map_or_else(|error| error.label(), |_| "found");
    let manifest = resolver.manifest(&lookup, &digest()).await;
    let manifest = manifest.map_or_else(|error| error.label(), |_| "found");
    assert_eq!([tag, manifest], expected, "{secrets:?} {anonymous}");
    let sent = [
        registry.count("HEAD /v2/app"),
        registry.count("GET /v2/app"),
    ];
    assert_eq!(sent, [requests; 2], "{secrets:?} {anonymous}");
}

#[tokio::test]
async fn who_is_told_that_there_is_none_does_not_end_the_row() {
    check(&["404", "200"], 401, ["found"; 2], 2).await;
    check(&["404", "401", "404", "200"], 401, ["found"; 2], 3).await;
    check(&["404"], 200, ["found"; 2], 2).await;
}

#[tokio::test]
async fn of_several_denials_the_one_that_can_be_mended_is_told() {
    check(&[], 404, ["not_found"; 2], 1).await;
    check(&["404"], 404, ["not_found"; 2], 2).await;
    // Nobody in particular need not be let in for a tag to be away.
    check(&["404"], 401, ["not_found"; 2], 2).await;
    check(&["404"], 403, ["not_found"; 2], 2).await;
    check(&["401", "403"], 401, ["unauthorized"; 2], 3).await;
    check(&["403", "401"], 401, ["forbidden"; 2], 3).await;
    // Whose tag was resolved may see the manifest, and one of them is told that it is away.
    check(&["404", "401"], 401, ["unauthorized", "not_found"], 3).await;
    check(&["403", "404"], 401, ["forbidden", "not_found"], 3).await;
    check(&["401"], 404, ["unauthorized", "not_found"], 2).await;
}

#[tokio::test]
async fn a_password_may_be_refused_in_other_ways() {
    for odd in ["400", "402", "422"] {
        check(&[odd, "200"], 401, ["found"; 2], 2).await;
        check(&[odd], 401, ["refused"; 2], 2).await;
        check(&["401", odd], 401, ["unauthorized"; 2], 3).await;
        check(&["404", odd], 401, ["refused", "not_found"], 3).await;
    }
}

#[tokio::test]
async fn what_ails_the_host_ends_the_row() {
    check(&["404", "503", "200"], 200, ["unavailable"; 2], 1 + 3).await;
    check(&["500", "200"], 200, ["unavailable"; 2], 3).await;
    // A proxy's, whoever asks.
    check(&["407", "200"], 200, ["refused"; 2], 1).await;
}

/// Looks up the tag for who has `secrets`; returns what comes of it, and how many requests it took.
async fn look(resolver: &Resolver, registry: &Server, secrets: &[&str]) -> (&'static str, usize) {
    let before = registry.count("HEAD ");
    let lookup = lookup(registry, "app:1", "shop", secrets);
    let answer = resolver.digest(&lookup, Duration::ZERO).await;
    let label = answer.map_or_else(|error| error.label(), |_| "found");
    (label, registry.count("HEAD ") - before)
}

#[tokio::test]
async fn the_limit_of_one_account_leaves_the_others() {
    let registry = hiding(401).await;
    let api = named(&registry).await;
    let resolver = resolver(Some(&api));
    let both = ["429", "200"];
    assert_eq!(look(&resolver, &registry, &both).await, ("found", 2));
    assert_eq!(look(&resolver, &registry, &both).await, ("found", 1));
    // It is known by now, to whom the other's answer is new, too.
    let others = ["429", "200b"];
    assert_eq!(look(&resolver, &registry, &others).await, ("found", 1));
}

#[tokio::test]
async fn while_all_accounts_are_limited_nobody_is_asked() {
    let registry = hiding(429).await;
    let api = named(&registry).await;
    let resolver = resolver(Some(&api));
    for asked in [3, 0] {
        let all = ["429", "429b"];
        let told = look(&resolver, &registry, &all).await;
        assert_eq!(told, ("rate_limited", asked));
    }
    let another = ["429b", "429", "200"];
    assert_eq!(look(&resolver, &registry, &another).await, ("found", 1));
}

#[tokio::test]
async fn a_limit_is_told_unless_the_best_credential_was_denied() {
    for (secrets, expected) in [
        (["429", "401"], ["rate_limited"; 2]),
        (["401", "429"], ["unauthorized", "rate_limited"]),
        (["404", "429"], ["rate_limited"; 2]),
        (["429", "404"], ["rate_limited"; 2]),
    ] {
        let registry = hiding(401).await;
        let api = named(&registry).await;
        let resolver = resolver(Some(&api));
        let lookup = lookup(&registry, "app:1", "shop", &secrets);
        let tag = resolver.digest(&lookup, Duration::ZERO).await;
        let manifest = resolver.manifest(&lookup, &digest()).await;
        let told = [tag.unwrap_err().label(), manifest.unwrap_err().label()];
        // Who may not ask now may be the one that was let in before.
        assert_eq!(told, expected, "{secrets:?}");
    }
}

#[tokio::test]
async fn where_nothing_is_shown_all_are_told_the_same() {
    for (status, expected) in [(429, "rate_limited"), (400, "refused")] {
        let registry = Server::start(move |request| match request.path() {
            "/v2/" => Reply::new(200),
            _ => Reply::new(status),
        })
        .await;
        let api = named(&registry).await;
        let told = look(&resolver(Some(&api)), &registry, &["a", "b"]).await;
        assert_eq!(told, (expected, 1));
    }
}

#[tokio::test]
async fn a_token_service_that_refuses_one_leaves_the_others() {
    for refused in ["400", "401", "404", "405", "429"] {
        let service = Server::start(|request| match wished(request) {
            Some(200) => Reply::new(200).body(r#"{"token": "t0ken"}"#),
            status => Reply::new(status.unwrap_or(401)),
        })
        .await;
        let challenge = format!("Bearer realm=\"{}/token\"", service.root());
        let registry = Server::start(move |request| match request.authorization() {
            Some("Bearer t0ken") => manifest(request),
            _ => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
        .await;
        let api = named(&registry).await;
        let told = look(&resolver(Some(&api)), &registry, &[refused, "200"]).await;
        assert_eq!(told, ("found", 1), "{refused}");
    }
}

#[tokio::test]
async fn a_hidden_image_names_what_was_tried() {
    let registry = hiding(404).await;
    let api = named(&registry).await;
    let lookup = lookup(&registry, "app:1", "shop", &["404"]);
    let error = resolver(Some(&api)).digest(&lookup, Duration::ZERO).await;
    let text = Chain(&error.unwrap_err()).to_string();
    let tried = format!("(tried secret shop/404 key {}, anonymous)", registry.host());
    assert!(text.contains(&tried), "{text}");
}

/// Starts a registry, and an API server whose secret holds `first` when it is read first, and then a password that is
/// let in.
async fn rotated(first: &'static str) -> (Server, Server) {
    let registry = hiding(404).await;
    let (reads, host) = (std::sync::atomic::AtomicUsize::new(0), registry.host());
    let api = Server::start(move |_| {
        let nth = reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        secret(&config(&host, [first, "200"][nth.min(1)]))
    })
    .await;
    (registry, api)
}

#[tokio::test]
async fn a_secret_that_sees_more_is_read_at_once() {
    for first in ["404", "400"] {
        let (registry, api) = rotated(first).await;
        let patient = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
        let told = look(&patient, &registry, &["pull"]).await;
        assert_eq!(told, ("found", 3), "{first}");
    }
}

#[tokio::test]
async fn a_secret_whose_account_is_limited_is_read_again_now_and_then() {
    let (registry, api) = rotated("429").await;
    let patient = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
    for (later, expected) in [(0, "rate_limited"), (29, "rate_limited"), (1, "found")] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(later)).await;
        tokio::time::resume();
        let (told, _) = look(&patient, &registry, &["pull"]).await;
        assert_eq!(told, expected, "{later}");
    }
}
