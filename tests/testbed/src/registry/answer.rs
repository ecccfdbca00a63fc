//! Answers: how the registry writes them, and how faults spoil them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::content::Refusal;
use super::fault::Fault;

pub(super) type Body = BoxBody<Bytes, Infallible>;

const DIGEST: &str = "docker-content-digest";

/// Returns an answer with a body; its length is always announced, for HEAD too.
pub(super) fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() =
        StatusCode::from_u16(status).expect("the registry's statuses must be valid");
    let headers = response.headers_mut();
    headers.insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if !content_type.is_empty() {
        put(headers, CONTENT_TYPE, content_type);
    }
    response
}

/// Returns an answer without body.
pub(super) fn empty(status: u16) -> Response<Body> {
    answer(status, "", Bytes::new())
}

pub(super) fn json_answer(status: u16, body: &Value) -> Response<Body> {
    answer(
        status,
        "application/json; charset=utf-8",
        format!("{body}\n"),
    )
}

/// Returns an error document of the distribution specification.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let error = json!({ "code": refusal.code, "message": refusal.message, "detail": null });
    json_answer(refusal.status, &json!({ "errors": [error] }))
}

/// Sets a header; a value that no header can hold is left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

pub(super) fn put_digest(headers: &mut HeaderMap, digest: &str) {
    put(headers, HeaderName::from_static(DIGEST), digest);
}

/// Returns what a fault answers instead of the registry, if it does.
pub(super) fn instead(fault: &Fault, path_and_query: &str) -> Option<Response<Body>> {
    match fault {
        Fault::Status(status) => Some(refusal(&Refusal::new(
            *status,
            code(*status),
            "injected fault",
        ))),
        Fault::HeadRefused => Some(refusal(&Refusal::new(
            405,
            "UNSUPPORTED",
            "the operation is unsupported",
        ))),
        Fault::RateLimited(retry) => {
            let mut response = refusal(&Refusal::new(429, "TOOMANYREQUESTS", retry.message()));
            if let Some(value) = retry.header() {
                put(response.headers_mut(), RETRY_AFTER, &value);
            }
            Some(response)
        }
        Fault::Redirect(base) => {
            let mut response = empty(307);
            let to = format!("{}{path_and_query}", base.trim_end_matches('/'));
            put(response.headers_mut(), LOCATION, &to);
            Some(response)
        }
        Fault::Body {
            content_type,
            bytes,
        } => Some(answer(200, content_type, bytes.clone())),
        _ => None,
    }
}

/// Spoils an answer that is ready to go.
pub(super) fn spoil(fault: &Fault, mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    match fault {
        Fault::RateLimitHeaders {
            limit,
            remaining,
            window_seconds,
        } => {
            let name = HeaderName::from_static;
            put(
                headers,
                name("ratelimit-limit"),
                &format!("{limit};w={window_seconds}"),
            );
            put(
                headers,
                name("ratelimit-remaining"),
                &format!("{remaining};w={window_seconds}"),
            );
            put(headers, name("docker-ratelimit-source"), "192.0.2.1");
            response
        }
        Fault::NoDigestHeader => {
            headers.remove(DIGEST);
            response
        }
        Fault::DigestHeader(value) => {
            put_digest(headers, value);
            response
        }
        Fault::SlowBody(pause) => slow(*pause, response),
        Fault::EndlessBody => {
            headers.remove(CONTENT_LENGTH);
            let chunk = Bytes::from(vec![b' '; 16 * 1024]);
            let frames = stream::repeat(chunk).map(Frame::data);
            response.map(|_| BodyExt::boxed(StreamBody::new(frames.map(Ok))))
        }
        _ => response,
    }
}

fn slow(pause: Duration, response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        let frames = stream::unfold(
            (Some(body), Bytes::new()),
            move |(body, mut left)| async move {
                if let Some(body) = body {
                    left = body
                        .collect()
                        .await
                        .map(|body| body.to_bytes())
                        .unwrap_or_default();
                }
                if left.is_empty() {
                    return None;
                }
                tokio::time::sleep(pause).await;
                let byte = left.split_to(1);
                Some((Ok(Frame::data(byte)), (None, left)))
            },
        );
        BodyExt::boxed(StreamBody::new(frames))
    })
}

const fn code(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        405 => "UNSUPPORTED",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    }
}
