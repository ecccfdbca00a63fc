//! What the tags in use are known to mean, and when each is to be asked for again.
//!
//! A hint: a restart or a new leader begins without it, and loses no more than confirmations.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use self::nudge::{Landing, Nudge};
use super::{
    clock::ServerClock,
    target::{Target, after},
};
use crate::{
    policy::Digest,
    registry::{Lookup, LookupError},
};

mod nudge;

pub(super) use self::nudge::End;

/// Lookups under way at the same time, at all registries and at each: one that hangs must not keep the
/// others waiting.
pub(super) const IN_FLIGHT: (usize, usize) = (256, 64);

/// The pause until places are free for lookups that found none.
const BACKLOG: Duration = Duration::from_millis(50);

/// The first pause after a failed lookup; it doubles up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The least time between two lookups of one reference, however eagerly it is waited for.
const GAP: Duration = Duration::from_secs(1);

/// A fault that came as often as this in a row is none that passes soon: about 15 seconds.
pub(super) const PERSISTENT: u32 = 3;

/// How much earlier than due an answer may have been asked for by another: pods of many namespaces
/// use the same image, and need not ask for it one by one.
const SHARE: Duration = Duration::from_secs(2);

/// How long a reference that no pod uses is remembered: a StatefulSet's only pod is gone for a while
/// before it comes back, and must find known what it was evicted for.
const KEEP: Duration = Duration::from_secs(30 * 60);

/// All that is known of one reference.
#[derive(Debug)]
pub(super) struct Sighting {
    /// What the tag means; kept while the registry fails.
    pub(super) target: Option<Target>,
    /// Why the last lookup gave no digest, if it did not.
    pub(super) fault: Option<LookupError>,
    faults_in_a_row: u32,
    due: Instant,
    /// When somebody needs an answer that was not asked for before.
    wanted: Option<Instant>,
    launched: Option<Instant>,
    in_flight: bool,
    used: Instant,
    /// When pods were last to go for what it means.
    staked: Option<Instant>,
    /// What somebody told of it that pushes come by.
    nudge: Nudge,
}

impl Sighting {
    fn new(now: Instant) -> Self {
        Self {
            target: None,
            fault: None,
            faults_in_a_row: 0,
            due: now,
            wanted: None,
            launched: None,
            in_flight: false,
            used: now,
            staked: None,
            nudge: Nudge::default(),
        }
    }

    fn next(&self) -> Instant {
        let early = [self.wanted, self.nudge.next()];
        early.into_iter().flatten().fold(self.due, Instant::min)
    }

    /// Returns the soonest moment for a lookup that is wanted `at`.
    fn not_before(&self, at: Instant, gap: Duration) -> Instant {
        self.launched.map_or(at, |it| at.max(it + gap))
    }

    /// Returns how old an answer will do that is due: hardly older than it has been, and news to us.
    fn max_age(&self, share: Duration, now: Instant) -> Duration {
        const TICK: Duration = Duration::from_millis(1);
        let age = now
            .saturating_duration_since(self.due)
            .saturating_add(share);
        let known = self.target.as_ref().map(|target| {
            let since = now.saturating_duration_since(target.last);
            since.saturating_sub(TICK)
        });
        known.map_or(age, |known| age.min(known))
    }

    /// Takes in a digest; says whether it is another one.
    fn seen(&mut self, digest: Digest, at: Instant) -> bool {
        match &mut self.target {
            // Known already, or older than what is known.
            Some(target) if at <= target.last => false,
            Some(target) if target.digest == digest => {
                target.last = at;
                target.sightings = target.sightings.saturating_add(1);
                false
            }
            target => {
                *target = Some(Target::new(digest, at));
                true
            }
        }
    }

    /// Takes in a failure; says whether it is of another kind than the last.
    fn failed(&mut self, error: LookupError) -> bool {
        let news = self.fault.as_ref().map(LookupError::label) != Some(error.label());
        self.fault = Some(error);
        self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
        news
    }

    /// Returns the pause after a failure; `chance` is a random number from 0 to 1.
    fn retry(&self, interval: Duration, chance: f64) -> Duration {
        let doublings = self.faults_in_a_row.saturating_sub(1).min(16);
        let pause = FIRST_RETRY.saturating_mul(1 << doublings).min(interval);
        let asked = self.fault.as_ref().and_then(LookupError::retry_after);
        pause
            .mul_f64(1.0 - 0.1 * chance)
            .max(asked.unwrap_or_default())
    }
}

/// A lookup to make: what for, and how old an answer to it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// What to ask.
    pub(super) lookup: Lookup,
    /// How old an answer will do.
    pub(super) max_age: Duration,
    /// Whether pods go by the answer.
    pub(super) at_stake: bool,
}

/// The references in use, and those that were lately.
#[derive(Debug)]
pub(super) struct Sightings {
    interval: Duration,
    known: HashMap<Lookup, Sighting>,
    /// When the references in use were counted last.
    counted: Instant,
    /// What the API server's clock shows.
    pub(super) clock: Option<ServerClock>,
    /// Nothing is due before.
    soonest: Instant,
    start: Instant,
    /// When somebody told of a push last.
    told: Option<Instant>,
    /// What came of the questions that pushes led to, since it was asked for last.
    pub(super) ended: Vec<End>,
    /// A random number, so that no two replicas or clusters ask for an image at the same time.
    phases: u64,
}

impl Sightings {
    /// Returns an empty memory of references that are to be asked for every `interval`.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            known: HashMap::new(),
            counted: now,
            clock: None,
            soonest: now,
            start: now,
            told: None,
            ended: Vec::new(),
            phases: fastrand::u64(..),
        }
    }

    /// Gives each image the place in the interval that it has by `phases`, for runs that can be repeated.
    #[cfg(test)]
    pub(super) const fn seeded(mut self, phases: u64) -> Self {
        self.phases = phases;
        self
    }

    /// Begins a count of the references in use.
    pub(super) const fn begin_use(&mut self, now: Instant) {
        self.counted = now;
    }

    /// Notes that `lookup` is in use, and returns what is known of it. One not seen before is due at once.
    pub(super) fn used(&mut self, lookup: &Lookup) -> &Sighting {
        let now = self.counted;
        let sighting = self.known.entry(lookup.clone());
        let sighting = sighting.or_insert_with(|| Sighting::new(now));
        sighting.used = now;
        sighting
    }

    /// Returns how many of the references in use have been answered for once, with a digest or a failure,
    /// and how many there are.
    pub(super) fn answered(&self) -> (usize, usize) {
        let in_use = (self.known.values()).filter(|sighting| self.counted <= sighting.used);
        let answered = |it: &&Sighting| it.target.is_some() || it.fault.is_some();
        let all = in_use.clone().count();
        (in_use.filter(answered).count(), all)
    }

    /// Says whether an answer is still to come that is worth waiting for until `deadline`: the first one to a
    /// reference, or one to a question whose failure may pass, and has not often enough to give it up.
    pub(super) fn awaits(&self, deadline: Instant) -> bool {
        let mut in_use = (self.known.values()).filter(|sighting| self.counted <= sighting.used);
        in_use.any(|sighting| match &sighting.fault {
            None => sighting.target.is_none(),
            Some(fault) => {
                let soon = sighting.in_flight || sighting.due < deadline;
                fault.is_transient() && sighting.faults_in_a_row < PERSISTENT && soon
            }
        })
    }

    /// Returns the references in use whose last lookup failed, and how.
    pub(super) fn failing(&self) -> impl Iterator<Item = (&Lookup, &LookupError)> {
        let in_use = (self.known.iter()).filter(|(_, sighting)| self.counted <= sighting.used);
        in_use.filter_map(|(lookup, sighting)| Some((lookup, sighting.fault.as_ref()?)))
    }

    /// Ends a count: forgets what nobody has used for long. `newest` is when the youngest of all pods was
    /// created.
    pub(super) fn end_use(&mut self, newest: Option<Timestamp>) {
        let now = self.counted;
        self.known
            .retain(|_, sighting| sighting.in_flight || now < sighting.used + KEEP);
        if let Some(newest) = newest {
            ServerClock::saw(&mut self.clock, newest, now);
        }
        for target in self.known.values_mut().filter_map(|it| it.target.as_mut()) {
            if target.newest.is_none() {
                target.newest = newest;
            }
        }
        self.soonest = now;
    }

    /// Notes that pods are to go for what `lookup` means.
    pub(super) fn stake(&mut self, lookup: &Lookup, now: Instant) {
        if let Some(sighting) = self.known.get_mut(lookup) {
            sighting.staked = Some(now);
        }
    }

    /// Has `lookup` asked for at `at`, or as soon after as its registry bears it.
    ///
    /// Of several such wishes the earliest is kept; the others are to be repeated once it has landed.
    pub(super) fn ask_at(&mut self, lookup: &Lookup, at: Instant) {
        // A registry that failed is asked again when its pause is over, not whenever somebody waits.
        let Some(sighting) =
            (self.known.get_mut(lookup)).filter(|sighting| sighting.fault.is_none())
        else {
            return;
        };
        let at = sighting.not_before(at, GAP.min(self.interval));
        let at = sighting.wanted.map_or(at, |other| at.min(other));
        sighting.wanted = Some(at);
        self.soonest = self.soonest.min(at);
    }

    /// Returns the lookups to make at `now`, those longest due first; each must be [`Self::landed`].
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Due> {
        if now < self.soonest {
            return Vec::new();
        }
        let (mut all, mut at_each) = (0, HashMap::<&str, usize>::new());
        let (mut due, mut soonest) = (Vec::new(), after(now, self.interval));
        for (lookup, sighting) in &mut self.known {
            if sighting.in_flight {
                all += 1;
                *at_each.entry(lookup.image.registry()).or_default() += 1;
            } else if sighting.used < self.counted {
                // Nobody waits for it.
            } else if sighting.next() <= now {
                due.push((lookup, sighting));
            } else {
                soonest = soonest.min(sighting.next());
            }
        }
        due.sort_by_key(|(_, sighting)| sighting.next());
        // What is looked at first now may have been pushed while nobody knew that it is in use.
        let since_told = self.told.map(|told| now.saturating_duration_since(told));
        let mut taken = Vec::new();
        for (lookup, sighting) in due {
            let here = at_each.entry(lookup.image.registry()).or_default();
            if IN_FLIGHT.0 <= all || IN_FLIGHT.1 <= *here {
                soonest = soonest.min(now + BACKLOG);
                continue;
            }
            (all, *here) = (all + 1, *here + 1);
            (sighting.in_flight, sighting.launched) = (true, Some(now));
            let max_age = match sighting.wanted {
                Some(at) if at <= now => Duration::ZERO,
                _ => sighting.max_age(SHARE.min(self.interval / 10), now),
            };
            let news = [sighting.nudge.launch(now), since_told];
            taken.push(Due {
                lookup: lookup.clone(),
                max_age: news.into_iter().flatten().fold(max_age, Duration::min),
                at_stake: (sighting.staked).is_some_and(|at| now <= at + 2 * self.interval),
            });
        }
        self.soonest = soonest;
        taken
    }

    /// Returns when [`Self::take_due`] should be asked next.
    pub(super) const fn soonest(&self) -> Instant {
        self.soonest
    }

    /// Takes in the answer to a lookup, a digest with the time it was asked for; `None` when there is none
    /// through a fault of ours. `chance` is a random number from 0 to 1. Says whether it is news.
    pub(super) fn landed(
        &mut self,
        lookup: &Lookup,
        answer: Option<Result<(Digest, Instant), LookupError>>,
        now: Instant,
        chance: f64,
    ) -> bool {
        let usual = self.next_turn(lookup, now);
        let Some(sighting) = self.known.get_mut(lookup) else {
            return false;
        };
        sighting.in_flight = false;
        let waited_for = sighting.wanted <= sighting.launched && sighting.wanted.is_some();
        if waited_for {
            sighting.wanted = None;
        }
        let (news, landing) = match answer {
            Some(Ok((digest, at))) => {
                let healed = sighting.fault.take().is_some();
                sighting.faults_in_a_row = 0;
                sighting.due = usual;
                let moved = sighting.seen(digest, at) || healed;
                (moved, Landing::of(moved))
            }
            Some(Err(error)) => {
                let landing = match error.is_transient() {
                    true => Landing::Failed,
                    false => Landing::Same,
                };
                let news = sighting.failed(error);
                sighting.wanted = None;
                sighting.due = now + sighting.retry(self.interval, chance);
                (news, landing)
            }
            None => {
                sighting.due = now + sighting.retry(self.interval, chance);
                (false, Landing::Failed)
            }
        };
        self.ended.extend(sighting.nudge.landed(landing, now));
        self.soonest = self.soonest.min(sighting.next());
        news || waited_for
    }

    /// Returns when a reference is asked for in the ordinary course of things.
    ///
    /// Each image has its own place in the interval, so that images first seen together, or back together
    /// after an outage, are spread over it, and all lookups of one image share a question.
    fn next_turn(&self, lookup: &Lookup, now: Instant) -> Instant {
        let nanos = self.interval.as_nanos().max(1);
        let mut hasher = DefaultHasher::new();
        (self.phases, &lookup.image).hash(&mut hasher);
        let phase = u128::from(hasher.finish()) % nanos;
        // Not right after the last one.
        let earliest = (now - self.start).as_nanos() + nanos / 10;
        let turns = (earliest.saturating_sub(phase)).div_ceil(nanos);
        let at = u64::try_from(phase + turns * nanos).unwrap_or(u64::MAX);
        after(self.start, Duration::from_nanos(at))
    }
}

#[cfg(test)]
mod tests;
