//! What the watched tag is known to mean, and since when.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::policy::{
    Digest,
    gate::{Target, signed},
};

/// A digest that the registry gave for the tag, without another one since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// The digest.
    pub(super) digest: Digest,
    first: Instant,
    last: Instant,
    sightings: u32,
}

impl Known {
    /// Takes in that a question asked `at` was answered with `digest`; a remembered answer is no news.
    pub(super) fn note(known: &mut Option<Self>, digest: Digest, at: Instant) {
        match known {
            Some(known) if at <= known.last => {}
            Some(known) if known.digest == digest => {
                known.last = at;
                known.sightings = known.sightings.saturating_add(1);
            }
            known => {
                *known = Some(Self {
                    digest,
                    first: at,
                    last: at,
                    sightings: 1,
                });
            }
        }
    }

    /// Returns it as the rules see it, when it is `wall` o'clock at `now`.
    pub(super) fn target(&self, now: Instant, wall: Timestamp) -> Target {
        let at = |instant: Instant| {
            let age = signed(now.saturating_duration_since(instant));
            wall.checked_sub(age).unwrap_or(Timestamp::MIN)
        };
        Target {
            first_seen: at(self.first),
            last_seen: at(self.last),
            sightings: self.sightings,
            ineffective: false,
        }
    }

    /// Says whether two answers, at least so far `apart`, agree on it.
    pub(super) fn is_confirmed(&self, apart: Duration) -> bool {
        2 <= self.sightings && apart <= self.last.saturating_duration_since(self.first)
    }

    /// Returns how much longer it takes at `now` until another answer confirms it.
    pub(super) fn confirmed_in(&self, apart: Duration, now: Instant) -> Duration {
        apart.saturating_sub(now.saturating_duration_since(self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn another_digest_begins_anew() {
        let start = Instant::now();
        let wall = Timestamp::from_second(1000).unwrap();
        let (one, two) = (Digest::of_sha256([1; 32]), Digest::of_sha256([2; 32]));
        let mut known = None;
        let mut check = |digest: &Digest, second: u64, expected: (i64, i64, u32)| {
            Known::note(&mut known, digest.clone(), start + seconds(second));
            let target = (known.as_ref().unwrap()).target(start + seconds(100), wall);
            let seen = [target.first_seen, target.last_seen].map(Timestamp::as_second);
            assert_eq!((seen[0], seen[1], target.sightings), expected);
        };
        check(&one, 0, (900, 900, 1));
        check(&one, 30, (900, 930, 2));
        check(&one, 30, (900, 930, 2));
        check(&two, 20, (900, 930, 2));
        check(&two, 40, (940, 940, 1));
        check(&one, 50, (950, 950, 1));
        check(&one, 60, (950, 960, 2));
    }

    #[test]
    fn it_is_confirmed_some_time_after_the_first_sight() {
        let start = Instant::now();
        let mut known = None;
        Known::note(&mut known, Digest::of_sha256([1; 32]), start);
        let known = known.unwrap();
        let left = |second| known.confirmed_in(seconds(10), start + seconds(second));
        assert_eq!(
            [left(0), left(4), left(10), left(11)],
            [10, 6, 0, 0].map(seconds)
        );
        let again = |second| {
            let mut known = Some(known.clone());
            Known::note(
                &mut known,
                Digest::of_sha256([1; 32]),
                start + seconds(second),
            );
            known.unwrap().is_confirmed(seconds(10))
        };
        assert_eq!([again(0), again(9), again(10)], [false, false, true]);
    }
}
