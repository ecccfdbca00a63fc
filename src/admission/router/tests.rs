use axum::{
    body::{Body, Bytes, HttpBody as _},
    http::StatusCode,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, future::join_all, stream};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{
    images::Format,
    registry::{Fault, Registry, Target},
};

use super::*;
use crate::admission::outcome::{Hook, Outcome};
use crate::{
    cluster::{Namespaces, Server},
    credentials::Keychain,
    registry::{Resolver, Settings},
};

const LIMIT: usize = 64 * 1024;

const LIMITS: BodyLimits = BodyLimits {
    one: LIMIT,
    all: 64 * LIMIT,
    small: LIMIT / 2,
    arrival: Duration::from_secs(2),
};

/// Returns the webhook with a resolver that asks without credentials, and with no namespace known.
fn webhook() -> (Router, Metrics) {
    let provider = rustls::crypto::ring::default_provider();
    // Another test may have been first.
    let _ = provider.install_default();
    let metrics = Metrics::new();
    let keychain = Keychain::new(None, None, metrics.clone());
    let (namespaces, _) = Namespaces::start(Server::plain("http://127.0.0.1:1"));
    let mutator = Mutator {
        resolver: Resolver::new(Settings::default(), keychain, metrics.clone()).unwrap(),
        namespaces,
        digest_ttl: Duration::from_secs(30),
    };
    (router(mutator, metrics.clone(), LIMITS), metrics)
}

async fn send(router: &Router, request: Request) -> (StatusCode, String) {
    let answer = TowerToHyperService::new(router.clone()).call(request);
    let (head, body) = answer.await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post(router: &Router, url: &str, body: impl Into<Body>) -> (StatusCode, String) {
    let body = body.into();
    let mut request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    if let Some(length) = body.size_hint().exact() {
        request = request.header(header::CONTENT_LENGTH, length);
    }
    send(router, request.body(body).unwrap()).await
}

/// Returns the answer to the creation of a pod that has a container `c0`, `c1`, … for each of `images`.
async fn create(router: &Router, annotations: Value, images: &[&str]) -> Value {
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"name": format!("c{i}"), "image": image}))
        .collect();
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "operation": "CREATE", "namespace": "shop", "dryRun": false,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": {"metadata": {"generateName": "a-", "annotations": annotations}, "spec": {"containers": containers}},
    }});
    let (status, body) = post(router, "/mutate?timeout=1s", review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let mut answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["uid"], "u");
    answer["response"].take()
}

/// Returns the annotations that an answer adds, by their names.
fn added(answer: &Value) -> Vec<(String, String)> {
    let Some(patch) = answer["patch"].as_str() else {
        return Vec::new();
    };
    let patch: Value = serde_json::from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
    let operations = patch.as_array().unwrap().iter();
    operations
        .filter(|operation| operation["path"] != "/metadata/annotations")
        .map(|operation| {
            let path = operation["path"].as_str().unwrap();
            let name = path.trim_start_matches("/metadata/annotations/");
            (
                name.replace("~1", "/"),
                operation["value"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[track_caller]
fn check_count(metrics: &Metrics, outcome: Outcome, expected: u64) {
    let label = crate::observe::metrics::Reviewed {
        path: Hook::Mutate.label(),
        outcome: outcome.label(),
    };
    let count = metrics.admission_reviews.get_or_create(&label).get();
    assert_eq!(count, expected, "{}", outcome.label());
}

/// Checks that `/metrics` has this line.
#[track_caller]
fn check_shown(metrics: &Metrics, line: &str) {
    let page = metrics.render();
    assert!(page.lines().any(|shown| shown == line), "{line} in {page}");
}

#[tokio::test]
async fn a_pod_is_stamped_with_what_the_registry_says_and_asks_once_an_image() {
    let registry = Registry::anonymous().await.unwrap();
    let app = registry.store("app", "v1", &Format::Oci.multi_platform("app"));
    let side = registry.store("side", "v1", &Format::Oci.multi_platform("side"));
    let images = [
        registry.reference("app", "v1"),
        registry.reference("side", "v1"),
        registry.reference("app", "v1"),
    ];
    let (router, metrics) = webhook();
    let answer = create(&router, Value::Null, &images.each_ref().map(|i| &**i)).await;
    let mut expected = Vec::new();
    for (kind, values) in [
        ("digest", [&app, &side, &app]),
        ("image", images.each_ref()),
    ] {
        for (container, value) in values.into_iter().enumerate() {
            expected.push((format!("{kind}.podrefresh.io/c{container}"), value.clone()));
        }
    }
    assert_eq!(added(&answer), expected);
    assert_eq!(answer["warnings"], Value::Null);
    let audited = format!(
        "c0={}@{app}; c1={}@{side}; c2={}@{app}",
        images[0], images[1], images[2]
    );
    assert_eq!(answer["auditAnnotations"], json!({"resolved": audited}));
    assert_eq!(registry.manifest_requests(), 2);
    check_count(&metrics, Outcome::Stamped, 1);
    check_shown(
        &metrics,
        "podrefresh_admission_resolve_duration_seconds_count 1",
    );
    check_shown(
        &metrics,
        "podrefresh_admission_review_duration_seconds_count 1",
    );
    check_shown(&metrics, "podrefresh_admission_review_bytes_count 1");
    check_shown(&metrics, "podrefresh_admission_deadline_hits_total 0");
}

#[tokio::test]
async fn a_thousand_pods_at_once_are_one_question() {
    let registry = Registry::anonymous().await.unwrap();
    registry.store("app", "v1", &Format::Oci.multi_platform("app"));
    let image = registry.reference("app", "v1");
    let (router, metrics) = webhook();
    let images = [&*image];
    let pods = (0..1000).map(|_| create(&router, Value::Null, &images));
    for answer in join_all(pods).await {
        assert_eq!(added(&answer).len(), 2);
    }
    assert_eq!(registry.manifest_requests(), 1);
    check_count(&metrics, Outcome::Stamped, 1000);
}

#[tokio::test]
async fn a_registry_that_hangs_costs_its_own_containers_their_stamps() {
    let (hangs, works) = (
        Registry::anonymous().await.unwrap(),
        Registry::anonymous().await.unwrap(),
    );
    works.store("app", "v1", &Format::Oci.multi_platform("app"));
    let _hang = hangs.inject(Fault::Hang, Target::all());
    let images = [hangs.reference("app", "v1"), works.reference("app", "v1")];
    let (router, metrics) = webhook();
    let started = std::time::Instant::now();
    let answer = create(&router, Value::Null, &images.each_ref().map(|i| &**i)).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(answer["allowed"], true);
    let names: Vec<_> = added(&answer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["digest.podrefresh.io/c1", "image.podrefresh.io/c1"]);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.contains(&images[0]), "{warning}");
    assert!(warning.contains("did not answer in time"), "{warning}");
    check_count(&metrics, Outcome::Unresolved, 1);
    check_shown(&metrics, "podrefresh_admission_deadline_hits_total 1");
}

#[tokio::test]
async fn a_review_without_a_lookup_has_no_time_of_one() {
    let (router, metrics) = webhook();
    let image = format!("nginx@sha256:{}", "a".repeat(64));
    create(&router, Value::Null, &[&image]).await;
    check_count(&metrics, Outcome::Unchanged, 1);
    check_shown(
        &metrics,
        "podrefresh_admission_resolve_duration_seconds_count 0",
    );
}

#[tokio::test]
async fn wishes_are_judged_on_a_path_of_their_own() {
    let (router, metrics) = webhook();
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Namespace"},
        "object": {"metadata": {"annotations": {"podrefresh.io/mode": "x"}}},
    }});
    for (path, allowed) in [("/validate", "false"), ("/mutate", "true")] {
        let (status, body) = post(&router, path, review.to_string()).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(&format!(r#""allowed":{allowed}"#)), "{body}");
    }
    let (status, _) = post(&router, "/validate", "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for (outcome, path) in [
        ("denied", "validate"),
        ("ignored", "mutate"),
        ("invalid", "validate"),
    ] {
        let line =
            format!(r#"podrefresh_admission_reviews_total{{path="{path}",outcome="{outcome}"}} 1"#);
        check_shown(&metrics, &line);
    }
}

#[tokio::test]
async fn an_image_that_does_not_exist_follows_the_pods_wish() {
    let registry = Registry::anonymous().await.unwrap();
    let image = registry.reference("app", "nosuch");
    let (router, metrics) = webhook();
    let wish = |value: &str| json!({"podrefresh.io/on-unresolved": value});
    let warned = create(&router, wish("warn"), &[&image]).await;
    assert_eq!(
        (&warned["allowed"], warned["patch"].is_null()),
        (&json!(true), true)
    );
    assert_eq!(warned["warnings"].as_array().map(Vec::len), Some(1));
    let silent = create(&router, wish("admit"), &[&image]).await;
    let told = silent["auditAnnotations"]["unresolved"].as_str().unwrap();
    assert!(told.starts_with(&format!("{image}: ")), "{told}");
    assert_eq!(
        silent,
        json!({"uid": "u", "allowed": true, "auditAnnotations": {"unresolved": told}})
    );
    let denied = create(&router, wish("deny"), &[&image]).await;
    assert_eq!(denied["allowed"], false);
    assert_eq!(denied["status"]["code"], 403);
    let message = denied["status"]["message"].as_str().unwrap();
    assert!(message.contains(&image), "{message}");
    check_count(&metrics, Outcome::Unresolved, 2);
    check_count(&metrics, Outcome::Denied, 1);
}

#[tokio::test]
async fn what_is_no_review_gets_words_and_no_pod_is_harmed() {
    let (router, metrics) = webhook();
    let foreign = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "u"}});
    for (body, expected) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("\u{feff}{}", "expected value"),
        (
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            "not \"AdmissionReview\"",
        ),
        (&foreign.to_string(), "v1beta1"),
    ] {
        let (status, said) = post(&router, "/mutate", body.to_owned()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(said.contains(expected), "{said:?} must say {expected:?}");
    }
    check_count(&metrics, Outcome::Invalid, 5);
    // A pod that cannot be read is a pod all the same.
    let odd = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "operation": "CREATE", "kind": {"version": "v1", "kind": "Pod"},
        "resource": {"version": "v1", "resource": "pods"}, "object": {"spec": {"containers": 7}},
    }});
    let (status, said) = post(&router, "/mutate", odd.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        said.contains(r#""allowed":true"#) && said.contains("could not be read"),
        "{said}"
    );
}

#[tokio::test]
async fn too_much_is_too_much_announced_or_not() {
    let (router, metrics) = webhook();
    let (status, said) = post(&router, "/mutate", " ".repeat(LIMIT)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    let (status, said) = post(&router, "/mutate", " ".repeat(LIMIT + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(said, format!("the body must be at most {LIMIT} bytes\n"));
    let announced = Request::post("/mutate")
        .header(header::CONTENT_LENGTH, LIMIT + 1)
        .body(Body::empty());
    let (status, _) = send(&router, announced.unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    check_count(&metrics, Outcome::TooLarge, 2);
}

#[tokio::test]
async fn other_ways_to_ask_are_refused() {
    let (router, _) = webhook();
    let (status, _) = send(
        &router,
        Request::get("/mutate").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, _) = post(&router, "/mutate/", "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let content_type = async |value: &str| {
        let request = Request::post("/mutate").header(header::CONTENT_TYPE, value);
        send(&router, request.body(Body::from("{}")).unwrap())
            .await
            .0
    };
    assert_eq!(
        content_type("text/plain").await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    // These reach the review, which says what it lacks.
    assert_eq!(
        content_type("application/json; charset=utf-8").await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        content_type("Application/JSON").await,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (router, metrics) = webhook();
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let (status, _) = post(&router, "/mutate?timeout=30s", never).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    check_count(&metrics, Outcome::TooSlow, 1);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_never_end_keep_no_review_out() {
    let (router, _) = webhook();
    let unfinished = || {
        let first = Ok::<_, axum::Error>(Bytes::from(vec![b' '; LIMIT]));
        Body::from_stream(stream::iter([first]).chain(stream::pending()))
    };
    let crowd = (0..64).map(|_| post(&router, "/mutate?timeout=30s", unfinished()));
    let started = Instant::now();
    let (crowd, answer) = tokio::join!(join_all(crowd), create(&router, Value::Null, &[]));
    assert_eq!(answer["allowed"], true);
    // Half of them held what room they may have, and the others waited for it; none as long as it had granted itself.
    assert_eq!(started.elapsed().as_secs(), 2);
    for (status, text) in crowd {
        let is_given_up =
            [StatusCode::REQUEST_TIMEOUT, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        assert!(is_given_up, "{status}: {text}");
    }
}
