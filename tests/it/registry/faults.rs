//! What a registry does wrong, and what is made of it: over real sockets, by the resolver as it is shipped.

use std::time::Duration;

use hyper::Method;
use jiff::{SignedDuration, Timestamp};
use podrefresh::registry::Settings;
use testbed::{
    images::{Format, Image},
    registry::{Fault, Registry, RetryAfter, Target},
};
use tokio::time::Instant;

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
    for (retry_after, seconds) in [
        (RetryAfter::Seconds(120), 120),
        (RetryAfter::Date(date), 300),
    ] {
        let registry = Registry::anonymous().await.unwrap();
        registry.store("team/app", "1", &image());
        let limited = Fault::RateLimited(retry_after);
        let _guard = registry.inject_times(1, limited, Target::manifests());
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
        assert_eq!(registry.manifest_requests(), 1);
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
