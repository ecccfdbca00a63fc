//! Requests to registries and token services: sent with patience, counted, and told apart when they fail.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Client, Request, Response, StatusCode,
    header::{HeaderMap, HeaderName, RETRY_AFTER},
};
use tokio::time::sleep;
use url::{Origin, Url};

use super::{Fault, retry_after, unanswered};
use crate::observe::metrics::{Metrics, Outcome};

/// Tries of one request. A registry that fails thrice in a row fails, and the next lookup is not far.
const TRIES: u32 = 3;

/// The first pause between tries; the next is twice as long. Each is stretched at random by up to as much again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Sends requests; a clone shares the connections.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    client: Client,
    extra: Option<Arc<Extra>>,
    metrics: Metrics,
}

/// Headers that one host gets with each request, and no other.
#[derive(Debug)]
struct Extra {
    home: Origin,
    headers: HeaderMap,
}

impl Transport {
    /// Returns a transport over the connections of `client`.
    pub(super) fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            client,
            extra: None,
            metrics,
        }
    }

    /// Returns a transport over other connections, that adds `headers` to what it sends to `home`.
    pub(super) fn over(&self, client: Client, home: &Url, headers: HeaderMap) -> Self {
        let home = home.origin();
        Self {
            client,
            extra: (!headers.is_empty()).then(|| Arc::new(Extra { home, headers })),
            metrics: self.metrics.clone(),
        }
    }

    /// Sends `request`, again after a pause when there is no connection or the status is 500 or above.
    ///
    /// An answer with any status is a success. Cut off by the caller's timeout, if at all.
    pub(super) async fn send(&self, request: Request) -> Result<Response, Fault> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let again = request.try_clone();
            let again = again.expect("a request without a streamed body must be clonable");
            match self.send_once(again).await {
                Ok(response) if !is_passing(&response) => return Ok(response),
                Err(fault) if !fault.is_passing() => return Err(fault),
                Ok(_) | Err(_) => {}
            }
            sleep(pause.mul_f64(1.0 + fastrand::f64())).await;
            pause *= 2;
        }
        self.send_once(request).await
    }

    async fn send_once(&self, mut request: Request) -> Result<Response, Fault> {
        if let Some(extra) = &self.extra
            && request.url().origin() == extra.home
        {
            // What we have to say ourselves goes before. Of one name there may be several values.
            let own: Vec<HeaderName> = request.headers().keys().cloned().collect();
            for (name, value) in &extra.headers {
                if !own.contains(name) {
                    request.headers_mut().append(name, value.clone());
                }
            }
        }
        let mut count = Count {
            metrics: &self.metrics,
            outcome: "timeout",
        };
        let (answer, shown) = unanswered::watch(self.client.execute(request)).await;
        let answer = answer.map_err(|error| Fault::of_request(error, shown));
        count.outcome = match &answer {
            Ok(response) => class(response.status()),
            Err(fault) => fault.label(),
        };
        answer
    }
}

/// Counts a request when it ends, be it because its time was up.
struct Count<'a> {
    metrics: &'a Metrics,
    outcome: &'static str,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        let outcome = self.outcome;
        let counter = &self.metrics.registry_requests;
        counter.get_or_create(&Outcome { outcome }).inc();
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Fault> {
    const TOO_LONG: Fault = Fault::Malformed("its body is too long");

    if response.content_length().is_some_and(|n| n > limit as u64) {
        return Err(TOO_LONG);
    }
    let mut body = Vec::new();
    let broken = |error| Fault::of_request(error, None);
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > limit {
            return Err(TOO_LONG);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Translates a status that is neither a success nor a question to log in.
pub(super) fn fault_of(status: StatusCode, headers: &HeaderMap) -> Fault {
    let retry_after = retry_after::read(headers, jiff::Timestamp::now());
    match status {
        StatusCode::UNAUTHORIZED => Fault::Unauthorized,
        StatusCode::FORBIDDEN => Fault::Forbidden,
        StatusCode::NOT_FOUND => Fault::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Fault::RateLimited {
            retry_after: retry_after.unwrap_or(retry_after::DEFAULT),
        },
        status if status.is_server_error() => Fault::Unavailable {
            status: status.as_u16(),
            retry_after,
        },
        status => Fault::Refused(status.as_u16()),
    }
}

/// Says whether there may be another answer in a moment. A 501 will stay, and who names a time means it.
fn is_passing(response: &Response) -> bool {
    let status = response.status();
    status.is_server_error()
        && status != StatusCode::NOT_IMPLEMENTED
        && !response.headers().contains_key(RETRY_AFTER)
}

impl Fault {
    /// Says whether a request that failed so may succeed in a moment.
    fn is_passing(&self) -> bool {
        // A connection that took too long to come about will not come sooner the next time.
        matches!(self, Self::Unreachable(error) if !error.is_timeout())
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "odd",
    }
}
