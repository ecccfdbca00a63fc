//! What a tag means, and how well that is known.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::policy::Digest;

/// What a tag meant when it was last asked for, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The digest.
    pub(super) digest: Digest,
    /// How many lookups in a row have given it.
    pub(super) sightings: u32,
    /// When the first of them was asked for.
    pub(super) first: Instant,
    /// When the last of them was asked for.
    pub(super) last: Instant,
    /// When the youngest pod was created that was seen together with it first, by the API server's clock.
    ///
    /// A pod created later was surely created when the tag meant this, whatever our own clock shows.
    pub(super) newest: Option<Timestamp>,
}

impl Target {
    /// Returns a digest that one lookup, asked for `at`, has given.
    pub(super) const fn new(digest: Digest, at: Instant) -> Self {
        Self {
            digest,
            sightings: 1,
            first: at,
            last: at,
            newest: None,
        }
    }

    /// Says whether it has been seen twice, at least `apart` from each other.
    pub(super) fn is_confirmed(&self, apart: Duration) -> bool {
        2 <= self.sightings && apart <= self.last.saturating_duration_since(self.first)
    }

    /// Returns when it should be asked for again, to be certain of a pod that has been seen outdated `since`:
    /// `None` if it is.
    pub(super) fn wanted(&self, since: Instant, apart: Duration) -> Option<Instant> {
        if !self.is_confirmed(apart) {
            return Some(after(self.first, apart).max(since));
        }
        (self.last < since).then_some(since)
    }

    /// Says whether a pod created at `created` came after the tag meant this: after `soonest`, both by
    /// the API server's clock.
    ///
    /// It must be younger than all that were there, too: what is known of that clock may be a little early.
    pub(super) fn precedes(&self, soonest: Timestamp, created: Timestamp) -> bool {
        soonest < created && self.newest.is_some_and(|newest| newest < created)
    }
}

/// Returns the time `pause` after `at`, or one so far away that nobody lives to see it.
pub(super) fn after(at: Instant, pause: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    at.checked_add(pause).unwrap_or(at + FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_confirmed(sightings: u32, seconds_apart: u64, expected: bool) {
        let first = Instant::now();
        let mut target = Target::new(Digest::of_sha256([1; 32]), first);
        target.sightings = sightings;
        target.last = first + Duration::from_secs(seconds_apart);
        assert_eq!(target.is_confirmed(Duration::from_secs(10)), expected);
    }

    #[test]
    fn two_sightings_far_enough_apart_confirm() {
        check_confirmed(2, 10, true);
        check_confirmed(2, 9, false);
        check_confirmed(1, 10, false);
    }

    #[track_caller]
    fn check_precedes(soonest: i64, newest: Option<i64>, created: i64, expected: bool) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut target = Target::new(Digest::of_sha256([1; 32]), Instant::now());
        target.newest = newest.map(at);
        assert_eq!(target.precedes(at(soonest), at(created)), expected);
    }

    #[test]
    fn a_pod_came_later_that_is_younger_than_all_before() {
        check_precedes(100, Some(50), 101, true);
        check_precedes(100, Some(50), 100, false);
        check_precedes(0, Some(50), 51, true);
        check_precedes(0, Some(50), 50, false);
        check_precedes(0, None, 1000, false);
    }

    #[test]
    fn a_time_too_far_away_is_far_away() {
        let now = Instant::now();
        assert_eq!(
            after(now, Duration::from_secs(1)),
            now + Duration::from_secs(1)
        );
        assert!(after(now, Duration::MAX) > now + Duration::from_secs(1_000_000));
    }
}
