//! Asking at once because somebody told of a push, and not more often than that is worth.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{GAP, Sightings};
use crate::{
    policy::{Push, push::canonical},
    registry::{Lookup, LookupError},
};

/// One push is often told in several pieces, and namespaces that use the same image share one question.
const GATHER: Duration = Duration::from_millis(200);

/// The least time between two rounds of questions: whoever tells of pushes all the time gets no more.
const ROUND: Duration = Duration::from_secs(10);

/// The pauses in a round: a registry may tell of a push before all its replicas answer for it.
const AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(6)];

/// What became of a push that was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::refresh) enum Hint {
    /// No pod in use has that image.
    Unused,
    /// Its registry fails: it is asked again when its pause is over.
    Held,
    /// It was asked about just now, and is once more a little later.
    Later,
    /// It is asked about now.
    Asked,
}

impl Hint {
    /// Returns the stable, documented name of what became of it.
    pub(in crate::refresh) const fn label(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Held => "held",
            Self::Later => "later",
            Self::Asked => "asked",
        }
    }
}

/// What came of the questions of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::refresh) enum End {
    /// The tag means something else than before.
    Moved,
    /// The tag means what it meant, however often it was asked for.
    Unchanged,
    /// The registry did not answer.
    Failed,
}

impl End {
    /// Returns the stable, documented name of what came of it.
    pub(in crate::refresh) const fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// What an answer says to one who was told of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    /// Something else than before.
    Moved,
    /// The same as before.
    Same,
    /// Nothing, and the registry is to be left alone for a while.
    Failed,
}

impl Landing {
    pub(super) const fn of(moved: bool) -> Self {
        match moved {
            true => Self::Moved,
            false => Self::Same,
        }
    }
}

/// The questions about one reference that pushes lead to, in rounds.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// Answers to earlier questions are none.
    since: Option<Instant>,
    /// When the last round began.
    begun: Option<Instant>,
    /// When the next round begins.
    round: Option<Instant>,
    /// When the last round goes on.
    again: Option<Instant>,
    /// How often it has gone on.
    tries: usize,
    in_flight: bool,
}

impl Nudge {
    /// Takes in that a push was told of at `now`, which may be asked about from `soonest` on; says whether that is soon.
    fn tell(&mut self, now: Instant, soonest: Instant) -> bool {
        self.since = Some(now);
        let rested = self.begun.map(|begun| begun + ROUND);
        let at = rested.map_or(soonest, |rested| rested.max(soonest));
        self.round = Some(self.round.map_or(at, |other| other.min(at)));
        at == soonest
    }

    /// Returns when to ask next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.round.into_iter().chain(self.again).min()
    }

    /// Takes in that the registry is asked at `now`; returns how old an answer will do if that is due.
    pub(super) fn launch(&mut self, now: Instant) -> Option<Duration> {
        let at = self.next().filter(|at| *at <= now)?;
        if self.round == Some(at) {
            (self.begun, self.round, self.tries) = (Some(now), None, 0);
        }
        (self.again, self.in_flight) = (None, true);
        let since = self.since?;
        Some(now.saturating_duration_since(since))
    }

    /// Takes in the answer at `now` to the last question; returns what came of the round if it is over.
    pub(super) fn landed(&mut self, landing: Landing, now: Instant) -> Option<End> {
        if !std::mem::take(&mut self.in_flight) {
            return None;
        }
        match landing {
            Landing::Moved => Some(End::Moved),
            Landing::Failed => Some(End::Failed),
            Landing::Same => match AGAIN.get(self.tries) {
                Some(pause) => {
                    self.tries += 1;
                    self.again = Some(now + *pause);
                    self.since = self.since.max(Some(now));
                    None
                }
                None => Some(End::Unchanged),
            },
        }
    }
}

impl Sightings {
    /// Has the references in use that `pushes` mean asked for soon, and returns what becomes of each of them.
    ///
    /// A registry may be known by another name to those who push: where no image in use comes from the one that is
    /// told, all are meant that have the same repository and tag.
    pub(in crate::refresh) fn told(&mut self, pushes: &[Push], now: Instant) -> Vec<Hint> {
        if pushes.is_empty() {
            return Vec::new();
        }
        self.told = Some(now);
        let mut hints = vec![Hint::Unused; pushes.len()];
        for (nth, lookup) in self.meant(pushes) {
            let hint = self.nudge(&lookup, now);
            hints[nth] = hints[nth].max(hint);
        }
        hints
    }

    /// Returns the references in use that each of `pushes` means, with its place among them.
    fn meant(&self, pushes: &[Push]) -> Vec<(usize, Lookup)> {
        let told: HashSet<&str> = pushes.iter().filter_map(Push::host).collect();
        let mut by_name: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for (nth, push) in pushes.iter().enumerate() {
            by_name.entry(push.name()).or_default().push(nth);
        }
        let (mut hosts, mut named) = (HashSet::new(), Vec::new());
        let in_use = (self.known.iter()).filter(|(_, sighting)| self.counted <= sighting.used);
        for (lookup, _) in in_use {
            let image = &lookup.image;
            let host = canonical(image.registry());
            if let Some(host) = told.get(&*host) {
                hosts.insert(*host);
            }
            let Some(tag) = image.tag() else { continue };
            if let Some(places) = by_name.get(&(image.repository(), tag)) {
                named.extend(places.iter().map(|nth| (*nth, lookup, host.clone())));
            }
        }
        let is_meant = |nth: usize, at: &str| match pushes[nth].host() {
            Some(host) => host == at || !hosts.contains(host),
            None => true,
        };
        (named.into_iter())
            .filter(|(nth, _, at)| is_meant(*nth, at))
            .map(|(nth, lookup, _)| (nth, lookup.clone()))
            .collect()
    }

    fn nudge(&mut self, lookup: &Lookup, now: Instant) -> Hint {
        let Some(sighting) = self.known.get_mut(lookup) else {
            return Hint::Unused;
        };
        // What was missing or denied may be there by the push; who is overloaded or away is not to be hurried.
        if (sighting.fault.as_ref()).is_some_and(LookupError::is_transient) {
            return Hint::Held;
        }
        let soonest = sighting.not_before(now + GATHER, GAP.min(self.interval));
        let is_soon = sighting.nudge.tell(now, soonest);
        self.soonest = self.soonest.min(sighting.next());
        match is_soon {
            true => Hint::Asked,
            false => Hint::Later,
        }
    }
}

#[cfg(test)]
mod tests;
