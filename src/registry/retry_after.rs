//! How long a registry asks to be left alone.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    Response,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;

use super::{
    Fault,
    transport::{self, read_body},
};
use crate::policy::go_duration::{self, NoDuration};

/// A registry that says nothing, or nonsense, is left alone for this long.
pub(super) const DEFAULT: Duration = Duration::from_secs(30);

/// No answer silences a registry for longer than this: clocks and headers may be wrong.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Nor for less: a zero would make the limit a spur.
const SHORTEST: Duration = Duration::from_secs(1);

/// An error's document is small. What is behind is not read.
const MAX_BODY: usize = 64 * 1024;

/// Returns what `response` comes down to, neither a success nor a question to log in.
///
/// Some registries say in the error's message, not in a header, how long they want to be left alone.
pub(super) async fn fault_of(response: Response) -> Fault {
    let fault = transport::fault_of(response.status(), response.headers());
    match fault {
        Fault::RateLimited { .. } if !response.headers().contains_key(RETRY_AFTER) => {
            let body = read_body(response, MAX_BODY).await.unwrap_or_default();
            let asked = in_message(&body).map(bounded);
            Fault::RateLimited {
                retry_after: asked.unwrap_or(DEFAULT),
            }
        }
        other => other,
    }
}

/// Returns what the `Retry-After` of `headers` asks for: seconds or an HTTP date (RFC 9110, section 10.2.3).
///
/// `None` when there is none, or nonsense.
pub(super) fn read(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse(text.trim(), now).map(bounded)
}

fn bounded(asked: Duration) -> Duration {
    asked.clamp(SHORTEST, LONGEST)
}

fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        // Too many digits are many seconds, too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    // A date in the past is no duration: at once, then.
    Some(
        date.duration_since(now)
            .try_into()
            .unwrap_or(Duration::ZERO),
    )
}

/// Returns the time in an error's message, as GitHub's registry writes it:
/// `retry-after: 331.163µs, allowed: 44000/minute`.
fn in_message(body: &[u8]) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    document.errors.iter().find_map(|error| {
        let message = error.message.to_ascii_lowercase();
        let (_, behind) = message.split_once("retry-after:")?;
        let end = |c: char| c == ',' || c.is_whitespace();
        match go_duration::parse(behind.trim_start().split(end).next()?) {
            Ok(time) => Duration::try_from(time).ok(),
            Err(NoDuration::TooLong) => Some(LONGEST),
            Err(NoDuration::Malformed) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: Option<&str>, expected_seconds: impl Into<Option<u64>>) {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert(RETRY_AFTER, text.parse().unwrap());
        }
        assert_eq!(
            read(&headers, now),
            expected_seconds.into().map(Duration::from_secs),
            "{header:?}"
        );
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        check(Some("1"), 1);
        check(Some(" 120 "), 120);
        check(Some("Fri, 01 May 2026 12:00:42 GMT"), 42);
    }

    #[test]
    fn both_ends_are_bounded() {
        check(Some("0"), 1);
        check(Some("Fri, 01 May 2026 11:00:00 GMT"), 1);
        check(Some("900"), 900);
        check(Some("901"), 900);
        check(Some("99999999999999999999999"), 900);
        check(Some("Fri, 01 May 2099 12:00:00 GMT"), 900);
    }

    #[test]
    fn nonsense_counts_as_nothing() {
        for text in [None, Some(""), Some("-1"), Some("soon"), Some("1.5")] {
            check(text, None);
        }
    }

    #[track_caller]
    fn check_message(message: &str, expected: Option<Duration>) {
        let body = serde_json::json!({"errors": [{"code": "DENIED", "message": ""}, {"message": message}]});
        assert_eq!(
            in_message(body.to_string().as_bytes()),
            expected,
            "{message}"
        );
    }

    #[test]
    fn a_message_may_say_it_as_go_prints_it() {
        let nanos = |n| Some(Duration::from_nanos(n));
        check_message(
            "retry-after: 331.163µs, allowed: 44000/minute",
            nanos(331_163),
        );
        check_message(
            "toomanyrequests: Retry-After: 1m30.5s",
            nanos(90_500_000_000),
        );
        check_message("retry-after:250ms", nanos(250_000_000));
        check_message("retry-after: 2h", Some(Duration::from_secs(7200)));
        check_message("retry-after: 1e400s", None);
        check_message(&format!("retry-after: {}h", "9".repeat(400)), Some(LONGEST));
        for text in [
            "",
            "slow down",
            "retry-after:",
            "retry-after: 5",
            "retry-after: s",
            "retry-after: 5x",
        ] {
            check_message(text, None);
        }
        for body in ["", "<html>", "[]", r#"{"errors": 1}"#] {
            assert_eq!(in_message(body.as_bytes()), None);
        }
    }
}
