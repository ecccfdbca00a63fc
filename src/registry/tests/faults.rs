//! What goes wrong, and what is made of it.

use tokio::time::Instant;

use super::*;
use crate::{error::Chain, observe::metrics::Outcome};

/// Checks the outcome and the number of HEADs against a registry that answers each `n`th HEAD by `script`.
async fn check(
    script: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static,
    expected: &str,
    heads: usize,
) {
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |request| match request.path() {
        "/v2/" => Reply::new(200),
        _ => {
            let n = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            script(n).unwrap_or_else(|| manifest(request))
        }
    })
    .await;
    let begun = Instant::now();
    let answer = ask(&resolver_for(expected), &server, "app:1").await;
    let label = answer.as_ref().map_or_else(LookupError::label, |_| "found");
    assert_eq!((label, server.count("HEAD ")), (expected, heads));
    assert!(begun.elapsed() < 2 * LOOKUP_TIMEOUT);
    if let Err(error) = answer {
        let text = Chain(&error).to_string();
        assert!(
            text.contains(&server.host()) && text.contains("app:1"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    for (code, expected) in [
        (404, "not_found"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (400, "refused"),
        (429, "rate_limited"),
    ] {
        check(move |_| Some(Reply::new(code)), expected, 1).await;
    }
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    check(|n| (n < 2).then(|| Reply::new(503)), "found", 3).await;
    check(|_| Some(Reply::new(500)), "unavailable", 3).await;
    check(|n| (n < 2).then_some(Reply::HangUp), "found", 3).await;
    check(|_| Some(Reply::HangUp), "unreachable", 3).await;
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    check(|_| Some(Reply::Silence), "timeout", 1).await;
}

#[tokio::test]
async fn every_request_and_lookup_is_counted_by_its_outcome() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        "/v2/slow/manifests/1" => Reply::Silence,
        "/v2/gone/manifests/1" => Reply::new(404),
        _ => manifest(request),
    })
    .await;
    let metrics = Metrics::new();
    let resolver = resolver_within(SHORT_TIMEOUT, metrics.clone(), Network::default(), None);
    for image in ["app:1", "app:1", "gone:1", "slow:1"] {
        let lookup = lookup(&server, image, "shop", &[]);
        drop(resolver.digest(&lookup, Duration::from_secs(60)).await);
    }
    let requests = |outcome| {
        metrics
            .registry_requests
            .get_or_create(&Outcome { outcome })
            .get()
    };
    let lookups = |outcome| {
        metrics
            .registry_lookups
            .get_or_create(&Outcome { outcome })
            .get()
    };
    assert_eq!(["2xx", "4xx", "timeout", "5xx"].map(requests), [2, 1, 1, 0]);
    let outcomes = ["found", "cached", "not_found", "timeout", "malformed"];
    assert_eq!(outcomes.map(lookups), [1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    // HEAD says nothing, so both are read by GET: one until it is too long, one until it is too late.
    check(|_| Some(Reply::Endless(Duration::ZERO)), "malformed", 1).await;
    check(|_| Some(Reply::Endless(SHORT_TIMEOUT / 4)), "timeout", 1).await;
}

#[tokio::test]
async fn a_body_that_claims_too_much_is_not_read() {
    let huge = || Reply::Http {
        status: 200,
        headers: vec![("X".into(), "y".into())],
        body: " ".repeat((4 << 20) + 1),
    };
    check(move |_| Some(huge()), "malformed", 1).await;
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let many = (0..1000).fold(Reply::new(200), |reply, n| {
        reply.header(&format!("X-{n}"), "y")
    });
    let long = Reply::new(200).header("X-Long", &"y".repeat(1 << 20));
    for reply in [many, long] {
        let server = Server::start(move |request| match request.path() {
            "/v2/" => Reply::new(200),
            _ => reply.clone(),
        })
        .await;
        let error = ask(&resolver(None), &server, "app:1").await.unwrap_err();
        assert_eq!(error.label(), "unreachable", "{}", Chain(&error));
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_the_host_is_spared() {
    let server = Server::start(manifest).await;
    let lookup = lookup(&server, "app:1", "shop", &[]);
    drop(server);
    let metrics = Metrics::new();
    let resolver = resolver_with(metrics.clone(), Network::default(), None);
    let outcome = "unreachable";
    let requests = || {
        let requests = metrics
            .registry_requests
            .get_or_create(&Outcome { outcome });
        requests.get()
    };
    // The listener goes away with its task.
    while tokio::net::TcpStream::connect(lookup.image.registry())
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let error = resolver.digest(&lookup, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.label(), "unreachable");
    assert!(
        Chain(&error).to_string().contains("refused"),
        "{}",
        Chain(&error)
    );
    let sent = requests();
    assert_ne!(sent, 0);
    let error = resolver.digest(&lookup, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.label(), "unreachable");
    assert_eq!(requests(), sent, "it is not even asked");
}

#[tokio::test]
async fn a_limited_host_is_left_alone() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(429).header("Retry-After", "120"),
    })
    .await;
    let resolver = resolver(None);
    for image in ["app:1", "app:1", "other:2"] {
        let error = ask(&resolver, &server, image).await.unwrap_err();
        let left = error.retry_after().unwrap();
        assert!(left > Duration::from_secs(110) && left <= Duration::from_secs(120));
    }
    assert_eq!(server.count("HEAD "), 1);
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment() {
    let server = Server::start(|request| match request.path() {
        "/v2/" => Reply::new(200),
        _ => Reply::new(404),
    })
    .await;
    let resolver = resolver(None);
    let lookup = lookup(&server, "app:1", "shop", &[]);
    for _ in 0..3 {
        let error = resolver.digest(&lookup, Duration::from_secs(30)).await;
        assert_eq!(error.unwrap_err().label(), "not_found");
    }
    assert_eq!(server.count("HEAD "), 1);
    assert!(resolver.digest(&lookup, Duration::ZERO).await.is_err());
    assert_eq!(server.count("HEAD "), 2);
}

#[tokio::test]
async fn a_host_that_can_be_none_is_an_error() {
    let lookup = Lookup {
        image: Arc::new("256.256.256.256:5000/app:1".parse().unwrap()),
        identity: Arc::new(PullIdentity {
            namespace: "shop".into(),
            secrets: Box::default(),
            service_account: "default".into(),
        }),
    };
    let error = resolver(None).digest(&lookup, Duration::ZERO).await;
    assert_eq!(error.unwrap_err().label(), "invalid_host");
}
