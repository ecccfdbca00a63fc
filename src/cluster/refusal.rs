//! Why a call to the API server has no useful answer, and whether asking again can help.

use std::{error::Error, fmt, time::Duration};

use serde::Deserialize;

use super::lenient::{List, Number, Object, Text};

// Longer texts than this come from proxies, or quote the whole object.
const MESSAGE_LIMIT: usize = 512;

/// Why a call has no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server said no.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The API server said nothing in time; for a write it is unknown whether it was done.
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
    /// The credentials for the API server could not be had.
    #[error("no credentials for the API server")]
    Credentials(#[source] Box<dyn Error + Send + Sync>),
    /// There was no connection, or it broke.
    #[error("the API server cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The answer has more bytes than we read.
    #[error("the API server's answer is larger than {0} bytes")]
    Oversized(usize),
    /// The answer is not what the API promises.
    #[error("the API server's answer makes no sense")]
    Malformed(#[source] serde_json::Error),
}

impl CallError {
    /// Returns the API server's own refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Returns the status code of a refusal, else 0.
    pub fn code(&self) -> u16 {
        self.refusal().map_or(0, |refusal| refusal.code)
    }

    /// Says whether asking again later can help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => is_transient_code(refusal.code),
            Self::Timeout(_) | Self::Unreachable(_) => true,
            Self::Credentials(_) | Self::Oversized(_) | Self::Malformed(_) => false,
        }
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Auth(_) => Self::Credentials(error.into()),
            kube::Error::Api(status) => Self::Refused(Box::new(Refusal {
                code: status.code,
                reason: status.reason,
                message: shorten(&status.message),
                ..Refusal::default()
            })),
            // kube wraps these in messages that only repeat their cause.
            kube::Error::Service(cause) => Self::Unreachable(cause),
            kube::Error::HyperError(cause) => Self::Unreachable(cause.into()),
            other => Self::Unreachable(other.into()),
        }
    }
}

/// Says whether an error of `kube` can heal by asking again later.
///
/// Refused rights, bad credentials and missing objects stay as they are; servers that are busy,
/// failing or away come back.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_transient_code(status.code),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

const fn is_transient_code(code: u16) -> bool {
    matches!(code, 408 | 429 | 500..=599)
}

/// The API server's refusal: its `Status`, or what a proxy said instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The machine-readable reason (`NotFound`, `Conflict`, …), or empty.
    pub reason: String,
    /// What the API server says, shortened.
    pub message: String,
    /// The plural resource or the Kind the refusal is about, or empty.
    pub kind: String,
    /// The causes in its details.
    pub causes: Vec<Cause>,
    /// How long the API server asks us to stay away.
    pub retry_after: Option<Duration>,
}

/// One cause in the details of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Its machine-readable reason.
    pub reason: String,
    /// What it says.
    pub message: String,
}

impl Refusal {
    /// Reads the body of an answer with status `code`; `retry_after` is its header.
    pub(super) fn read(code: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let Ok(Object(status)) = serde_json::from_str::<Object<RawStatus<'_>>>(&text) else {
            return Self {
                code,
                message: shorten(text.lines().next().unwrap_or_default()),
                retry_after,
                ..Self::default()
            };
        };
        status.refusal(code, retry_after)
    }

    /// Returns the cause called `reason`, if there is one.
    pub fn cause(&self, reason: &str) -> Option<&Cause> {
        self.causes.iter().find(|cause| cause.reason == reason)
    }

    /// Says whether the API server wants an older or newer version of what we hold.
    pub(super) fn is_expired(&self) -> bool {
        self.code == 410 || self.reason == "Expired"
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server answered {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// A `Status` as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStatus<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    code: Number,
    #[serde(borrow)]
    details: Object<RawDetails<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawDetails<'a> {
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    causes: List<Object<RawCause<'a>>>,
    retry_after_seconds: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCause<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

impl RawStatus<'_> {
    /// Returns the refusal; `code` is the HTTP status, 0 to take the one inside.
    pub(super) fn refusal(&self, code: u16, retry_after: Option<Duration>) -> Refusal {
        let inside = self.code.0.and_then(|code| u16::try_from(code).ok());
        let details = &self.details.0;
        let seconds = details.retry_after_seconds.0;
        Refusal {
            code: if code == 0 {
                inside.unwrap_or_default()
            } else {
                code
            },
            reason: self.reason.as_str().to_owned(),
            message: shorten(self.message.as_str()),
            kind: details.kind.as_str().to_owned(),
            causes: (details.causes.0.iter())
                .map(|Object(cause)| Cause {
                    reason: cause.reason.as_str().to_owned(),
                    message: shorten(cause.message.as_str()),
                })
                .collect(),
            retry_after: retry_after.or_else(|| {
                let seconds = seconds.filter(|&seconds| seconds > 0)?;
                Some(Duration::from_secs(u64::try_from(seconds).ok()?))
            }),
        }
    }
}

/// Returns a text for one line of a log: without control characters, at most `MESSAGE_LIMIT` bytes.
fn shorten(text: &str) -> String {
    let text = text.trim();
    let head = cut(text, MESSAGE_LIMIT);
    let mut short: String = head
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if head.len() < text.len() {
        short.push('…');
    }
    short
}

/// Returns the longest beginning of a text with at most `limit` bytes.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[test]
    fn a_real_refusal_is_read() {
        let refusal = samples::refusal("evict-404");
        assert_eq!(refusal.code, 404);
        assert_eq!(refusal.reason, "NotFound");
        assert_eq!(refusal.kind, "pods");
        assert_eq!(
            refusal.to_string(),
            "the API server answered 404: pods \"nosuch\" not found"
        );
    }

    #[test]
    fn what_a_proxy_says_is_cut_to_a_line() {
        let read = |body: &str| Refusal::read(502, None, body.as_bytes()).message;
        assert_eq!(read("Bad Gateway\nmore"), "Bad Gateway");
        assert_eq!(read(""), "");
        assert_eq!(read("404 page not found"), "404 page not found");
        assert_eq!(read("a\u{1b}[31mb"), "a [31mb");
        assert_eq!(read(&"x".repeat(512)), "x".repeat(512));
        assert_eq!(read(&"x".repeat(513)), "x".repeat(512) + "…");
        assert_eq!(
            Refusal::read(502, None, b"\xff\xfe").message,
            "\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_wait_is_read_from_the_header_or_the_details() {
        let body = br#"{"details":{"retryAfterSeconds":10},"code":429}"#;
        let wait = |header| Refusal::read(429, header, body).retry_after;
        assert_eq!(wait(None), Some(Duration::from_secs(10)));
        assert_eq!(
            wait(Some(Duration::from_secs(3))),
            Some(Duration::from_secs(3))
        );
        assert_eq!(Refusal::read(429, None, b"{}").retry_after, None);
    }

    #[test]
    fn only_busy_and_failing_servers_heal() {
        #[track_caller]
        fn check(code: u16, expected: bool) {
            let refusal = Refusal {
                code,
                ..Refusal::default()
            };
            let ours = CallError::Refused(Box::new(refusal)).is_transient();
            let status = kube::core::Status::failure("", "").with_code(code);
            let theirs = is_transient(&kube::Error::Api(status.boxed()));
            assert_eq!((ours, theirs), (expected, expected), "{code}");
        }
        for code in [408, 429, 500, 502, 503, 504, 599] {
            check(code, true);
        }
        for code in [400, 401, 403, 404, 409, 410, 422, 499, 600] {
            check(code, false);
        }
        assert!(CallError::Timeout(Duration::ZERO).is_transient());
        assert!(!CallError::Oversized(1).is_transient());
    }
}
