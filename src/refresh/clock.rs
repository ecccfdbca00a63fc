//! What the API server's clock shows, as far as the pods that it has created tell.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// How late a pod may be seen before that says that our clock is ahead: a watch that breaks takes a while to mend.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// The API server's clock beside our steady one: what it showed at least, at one moment.
///
/// A pod's creation time is by the API server's clock, and ours may be set, or wrong by an hour. But a pod that is
/// there has been created: so the youngest one ever seen tells how late it is there. It errs by as much as that
/// pod was seen late, and only ever to one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerClock {
    at: Instant,
    shows: Timestamp,
}

impl ServerClock {
    /// Takes in that at `now` a pod was there that was created at `created`.
    pub(super) fn saw(clock: &mut Option<Self>, created: Timestamp, now: Instant) {
        if clock.is_none_or(|known| known.at(now) < created) {
            *clock = Some(Self {
                at: now,
                shows: created,
            });
        }
    }

    /// Returns what it showed at least at `moment`.
    pub(super) fn at(&self, moment: Instant) -> Timestamp {
        if self.at <= moment {
            self.shows + (moment - self.at)
        } else {
            self.shows - (self.at - moment)
        }
    }

    /// Returns what it showed at `moment`, by ours if that can be true; ours shows `wall` at `now`.
    ///
    /// It cannot if no pod has ever been seen that is as young as it would be then.
    pub(super) fn best(&self, moment: Instant, (now, wall): (Instant, Timestamp)) -> Timestamp {
        let least = self.at(moment);
        if LATE < wall.duration_since(self.at(now)) {
            return least;
        }
        least.max(wall - now.saturating_duration_since(moment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::fixture::{seconds, wall};

    /// Checks what is known at second 100 from pods seen at these seconds, created at those.
    #[track_caller]
    fn check(seen: &[(u64, i64)], expected: i64) {
        let (start, mut clock) = (Instant::now(), None);
        for (second, created) in seen {
            ServerClock::saw(&mut clock, wall(*created), start + seconds(*second));
        }
        let at = |second| clock.unwrap().at(start + seconds(second));
        assert_eq!(at(100), wall(expected));
        assert_eq!(at(0), wall(expected - 100), "and before");
    }

    #[test]
    fn the_pod_seen_soonest_after_its_creation_tells() {
        check(&[(0, -5000)], -4900);
        check(&[(0, -5000), (20, 17)], 97);
        check(&[(20, 17), (30, 17)], 97);
        check(&[(20, 17), (30, 29)], 99);
        check(&[(20, 17), (30, 26)], 97);
    }

    /// Checks what it is taken to have shown at second 10, when a pod created at 95 was seen at 100, and ours shows
    /// `wall` then.
    #[track_caller]
    fn check_best(wall_shows: i64, expected: i64) {
        let (start, mut clock) = (Instant::now(), None);
        let now = start + seconds(100);
        ServerClock::saw(&mut clock, wall(95), now);
        let best = clock
            .unwrap()
            .best(start + seconds(10), (now, wall(wall_shows)));
        assert_eq!(best, wall(expected));
    }

    #[test]
    fn ours_is_believed_while_it_can_be_right() {
        check_best(100, 10);
        check_best(155, 65);
        check_best(156, 5);
        check_best(96, 6);
        check_best(94, 5);
        check_best(-3500, 5);
    }

    #[test]
    fn whatever_our_own_clock_shows() {
        check(&[(20, 3620)], 3700);
        check(&[(20, -3580)], -3500);
    }
}
