//! One call to the API server: bounded in time and size, sent once, its refusal told apart from silence.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Method, Request, Response, header};
use kube::client::Body;
use serde::{Deserialize, Serialize};

use super::refusal::{CallError, Refusal};

// etcd keeps no object above 1.5 MiB; escapes and managedFields cannot make five times of that.
const OBJECT_LIMIT: usize = 8 << 20;
/// The largest page of a list that is read.
pub(super) const PAGE_LIMIT: usize = 64 << 20;
// A refusal is a Status; a proxy in between may send a page of HTML.
const REFUSAL_LIMIT: usize = 64 << 10;

/// The media types of request bodies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Media {
    Json,
    MergePatch,
}

impl Media {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MergePatch => "application/merge-patch+json",
        }
    }
}

/// The API server as this program calls it; a clone shares the connections.
///
/// `kube::Api` has no time limit for answers, loses `Retry-After`, and logs a body that it cannot
/// decode, which may be a Secret. So the calls are made here.
#[derive(Clone)]
pub struct Server {
    client: kube::Client,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

#[cfg(test)]
impl Server {
    /// Returns the API server that speaks plain http at `url`.
    pub(crate) fn plain(url: &str) -> Self {
        let config = kube::Config::new(url.parse().unwrap());
        Self::new(kube::Client::try_from(config).unwrap())
    }
}

impl Server {
    /// Returns the API server behind `client`.
    pub const fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Returns the object at `path`, at most `limit` after now.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<Bytes, CallError> {
        self.read(path, limit, OBJECT_LIMIT).await
    }

    /// Returns the page of a list at `path`.
    pub(super) async fn page(&self, path: &str, limit: Duration) -> Result<Bytes, CallError> {
        self.read(path, limit, PAGE_LIMIT).await
    }

    /// Sends `body` to `path` and returns the answer, at most `limit` after now.
    ///
    /// After a timeout it is unknown whether the API server has done it.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        media: Media,
        body: &(impl Serialize + Sync),
        limit: Duration,
    ) -> Result<Bytes, CallError> {
        let body = serde_json::to_vec(body).map_err(CallError::Malformed)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, media.name())
            .body(Body::from(body))
            .map_err(|error| CallError::Unreachable(error.into()))?;
        within(limit, async {
            collect(self.call(request).await?, OBJECT_LIMIT).await
        })
        .await
    }

    /// Opens the stream at `path`; only its head is bounded in time.
    pub(super) async fn open(&self, path: &str, limit: Duration) -> Result<Body, CallError> {
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            // Newer API servers compress each event on its own, which the decoder below us cannot read.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Body::empty())
            .map_err(|error| CallError::Unreachable(error.into()))?;
        within(limit, async { Ok(self.call(request).await?.into_body()) }).await
    }

    async fn read(&self, path: &str, limit: Duration, size: usize) -> Result<Bytes, CallError> {
        let request = Request::get(path)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| CallError::Unreachable(error.into()))?;
        within(limit, async {
            collect(self.call(request).await?, size).await
        })
        .await
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let response = self.client.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let body = collect(response, REFUSAL_LIMIT).await.unwrap_or_default();
        Err(CallError::Refused(Box::new(Refusal::read(
            status.as_u16(),
            retry_after,
            &body,
        ))))
    }
}

/// Reads an answer; the error never quotes it, as it may hold a Secret.
pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(CallError::Malformed)
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or(Err(CallError::Timeout(limit)))
}

async fn collect(response: Response<Body>, size: usize) -> Result<Bytes, CallError> {
    match Limited::new(response.into_body(), size).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::Oversized(size)),
        Err(error) => Err(CallError::Unreachable(error)),
    }
}

/// Displays a name as one segment of a path.
///
/// Names of objects need no escaping; a name that came from a command line may.
pub(super) struct Segment<'a>(pub(super) &'a str);

impl fmt::Display for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                    write!(f, "{}", byte as char)?;
                }
                // A segment of dots only would be a step up.
                b'.' if self.0.bytes().any(|byte| byte != b'.') => f.write_str(".")?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cluster::fake::Fake, error::Chain};

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_left() {
        let (_fake, server) = Fake::start();
        let started = tokio::time::Instant::now();
        let error = server.get("/version", LIMIT).await.unwrap_err();
        assert_eq!(started.elapsed(), LIMIT);
        assert_eq!(error.to_string(), "the API server did not answer within 5s");
        assert!(error.is_transient());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_hangs_is_left() {
        let (mut fake, server) = Fake::start();
        let (answer, _stream) = tokio::join!(server.get("/version", LIMIT), async {
            let stream = fake.next().await.stream();
            stream.send("{");
            stream
        });
        assert!(matches!(answer, Err(CallError::Timeout(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn an_endless_body_is_left() {
        let (mut fake, server) = Fake::start();
        let (answer, _stream) = tokio::join!(server.get("/version", LIMIT), async {
            let stream = fake.next().await.stream();
            for _ in 0..9 {
                stream.send(&" ".repeat(1 << 20));
            }
            stream
        });
        assert!(
            matches!(answer, Err(CallError::Oversized(OBJECT_LIMIT))),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_never_repeated() {
        let (mut fake, server) = Fake::start();
        let (answer, ()) = tokio::join!(server.get("/api/v1/nodes/a", LIMIT), async {
            fake.next().await.refuse(429, "TooManyRequests");
        });
        assert_eq!(answer.unwrap_err().code(), 429);
        assert!(fake.is_quiet());
    }

    #[tokio::test]
    async fn an_answer_that_makes_no_sense_is_not_quoted() {
        let body = br#"{"data":{"password":"hunter2"}"#;
        let error = decode::<serde_json::Value>(body).unwrap_err();
        let text = format!("{} {error:?}", Chain(&error));
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(decode::<serde_json::Value>(b"[1]").unwrap(), json!([1]));
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        #[track_caller]
        fn check(name: &str, expected: &str) {
            assert_eq!(Segment(name).to_string(), expected);
        }
        check("web-7499b8c7dd-ldb28", "web-7499b8c7dd-ldb28");
        check("a.example.com", "a.example.com");
        check("../secrets/x?y#z", "..%2Fsecrets%2Fx%3Fy%23z");
        check("..", "%2E%2E");
        check("é", "%C3%A9");
    }
}
