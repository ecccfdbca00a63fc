use std::net::SocketAddr;

use axum::{body::Body, http::header};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, sync::watch};

use super::*;
use crate::cluster::Leader;

const IMAGE: &str = r#"{"image": "h.io/web:1"}"#;

/// A replica: its interface, and what it has been given to look at.
struct Replica {
    router: Router,
    pushes: mpsc::Receiver<Push>,
    metrics: Metrics,
    /// Tells it where the leader is.
    leader: watch::Sender<Option<SocketAddr>>,
}

/// Returns a replica that leads, or one that knows no leader.
fn replica(leads: bool, token: Option<&TokenFile>) -> Replica {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (told, pushes) = mpsc::channel(2);
    let (leader, receiver) = watch::channel(None);
    let (leadership, reins) = Leadership::held();
    if !leads {
        reins.let_go();
    }
    let metrics = Metrics::new();
    let desk = Desk {
        pushes: told,
        leadership,
        relay: Relay::new(Leader::new(receiver, Arc::default()), token.cloned()).unwrap(),
        token: token.cloned(),
        metrics: metrics.clone(),
        intake: Intake::new(BODIES),
    };
    Replica {
        router: router(desk),
        pushes,
        metrics,
        leader,
    }
}

/// Returns a token that is `secret`.
fn token() -> TokenFile {
    let path = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
    std::fs::write(&path, "secret").unwrap();
    let token = TokenFile::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    token
}

impl Replica {
    async fn send(&self, request: Request) -> (u16, String, axum::http::HeaderMap) {
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        let (head, body) = answer.await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), text, head.headers)
    }

    /// Checks how this request is answered and counted, and what is looked at after it.
    #[track_caller]
    fn check(
        &mut self,
        request: Request,
        status: u16,
        outcome: &str,
        looked_at: &[&str],
    ) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let (found, text, headers) = self.send(request).await;
            assert_eq!(found, status, "{caller}: {text}");
            let retry = headers.get(header::RETRY_AFTER).is_some();
            assert_eq!(retry, status == 503, "{caller}: {headers:?}");
            let line = format!("podrefresh_notify_requests_total{{outcome=\"{outcome}\"}} 1\n");
            let page = self.metrics.render();
            assert!(page.contains(&line), "{caller}: {line}{page}");
            let mut pushes = Vec::new();
            while let Ok(push) = self.pushes.try_recv() {
                pushes.push(push.to_string());
            }
            assert_eq!(pushes, looked_at, "{caller}");
            text
        }
    }

    /// Serves its interface, and returns where.
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, self.router.clone()).into_future());
        address
    }
}

fn post(body: impl Into<Body>) -> Request {
    Request::post("/push").body(body.into()).unwrap()
}

fn with(name: impl header::IntoHeaderName, value: &str) -> Request {
    let mut request = post(IMAGE);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test]
async fn the_leader_looks_at_what_it_is_told() {
    let text = replica(true, None)
        .check(post(IMAGE), 202, "taken", &["h.io/web:1"])
        .await;
    assert_eq!(
        text,
        "read as a notification of the plain form: h.io/web:1\n"
    );
    let pull = r#"{"events": [{"action": "pull"}, 7]}"#;
    let text = replica(true, None)
        .check(post(pull), 202, "nothing", &[])
        .await;
    assert_eq!(
        text,
        "read as a notification of a distribution registry: no tag was pushed\n\
         1 more cannot be read or are too many\n"
    );
}

#[tokio::test]
async fn who_gets_no_further_is_told_why() {
    let check = async |body: &str, status: u16, words: &str| {
        let mut replica = replica(true, None);
        let text = replica.check(post(body.to_owned()), status, "invalid", &[]);
        let text = text.await;
        assert!(text.contains(words), "{text}");
    };
    check("image", 400, "the body must be one JSON object").await;
    check(r#"{"ref": 1}"#, 422, r#"the fields ["ref"] make no known"#).await;
    check(r#"{"image": "W"}"#, 422, "must be lower case").await;
    check(
        r#"{"events": 1}"#,
        422,
        "of a distribution registry: invalid",
    )
    .await;
}

#[tokio::test]
async fn a_body_of_a_mebibyte_is_read_and_a_larger_one_is_not() {
    let body = |length: usize| format!("{IMAGE}{}", " ".repeat(length - IMAGE.len()));
    let mut leader = replica(true, None);
    let largest = post(body(1 << 20));
    leader.check(largest, 202, "taken", &["h.io/web:1"]).await;
    let larger = post(body((1 << 20) + 1));
    leader.check(larger, 413, "too_large", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let never = futures::stream::pending::<Result<bytes::Bytes, axum::Error>>();
    let mut leader = replica(true, None);
    let slow = post(Body::from_stream(never));
    leader.check(slow, 408, "too_slow", &[]).await;
}

#[tokio::test]
async fn what_does_not_fit_in_the_queue_is_sent_again_later() {
    let mut leader = replica(true, None);
    let images = |count: usize| {
        let images: Vec<String> = (0..count).map(|nth| format!("h.io/web:{nth}")).collect();
        post(serde_json::json!({"images": images}).to_string())
    };
    leader.check(images(3), 503, "busy", &[]).await;
    let both = ["h.io/web:0", "h.io/web:1"];
    leader.check(images(2), 202, "taken", &both).await;
}

#[tokio::test]
async fn only_posts_to_one_path_are_answered() {
    let leader = replica(true, None);
    let request = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path);
        request.body(Body::from(IMAGE)).unwrap()
    };
    for (method, path, status) in [
        ("GET", "/push", 405),
        ("PUT", "/push", 405),
        ("POST", "/", 404),
        ("POST", "/push/", 404),
        ("GET", "/metrics", 404),
    ] {
        let (found, _, _) = leader.send(request(method, path)).await;
        assert_eq!(found, status, "{method} {path}");
    }
}

#[tokio::test]
async fn who_shows_no_token_is_refused_before_its_body_is_read() {
    let token = token();
    let wrong = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let mut never = post(Body::from_stream(futures::stream::pending::<
        Result<bytes::Bytes, axum::Error>,
    >()));
    *never.uri_mut() = "/push?token=wrong".parse().unwrap();
    for request in [
        post(IMAGE),
        with(header::AUTHORIZATION, "Bearer wrong"),
        with("x-hub-signature-256", wrong),
        never,
    ] {
        let mut leader = replica(true, Some(&token));
        let text = leader.check(request, 401, "unauthorized", &[]).await;
        assert!(!text.contains("secret"), "{text}");
    }
    let (_, _, headers) = replica(true, Some(&token)).send(post(IMAGE)).await;
    assert!(headers.contains_key(header::WWW_AUTHENTICATE));
}

#[tokio::test]
async fn who_shows_the_token_is_heard() {
    let token = token();
    let mut by_query = post(IMAGE);
    *by_query.uri_mut() = "/push?token=secret".parse().unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    let signature = ring::hmac::sign(&key, IMAGE.as_bytes());
    let hex: String = (signature.as_ref().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for request in [
        with(header::AUTHORIZATION, "Bearer secret"),
        with("x-hub-signature-256", &format!("sha256={hex}")),
        by_query,
    ] {
        let mut leader = replica(true, Some(&token));
        leader.check(request, 202, "taken", &["h.io/web:1"]).await;
    }
}

#[tokio::test]
async fn who_does_not_lead_tells_the_leader() {
    let token = token();
    let (mut leader, mut other) = (replica(true, Some(&token)), replica(false, Some(&token)));
    other.leader.send_replace(Some(leader.serve().await));
    let body = r#"{"images": ["h.io/web:1", "*/web:2"]}"#;
    let mut request = post(body);
    let value = "Bearer secret".parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, value);
    other.check(request, 202, "forwarded", &[]).await;
    let pushes = [leader.pushes.recv().await, leader.pushes.recv().await];
    let pushes = pushes.map(|push| push.unwrap().to_string());
    assert_eq!(pushes, ["*/web:2", "h.io/web:1"]);
}

#[tokio::test]
async fn what_was_passed_on_is_never_passed_on_again() {
    let mut leader = replica(true, None);
    let mut other = replica(false, None);
    other.leader.send_replace(Some(leader.serve().await));
    let request = with(FORWARDED, "true");
    other.check(request, 503, "no_leader", &[]).await;
    assert!(leader.pushes.try_recv().is_err());
}

#[tokio::test]
async fn another_leader_is_told_when_the_first_does_not_lead_any_more() {
    let (mut leader, gone) = (replica(true, None), replica(false, None));
    let mut other = replica(false, None);
    other.leader.send_replace(Some(gone.serve().await));
    let address = leader.serve().await;
    let news = other.leader.clone();
    let change = async {
        // It has been asked, and has refused.
        while !gone.metrics.render().contains("no_leader") {
            tokio::task::yield_now().await;
        }
        news.send_replace(Some(address));
    };
    let asked = other.check(post(IMAGE), 202, "forwarded", &[]);
    let (_, ()) = tokio::join!(asked, change);
    assert_eq!(
        leader.pushes.recv().await.unwrap().to_string(),
        "h.io/web:1"
    );
}

#[tokio::test]
async fn without_a_leader_the_sender_is_to_try_again() {
    let mut alone = replica(false, None);
    alone.check(post(IMAGE), 503, "no_leader", &[]).await;
    let (nobody, listener) = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    };
    drop(listener);
    let mut other = replica(false, None);
    other.leader.send_replace(Some(nobody));
    other.check(post(IMAGE), 503, "no_leader", &[]).await;
}
