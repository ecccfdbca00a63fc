//! What an answer to an eviction comes to: what is remembered of it, and whether it is worth a line.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    memory::{Memory, SERVER, Turn},
    survey::Moved,
    target::after,
};
use crate::{
    cluster::{CallError, Eviction},
    policy::{Digest, Owner, Pod},
};

/// The time a sent eviction without an answer is taken for done: longer than the API server works on one.
const SILENCE: Duration = Duration::from_secs(90);

/// The time one is taken for done that failed in the API server: it was, or was not, done by then, and the
/// cache has only to show it.
const FAILURE: Duration = Duration::from_secs(10);

/// An eviction that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The pod.
    pub(super) pod: &'a Pod,
    /// Its direct owner.
    pub(super) owner: &'a Arc<Owner>,
    /// The uid of its workload.
    pub(super) workload: &'a str,
    /// What the pod was to run.
    pub(super) moved: &'a [Moved],
    /// The same in words.
    pub(super) targets: &'a str,
    /// How long the pod counts as gone although nothing was done, if it was a dry run.
    pub(super) rehearsal: Option<Duration>,
    /// How long its successor may take.
    pub(super) progress_deadline: Duration,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether it is another answer than the last time.
    pub(super) news: bool,
    /// Whether others may be tried in this pass.
    pub(super) go_on: bool,
}

impl<'a> Asked<'a> {
    fn digests(self) -> impl Iterator<Item = &'a Digest> {
        self.moved.iter().map(|moved| &moved.to.digest)
    }
}

/// Remembers what an answer that came at `now` says.
pub(super) fn note(
    memory: &mut Memory,
    asked: Asked<'_>,
    answer: &Eviction,
    now: Instant,
) -> Outcome {
    let Asked { pod, workload, .. } = asked;
    let label = answer.label();
    let (mut news, mut go_on) = (true, true);
    memory.doubt(&pod.uid, false);
    match answer {
        Eviction::Evicted => news = evicted(memory, asked, now),
        Eviction::Gone | Eviction::Replaced => {
            // The cache will show it soon; a moment of doubt is enough.
            memory.goes(&pod.uid, Some(after(now, SILENCE)));
        }
        Eviction::Changed => match &pod.version {
            // It is asked for again as soon as the cache shows what it is like now.
            Some(version) => memory.outran(&pod.uid, version),
            None => news = memory.pods.refused(&pod.uid, label, None, now),
        },
        Eviction::Blocked {
            budget,
            retry_after,
            ..
        } => {
            let why = format!("{label} {}", budget.as_deref().unwrap_or_default());
            news = if pod.ready {
                memory.ready.refused(workload, &why, *retry_after, now)
            } else {
                memory.pods.refused(&pod.uid, &why, *retry_after, now)
            };
        }
        Eviction::Deferred { .. } => {
            news = memory.pods.refused(&pod.uid, label, None, now);
        }
        Eviction::Misconfigured { .. }
        | Eviction::Forbidden { .. }
        | Eviction::NamespaceTerminating => {
            news = memory.workloads.refused(workload, label, None, now);
        }
        Eviction::Busy { retry_after } => {
            news = memory.server.refused(SERVER, label, *retry_after, now);
            go_on = false;
        }
        Eviction::Failed(cause) => {
            if let Some(doubt) = doubt(cause) {
                memory.goes(&pod.uid, Some(after(now, doubt)));
                memory.doubt(&pod.uid, true);
                memory.spend(&pod.namespace, pod.node.as_ref(), now);
                memory.aim(workload, asked.digests(), now);
            }
            news = memory.workloads.refused(workload, label, None, now);
            if is_away(cause) {
                memory.server.refused(SERVER, label, None, now);
                go_on = false;
            }
        }
    }
    Outcome { news, go_on }
}

fn evicted(memory: &mut Memory, asked: Asked<'_>, now: Instant) -> bool {
    let Asked { pod, workload, .. } = asked;
    memory.spend(&pod.namespace, pod.node.as_ref(), now);
    for waits in [&mut memory.ready, &mut memory.workloads] {
        waits.over(workload);
    }
    memory.server.over(SERVER);
    if let Some(rehearsal) = asked.rehearsal {
        memory.goes(&pod.uid, Some(after(now, rehearsal)));
        // It is still there afterwards, and others have their turn before it.
        let targets = asked.targets;
        return memory.pods.refused(&pod.uid, targets, Some(rehearsal), now);
    }
    memory.goes(&pod.uid, None);
    memory.aim(workload, asked.digests(), now);
    let turning = memory.turning.get(workload);
    let turn = Turn {
        owner: asked.owner.clone(),
        namespace: pod.namespace.clone(),
        targets: asked.targets.to_owned(),
        evicted: turning.map_or(0, |turn| turn.evicted).saturating_add(1),
        begun: turning.map_or(now, |turn| turn.begun),
        halted: false,
        // Its replacement has all of its time, whoever else is on the way.
        short: None,
        until: after(now, asked.progress_deadline),
    };
    memory.turning.insert(workload.into(), turn);
    true
}

/// Returns for how long nobody knows whether an eviction was done that failed so; `None` when it was not.
fn doubt(cause: &CallError) -> Option<Duration> {
    match cause {
        // It was not sent.
        CallError::Credentials(_) => None,
        CallError::Refused(refusal) => (500 <= refusal.code).then_some(FAILURE),
        CallError::Timeout(_)
        | CallError::Unreachable(_)
        | CallError::Oversized(_)
        | CallError::Malformed(_) => Some(SILENCE),
    }
}

/// Says whether the API server is away, has trouble of its own or does not know us, or we have nothing to show it, so
/// that others would fare no better.
pub(super) fn is_away(cause: &CallError) -> bool {
    match cause {
        CallError::Timeout(_) | CallError::Unreachable(_) | CallError::Credentials(_) => true,
        CallError::Refused(refusal) => matches!(refusal.code, 401 | 502..=504),
        CallError::Oversized(_) | CallError::Malformed(_) => false,
    }
}

#[cfg(test)]
mod tests;
