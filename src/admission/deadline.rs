//! How long a review may take: what the API server grants, less a reserve.

use std::time::Duration;

use crate::policy::go_duration;

/// What the API server grants when the webhook configuration does not say.
const DEFAULT: Duration = Duration::from_secs(10);

/// The bounds of a webhook configuration's `timeoutSeconds`.
const ALLOWED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Returns how long lookups may take, given the query of the request's URL.
///
/// The API server writes its patience there: `?timeout=5s`. A third is kept in reserve for the network, the
/// handshake and our own work: an answer that comes too late is worth nothing.
pub fn budget(query: Option<&str>) -> Duration {
    let granted = query
        .and_then(|query| query.split('&').find_map(|p| p.strip_prefix("timeout=")))
        .and_then(|text| Duration::try_from(go_duration::parse(text).ok()?).ok())
        .unwrap_or(DEFAULT);
    granted.clamp(ALLOWED.0, ALLOWED.1) * 2 / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: Option<&str>, expected_ms: u64) {
        assert_eq!(
            budget(query).as_millis(),
            u128::from(expected_ms),
            "{query:?}"
        );
    }

    #[test]
    fn a_third_is_kept_in_reserve() {
        check(Some("timeout=3s"), 2_000);
        check(Some("timeout=30s"), 20_000);
        check(Some("a=b&timeout=6s&c"), 4_000);
        check(Some("timeout=1m30s"), 20_000);
        check(Some("timeout=1.5s"), 1_000);
        check(Some("timeout=1500ms"), 1_000);
    }

    #[test]
    fn nonsense_counts_as_the_default() {
        for query in [
            "",
            "timeout",
            "timeout=",
            "timeout=5",
            "timeout=s",
            "timeout=-5s",
            "timeout=5 s",
            "timeout=1e3s",
            "timeout=..s",
            "timeout=5x",
            "timeout=5s3",
            "timeouts=5s",
        ] {
            check(Some(query), 6_666);
        }
        check(None, 6_666);
    }

    #[test]
    fn the_extremes_are_brought_back_to_what_the_api_allows() {
        check(Some("timeout=0"), 666);
        check(Some("timeout=0s"), 666);
        check(Some("timeout=1ns"), 666);
        check(Some("timeout=31s"), 20_000);
        check(Some("timeout=99999999999999999999h"), 6_666);
    }
}
