//! What was refused, and how long each is waited out before it is asked for again.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::target::after;

/// The refused, by their uid.
#[derive(Debug)]
pub(super) struct Waits {
    first: Duration,
    longest: Duration,
    waits: HashMap<Box<str>, Wait>,
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    pause: Duration,
    why: Box<str>,
    /// How often it was refused in a row.
    times: u32,
}

impl Waits {
    /// Returns waits that begin with a pause of `first` and double it up to `longest`.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first: first.min(longest),
            longest,
            waits: HashMap::new(),
        }
    }

    /// Notes a refusal of `whom`: twice as long a pause as the last time, or as long as was `asked` for,
    /// but never longer than the longest. Says whether it is refused for another reason than the last time.
    pub(super) fn refused(
        &mut self,
        whom: &str,
        why: &str,
        asked: Option<Duration>,
        now: Instant,
    ) -> bool {
        let last = self.waits.get(whom);
        let pause = last
            .map_or(self.first, |wait| wait.pause.saturating_mul(2))
            .max(asked.unwrap_or_default())
            .min(self.longest);
        let news = last.is_none_or(|wait| *wait.why != *why);
        let wait = Wait {
            until: after(now, pause),
            pause,
            why: why.into(),
            times: last.map_or(0, |wait| wait.times).saturating_add(1),
        };
        self.waits.insert(whom.into(), wait);
        news
    }

    /// Says whether it is too early to ask again for `whom`.
    pub(super) fn hold(&self, whom: &str, now: Instant) -> bool {
        self.waits.get(whom).is_some_and(|wait| now < wait.until)
    }

    /// Returns why `whom` was refused last, and how often in a row.
    pub(super) fn refusal(&self, whom: &str) -> Option<(&str, u32)> {
        self.waits.get(whom).map(|wait| (&*wait.why, wait.times))
    }

    /// Forgets that `whom` was refused: it has been granted since.
    pub(super) fn over(&mut self, whom: &str) {
        self.waits.remove(whom);
    }

    /// Forgets all but those of whom `is_kept` says so.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.waits.retain(|whom, _| is_kept(whom));
    }

    /// Forgets what was over long before `now`.
    pub(super) fn tidy(&mut self, now: Instant) {
        // It is remembered past its end, so that the next pause is longer and the reason is not told again.
        self.waits
            .retain(|_, wait| now < after(wait.until, wait.pause.max(self.longest)));
    }

    /// Returns when waits end.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        self.waits.values().map(|wait| wait.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Checks the pauses of refusals that each come when the last one's pause is over.
    #[track_caller]
    fn check(first: u64, asked: Option<u64>, expected: &[u64]) {
        let (mut waits, mut now) = (Waits::new(seconds(first), seconds(300)), Instant::now());
        for pause in expected {
            waits.refused("w", "pdb", asked.map(seconds), now);
            let end = now + seconds(*pause);
            assert!(waits.hold("w", end - Duration::from_millis(1)), "{pause}");
            assert!(!waits.hold("w", end), "{pause}");
            assert_eq!(waits.ends().collect::<Vec<_>>(), [end]);
            now = end;
            waits.tidy(now);
        }
    }

    #[test]
    fn refusals_are_waited_out_longer_and_longer() {
        check(10, None, &[10, 20, 40, 80, 160, 300, 300]);
        check(10, Some(15), &[15, 30, 60]);
        check(1000, None, &[300, 300]);
    }

    #[test]
    fn nobody_asks_for_longer_than_the_longest() {
        check(10, Some(u64::MAX), &[300, 300]);
    }

    #[test]
    fn a_refusal_long_past_is_forgotten() {
        let (mut waits, now) = (Waits::new(seconds(10), seconds(300)), Instant::now());
        waits.refused("w", "pdb", None, now);
        waits.tidy(now + seconds(309));
        assert!(!waits.refused("w", "pdb", None, now + seconds(309)));
        assert!(waits.hold("w", now + seconds(309 + 19)));
        waits.tidy(now + seconds(309 + 20 + 300));
        assert!(waits.refused("w", "pdb", None, now + seconds(1000)));
        assert!(!waits.hold("w", now + seconds(1010)));
    }

    #[test]
    fn what_was_granted_begins_anew() {
        let (mut waits, now) = (Waits::new(seconds(10), seconds(300)), Instant::now());
        waits.refused("w", "pdb", None, now);
        waits.refused("w", "pdb", None, now);
        assert_eq!(waits.refusal("w"), Some(("pdb", 2)));
        waits.over("w");
        assert_eq!(waits.refusal("w"), None);
        assert!(!waits.hold("w", now));
        assert!(waits.refused("w", "pdb", None, now));
        assert!(!waits.hold("w", now + seconds(10)));
    }

    #[test]
    fn who_is_not_kept_begins_anew() {
        let (mut waits, now) = (Waits::new(seconds(10), seconds(300)), Instant::now());
        waits.refused("w", "rollout", None, now);
        waits.refused("v", "rollout", None, now);
        waits.retain(|whom| whom == "v");
        assert!(!waits.hold("w", now) && waits.hold("v", now));
    }

    #[test]
    fn only_another_reason_is_news() {
        let (mut waits, now) = (Waits::new(seconds(10), seconds(300)), Instant::now());
        assert!(waits.refused("w", "pdb", None, now));
        assert!(!waits.refused("w", "pdb", None, now));
        assert!(waits.refused("v", "pdb", None, now));
        assert!(waits.refused("w", "forbidden", None, now));
    }
}
