use std::time::Duration;

use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::images::Format;

fn client() -> Client {
    Client::new("", None)
}

fn alice() -> Credentials {
    Credentials {
        username: "alice".into(),
        password: "secret".into(),
    }
}

async fn with_auth(auth: Auth) -> Registry {
    Registry::start(Options {
        auth,
        ..Options::default()
    })
    .await
    .unwrap()
}

/// A registry with an image under `app:latest`.
async fn stocked() -> (Registry, String) {
    let registry = Registry::anonymous().await.unwrap();
    let digest = registry.store("app", "latest", &Format::Oci.multi_platform("one"));
    (registry, digest)
}

fn status(error: &ClientError) -> Option<u16> {
    match error {
        ClientError::Refused { status, .. } => Some(*status),
        _ => None,
    }
}

/// Sends one HEAD for the manifest of `app:latest` and returns all that comes back before the connection ends.
async fn raw(registry: &Registry, method: &str) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(registry.host()).await?;
    let accept = crate::images::MANIFEST_TYPES.join(",");
    let head = format!(
        "{method} /v2/app/manifests/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn what_is_pushed_can_be_resolved() {
    for format in [Format::Oci, Format::Docker] {
        let registry = Registry::anonymous().await.unwrap();
        let image = format.multi_platform("one");
        client()
            .push(registry.url(), "team/app", "v1", &image)
            .await
            .unwrap();
        assert_eq!(
            registry.digest("team/app", "v1").as_deref(),
            Some(image.digest())
        );
        let resolved = client()
            .resolve(registry.url(), "team/app", "v1")
            .await
            .unwrap();
        assert_eq!(resolved, image.digest());
        let bytes = client()
            .manifest(registry.url(), "team/app", image.digest())
            .await
            .unwrap();
        assert_eq!(bytes, image.manifest.bytes);
    }
}

#[tokio::test]
async fn tags_move_and_go() {
    let (registry, first) = stocked().await;
    let second = registry.store("app", "latest", &Format::Oci.multi_platform("two"));
    assert_ne!(first, second);
    assert_eq!(
        client()
            .resolve(registry.url(), "app", "latest")
            .await
            .unwrap(),
        second
    );
    registry.move_tag("app", "latest", &first);
    assert_eq!(
        client()
            .resolve(registry.url(), "app", "latest")
            .await
            .unwrap(),
        first
    );
    assert!(registry.delete("app", "latest"));
    let gone = client()
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap_err();
    assert_eq!(status(&gone), Some(404));
}

#[tokio::test]
async fn requests_are_counted_by_what_they_ask() {
    let (registry, _) = stocked().await;
    client()
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap();
    client()
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap();
    client()
        .resolve(registry.url(), "other", "latest")
        .await
        .unwrap_err();
    raw(&registry, "GET").await.unwrap();
    assert_eq!(
        (
            registry.manifest_requests(),
            registry.count(&Target::manifests())
        ),
        (1, 4)
    );
    assert_eq!(
        registry.count(
            &Target::manifests()
                .repository("app")
                .reference("latest")
                .method(Method::HEAD)
        ),
        2
    );
    assert_eq!(registry.count(&Target::manifests().method(Method::GET)), 1);
    let statuses: Vec<_> = registry
        .requests(&Target::all())
        .iter()
        .map(|seen| seen.status)
        .collect();
    assert_eq!(statuses, [Some(200), Some(200), Some(404), Some(200)]);
    registry.forget_requests();
    assert_eq!(registry.count(&Target::all()), 0);
}

#[tokio::test]
async fn basic_wants_the_right_password() {
    let registry = with_auth(Auth::Basic(vec![User::new("alice", "secret")])).await;
    let digest = registry.store("app", "latest", &Format::Oci.multi_platform("one"));
    let refused = client()
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap_err();
    assert_eq!(status(&refused), Some(401));
    let known = Client::new("", Some(alice()));
    assert_eq!(
        known
            .resolve(registry.url(), "app", "latest")
            .await
            .unwrap(),
        digest
    );
    let seen = registry.requests(&Target::manifests());
    assert_eq!(seen.last().unwrap().user.as_deref(), Some("alice"));
    assert_eq!(seen.last().unwrap().scheme, Scheme::Basic);
}

#[tokio::test]
async fn only_agents_that_are_to_be_asked_need_credentials() {
    // The client names itself `testbed`.
    for (asked_agents, is_let_in) in [(None, false), (Some("test"), false), (Some("other"), true)] {
        let registry = Registry::start(Options {
            auth: Auth::Basic(vec![User::new("alice", "secret")]),
            asked_agents,
            ..Options::default()
        })
        .await
        .unwrap();
        registry.store("app", "latest", &Format::Oci.image("linux/amd64", "one"));
        let resolved = client().resolve(registry.url(), "app", "latest").await;
        assert_eq!(resolved.is_ok(), is_let_in, "{asked_agents:?}");
    }
}

#[tokio::test]
async fn bearer_tokens_come_from_the_registrys_own_endpoint() {
    let registry = with_auth(Auth::Bearer(Bearer::new([User::new("alice", "secret")]))).await;
    let known = Client::new("", Some(alice()));
    let image = Format::Oci.image("linux/amd64", "one");
    known
        .push(registry.url(), "app", "latest", &image)
        .await
        .unwrap();
    assert_eq!(
        known
            .resolve(registry.url(), "app", "latest")
            .await
            .unwrap(),
        image.digest()
    );
    assert!(0 < registry.count(&Target::tokens()));
    let anonymous = client()
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap_err();
    assert_eq!(status(&anonymous), Some(401));
    let _guard = registry.inject(Fault::NewlineToken, Target::tokens());
    let broken = known
        .resolve(registry.url(), "app", "latest")
        .await
        .unwrap_err();
    assert!(
        matches!(broken, ClientError::Unreachable { .. }),
        "{broken:?}"
    );
}

#[tokio::test]
async fn tls_is_trusted_with_its_authority_only() {
    for (certificate, trusted) in [
        (Certificate::Valid, true),
        (Certificate::Expired, false),
        (Certificate::WrongName, false),
    ] {
        let options = Options {
            certificate: Some(certificate),
            ..Options::default()
        };
        let registry = Registry::start(options).await.unwrap();
        let digest = registry.store("app", "latest", &Format::Oci.multi_platform("one"));
        let trusting = Client::new(registry.ca_pem().unwrap(), None);
        let resolved = trusting.resolve(registry.url(), "app", "latest").await;
        assert_eq!(resolved.ok(), trusted.then_some(digest), "{certificate:?}");
        assert!(
            client()
                .resolve(registry.url(), "app", "latest")
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let (registry, _) = stocked().await;
    let guard = registry.inject_times(
        1,
        Fault::RateLimited(RetryAfter::Seconds(7)),
        Target::manifests(),
    );
    let answer = raw(&registry, "GET").await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: 7\r\n"),
        "{answer}"
    );
    assert!(
        raw(&registry, "GET")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(guard.hits(), 1);
    let _guard = registry.inject(Fault::RateLimited(RetryAfter::Absent), Target::all());
    assert!(!raw(&registry, "GET").await.unwrap().contains("retry-after"));
}

#[tokio::test]
async fn the_digest_header_can_lie_or_lack() {
    let (registry, digest) = stocked().await;
    let lie = registry.inject(Fault::DigestHeader("garbage".into()), Target::manifests());
    assert!(
        raw(&registry, "HEAD")
            .await
            .unwrap()
            .contains("docker-content-digest: garbage")
    );
    drop(lie);
    let _lack = registry.inject(Fault::NoDigestHeader, Target::manifests());
    assert!(
        !raw(&registry, "HEAD")
            .await
            .unwrap()
            .contains("docker-content-digest")
    );
    assert_eq!(
        client()
            .resolve(registry.url(), "app", "latest")
            .await
            .unwrap(),
        digest
    );
    let _refused = registry.inject(Fault::HeadRefused, Target::manifests());
    assert!(
        raw(&registry, "HEAD")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        raw(&registry, "GET")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_redirect_keeps_the_path() {
    let (registry, _) = stocked().await;
    let _guard = registry.inject(
        Fault::Redirect("http://127.0.0.9:1".into()),
        Target::manifests(),
    );
    let answer = raw(&registry, "GET").await.unwrap();
    assert!(
        answer.contains("location: http://127.0.0.9:1/v2/app/manifests/latest\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_reset_is_no_mere_close() {
    let (registry, _) = stocked().await;
    let _guard = registry.inject(Fault::Reset, Target::all());
    let error = raw(&registry, "GET").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_hanging_request_stays_open() {
    let (registry, _) = stocked().await;
    let _guard = registry.inject_times(1, Fault::Hang, Target::all());
    assert!(
        timeout(Duration::from_millis(50), raw(&registry, "GET"))
            .await
            .is_err()
    );
    assert_eq!(registry.requests(&Target::all())[0].status, None);
    assert!(raw(&registry, "GET").await.is_ok());
    assert_eq!(registry.connections(), 2);
}

#[tokio::test]
async fn slow_answers_arrive_complete() {
    let (registry, _) = stocked().await;
    let pause = Duration::from_micros(10);
    let whole = raw(&registry, "GET").await.unwrap();
    for fault in [Fault::SlowHead(pause), Fault::SlowBody(pause)] {
        let _guard = registry.inject(fault, Target::all());
        let slow = raw(&registry, "GET").await.unwrap();
        assert_eq!(
            slow.split("\r\n\r\n").nth(1),
            whole.split("\r\n\r\n").nth(1)
        );
    }
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let (registry, _) = stocked().await;
    let _guard = registry.inject(Fault::EndlessBody, Target::all());
    let mut tcp = TcpStream::connect(registry.host()).await.unwrap();
    let head = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    // Far more than any manifest may be.
    while read < 8 * 1024 * 1024 {
        read += tcp.read(&mut buffer).await.unwrap();
    }
}
