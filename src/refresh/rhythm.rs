//! When to look at the cluster next.
//!
//! At rest now and then; while something is outdated more often, whatever the caches and the answers show;
//! and while pods are being replaced, at each change, but never so often that it is all we do.

use std::time::Duration;

use tokio::time::Instant;

use super::target::after;

/// At rest the caches are looked at as often as this, if the poll interval is not shorter: it costs no call.
const REST: Duration = Duration::from_secs(30);

/// While something is outdated, as often as this: windows open, budgets change, clocks are set.
const WORK: Duration = Duration::from_secs(5);

/// Changes that come this close together are looked at together.
const GATHER: Duration = Duration::from_millis(100);

/// What is known to end (a pause, a minute of the budget) is looked at this long after the last look at the
/// earliest: ends come in crowds.
const SOON: Duration = Duration::from_secs(1);

/// What a look has found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is outdated.
    Rest,
    /// What is outdated is held back, by nothing that a change of a pod would end.
    Wait,
    /// Pods are being replaced, or held back by others that are.
    Turn,
    /// The pass took too long to do all that may be done now.
    Again,
}

/// When to look next.
#[derive(Debug)]
pub(super) struct Rhythm {
    poll_interval: Duration,
    phase: Phase,
    /// Not before.
    floor: Instant,
    wake: Instant,
}

impl Rhythm {
    /// Returns the rhythm of one who looks at `now` first.
    pub(super) const fn new(poll_interval: Duration, now: Instant) -> Self {
        Self {
            poll_interval,
            phase: Phase::Rest,
            floor: now,
            wake: now,
        }
    }

    /// Returns when to look.
    pub(super) const fn wake(&self) -> Instant {
        self.wake
    }

    /// Notes at `now` that a look was taken that cost `work` and led to `phase`, and that at `end` something
    /// ends that holds pods back.
    pub(super) fn looked(
        &mut self,
        phase: Phase,
        work: Duration,
        end: Option<Instant>,
        now: Instant,
    ) {
        self.phase = phase;
        // A big cluster must not keep us looking at it all the time.
        self.floor = after(now, work.saturating_mul(4)).max(now + GATHER);
        let rest = match phase {
            Phase::Rest => REST,
            Phase::Wait | Phase::Turn => WORK,
            Phase::Again => Duration::ZERO,
        };
        let regular = after(now, rest.min(self.poll_interval));
        let end = end.map(|end| end.max(now + SOON.min(self.poll_interval)));
        self.wake = end.map_or(regular, |end| end.min(regular)).max(self.floor);
    }

    /// Notes that something has changed that a look would see.
    pub(super) fn changed(&mut self, now: Instant) {
        self.wake = self.wake.min(self.floor.max(now + GATHER));
    }

    /// Notes that a pod has changed. At rest that can wait: its tag was asked for when it was admitted.
    pub(super) fn pod_changed(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Turn | Phase::Again) {
            self.changed(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn looked(phase: Phase, work: u64, end: Option<u64>) -> (Rhythm, Instant) {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(ms(300_000), now);
        rhythm.looked(phase, ms(work), end.map(|end| now + ms(end)), now);
        (rhythm, now)
    }

    /// Checks how long after a look the next one is.
    #[track_caller]
    fn check(phase: Phase, work: u64, end: Option<u64>, expected: u64) {
        let (rhythm, now) = looked(phase, work, end);
        assert_eq!(rhythm.wake() - now, ms(expected), "{phase:?}");
    }

    #[test]
    fn the_more_there_is_to_do_the_sooner_it_is_looked_at() {
        check(Phase::Rest, 1, None, 30_000);
        check(Phase::Wait, 1, None, 5000);
        check(Phase::Turn, 1, None, 5000);
        check(Phase::Again, 1, None, 100);
    }

    #[test]
    fn what_ends_is_looked_at_when_it_ends() {
        check(Phase::Wait, 1, Some(3000), 3000);
        check(Phase::Wait, 1, Some(6000), 5000);
        check(Phase::Wait, 1, Some(10), 1000);
        check(Phase::Rest, 1, Some(3000), 3000);
    }

    #[test]
    fn a_look_that_costs_much_is_not_soon_repeated() {
        check(Phase::Wait, 2000, None, 8000);
        check(Phase::Again, 500, None, 2000);
    }

    #[test]
    fn a_short_poll_interval_makes_short_rests() {
        let now = Instant::now();
        let mut rhythm = Rhythm::new(ms(700), now);
        assert_eq!(rhythm.wake(), now);
        rhythm.looked(Phase::Rest, ms(1), None, now);
        assert_eq!(rhythm.wake() - now, ms(700));
    }

    /// Checks when the next look is if a pod changes 50 ms after one, and if something else does.
    #[track_caller]
    fn check_change(phase: Phase, work: u64, by_pod: u64, by_other: u64) {
        let (mut rhythm, now) = looked(phase, work, None);
        rhythm.pod_changed(now + ms(50));
        assert_eq!(rhythm.wake() - now, ms(by_pod), "{phase:?} pod");
        let (mut rhythm, now) = looked(phase, work, None);
        rhythm.changed(now + ms(50));
        assert_eq!(rhythm.wake() - now, ms(by_other), "{phase:?} other");
    }

    #[test]
    fn changes_are_gathered_and_pods_matter_only_while_they_turn() {
        check_change(Phase::Rest, 1, 30_000, 150);
        check_change(Phase::Wait, 1, 5000, 150);
        check_change(Phase::Turn, 1, 150, 150);
        check_change(Phase::Turn, 500, 2000, 2000);
    }
}
