//! How many more requests a registry will answer, where it says so.

use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::time::Instant;
use tracing::warn;

use super::Fault;
use crate::credentials::Source;

/// Below this share of the limit what is left is not ours to take: nodes pull by the same one.
const RESERVE: u64 = 10;

/// How long a remainder without a window is believed.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// Nor is any believed for longer: Docker Hub's window is six hours.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests left.
    pub remaining: u64,
    /// Requests allowed in a window, if the registry says so.
    pub limit: Option<u64>,
    /// The window's length.
    pub window: Duration,
}

impl Allowance {
    /// Reads `ratelimit-remaining: 76;w=21600` and `ratelimit-limit: 100;w=21600`, as Docker Hub writes them.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let (remaining, window) = number(headers, "ratelimit-remaining")?;
        let limit = number(headers, "ratelimit-limit");
        let window = window.or(limit.and_then(|(_, window)| window));
        Some(Self {
            remaining,
            limit: limit.map(|(limit, _)| limit),
            window: window.map_or(DEFAULT_WINDOW, |seconds| {
                Duration::from_secs(seconds).min(LONGEST_WINDOW)
            }),
        })
    }

    /// Says whether so little is left that only what costs nothing should be asked.
    pub fn is_low(&self) -> bool {
        let share = self.limit.map_or(RESERVE, |limit| limit / RESERVE);
        self.remaining <= share
    }
}

/// Returns a header's number and its parameter `w`.
fn number(headers: &HeaderMap, name: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = headers.get(name)?.to_str().ok()?.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w="));
    Some((number, window.and_then(|seconds| seconds.parse().ok())))
}

/// The allowance that one account was told last.
#[derive(Debug, Default)]
pub(super) struct Ledger(Option<(Allowance, Instant)>);

impl Ledger {
    /// Takes note of what `host` says to those who show what is from `source`.
    pub(super) fn note(&mut self, allowance: Allowance, host: &str, source: &Source) {
        let before = self.left();
        self.0 = Some((allowance, Instant::now()));
        if allowance.is_low() && !before.is_some_and(|before| before.is_low()) {
            warn!(
                registry.host = host,
                credential = %source,
                remaining = allowance.remaining,
                limit = allowance.limit,
                "{host} will answer {} more requests with the credential {source}: until it is more it is asked for no manifests with that",
                allowance.remaining
            );
        }
    }

    /// Returns what is left, as far as that is known and not over.
    pub(super) fn left(&self) -> Option<Allowance> {
        let (allowance, at) = self.0?;
        (at.elapsed() < allowance.window).then_some(allowance)
    }

    /// Returns until when what was told holds.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.map(|(allowance, at)| at + allowance.window)
    }

    /// Fails while too little is left for requests that count.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.left().filter(Allowance::is_low) {
            Some(Allowance { remaining, .. }) => Err(Fault::AllowanceLow { remaining }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn headers(remaining: &str, limit: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-remaining", remaining.parse().unwrap());
        if let Some(limit) = limit {
            headers.insert("ratelimit-limit", limit.parse().unwrap());
        }
        headers
    }

    /// Checks what is read: what is left, of how much, in how many seconds.
    #[track_caller]
    fn check(remaining: &str, limit: Option<&str>, expected: Option<(u64, Option<u64>, u64)>) {
        let found = Allowance::read(&headers(remaining, limit));
        let found = found.map(|it| (it.remaining, it.limit, it.window.as_secs()));
        assert_eq!(found, expected, "{remaining:?} {limit:?}");
    }

    #[test]
    fn numbers_and_their_window_are_read() {
        check(
            "76;w=21600",
            Some("100;w=21600"),
            Some((76, Some(100), 21_600)),
        );
        check("76", Some("100; w=300"), Some((76, Some(100), 300)));
        check("0", None, Some((0, None, 60)));
        check("7;w=99999999999", None, Some((7, None, 86_400)));
        check("7;w=x", Some("x"), Some((7, None, 60)));
        for nonsense in ["", "x", "-1", "1.5", ";w=5"] {
            check(nonsense, Some("100"), None);
        }
        assert_eq!(Allowance::read(&HeaderMap::new()), None);
    }

    #[track_caller]
    fn check_low(remaining: &str, limit: Option<&str>, expected: bool) {
        let allowance = Allowance::read(&headers(remaining, limit)).unwrap();
        assert_eq!(allowance.is_low(), expected);
    }

    #[test]
    fn a_tenth_is_left_to_the_nodes() {
        check_low("20", Some("200"), true);
        check_low("21", Some("200"), false);
        check_low("10", None, true);
        check_low("11", None, false);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_count_wait_until_there_is_more_or_the_window_is_over() {
        let mut ledger = Ledger::default();
        assert!(ledger.check().is_ok());
        let told = |remaining| Allowance::read(&headers(remaining, Some("100"))).unwrap();
        ledger.note(told("5;w=60"), "a.io", &Source::Anonymous);
        assert_eq!(ledger.check().unwrap_err().label(), "allowance_low");
        ledger.note(told("50;w=60"), "a.io", &Source::Anonymous);
        assert!(ledger.check().is_ok());
        ledger.note(told("5;w=60"), "a.io", &Source::Anonymous);
        advance(Duration::from_millis(59_999)).await;
        assert!(ledger.check().is_err());
        assert_ne!(ledger.until(), Some(Instant::now()));
        advance(Duration::from_millis(1)).await;
        assert!(ledger.check().is_ok());
        assert_eq!(ledger.until(), Some(Instant::now()));
        assert_eq!(ledger.left(), None);
    }
}
