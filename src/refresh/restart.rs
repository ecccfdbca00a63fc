//! Carries out restarts: one patch of an owner's template, after which its own controller replaces its pods.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    act::Actor,
    group::{Group, Scene},
    memory::{Memory, SERVER, Turn},
    outcome::{Outcome, is_away},
    read::Reading,
    survey::Outdated,
    target::after,
    tell,
};
use crate::{
    cluster::{About, Owners, Restart, Workload},
    error::Chain,
    observe::metrics,
    policy::{
        gate::{Hold, Plan},
        wishes::Strategy,
    },
};

/// An owner to restart.
#[derive(Debug)]
pub(super) struct Restarting<'a> {
    /// The owner as it was read just now.
    workload: Workload,
    /// What to write into its template.
    value: String,
    /// Its outdated pods; at least one.
    outdated: Vec<&'a Outdated>,
}

impl<'a> Restarting<'a> {
    /// Returns what restarts a group; `None` while its template is not known, or nothing in it is outdated.
    pub(super) fn new(scene: Scene<'a>, group: &Group, memory: &Memory) -> Option<Self> {
        let template = group.template(scene, memory)?;
        let workload = memory.workload(group.workload.as_deref()?)?.clone();
        let outdated: Vec<&Outdated> = group.outdated(scene).collect();
        (!outdated.is_empty()).then(|| Self {
            workload,
            value: template.value(),
            outdated,
        })
    }
}

/// Has the readings of this pass that hold restarts back kept for a while, and longer each time: what a paused
/// owner waits for, costs hardly a call.
pub(super) fn wait(
    scene: Scene<'_>,
    reading: &Reading,
    plan: &Plan<'_>,
    places: &HashMap<&str, (usize, &Outdated)>,
    memory: &mut Memory,
) {
    let mut holds: HashMap<usize, Hold> = HashMap::new();
    for (member, hold) in &plan.held {
        let Some((nth, outdated)) = places.get(&*member.pod.uid) else {
            continue;
        };
        let by_template = matches!(
            hold,
            Hold::NoRollout | Hold::Paused | Hold::Rollout | Hold::Halted | Hold::Ineffective
        );
        let restarts = matches!(outdated.wishes.strategy, Strategy::Restart | Strategy::Auto);
        if by_template && restarts {
            holds.insert(*nth, *hold);
        }
    }
    let mut waiting = HashSet::new();
    for (nth, group) in reading.groups.iter().enumerate() {
        let Some(uid) = &group.workload else { continue };
        let finishing = group.outdated(scene).next().is_none();
        let hold = holds.get(&nth).map(|hold| hold.label());
        let Some(why) = hold.or(finishing.then_some("finishing")) else {
            continue;
        };
        waiting.insert(&**uid);
        if reading.is_fresh(group) {
            memory.rollouts.refused(uid, why, None, scene.now);
        }
    }
    // What was read for one target must not hold the next one back.
    memory.rollouts.retain(|uid| waiting.contains(uid));
}

/// A restart that was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    /// The owner as it was read before.
    workload: &'a Workload,
    /// Its outdated pods; at least one.
    outdated: &'a [&'a Outdated],
    /// How long it counts as restarted although nothing was done, if it was a dry run.
    rehearsal: Option<Duration>,
    /// How long each new pod may take.
    progress_deadline: Duration,
}

impl Asked<'_> {
    /// Remembers what an answer that came at `now` says.
    fn note(self, memory: &mut Memory, answer: &Restart, now: Instant) -> Outcome {
        let uid = &*self.workload.uid;
        let label = answer.label();
        let mut go_on = true;
        let news = match answer {
            Restart::Restarted => self.restarted(memory, now),
            // Somebody else was faster: what has become of it is read in a later pass.
            Restart::Unchanged | Restart::Conflict | Restart::Gone | Restart::Unsupported => {
                memory.workloads.refused(uid, label, None, now)
            }
            Restart::Failed(cause) if cause.code() == 429 => {
                go_on = false;
                let asked = cause.refusal().and_then(|refusal| refusal.retry_after);
                memory.server.refused(SERVER, "busy", asked, now)
            }
            Restart::Failed(cause) => {
                let code = cause.code();
                if code == 0 || 500 <= code {
                    // Nobody knows whether it was done; if it was, the template will say so.
                    self.spend(memory, now);
                }
                if is_away(cause) {
                    memory.server.refused(SERVER, label, None, now);
                    go_on = false;
                }
                memory.workloads.refused(uid, label, None, now)
            }
        };
        Outcome { news, go_on }
    }

    fn restarted(self, memory: &mut Memory, now: Instant) -> bool {
        self.spend(memory, now);
        memory.server.over(SERVER);
        let uid = &*self.workload.uid;
        let Some(first) = self.outdated.first() else {
            return false;
        };
        let targets = tell::targets(first);
        if let Some(rehearsal) = self.rehearsal {
            for outdated in self.outdated {
                memory.goes(&outdated.pod.uid, Some(after(now, rehearsal)));
            }
            // It is still there afterwards, and others have their turn before it.
            return (memory.workloads).refused(uid, &targets, Some(rehearsal), now);
        }
        memory.workloads.over(uid);
        let Some(owner) = &first.pod.owner else {
            return true;
        };
        let turning = memory.turning.get(uid);
        // Its controller may replace one pod after the other.
        let time = (self.progress_deadline).saturating_mul(self.workload.desired.max(1));
        let turn = Turn {
            owner: owner.clone(),
            namespace: first.pod.namespace.clone(),
            targets,
            evicted: turning.map_or(0, |turn| turn.evicted),
            begun: turning.map_or(now, |turn| turn.begun),
            halted: false,
            short: None,
            until: after(now, time),
        };
        memory.turning.insert(uid.into(), turn);
        true
    }

    /// Counts it against the budgets: as one, of no node, as its owner's own limits pace its pods. Notes which
    /// pods it replaces.
    fn spend(self, memory: &mut Memory, now: Instant) {
        for outdated in self.outdated {
            memory.restarted(&outdated.pod.uid);
            let digests = outdated.moved.iter().map(|moved| &moved.to.digest);
            memory.aim(&self.workload.uid, digests, now);
        }
        if let Some(first) = self.outdated.first() {
            memory.spend(&first.pod.namespace, None, now);
        }
    }
}

impl Actor {
    /// Restarts one owner, unless something has changed since the gate let it through; says whether others may be
    /// tried in this pass.
    pub(super) async fn restart(
        &self,
        target: &Restarting<'_>,
        owners: &Owners,
        memory: &mut Memory,
    ) -> bool {
        let now = Instant::now();
        if memory.server.hold(SERVER, now) || !self.leadership.leads(now) {
            return false;
        }
        let workload = &target.workload;
        let wall = Timestamp::now();
        let may =
            |outdated: &&Outdated| self.is_wished(outdated) && outdated.wishes.window.open(wall);
        if !target.outdated.iter().all(may) {
            return true;
        }
        let answer = match self.rehearsal {
            Some(_) => owners.rehearse(workload, &target.value).await,
            None => owners.restart(workload, &target.value).await,
        };
        let outcome = match (&answer, self.rehearsal) {
            (Restart::Restarted, Some(_)) => "dry_run",
            _ => answer.label(),
        };
        metrics::count(&self.metrics.refresh_restarts, outcome);
        let asked = Asked {
            workload,
            outdated: &target.outdated,
            rehearsal: self.rehearsal,
            progress_deadline: self.progress_deadline,
        };
        let outcome = asked.note(memory, &answer, Instant::now());
        self.tell_restart(target, &answer);
        if outcome.news {
            self.log_restart(target, &answer);
        }
        outcome.go_on
    }

    fn tell_restart(&self, target: &Restarting<'_>, answer: &Restart) {
        let (about, Some(first)) = (About::workload(&target.workload), target.outdated.first())
        else {
            return;
        };
        let notice = match answer {
            Restart::Restarted if self.rehearsal.is_none() => tell::restarted(about, first),
            Restart::Failed(cause)
                if (400..=499).contains(&cause.code()) && cause.code() != 429 =>
            {
                tell::not_restarted(about, first, &cause.to_string())
            }
            _ => return,
        };
        self.recorder.record(notice);
    }

    /// Logs what has become of a restart. A refusal that passes by itself is no warning.
    fn log_restart(&self, target: &Restarting<'_>, answer: &Restart) {
        let Workload {
            kind,
            namespace: ns,
            name,
            ..
        } = &target.workload;
        let reason = answer.label();
        match answer {
            Restart::Restarted => {
                let what = match self.rehearsal {
                    Some(_) => "Would have restarted",
                    None => "Restarted",
                };
                let moves = target.outdated.first().map(|it| tell::moves(it));
                info!(
                    pod.namespace = %ns, owner.kind = %kind, owner.name = %name,
                    "{what} {kind} {ns}/{name}: {}", moves.unwrap_or_default()
                );
            }
            Restart::Unchanged | Restart::Conflict | Restart::Gone | Restart::Unsupported => {
                debug!(
                    pod.namespace = %ns, owner.kind = %kind, owner.name = %name, reason,
                    "Did not restart {kind} {ns}/{name}: it is not as it was read any more"
                )
            }
            Restart::Failed(cause) => warn!(
                pod.namespace = %ns, owner.kind = %kind, owner.name = %name, reason,
                error = %Chain(cause), "Could not restart {kind} {ns}/{name}: {}", Chain(cause)
            ),
        }
    }
}

#[cfg(test)]
mod tests;
