//! What the registry can be told to do wrong, for which requests, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;

use super::lock;
use super::target::{Route, Target};

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and an error document.
    Status(u16),
    /// Answers 429.
    RateLimited(RetryAfter),
    /// Adds Docker Hub's `ratelimit-limit` and `ratelimit-remaining`, per window of seconds.
    RateLimitHeaders {
        /// Requests allowed per window.
        limit: u32,
        /// Requests left in this window.
        remaining: u32,
        /// Length of the window in seconds.
        window_seconds: u32,
    },
    /// Waits this long, then answers as usual.
    Latency(Duration),
    /// Never answers; the connection stays open.
    Hang,
    /// Sends the answer, head and body, byte by byte with this pause between two; so does the connection from then on.
    SlowHead(Duration),
    /// Sends the body byte by byte with this pause between two.
    SlowBody(Duration),
    /// Sends a body that never ends, as fast as it is read.
    EndlessBody,
    /// Closes the connection with a TCP reset instead of answering.
    Reset,
    /// Leaves `Docker-Content-Digest` out.
    NoDigestHeader,
    /// Puts this text into `Docker-Content-Digest`.
    DigestHeader(String),
    /// Answers 405 to HEAD.
    HeadRefused,
    /// Answers 307 to the same path under this base, such as `http://127.0.0.2:5000`.
    Redirect(String),
    /// Answers 200 with this body and type, whatever was asked.
    Body {
        /// The `Content-Type`.
        content_type: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Answers a token request with a token that holds a line break.
    NewlineToken,
    /// Names this realm in `WWW-Authenticate`, instead of the registry's own token endpoint.
    Realm(String),
}

/// How a 429 says when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// `Retry-After: 120`.
    Seconds(u64),
    /// `Retry-After: Fri, 31 Dec 2027 23:59:59 GMT`.
    Date(Timestamp),
    /// Not at all.
    Absent,
    /// In the error's message, as GitHub's registry does: `retry-after: 331.163µs, allowed: 44000/minute`.
    InMessage(String),
}

#[derive(Debug)]
struct Rule {
    id: u64,
    fault: Fault,
    target: Target,
    left: Option<usize>,
    hits: usize,
}

#[derive(Debug, Default)]
struct Rules {
    next_id: u64,
    rules: Vec<Rule>,
}

/// The faults in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<Rules>>);

/// Keeps a fault in force until it is dropped.
#[derive(Debug)]
#[must_use = "the fault ends when its guard is dropped"]
pub struct FaultGuard {
    faults: Faults,
    id: u64,
}

impl Faults {
    pub(super) fn inject(&self, fault: Fault, target: Target, times: Option<usize>) -> FaultGuard {
        let mut rules = lock(&self.0);
        let id = rules.next_id;
        rules.next_id += 1;
        rules.rules.push(Rule {
            id,
            fault,
            target,
            left: times,
            hits: 0,
        });
        FaultGuard {
            faults: self.clone(),
            id,
        }
    }

    /// Returns the faults that befall a request, oldest first, and counts them as used.
    pub(super) fn befall(&self, method: &Method, route: &Route, agent: &str) -> Vec<Fault> {
        let mut befalling = Vec::new();
        for rule in &mut lock(&self.0).rules {
            let refuses = rule.fault != Fault::HeadRefused || method == Method::HEAD;
            if rule.left == Some(0) || !refuses || !rule.target.matches(method, route, agent) {
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            rule.hits += 1;
            befalling.push(rule.fault.clone());
        }
        befalling
    }
}

impl FaultGuard {
    /// Returns how many requests the fault has befallen.
    pub fn hits(&self) -> usize {
        let rules = lock(&self.faults.0);
        rules
            .rules
            .iter()
            .find(|rule| rule.id == self.id)
            .map_or(0, |rule| rule.hits)
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        lock(&self.faults.0).rules.retain(|rule| rule.id != self.id);
    }
}

impl RetryAfter {
    pub(super) fn header(&self) -> Option<String> {
        match self {
            Self::Seconds(seconds) => Some(seconds.to_string()),
            // IMF-fixdate of RFC 9110, section 5.6.7.
            Self::Date(at) => Some(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()),
            Self::Absent | Self::InMessage(_) => None,
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Self::InMessage(message) => message,
            _ => "too many requests",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn befallen(faults: &Faults, path: &str) -> usize {
        faults.befall(&Method::GET, &Route::of(path), "").len()
    }

    #[test]
    fn a_fault_ends_with_its_guard() {
        let faults = Faults::default();
        let guard = faults.inject(Fault::Status(503), Target::manifests(), None);
        assert_eq!(befallen(&faults, "/v2/a/manifests/b"), 1);
        assert_eq!(befallen(&faults, "/v2/a/blobs/b"), 0);
        assert_eq!(guard.hits(), 1);
        drop(guard);
        assert_eq!(befallen(&faults, "/v2/a/manifests/b"), 0);
    }

    #[test]
    fn a_fault_for_two_requests_spares_the_third() {
        let faults = Faults::default();
        let guard = faults.inject(Fault::Reset, Target::all(), Some(2));
        let counts = [(); 3].map(|()| befallen(&faults, "/v2/"));
        assert_eq!((counts, guard.hits()), ([1, 1, 0], 2));
    }

    #[test]
    fn only_head_can_be_refused_as_head() {
        let faults = Faults::default();
        let _guard = faults.inject(Fault::HeadRefused, Target::all(), None);
        assert_eq!(befallen(&faults, "/v2/a/manifests/b"), 0);
        assert_eq!(
            faults.befall(&Method::HEAD, &Route::of("/v2/a/manifests/b"), ""),
            [Fault::HeadRefused]
        );
    }

    #[test]
    fn a_date_is_written_as_http_writes_it() {
        let at: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(
            RetryAfter::Date(at).header().unwrap(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
