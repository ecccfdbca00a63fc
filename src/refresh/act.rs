//! Carries out what the gate lets through: asks for evictions, and remembers and tells each answer.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    memory::{Memory, SERVER},
    outcome::{self, Asked},
    survey::{Moved, Outdated},
    tell,
};
use crate::{
    cluster::{About, Eviction, Evictor, Leadership, Namespaces, Pods, Recorder},
    error::Chain,
    observe::metrics::{self, Metrics},
    policy::{Pod, Scope, Wishes},
};

/// The one who evicts.
#[derive(Debug)]
pub(super) struct Actor {
    /// Asks the API server.
    pub(super) evictor: Evictor,
    /// How long a pod counts as gone that the API server only checked; `None` if it is to do it.
    pub(super) rehearsal: Option<Duration>,
    /// How long a successor may take to become ready.
    pub(super) progress_deadline: Duration,
    /// Who may evict.
    pub(super) leadership: Leadership,
    /// Whose pods may be evicted.
    pub(super) whose: Scope,
    /// The pods and the namespaces as they are right before.
    pub(super) pods: Pods,
    pub(super) namespaces: Namespaces,
    /// Where Events go.
    pub(super) recorder: Recorder,
    /// Where evictions are counted.
    pub(super) metrics: Metrics,
}

/// Whether a pod that the gate let through may still be asked to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may.
    Given,
    /// Something has changed since: the pod, its wishes or its namespace's, its window.
    Withdrawn,
    /// Nobody may any more in this pass: we lead no longer, or the API server is to be left alone.
    Over,
}

/// A pod to evict.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// The pod, and what makes it outdated.
    pub(super) outdated: &'a Outdated,
    /// The uid of its workload.
    pub(super) workload: &'a str,
    /// What Events about its workload are about.
    pub(super) about: Option<About>,
}

impl Actor {
    /// Says whether a pod that the gate let through may still go, right before it is asked to: those before it may
    /// have taken a while.
    pub(super) fn leave(&self, outdated: &Outdated, memory: &Memory) -> Leave {
        let now = Instant::now();
        if memory.server.hold(SERVER, now) || !self.leadership.leads(now) {
            return Leave::Over;
        }
        if self.is_wished(outdated) && outdated.wishes.window.open(Timestamp::now()) {
            Leave::Given
        } else {
            Leave::Withdrawn
        }
    }

    /// Says whether the pod is still there and ours, and wished for what it was.
    pub(super) fn is_wished(&self, outdated: &Outdated) -> bool {
        let pod = self.pods.latest(&outdated.pod);
        let home = self.namespaces.get(&outdated.pod.namespace);
        let Some((pod, home)) = pod.zip(home) else {
            return false;
        };
        pod.uid == outdated.pod.uid
            && !pod.terminating
            && !pod.opted_out
            && home.takes_part(self.whose)
            && Wishes::parse(&pod.annotations, &home.annotations).as_ref() == Ok(&outdated.wishes)
    }

    /// Asks the API server to evict a pod.
    pub(super) async fn ask(&self, pod: &Pod) -> Eviction {
        self.evictor.evict(pod, self.rehearsal.is_some()).await
    }

    /// Remembers and tells what the API server has answered; says whether others may be tried in this pass.
    pub(super) fn note(&self, target: Target<'_>, answer: &Eviction, memory: &mut Memory) -> bool {
        let outdated = target.outdated;
        let pod = &outdated.pod;
        let owner = pod.owner.as_ref();
        let owner = owner.expect("an outdated pod must have an owner");
        let outcome = match answer {
            Eviction::Evicted if self.rehearsal.is_some() => "dry_run",
            answer => answer.label(),
        };
        metrics::count(&self.metrics.refresh_evictions, outcome);
        let targets = tell::targets(outdated);
        let asked = Asked {
            pod,
            owner,
            workload: target.workload,
            moved: &outdated.moved,
            targets: &targets,
            rehearsal: self.rehearsal,
            progress_deadline: self.progress_deadline,
        };
        let outcome = outcome::note(memory, asked, answer, Instant::now());
        self.tell(target, answer);
        if outcome.news {
            self.log(outdated, answer);
        } else {
            let (ns, name, reason) = (&pod.namespace, &pod.name, answer.label());
            debug!(pod.namespace = %ns, pod.name = %name, reason, "Did not evict {ns}/{name}, as before");
        }
        outcome.go_on
    }

    fn tell(&self, target: Target<'_>, answer: &Eviction) {
        let outdated = target.outdated;
        let notice = match (answer, target.about) {
            (Eviction::Evicted, _) if self.rehearsal.is_none() => tell::evicted(outdated),
            (
                Eviction::Blocked { message, .. }
                | Eviction::Misconfigured { message }
                | Eviction::Forbidden { message },
                Some(about),
            ) => tell::blocked(about, outdated, message),
            _ => return,
        };
        self.recorder.record(notice);
    }

    /// Logs what has become of an eviction. A refusal that passes by itself is no warning.
    fn log(&self, outdated: &Outdated, answer: &Eviction) {
        let (ns, name) = (&outdated.pod.namespace, &outdated.pod.name);
        let reason = answer.label();
        let dry = match self.rehearsal {
            Some(_) => " (dry run)",
            None => "",
        };
        match answer {
            Eviction::Evicted => self.log_evicted(outdated),
            Eviction::Blocked {
                budget, message, ..
            } => info!(
                pod.namespace = %ns, pod.name = %name, reason, budget,
                "Did not evict {ns}/{name} yet{dry}: {message}"
            ),
            Eviction::Deferred { message } => info!(
                pod.namespace = %ns, pod.name = %name, reason,
                "Left the eviction of {ns}/{name} to another{dry}: {message}"
            ),
            Eviction::Misconfigured { message } | Eviction::Forbidden { message } => warn!(
                pod.namespace = %ns, pod.name = %name, reason,
                "Could not evict {ns}/{name}{dry}: {message}"
            ),
            Eviction::Gone | Eviction::Replaced => debug!(
                pod.namespace = %ns, pod.name = %name, reason, "{ns}/{name} is gone already"
            ),
            Eviction::Changed => debug!(
                pod.namespace = %ns, pod.name = %name, reason,
                "Did not evict {ns}/{name} yet{dry}: it has changed meanwhile"
            ),
            Eviction::NamespaceTerminating => debug!(
                pod.namespace = %ns, pod.name = %name, reason, "{ns} is being deleted"
            ),
            Eviction::Busy { .. } => info!(reason, "The API server is busy: evictions wait"),
            Eviction::Failed(cause) => warn!(
                pod.namespace = %ns, pod.name = %name, reason, error = %Chain(cause),
                "Could not evict {ns}/{name}{dry}: {}", Chain(cause)
            ),
        }
    }

    fn log_evicted(&self, outdated: &Outdated) {
        let pod = &outdated.pod;
        let (ns, name) = (&pod.namespace, &pod.name);
        let Some(Moved {
            lookup, from, to, ..
        }) = outdated.moved.first()
        else {
            return;
        };
        let what = match self.rehearsal {
            Some(_) => "Would have evicted",
            None => "Evicted",
        };
        info!(
            pod.namespace = %ns, pod.name = %name,
            owner.name = pod.owner.as_ref().map(|owner| &*owner.name),
            image = %lookup.image,
            digest.running = from.as_ref().map(tracing::field::display),
            digest.wanted = %to.digest,
            "{what} {ns}/{name}: {}", tell::moves(outdated)
        );
    }
}
