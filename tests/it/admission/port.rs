//! The webhook's port itself: what is no proper review is answered properly, and many reviews at once are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http2, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use testbed::registry::{Fault, Target};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::push;
use crate::support::world::World;

/// The name that the API server expects in the certificate.
const SERVICE: &str = "podrefresh.podrefresh.svc";

/// One HTTP/2 connection, trusted as the API server would.
#[derive(Clone)]
struct Connection(http2::SendRequest<Full<Bytes>>);

/// Opens a TLS connection for a protocol, trusted as the API server would.
async fn connect(world: &World, protocol: &[u8]) -> TlsStream<TcpStream> {
    let all = Api::<MutatingWebhookConfiguration>::all(world.kube.0.clone());
    let webhooks = all.get("podrefresh").await.unwrap().webhooks.unwrap();
    let bundle = webhooks[0].client_config.ca_bundle.clone().unwrap().0;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(world.controllers()[0].admission)
        .await
        .unwrap();
    let name = ServerName::try_from(SERVICE).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

impl Connection {
    async fn open(world: &World) -> Self {
        let stream = connect(world, b"h2").await;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request; returns the answer's status and text.
    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{SERVICE}{path}"))
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body.into()))
            .unwrap();
        let mut sender = self.0.clone();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    /// Posts a review; returns the response in the answer.
    async fn review(&self, review: &Value) -> Value {
        let (status, text) = self
            .send(
                "POST",
                "/mutate?timeout=30s",
                "application/json",
                review.to_string(),
            )
            .await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["response"].take()
    }
}

/// Returns the review of a new pod in the namespace `shop`.
fn review(uid: &str, image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "operation": "CREATE", "namespace": "shop", "name": "a",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop"},
                "spec": {"containers": [{"name": "app", "image": image}]},
            },
        },
    })
}

/// Returns the patch of a response, decoded.
fn patch(response: &Value) -> String {
    let patch = response["patch"].as_str().unwrap_or_default();
    String::from_utf8(STANDARD.decode(patch).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_answered_and_the_connection_lives_on() {
    let world = World::running(&[]).await;
    let (image, digest) = push(&world, "app");
    let connection = Connection::open(&world).await;
    let json = "application/json";
    let good = review("u", &image);
    let without = |field: &str| {
        let mut review = good.clone();
        review["request"].as_object_mut().unwrap().remove(field);
        review.to_string()
    };
    // A million brackets in a field that is read, or in one that nobody reads.
    let nested = |pointer: &str| {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = json!("NESTED");
        let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
        let deep = match pointer {
            "/request/object/metadata" => format!("{{\"managedFields\":{deep}}}"),
            _ => deep,
        };
        review.to_string().replace("\"NESTED\"", &deep).into_bytes()
    };
    let mut old = good.clone();
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut answer = good.clone();
    answer["kind"] = json!("Pod");
    let cases: Vec<(&str, &str, &str, Vec<u8>, u16)> = vec![
        ("POST", "/mutate", json, b"".to_vec(), 400),
        ("POST", "/mutate", json, b"{".to_vec(), 400),
        ("POST", "/mutate", json, b"[]".to_vec(), 400),
        ("POST", "/mutate", json, b"\xff\xfe{}".to_vec(), 400),
        ("POST", "/mutate", json, vec![b'['; 1 << 20], 400),
        ("POST", "/mutate", json, nested("/request/uid"), 400),
        ("POST", "/mutate", json, nested("/request/object"), 200),
        (
            "POST",
            "/mutate",
            json,
            nested("/request/object/metadata"),
            200,
        ),
        ("POST", "/mutate", json, old.to_string().into(), 400),
        ("POST", "/mutate", json, answer.to_string().into(), 400),
        ("POST", "/mutate", json, without("uid").into(), 400),
        (
            "POST",
            "/mutate",
            json,
            b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}".to_vec(),
            400,
        ),
        (
            "POST",
            "/mutate",
            "text/plain",
            good.to_string().into(),
            415,
        ),
        ("POST", "/mutate", json, vec![b' '; (8 << 20) + 1], 413),
        (
            "POST",
            "/mutate?timeout=nonsense",
            json,
            good.to_string().into(),
            200,
        ),
        ("GET", "/mutate", json, Vec::new(), 405),
        ("POST", "/", json, good.to_string().into(), 404),
    ];
    for (method, path, content_type, body, expected) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let (status, text) = connection.send(method, path, content_type, body).await;
        assert_eq!(
            status, expected,
            "{method} {path} {content_type} {shown}: {text}"
        );
        let response = connection.review(&good).await;
        assert!(
            patch(&response).contains(&digest),
            "after {shown}: {response}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_in_is_given_up_inside_the_api_servers_patience() {
    let world = World::running(&[]).await;
    let mut stream = connect(&world, b"http/1.1").await;
    let head = "POST /mutate?timeout=1s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let started = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let (mut reading, mut writing) = tokio::io::split(stream);
    let trickling = async {
        while writing.write_all(b" ").await.is_ok() && writing.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        read = reading.read_exact(&mut answer) => drop(read.unwrap()),
        () = trickling => {}
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_is_let_in_as_it_is() {
    let world = World::running(&[]).await;
    let (image, _) = push(&world, "app");
    let connection = Connection::open(&world).await;
    let good = review("u", &image);
    let with = |pointer: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(pointer).unwrap() = value;
        review
    };
    let crowd = |containers: usize| {
        let names = (0..containers).map(|nth| format!("c{nth}"));
        let all: Vec<Value> = names
            .map(|name| json!({"name": name, "image": image}))
            .collect();
        with("/request/object/spec/containers", json!(all))
    };
    let deployment = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    let cases = [
        with("/request/operation", json!("UPDATE")),
        with("/request/resource", deployment),
        with("/request/object", Value::Null),
        with("/request/object", json!("a pod")),
        with("/request/object/spec", json!([1])),
        with("/request/object/spec/containers", json!("all")),
        with("/request/object/metadata", json!({"annotations": 7})),
        crowd(1001),
    ];
    for case in cases {
        let response = connection.review(&case).await;
        assert_eq!(response["uid"], "u", "{case:#}");
        assert_eq!(response["allowed"], true, "{case:#}");
        assert_eq!(response["patch"], Value::Null, "{case:#}");
    }
    assert!(patch(&connection.review(&good).await).contains("sha256:"));
    let response = connection.review(&crowd(1000)).await;
    assert!(patch(&response).contains("/digest.podrefresh.io~1c999"));
    let response = connection.review(&crowd(1001)).await;
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("could not be read: a list has more than 1000 entries"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_equal_pods_at_once_cause_one_manifest_request() {
    let world = World::running(&[]).await;
    let (image, digest) = push(&world, "app");
    let connection = Connection::open(&world).await;
    // They all come while the first question is under way.
    let slow = Fault::Latency(Duration::from_millis(500));
    let _guard = world.registry.inject(slow, Target::manifests().outside());
    let reviews: Vec<Value> = (0..1000)
        .map(|nth| review(&format!("uid-{nth}"), &image))
        .collect();
    let responses = join_all(reviews.iter().map(|review| connection.review(review))).await;
    for (nth, response) in responses.iter().enumerate() {
        assert_eq!(response["uid"], format!("uid-{nth}"));
        assert!(patch(response).contains(&digest), "{response}");
    }
    assert_eq!(world.registry.manifest_requests(), 1);
    let reviews = "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"stamped\"}";
    world.controllers()[0].shows(reviews, 1000.0).await;
}
