//! What manifests and nodes say of containers that seem outdated: do they run the same image after all?
//!
//! It is asked for only what seems outdated. A hint: all of it may be lost at any time.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::sightings::PERSISTENT;
use crate::{
    cluster::Platform,
    policy::{Container, Digest, Verdict, verdict::evidence},
    registry::{Compared, Lookup, Manifest, Read},
};

/// The first pause after a question without an answer; it doubles up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// What is known so far.
#[derive(Debug)]
pub(super) struct Facts {
    interval: Duration,
    manifests: HashMap<(Lookup, Digest), Fact<ManifestFact>>,
    platforms: HashMap<Arc<str>, Fact<Option<Arc<Platform>>>>,
}

/// What is known of the manifest with a digest.
#[derive(Debug, Clone)]
pub(super) enum ManifestFact {
    /// What stands in it.
    Read(Arc<Manifest>),
    /// The registry has it no more.
    Gone,
    /// The registry did not say, though asked.
    Failed,
}

/// What keeps a container that seems outdated from being so for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// An answer is still to come.
    Open,
    /// The registry does not say.
    Failing,
}

/// Something to find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// What stands in the manifest with this digest, in the repository of this lookup?
    Manifest(Lookup, Digest),
    /// Which platform has the node of this name?
    Platform(Arc<str>),
}

/// The end of a question.
#[derive(Debug)]
pub(super) enum Landed {
    /// About a manifest; with the least pause before it is asked again, if the registry wants one.
    Manifest((Lookup, Digest), ManifestFact, Duration),
    /// About a node: its platform, if it has one; `None` when nobody said.
    Platform(Arc<str>, Option<Option<Arc<Platform>>>),
}

#[derive(Debug)]
struct Fact<T> {
    answer: Option<T>,
    /// Failures in a row.
    failures: u32,
    /// When to ask; `None` when there is nothing more to ask.
    next: Option<Instant>,
    in_flight: bool,
    used: bool,
}

impl Facts {
    /// Returns a memory without any facts, which asks again for what failed every `interval` at least.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            manifests: HashMap::new(),
            platforms: HashMap::new(),
        }
    }

    /// Begins a count of the facts in use.
    pub(super) fn begin_use(&mut self) {
        self.manifests
            .values_mut()
            .for_each(|fact| fact.used = false);
        self.platforms
            .values_mut()
            .for_each(|fact| fact.used = false);
    }

    /// Forgets the facts that nobody used since `begin_use`.
    pub(super) fn end_use(&mut self) {
        self.manifests.retain(|_, fact| fact.used || fact.in_flight);
        self.platforms.retain(|_, fact| fact.used || fact.in_flight);
    }

    /// Returns the verdict on a container on `node` where that by its digests alone is preliminary, and what makes it
    /// doubtful if anything does. What is missing becomes due.
    pub(super) fn judge(
        &mut self,
        node: Option<&Arc<str>>,
        container: &Container,
        lookup: &Lookup,
        target: &Digest,
        now: Instant,
    ) -> (Verdict, Option<Doubt>) {
        let reads = evidence(container, target).map(|digest| {
            let key = (lookup.clone(), digest?.clone());
            Some(match ask(&mut self.manifests, key, now) {
                Some(ManifestFact::Read(manifest)) => Read::Found(manifest),
                Some(ManifestFact::Gone) => Read::Gone(Doubt::Failing),
                Some(ManifestFact::Failed) => Read::Failed(Doubt::Failing),
                None => Read::Failed(Doubt::Open),
            })
        });
        let compared = Compared::new(container, target, reads);
        let (mut verdict, mut unknown) = (compared.verdict(None), None);
        if let (Verdict::Outdated, true, Some(node)) = (verdict, compared.has_index(), node) {
            match ask(&mut self.platforms, Arc::clone(node), now) {
                Some(platform) => verdict = compared.verdict(platform.as_deref()),
                None => unknown = Some(Doubt::Open),
            }
        }
        (verdict, compared.doubts(verdict).chain(unknown).min())
    }

    /// Returns at most `count` questions that are due, which are under way from now on.
    pub(super) fn take_due(&mut self, now: Instant, count: usize) -> Vec<Question> {
        let manifests = (self.manifests.iter_mut()).filter_map(|((lookup, digest), fact)| {
            fact.take_off(now)
                .then(|| Question::Manifest(lookup.clone(), digest.clone()))
        });
        let platforms = (self.platforms.iter_mut()).filter_map(|(node, fact)| {
            fact.take_off(now)
                .then(|| Question::Platform(Arc::clone(node)))
        });
        manifests.chain(platforms).take(count).collect()
    }

    /// Returns when the next question is due, of those that are not under way.
    pub(super) fn soonest(&self) -> Option<Instant> {
        let manifests = self.manifests.values().filter_map(Fact::due);
        let platforms = self.platforms.values().filter_map(Fact::due);
        manifests.chain(platforms).min()
    }

    /// Says whether a manifest that could not be read is to be asked for again before `deadline`, and has not failed
    /// often enough to give it up.
    pub(super) fn awaits(&self, deadline: Instant) -> bool {
        let mut in_use = self.manifests.values().filter(|fact| fact.used);
        in_use.any(|fact| {
            let soon = fact.in_flight || fact.next.is_some_and(|next| next < deadline);
            (1..PERSISTENT).contains(&fact.failures) && soon
        })
    }

    /// Takes in an answer; says whether with it a manifest begins to fail that did not before.
    pub(super) fn landed(&mut self, landed: Landed, now: Instant) -> bool {
        match landed {
            Landed::Manifest(key, answer, least) => {
                let Some(fact) = self.manifests.get_mut(&key) else {
                    return false;
                };
                let again = match answer {
                    ManifestFact::Read(_) => None,
                    // It may come back, but nobody waits for it.
                    ManifestFact::Gone => Some(self.interval),
                    ManifestFact::Failed => {
                        let pause = fact.pause(self.interval).max(least);
                        fact.settle(Some(answer), Some(pause), now);
                        return fact.failures == 1;
                    }
                };
                fact.failures = 0;
                fact.settle(Some(answer), again, now);
                false
            }
            Landed::Platform(node, answer) => {
                let Some(fact) = self.platforms.get_mut(&node) else {
                    return false;
                };
                let again = answer.is_none().then(|| fact.pause(self.interval));
                fact.settle(answer, again, now);
                false
            }
        }
    }
}

/// Returns what is known under `key`, which is in use from now on.
fn ask<K: Hash + Eq, T: Clone>(facts: &mut HashMap<K, Fact<T>>, key: K, now: Instant) -> Option<T> {
    let fact = facts.entry(key).or_insert_with(|| Fact {
        answer: None,
        failures: 0,
        next: Some(now),
        in_flight: false,
        used: true,
    });
    fact.used = true;
    fact.answer.clone()
}

impl<T> Fact<T> {
    fn due(&self) -> Option<Instant> {
        self.next.filter(|_| !self.in_flight)
    }

    fn take_off(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        self.in_flight |= is_due;
        is_due
    }

    /// Returns how long to wait after one more failure.
    fn pause(&mut self, interval: Duration) -> Duration {
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        pause.min(interval)
    }

    fn settle(&mut self, answer: Option<T>, again: Option<Duration>, now: Instant) {
        self.answer = answer;
        self.in_flight = false;
        self.next = again.map(|pause| now + pause);
    }
}

#[cfg(test)]
mod tests;
