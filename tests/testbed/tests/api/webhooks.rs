//! Admission webhooks: who is called, with what, and what an answer does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use testbed::Cluster;
use testbed::api::{object, resource};
use testbed::pki::Authority;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Failure, start};

type Answer = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// A webhook's server: what it was asked, and over how many connections.
#[derive(Clone, Default)]
struct Asked {
    reviews: Arc<Mutex<Vec<(String, Value)>>>,
    connections: Arc<Mutex<usize>>,
}

impl Asked {
    fn reviews(&self) -> Vec<(String, Value)> {
        self.reviews
            .lock()
            .map(|reviews| reviews.clone())
            .unwrap_or_default()
    }
}

async fn serve(
    authority: &Authority,
    delay: Duration,
    answer: Answer,
) -> Result<(SocketAddr, Asked), Failure> {
    let acceptor = TlsAcceptor::from(authority.server(&["hook.a.svc"])?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let asked = Asked::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, asked, answer) = (acceptor.clone(), kept.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut count) = asked.connections.lock() {
                    *count += 1;
                }
                let service =
                    service_fn(move |request| reply(asked.clone(), answer.clone(), delay, request));
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok((address, asked))
}

async fn reply(
    asked: Asked,
    answer: Answer,
    delay: Duration,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request
        .uri()
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = answer(&review["request"]);
    if response.get("uid").is_none() {
        response["uid"] = review["request"]["uid"].clone();
    }
    if let Ok(mut reviews) = asked.reviews.lock() {
        reviews.push((uri, review));
    }
    tokio::time::sleep(delay).await;
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    Ok(Response::new(Full::new(Bytes::from(review.to_string()))))
}

/// Registers a webhook for new pods in namespaces with the label `on=yes`.
async fn register(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    ca: &str,
    policy: &str,
) -> Result<(), Failure> {
    let api = cluster.api();
    if api.get(&resource::SERVICES, "a", "hook").is_none() {
        api.create(
            &resource::SERVICES,
            "a",
            json!({ "metadata": { "name": "hook" } }),
        )
        .await?;
        api.update(&resource::NAMESPACES, "", "a", |ns| {
            object::set_label(ns, "on", "yes")
        })
        .await?;
    }
    let mut webhook = json!({
        "name": format!("{name}.example.io"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1, "failurePolicy": policy,
        "clientConfig": {
            "service": { "namespace": "a", "name": "hook", "path": format!("/{name}") },
            "caBundle": STANDARD.encode(ca),
        },
        "namespaceSelector": { "matchLabels": { "on": "yes" } },
        "objectSelector": { "matchExpressions": [{ "key": "off", "operator": "DoesNotExist" }] },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
    });
    let configurations = if kind == "mutating" {
        webhook["reinvocationPolicy"] = json!("IfNeeded");
        &resource::MUTATING_WEBHOOKS
    } else {
        &resource::VALIDATING_WEBHOOKS
    };
    let configuration = json!({ "metadata": { "name": name }, "webhooks": [webhook] });
    api.create(configurations, "", configuration).await?;
    Ok(())
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "app", "image": "app:v1" }] } })
}

fn patch(operations: Value) -> Value {
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string()) })
}

const PODS: &str = "/api/v1/namespaces/a/pods";

#[tokio::test]
async fn a_review_has_the_shape_of_a_real_one() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let authority = Authority::new("hooks")?;
    let allow: Answer = Arc::new(|_| json!({ "allowed": true }));
    let (address, asked) = serve(&authority, Duration::ZERO, allow).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m", &authority.pem(), "Fail").await?;
    register(&cluster, "validating", "v", &authority.pem(), "Fail").await?;
    let generated = json!({ "metadata": { "generateName": "g-" }, "spec": pod("")["spec"] });
    let uri = format!("{PODS}?dryRun=All&fieldManager=me");
    let answer = client.json("POST", &uri, &generated).await?;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let reviews = asked.reviews();
    let [(first_uri, mutate), (_, validate)] = reviews.as_slice() else {
        return Err(format!("{} reviews came", reviews.len()).into());
    };
    assert_eq!(first_uri, "/m?timeout=1s");
    let request = &mutate["request"];
    assert_eq!(
        request["kind"],
        json!({ "group": "", "version": "v1", "kind": "Pod" })
    );
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["namespace"], "a");
    assert_eq!(request.get("name"), None);
    assert_eq!(request["oldObject"], Value::Null);
    assert!(
        request
            .as_object()
            .is_some_and(|request| request.contains_key("oldObject"))
    );
    assert_eq!(request["dryRun"], true);
    assert_eq!(
        request["options"],
        json!({ "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me" })
    );
    let object = &request["object"];
    assert_eq!(
        object["metadata"],
        json!({ "generateName": "g-", "namespace": "a" })
    );
    assert_eq!(object["status"], json!({}));
    assert_eq!(
        object["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    assert_eq!(object["spec"]["serviceAccountName"], "default");
    let request = &validate["request"];
    assert_eq!(request["name"], request["object"]["metadata"]["name"]);
    assert_eq!(
        request["object"]["status"],
        json!({ "phase": "Pending", "qosClass": "BestEffort" })
    );
    Ok(())
}

#[tokio::test]
async fn only_pods_that_are_selected_are_asked_about() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let authority = Authority::new("hooks")?;
    let deny: Answer = Arc::new(|_| json!({ "allowed": false }));
    let (address, asked) = serve(&authority, Duration::ZERO, deny).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m", &authority.pem(), "Ignore").await?;
    let mut off = pod("off");
    off["metadata"]["labels"] = json!({ "off": "true" });
    assert_eq!(client.json("POST", PODS, &off).await?.status, 201);
    assert_eq!(
        client
            .json("POST", "/api/v1/namespaces/default/pods", &pod("p"))
            .await?
            .status,
        201
    );
    assert!(asked.reviews().is_empty());
    let refused = client.json("POST", PODS, &pod("p")).await?;
    assert_eq!(
        refused.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "admission webhook \"m.example.io\" denied the request without explanation", "code": 400,
        })
    );
    Ok(())
}

#[tokio::test]
async fn a_patch_that_does_not_apply_fails_even_what_may_be_ignored() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let authority = Authority::new("hooks")?;
    let answer: Answer = Arc::new(|request| {
        let path = match request["name"].as_str() {
            Some("good") => {
                json!([{ "op": "add", "path": "/metadata/annotations", "value": { "x": "1" } }])
            }
            _ => json!([{ "op": "add", "path": "/metadata/annotations/x", "value": "1" }]),
        };
        let mut answer = patch(path);
        answer["warnings"] = json!(["a warning", ""]);
        answer
    });
    let (address, _) = serve(&authority, Duration::ZERO, answer).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m", &authority.pem(), "Ignore").await?;
    let good = client.json("POST", PODS, &pod("good")).await?;
    assert_eq!(good.body["metadata"]["annotations"], json!({ "x": "1" }));
    let warnings: Vec<_> = good.headers.get_all("warning").iter().collect();
    assert_eq!(warnings, ["299 - \"a warning\""]);
    let bad = client.json("POST", PODS, &pod("bad")).await?;
    let why = "add operation does not apply: doc is missing path: \"/metadata/annotations/x\": missing value";
    assert_eq!(
        bad.body["message"],
        format!("Internal error occurred: {why}")
    );
    assert_eq!(
        (bad.status, bad.body["reason"].as_str()),
        (500, Some("InternalError"))
    );
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_fails_is_ignored_or_not() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let (authority, other) = (Authority::new("hooks")?, Authority::new("other")?);
    let slow: Answer = Arc::new(|_| json!({ "allowed": true }));
    let (address, _) = serve(&authority, Duration::from_secs(30), slow).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m", &authority.pem(), "Fail").await?;
    let message = async |name: &str| -> Result<String, Failure> {
        let answer = client.json("POST", PODS, &pod(name)).await?;
        Ok(answer.body["message"]
            .as_str()
            .unwrap_or("created")
            .to_owned())
    };
    let prefix = "Internal error occurred: failed calling webhook \"m.example.io\": failed to call webhook: Post \"https://hook.a.svc:443/m?timeout=1s\": ";
    assert_eq!(
        message("p").await?,
        format!("{prefix}context deadline exceeded")
    );
    cluster.route_service("a", "hook", 443, &[]);
    let trust = |pem: String| {
        move |configuration: &mut Value| {
            configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(&pem));
        }
    };
    let hooks = &resource::MUTATING_WEBHOOKS;
    cluster
        .api()
        .update(hooks, "", "m", trust(other.pem()))
        .await?;
    assert_eq!(
        message("p").await?,
        format!("{prefix}dial tcp 10.96.0.10:443: connect: connection refused")
    );
    cluster.route_service("a", "hook", 443, &[address]);
    assert_eq!(
        message("p").await?,
        format!(
            "{prefix}tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
    );
    let ignore =
        |configuration: &mut Value| configuration["webhooks"][0]["failurePolicy"] = json!("Ignore");
    cluster.api().update(hooks, "", "m", ignore).await?;
    assert_eq!(message("p").await?, "created");
    Ok(())
}

#[tokio::test]
async fn one_connection_carries_all_reviews_at_once() -> Result<(), Failure> {
    let (cluster, _) = start().await?;
    let authority = Authority::new("hooks")?;
    let allow: Answer = Arc::new(|_| json!({ "allowed": true }));
    // Forty answers of 300 ms would need 12 s one after another; each has one second.
    let (address, asked) = serve(&authority, Duration::from_millis(300), allow).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m", &authority.pem(), "Fail").await?;
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    let creates = names
        .iter()
        .map(|name| cluster.api().create(&resource::PODS, "a", pod(name)));
    for created in futures::future::join_all(creates).await {
        created?;
    }
    assert_eq!(asked.reviews().len(), 40);
    assert_eq!(asked.connections.lock().map(|count| *count).unwrap_or(0), 1);
    Ok(())
}

#[tokio::test]
async fn a_webhook_sees_again_what_another_has_changed() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let authority = Authority::new("hooks")?;
    let answer: Answer = Arc::new(|request| {
        if request["object"]["metadata"]["annotations"].is_null() {
            patch(
                json!([{ "op": "add", "path": "/metadata/annotations", "value": { "first": "1" } }]),
            )
        } else if request["object"]["metadata"]["annotations"]["second"].is_null() {
            patch(json!([{ "op": "add", "path": "/metadata/annotations/second", "value": "2" }]))
        } else {
            json!({ "allowed": true })
        }
    });
    let (address, asked) = serve(&authority, Duration::ZERO, answer).await?;
    cluster.route_service("a", "hook", 443, &[address]);
    register(&cluster, "mutating", "m1", &authority.pem(), "Fail").await?;
    register(&cluster, "mutating", "m2", &authority.pem(), "Fail").await?;
    let created = client.json("POST", PODS, &pod("p")).await?;
    assert_eq!(
        created.body["metadata"]["annotations"],
        json!({ "first": "1", "second": "2" })
    );
    let reviews = asked.reviews();
    let called: Vec<&str> = reviews.iter().map(|(uri, _)| uri.as_str()).collect();
    assert_eq!(
        called,
        ["/m1?timeout=1s", "/m2?timeout=1s", "/m1?timeout=1s"]
    );
    assert_ne!(
        reviews[0].1["request"]["uid"],
        reviews[2].1["request"]["uid"]
    );
    Ok(())
}
