//! What a registry does wrong, and what is made of it: over real sockets, by the resolver as it is shipped.
//!
//! Every fault that lookups must bear is met over a socket, here or where a server can misbehave in that way
//! (`src/registry/tests`, below as `unit`):
//!
//! | fault | test |
//! |---|---|
//! | 401, then 200 with a rotated secret | `unit::login::a_rotated_secret_is_read_again_at_once` |
//! | 403, 404 | [`passing_trouble_is_tried_again_and_lasting_trouble_told`] |
//! | 429 with seconds, a date, a text in the body, or nothing | [`a_limit_says_how_long_and_the_host_is_spared_so_long`] |
//! | 500, 502, 503, 504; a reset | [`passing_trouble_is_tried_again_and_lasting_trouble_told`] |
//! | no head, a slow head, a slow body | [`silence_and_dawdling_end_with_the_time_for_a_lookup`] |
//! | no answer to anybody | [`a_registry_that_answers_nobody_is_tried_by_one_at_a_time`] |
//! | an endless body | [`a_body_without_measure_is_cut_off`], `unit::faults::a_body_without_end_is_cut_off` |
//! | endless headers | `unit::faults::headers_without_end_are_cut_off` |
//! | another's certificate, one that has ended | `unit::tls::another_name_or_an_old_certificate_is_refused` |
//! | an unknown authority | `unit::tls::a_private_authority_is_trusted_when_it_is_given`, [`super::private`] |
//! | a redirect to another host | [`a_redirect_to_another_host_gets_no_credential`], `unit::answers` |
//! | a digest header of garbage | [`without_a_digest_in_the_head_the_body_is_hashed`] |
//! | a digest header that is another's | [`a_body_that_is_not_what_its_digest_says_is_refused`] |
//! | a token service that is down, or elsewhere by http | [`a_token_service_out_of_reach_is_told`], [`super::tokens`] |
//! | a token service that answers garbage | `unit::login::the_token_services_faults_are_told_apart` |
//! | a token with a newline | [`super::login`] |

use std::time::Duration;

use futures::future::join_all;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use podrefresh::registry::Settings;
use serde_json::json;
use testbed::{
    images::{Format, Image},
    registry::{Auth, Bearer, Fault, Options, Registry, RetryAfter, Scheme, Target, User},
};
use tokio::{net::TcpListener, time::Instant};

use crate::support::{
    program::Program,
    resolver::{ask, check_refused, lookup, resolver},
};

const LIMIT: Duration = Duration::from_secs(3);

fn settings() -> Settings {
    Settings {
        lookup_timeout: LIMIT,
        ..Settings::default()
    }
}

fn image() -> Image {
    Format::Oci.multi_platform("1")
}

fn no_digest(method: Method) -> (Fault, Target) {
    (Fault::NoDigestHeader, Target::manifests().method(method))
}

/// Checks the outcome of a lookup that these faults befall for so many requests each, and the requests that
/// it took; always within the time for a lookup.
async fn check(
    faults: &[(Fault, Target)],
    times: usize,
    expected: Result<(), &str>,
    requests: &str,
) {
    let registry = Registry::anonymous().await.unwrap();
    let digest = registry.store("team/app", "1", &image());
    let mut guards = Vec::new();
    for (fault, target) in faults {
        guards.push(registry.inject_times(times, fault.clone(), target.clone()));
    }
    let reference = registry.reference("team/app", "1");
    let begun = Instant::now();
    let answer = ask(
        &resolver(settings(), None),
        &lookup(&reference, "shop", &[]),
    )
    .await;
    let taken = begun.elapsed();
    match expected {
        Ok(()) => assert_eq!(answer.unwrap(), digest, "{faults:?}"),
        Err(label) => check_refused(answer, label, &[&reference, &registry.host()]),
    }
    assert!(
        taken < LIMIT + Duration::from_secs(2),
        "{faults:?} took {taken:?}"
    );
    let seen = registry.requests(&Target::manifests());
    let seen: Vec<&str> = seen.iter().map(|seen| seen.method.as_str()).collect();
    assert_eq!(seen.join(" "), requests, "{faults:?}");
}

fn manifests(fault: Fault) -> [(Fault, Target); 1] {
    [(fault, Target::manifests())]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_digest_in_the_head_the_body_is_hashed() {
    check(&[], 1, Ok(()), "HEAD").await;
    check(&[no_digest(Method::HEAD)], 9, Ok(()), "HEAD GET").await;
    check(
        &[no_digest(Method::HEAD), no_digest(Method::GET)],
        9,
        Ok(()),
        "HEAD GET",
    )
    .await;
    check(&manifests(Fault::HeadRefused), 9, Ok(()), "HEAD GET").await;
    let upper = image().digest().to_uppercase();
    for garbage in [
        "",
        "latest",
        "sha256:12",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        &upper,
    ] {
        check(
            &manifests(Fault::DigestHeader(garbage.to_owned())),
            9,
            Ok(()),
            "HEAD GET",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_its_digest_says_is_refused() {
    let other = Format::Oci.multi_platform("2");
    let lie = (
        Fault::DigestHeader(other.digest().to_owned()),
        Target::manifests().method(Method::GET),
    );
    check(
        &[no_digest(Method::HEAD), lie],
        9,
        Err("malformed"),
        "HEAD GET",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_measure_is_cut_off() {
    let endless = (Fault::EndlessBody, Target::manifests().method(Method::GET));
    check(
        &[no_digest(Method::HEAD), endless],
        9,
        Err("malformed"),
        "HEAD GET",
    )
    .await;
    let page = Fault::Body {
        content_type: "text/html".into(),
        bytes: b"<html>Sign in</html>".to_vec(),
    };
    check(&manifests(page), 9, Err("malformed"), "HEAD GET").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_trouble_is_tried_again_and_lasting_trouble_told() {
    for status in [500, 502, 503, 504] {
        check(&manifests(Fault::Status(status)), 1, Ok(()), "HEAD HEAD").await;
    }
    check(
        &manifests(Fault::Status(503)),
        9,
        Err("unavailable"),
        "HEAD HEAD HEAD",
    )
    .await;
    check(&manifests(Fault::Reset), 1, Ok(()), "HEAD HEAD").await;
    check(
        &manifests(Fault::Reset),
        9,
        Err("unreachable"),
        "HEAD HEAD HEAD",
    )
    .await;
    // What was said clearly is not asked again.
    check(&manifests(Fault::Status(404)), 9, Err("not_found"), "HEAD").await;
    check(&manifests(Fault::Status(403)), 9, Err("forbidden"), "HEAD").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_dawdling_end_with_the_time_for_a_lookup() {
    check(&manifests(Fault::Hang), 9, Err("timeout"), "HEAD").await;
    check(
        &manifests(Fault::SlowHead(Duration::from_millis(200))),
        9,
        Err("timeout"),
        "HEAD",
    )
    .await;
    let slow = (
        Fault::SlowBody(Duration::from_millis(200)),
        Target::manifests().method(Method::GET),
    );
    check(
        &[no_digest(Method::HEAD), slow],
        9,
        Err("timeout"),
        "HEAD GET",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_says_how_long_and_the_host_is_spared_so_long() {
    let date = Timestamp::now() + SignedDuration::from_secs(300);
    let text = RetryAfter::InMessage("retry-after: 4m20.5s, allowed: 44000/minute".to_owned());
    for (retry_after, seconds, method) in [
        (RetryAfter::Seconds(120), 120, Method::HEAD),
        (RetryAfter::Date(date), 300, Method::HEAD),
        (RetryAfter::Absent, 30, Method::HEAD),
        (text, 260, Method::GET),
    ] {
        let registry = Registry::anonymous().await.unwrap();
        registry.store("team/app", "1", &image());
        let limited = Fault::RateLimited(retry_after);
        let target = Target::manifests().method(method.clone());
        let _guard = registry.inject_times(1, limited, target);
        // An answer to HEAD has no body that could say so.
        let _head = (method == Method::GET).then(|| {
            let (fault, target) = no_digest(Method::HEAD);
            registry.inject(fault, target)
        });
        let resolver = resolver(settings(), None);
        // The second is another image of the same host.
        for tag in ["1", "2"] {
            let answer = ask(
                &resolver,
                &lookup(&registry.reference("team/app", tag), "shop", &[]),
            )
            .await;
            let left = answer
                .as_ref()
                .unwrap_err()
                .retry_after()
                .unwrap()
                .as_secs();
            assert!(
                (seconds - 10..=seconds).contains(&left),
                "{left} of {seconds}"
            );
            check_refused(answer, "rate_limited", &[&"limits the rate"]);
        }
        let sent = if method == Method::GET { 2 } else { 1 };
        assert_eq!(registry.manifest_requests(), sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_gets_no_credential() {
    let auth = || Auth::Basic(vec![User::new("ann", "hunter2")]);
    let options = || Options {
        auth: auth(),
        ..Options::default()
    };
    let home = Registry::start(options()).await.unwrap();
    let digest = home.store("team/app", "1", &image());
    // The other host has the image, too: behind a password first, then for everybody.
    let away = Registry::start(options()).await.unwrap();
    away.store("team/app", "1", &image());
    let _guard = home.inject(Fault::Redirect(away.url().to_owned()), Target::manifests());
    let reference = home.reference("team/app", "1");
    let config = json!({"auths": {
        home.host(): {"username": "ann", "password": "hunter2"},
        away.host(): {"username": "ann", "password": "hunter2"},
    }});
    let run = || {
        Program::new(["digest", &reference])
            .docker_config(&config)
            .run()
    };
    let outcome = run().await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    away.require(Auth::Anonymous);
    let outcome = run().await;
    assert_eq!(
        outcome.stdout,
        format!("{digest}  {reference}\n"),
        "{outcome}"
    );
    let seen = away.requests(&Target::all());
    assert!(seen.len() > 1, "{seen:?}");
    assert!(
        seen.iter().all(|seen| seen.scheme == Scheme::Anonymous),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_out_of_reach_is_told() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    for (realm, label, words) in [
        (
            format!("http://{address}/token"),
            "unreachable",
            "its token service 127.0.0.1 failed",
        ),
        (
            "http://auth.test/token".to_owned(),
            "malformed",
            "not an https address",
        ),
        (
            "ftp://127.0.0.1/token".to_owned(),
            "malformed",
            "not an https address",
        ),
    ] {
        let tokens = Bearer::new([User::new("ann", "hunter2")]);
        let options = Options {
            auth: Auth::Bearer(tokens),
            ..Options::default()
        };
        let registry = Registry::start(options).await.unwrap();
        registry.store("team/app", "1", &image());
        let _guard = registry.inject(Fault::Realm(realm), Target::all());
        let reference = registry.reference("team/app", "1");
        let lookup = lookup(&reference, "shop", &[]);
        let answer = ask(&resolver(settings(), None), &lookup).await;
        check_refused(answer, label, &[&reference, &words]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_nobody_is_tried_by_one_at_a_time() {
    let registry = Registry::anonymous().await.unwrap();
    registry.store("team/app", "1", &image());
    let hang = registry.inject(Fault::Hang, Target::all());
    let settings = Settings {
        lookup_timeout: Duration::from_millis(700),
        per_host: 4,
        ..Settings::default()
    };
    let resolver = resolver(settings, None);
    let ask_for = |tag: String| {
        let reference = registry.reference("team/app", &tag);
        let resolver = &resolver;
        async move { ask(resolver, &lookup(&reference, "shop", &[])).await }
    };
    let crowd = |what: &str| join_all((0..20).map(|nth| ask_for(format!("{what}-{nth}"))));
    for answer in crowd("first").await {
        assert_eq!(answer.unwrap_err().label(), "timeout");
    }
    registry.forget_requests();
    for answer in crowd("second").await {
        assert_eq!(answer.unwrap_err().label(), "timeout");
    }
    assert_eq!(registry.requests(&Target::all()).len(), 1);
    drop(hang);
    ask_for("1".to_owned()).await.unwrap();
    for answer in crowd("third").await {
        assert_eq!(answer.unwrap_err().label(), "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_keeps_to_its_time_limit() {
    let registry = Registry::anonymous().await.unwrap();
    registry.store("team/app", "1", &image());
    let _guard = registry.inject(Fault::Hang, Target::all());
    let reference = registry.reference("team/app", "1");
    let begun = Instant::now();
    let outcome = Program::new(["digest", "--lookup-timeout=700ms", &reference])
        .run()
        .await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(
        outcome.stderr.contains("no answer within 700 ms"),
        "{outcome}"
    );
    // The default is ten seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}
