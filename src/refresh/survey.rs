//! What there is to say of every pod at one moment: which are ours, what their tags mean, which are outdated.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    clock::ServerClock,
    facts::{Doubt, Facts},
    sightings::Sightings,
    suspects::Suspects,
    tally::Tally,
    target::Target,
};
use crate::{
    policy::{
        BadWishes, Container, Digest, Ineligible, Namespace, Pod, Scope, Verdict, Wishes, eligible,
        pod::Annotations, verdict,
    },
    registry::{Lookup, LookupError},
};

/// A pod of which at least one container that counts is outdated.
#[derive(Debug, Clone)]
pub(super) struct Outdated {
    /// The pod as the cache had it.
    pub(super) pod: Arc<Pod>,
    /// Its wishes.
    pub(super) wishes: Wishes,
    /// The containers that make it outdated; at least one.
    pub(super) moved: Vec<Moved>,
    /// Since when it has been seen so: what was known of its tags before says nothing against it.
    pub(super) since: Instant,
    /// Whether the registry gave no digest for one of its images.
    pub(super) registry_failing: bool,
    /// What makes it doubtful that it is outdated, if anything does.
    pub(super) doubt: Option<Doubt>,
}

/// A container whose tag has moved on.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    /// The container's name.
    pub(super) container: Arc<str>,
    /// What its tag was looked up by.
    pub(super) lookup: Lookup,
    /// What it runs, as far as its imageID or its stamp tells.
    pub(super) from: Option<Digest>,
    /// What its tag means now.
    pub(super) to: Target,
}

/// Something to tell about a pod, one of its owner's for which the same is true.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    /// What there is to tell.
    pub(super) what: Found,
}

impl Finding {
    /// Says whether it is told of the pod's owner.
    pub(super) const fn is_of_owner(&self) -> bool {
        matches!(self.what, Found::Unresolved { .. })
    }
}

/// What there is to tell besides outdated pods.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Its wishes make no sense.
    Unreadable(BadWishes),
    /// A container runs an older image from its node's cache.
    Stale {
        /// The container's name.
        container: Arc<str>,
        /// What its tag means.
        target: Digest,
    },
    /// Nobody knows what a tag means.
    Unresolved {
        /// What was asked.
        lookup: Lookup,
        /// Why there is no answer.
        fault: LookupError,
    },
}

/// What a pod's verdicts come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not ours to refresh, or too little is known.
    Unknown,
    /// It runs what its tags mean.
    Current,
    /// It is the one with this index in `Survey::outdated`.
    Outdated(usize),
}

/// What one look at all pods found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// For each pod looked at, in the same order, what its verdicts come to.
    pub(super) standings: Vec<Standing>,
    /// The outdated pods, in the order of the pods.
    pub(super) outdated: Vec<Outdated>,
    /// What else is worth telling, once for each owner.
    pub(super) findings: Vec<Finding>,
    /// Whether it is still to be learnt which image some container runs.
    pub(super) comparing: bool,
    /// How many pods are ours to refresh.
    pub(super) eligible: usize,
    /// Those of them with an image of which the registry gave no digest when it was asked last.
    pub(super) unresolved: Vec<Arc<Pod>>,
    /// The counts.
    pub(super) tally: Tally,
    /// What the API server's clock shows; `None` while there are no pods.
    pub(super) clock: Option<ServerClock>,
}

impl Survey {
    /// Has tags asked for again on which something is to be done: as soon as that makes it certain.
    pub(super) fn confirm(&self, sightings: &mut Sightings, apart: Duration, now: Instant) {
        for outdated in &self.outdated {
            for moved in &outdated.moved {
                sightings.stake(&moved.lookup, now);
                if let Some(at) = moved.to.wanted(outdated.since, apart) {
                    sightings.ask_at(&moved.lookup, at);
                }
            }
        }
    }
}

/// What is remembered between two looks.
pub(super) struct Hints<'a> {
    /// What the tags mean.
    pub(super) sightings: &'a mut Sightings,
    /// Which pods were outdated before.
    pub(super) suspects: &'a mut Suspects,
    /// What stands behind the digests.
    pub(super) facts: &'a mut Facts,
}

/// Looks at the pods that `whose` says, of all `pods`, ordered by namespace; what nobody has asked for yet becomes due: the meaning of tags,
/// and what stands in manifests where a container seems outdated.
pub(super) fn take(
    pods: &[Arc<Pod>],
    namespace: impl Fn(&str) -> Option<Arc<Namespace>>,
    whose: Scope,
    hints: Hints<'_>,
    now: Instant,
) -> Survey {
    let mut survey = Survey {
        standings: Vec::with_capacity(pods.len()),
        ..Survey::default()
    };
    let mut surveyor = Surveyor {
        survey: &mut survey,
        hints,
        wishes: HashMap::new(),
        told: HashSet::new(),
        whose,
        now,
    };
    surveyor.hints.sightings.begin_use(now);
    surveyor.hints.facts.begin_use();
    let (mut home, mut newest): (Option<Arc<Namespace>>, Option<Timestamp>) = (None, None);
    let mut name: Option<&Arc<str>> = None;
    for pod in pods {
        if name != Some(&pod.namespace) {
            (name, home) = (Some(&pod.namespace), namespace(&pod.namespace));
        }
        newest = newest.max(Some(pod.created));
        // Most pods of a big cluster are none of ours: nothing is read for them.
        let home = home.as_deref();
        let standing = match home.filter(|home| whose == Scope::All || home.enabled) {
            Some(home) => surveyor.look(pod, home),
            None => Standing::Unknown,
        };
        surveyor.survey.standings.push(standing);
    }
    let hints = surveyor.hints;
    hints.sightings.end_use(newest);
    hints.suspects.tidy(now);
    hints.facts.end_use();
    survey.clock = hints.sightings.clock;
    survey
}

/// One who looks at pods.
struct Surveyor<'a> {
    survey: &'a mut Survey,
    hints: Hints<'a>,
    /// The wishes read so far, by the addresses of the annotations that they were read from. Pods of one
    /// owner share theirs, so few are read.
    wishes: HashMap<(usize, usize), Known>,
    /// What was found so far, by the addresses of the owner and of what it is about, which pods share, too.
    told: HashSet<(usize, usize)>,
    whose: Scope,
    now: Instant,
}

#[derive(Debug)]
struct Known {
    wishes: Arc<Result<Wishes, BadWishes>>,
    /// Kept, so that no other annotations can come to lie at the same address meanwhile.
    _of: (Arc<Annotations>, Arc<Annotations>),
}

impl Surveyor<'_> {
    fn look(&mut self, pod: &Arc<Pod>, namespace: &Namespace) -> Standing {
        let wishes = self.wishes(pod, namespace);
        let counting = match eligible(pod, Some(namespace), self.whose, &wishes) {
            Ok(wishes) => Some(wishes),
            Err(reason) => {
                self.survey.tally.left_alone(reason);
                if let (Ineligible::BadWishes, Err(bad)) = (reason, &*wishes) {
                    let about = pod.annotations.as_ptr().addr();
                    self.find(pod, about, || Found::Unreadable(bad.clone()));
                }
                if reason != Ineligible::NothingCounts {
                    return Standing::Unknown;
                }
                None
            }
        };
        let (mut moved, mut registry_failing, mut all_current) = (Vec::new(), false, true);
        let mut doubts = Vec::new();
        for container in &pod.containers {
            let counts = counting.is_some_and(|wishes| container.counts(wishes));
            if !container.is_looked_up(counts) {
                continue;
            }
            let Some(judged) = self.judge(pod, container, counts) else {
                continue;
            };
            registry_failing |= judged.failing;
            self.survey.comparing |= judged.doubt == Some(Doubt::Open);
            doubts.extend(judged.doubt.filter(|_| counts));
            all_current &= !counts || judged.verdict.runs_target();
            if let (Verdict::Outdated, Some(to), true) = (judged.verdict, judged.target, counts) {
                moved.push(Moved {
                    container: container.name.clone(),
                    lookup: judged.lookup,
                    from: (container.running.digest())
                        .or_else(|| Some(&container.valid_stamp()?.digest))
                        .cloned(),
                    to,
                });
            }
        }
        if counting.is_some() {
            self.survey.eligible += 1;
            if registry_failing {
                self.survey.unresolved.push(pod.clone());
            }
        }
        match counting {
            Some(wishes) if !moved.is_empty() => {
                let runs = (moved.iter()).map(|moved| (&*moved.container, moved.from.as_ref()));
                let since = self.hints.suspects.since(pod, runs, self.now);
                self.survey.outdated.push(Outdated {
                    pod: pod.clone(),
                    wishes: wishes.clone(),
                    moved,
                    since,
                    registry_failing,
                    doubt: doubts.into_iter().min(),
                });
                Standing::Outdated(self.survey.outdated.len() - 1)
            }
            Some(_) if all_current => Standing::Current,
            _ => Standing::Unknown,
        }
    }

    /// Judges one container; `None` when it follows no tag.
    fn judge(&mut self, pod: &Arc<Pod>, container: &Container, counts: bool) -> Option<Judged> {
        let lookup = Lookup::of(pod, container)?;
        let sighting = self.hints.sightings.used(&lookup);
        let target = sighting.target.as_ref().map(|target| &target.digest);
        let (mut verdict, mut doubt) = (verdict(container, target, None), None);
        if let Some(target) = target.filter(|_| verdict.is_preliminary(counts)) {
            let (facts, node) = (&mut self.hints.facts, pod.node.as_ref());
            (verdict, doubt) = facts.judge(node, container, &lookup, target, self.now);
        }
        // Most containers are current, and nothing is copied for them.
        let outdated = matches!(verdict, Verdict::Outdated | Verdict::StaleCache);
        let target = sighting.target.as_ref().filter(|_| outdated).cloned();
        let fault = sighting.fault.clone();
        // Of one that does not count nothing is known but this: nobody has compared its images.
        if counts || verdict == Verdict::StaleCache {
            self.survey.tally.container(verdict);
        }
        let failing = fault.is_some();
        if let (Some(fault), Ok(image)) = (fault, &container.image) {
            let about = Arc::as_ptr(image).addr();
            self.find(pod, about, || Found::Unresolved {
                lookup: lookup.clone(),
                fault,
            });
        }
        if let (Verdict::StaleCache, Some(target)) = (verdict, &target) {
            let about = container.name.as_ptr().addr();
            self.find(pod, about, || Found::Stale {
                container: container.name.clone(),
                target: target.digest.clone(),
            });
        }
        Some(Judged {
            lookup,
            verdict,
            target,
            failing,
            doubt,
        })
    }

    fn wishes(&mut self, pod: &Pod, namespace: &Namespace) -> Arc<Result<Wishes, BadWishes>> {
        let (own, defaults) = (&pod.annotations, &namespace.annotations);
        let key = (own.as_ptr().addr(), defaults.as_ptr().addr());
        let known = self.wishes.entry(key).or_insert_with(|| Known {
            wishes: Arc::new(Wishes::parse(own, defaults)),
            _of: (own.clone(), defaults.clone()),
        });
        known.wishes.clone()
    }

    /// Notes what was found, unless the same is noted of another pod of its owner: an owner of thousands
    /// shall not tell it thousands of times.
    fn find(&mut self, pod: &Arc<Pod>, about: usize, what: impl FnOnce() -> Found) {
        let owner = pod.owner.as_ref().map_or(0, |it| Arc::as_ptr(it).addr());
        if self.told.insert((owner, about)) {
            let (pod, what) = (pod.clone(), what());
            self.survey.findings.push(Finding { pod, what });
        }
    }
}

/// A container's verdict.
struct Judged {
    lookup: Lookup,
    verdict: Verdict,
    /// What its tag means, where it runs something else.
    target: Option<Target>,
    /// Whether the last lookup failed.
    failing: bool,
    /// What makes the verdict doubtful.
    doubt: Option<Doubt>,
}

#[cfg(test)]
mod tests;
