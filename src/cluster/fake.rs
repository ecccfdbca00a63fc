//! For tests: an API server whose every answer the test gives by hand, in the order of the calls.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures::channel::mpsc as stream;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use url::form_urlencoded;

use super::call::Server;

/// The calls that arrive, in their order.
pub(super) struct Fake {
    calls: mpsc::UnboundedReceiver<Call>,
}

/// A call that waits for its answer; dropping it breaks the connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) content_type: String,
    pub(super) body: Value,
    answer: oneshot::Sender<Response>,
}

impl Fake {
    /// Returns the API server, and this end of it.
    pub(super) fn start() -> (Self, Server) {
        let (sender, calls) = mpsc::unbounded_channel();
        let sender = Arc::new(sender);
        let router = Router::new().fallback(move |request: Request| {
            let sender = sender.clone();
            async move {
                let (call, answer) = Call::read(request).await;
                sender.send(call).unwrap();
                match answer.await {
                    Ok(response) => response,
                    // A gateway in between that has lost its backend.
                    Err(_) => Response::builder().status(502).body(Body::empty()).unwrap(),
                }
            }
        });
        let server = Server::new(kube::Client::new(router, "default"));
        (Self { calls }, server)
    }

    /// Returns the next call.
    pub(super) async fn next(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    /// Says whether no call has arrived.
    pub(super) fn is_quiet(&self) -> bool {
        self.calls.is_empty()
    }
}

/// Waits for something that comes within minutes, by the paused clock or the real one.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    // Longer than the longest watch.
    let limit = Duration::from_secs(300);
    timeout(limit, what).await.expect("it must come soon")
}

impl Call {
    async fn read(request: Request) -> (Self, oneshot::Receiver<Response>) {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (answer, receiver) = oneshot::channel();
        let query = parts.uri.query().unwrap_or_default();
        let content_type = parts.headers.get("content-type");
        let call = Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            content_type: content_type
                .map_or("", |it| it.to_str().unwrap())
                .to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            answer,
        };
        (call, receiver)
    }

    /// Checks which call it is.
    #[track_caller]
    pub(super) fn expect(self, method: &str, path: &str) -> Self {
        assert_eq!((&*self.method, &*self.path), (method, path), "{self:?}");
        self
    }

    /// Answers with JSON.
    pub(super) fn reply(self, status: u16, body: &Value) {
        let response = Response::builder().status(status);
        let body = Body::from(body.to_string());
        self.answer.send(response.body(body).unwrap()).unwrap();
    }

    /// Answers with a Status.
    pub(super) fn refuse(self, status: u16, reason: &str) {
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("refused as {reason}"), "reason": reason, "code": status,
        });
        self.reply(status, &body);
    }

    /// Answers with a stream that the test goes on writing; it ends when the sender is dropped.
    pub(super) fn stream(self) -> Stream {
        let (lines, receiver) = stream::unbounded();
        let response = Response::new(Body::from_stream(receiver));
        self.answer.send(response).unwrap();
        Stream(lines)
    }
}

/// The sending end of a watch.
pub(super) struct Stream(stream::UnboundedSender<io::Result<Bytes>>);

impl Stream {
    /// Sends text as it is.
    pub(super) fn send(&self, text: &str) {
        self.0
            .unbounded_send(Ok(Bytes::copy_from_slice(text.as_bytes())))
            .unwrap();
    }

    /// Sends an event on a line.
    pub(super) fn event(&self, kind: &str, object: &Value) {
        self.send(&format!(
            "{}\n",
            serde_json::json!({"type": kind, "object": object})
        ));
    }

    /// Breaks the connection.
    pub(super) fn cut(self) {
        self.0
            .unbounded_send(Err(io::ErrorKind::ConnectionReset.into()))
            .unwrap();
    }
}
