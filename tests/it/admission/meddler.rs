//! Another webhook, which is called behind ours and changes pods as it likes.

use std::sync::Arc;

use axum::{Router, body::Bytes, http::header, response::IntoResponse, routing::post};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use podrefresh::server;
use serde_json::{Value, json};
use testbed::pki::Authority;

use crate::support::world::World;

/// What it is called: the API server asks those before it in the alphabet first.
const NAME: &str = "zz-meddler";

/// Returns the operations of a JSON patch for a pod.
type Change = fn(&Value) -> Vec<Value>;

/// Answers a review with what `change` does to its pod.
fn answer(review: &[u8], change: Change) -> impl IntoResponse + use<> {
    let review: Value = serde_json::from_slice(review).unwrap();
    let request = &review["request"];
    let patch = change(&request["object"]);
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if !patch.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(Value::from(patch).to_string()));
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        review.to_string(),
    )
}

/// Registers the webhook for the new pods of `shop`, and serves it as long as the test runs.
///
/// A real API server takes a moment to know of it.
pub(super) async fn register(world: &World, reinvocation: &str, change: Change) {
    let authority = Authority::new("meddler").unwrap();
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let tls = authority.server(&["127.0.0.1"]).unwrap();
    let answer = move |review: Bytes| async move { answer(&review, change) };
    let router = Router::new().route("/", post(answer));
    let serving = server::serve(
        listener,
        Arc::clone(&tls),
        router,
        server::Limits::default(),
        std::future::pending(),
    );
    tokio::spawn(serving);
    let configuration = json!({
        "metadata": {"name": NAME},
        "webhooks": [{
            "name": "meddler.example.org",
            "clientConfig": {"url": url, "caBundle": STANDARD.encode(authority.pem())},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "reinvocationPolicy": reinvocation,
        }],
    });
    let all = Api::<MutatingWebhookConfiguration>::all(world.kube.0.clone());
    let _ = all.delete(NAME, &DeleteParams::default()).await;
    let configuration = serde_json::from_value(configuration).unwrap();
    all.create(&PostParams::default(), &configuration)
        .await
        .unwrap();
}

/// Takes it away again, for those who come after on a real cluster.
pub(super) async fn remove(world: &World) {
    let all = Api::<MutatingWebhookConfiguration>::all(world.kube.0.clone());
    all.delete(NAME, &DeleteParams::default()).await.unwrap();
}
