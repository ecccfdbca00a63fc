//! Registries that hide what one may not see.

use super::*;
use crate::error::Chain;

/// Starts a registry that answers `ann` with the status that is her password, and `anonymous` with that one.
async fn hiding(anonymous: u16) -> Server {
    Server::start(move |request| {
        let shown = request.authorization().map(|shown| {
            let mut statuses = [200, 401, 403, 404, 429].into_iter();
            statuses.find(|status| basic(&status.to_string()) == shown)
        });
        match shown.map_or(anonymous, Option::unwrap) {
            _ if request.path() == "/v2/" => {
                Reply::new(401).header("WWW-Authenticate", "Basic realm=x")
            }
            200 => manifest(request),
            status => Reply::new(status),
        }
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
async fn what_is_no_denial_ends_the_row() {
    let registry = hiding(200).await;
    let api = named(&registry).await;
    let lookup = lookup(&registry, "app:1", "shop", &["404", "429"]);
    let error = resolver(Some(&api)).digest(&lookup, Duration::ZERO).await;
    assert_eq!(error.unwrap_err().label(), "rate_limited");
    assert_eq!(registry.count("HEAD "), 2);
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

#[tokio::test]
async fn a_secret_that_sees_more_is_read_at_once() {
    let registry = hiding(404).await;
    let (reads, host) = (std::sync::atomic::AtomicUsize::new(0), registry.host());
    let api = Server::start(move |_| {
        let nth = reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        secret(&config(&host, ["404", "200"][nth.min(1)]))
    })
    .await;
    let patient = resolver(Some(&api)).with_secrets_max_age(Duration::MAX);
    let lookup = lookup(&registry, "app:1", "shop", &["pull"]);
    assert!(patient.digest(&lookup, Duration::ZERO).await.is_ok());
}
