//! What a run has found and done so far, from which its report is written.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    facts::Doubt,
    group::{self, Scene},
    memory::{Memory, Turn},
    report::{Change, End, Progress, Report, Row, State, Summary, Unresolved},
    sightings::Sightings,
    survey::{Moved, Outdated, Standing, Survey},
};
use crate::{
    cluster::WorkloadKind,
    policy::{Owner, Pod, gate::Hold},
};

/// The ledger.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The pods found outdated, by uid.
    rows: HashMap<Box<str>, Row>,
    /// Those of them whose owner was restarted, by uid.
    restarted: HashSet<Box<str>>,
    summary: Summary,
    /// Whether the summary's counts are those of a look at which nothing was open.
    counted: bool,
    /// The workloads whose pods were being replaced at the last look, by uid: name, and until when.
    turning: HashMap<Box<str>, (String, Instant)>,
    unready: Vec<String>,
    /// The pods that were on their way out at the last look, and not gone.
    terminating: Vec<String>,
}

/// One look and what was done about it.
pub(super) struct Entry<'a> {
    /// What was looked at.
    pub(super) scene: Scene<'a>,
    /// What is remembered of it.
    pub(super) memory: &'a Memory,
    /// The outdated pods that were held back, by uid.
    pub(super) held: &'a HashMap<Box<str>, Hold>,
    /// Those whose owners were to be restarted, by uid.
    pub(super) restart: &'a HashSet<Box<str>>,
    /// Whether evictions and restarts were only tried.
    pub(super) dry_run: bool,
}

impl Entry<'_> {
    /// Returns what became of one of the outdated pods.
    pub(super) fn state(&self, pod: &Pod) -> State {
        let Self { memory, scene, .. } = self;
        let owner = pod.owner.as_deref();
        let workload = owner.and_then(|owner| memory.workload_of(owner));
        let hold = match self.held.get(&pod.uid) {
            Some(hold) => *hold,
            None if memory.has_gone(&pod.uid) => return State::Evicted,
            None if self.dry_run && memory.is_going(&pod.uid) => return self.would(pod),
            // What it was refused for just now holds it from now on.
            None => match group::refused(pod, workload, memory, scene.now) {
                Some(hold) => hold,
                None if self.dry_run => return self.would(pod),
                // It goes when its owner's controller comes to it.
                None if memory.is_restarted(&pod.uid) => Hold::Rollout,
                None => return State::Next,
            },
        };
        let refusal = match hold {
            Hold::Refused => workload.and_then(|uid| memory.workloads.refusal(uid)),
            Hold::Pace => owner.and_then(|owner| memory.owners.refusal(&owner.uid)),
            _ => None,
        };
        refusal.map_or(State::Held(hold), |(why, _)| State::Failed(why.into()))
    }

    fn would(&self, pod: &Pod) -> State {
        match self.restart.contains(&pod.uid) {
            true => State::WouldRestart,
            false => State::WouldEvict,
        }
    }
}

impl Ledger {
    /// Writes down one look; `open` says that not all is known yet.
    pub(super) fn note(&mut self, entry: &Entry<'_>, open: bool) {
        let survey = entry.scene.survey;
        for outdated in &survey.outdated {
            // Nothing is said of a pod before it is known that it runs another image.
            if outdated.doubt != Some(Doubt::Open) || self.rows.contains_key(&outdated.pod.uid) {
                let row = row(outdated, entry);
                self.rows.insert(outdated.pod.uid.clone(), row);
            }
            if entry.memory.is_restarted(&outdated.pod.uid) {
                self.restarted.insert(outdated.pod.uid.clone());
            }
        }
        self.settle(entry);
        self.follow(entry);
        let leaves = |pod: &&Arc<Pod>| pod.terminating && entry.memory.is_going(&pod.uid);
        self.terminating = (entry.scene.pods.iter().filter(leaves))
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect();
        if !self.counted {
            self.count(survey);
            self.counted = !open;
        }
        self.summary.failed = survey.unresolved.len();
        self.summary.left_alone = survey.tally.ineligible().collect();
    }

    /// Finds the rows of pods that are not outdated any more.
    fn settle(&mut self, entry: &Entry<'_>) {
        let scene = entry.scene;
        let outdated: HashMap<&str, &Outdated> = (scene.survey.outdated.iter())
            .map(|outdated| (&*outdated.pod.uid, outdated))
            .collect();
        let mut seen: HashMap<&str, &Arc<Pod>> = HashMap::new();
        if self.rows.values().any(|row| row.state.is_left()) {
            seen = scene.pods.iter().map(|pod| (&*pod.uid, pod)).collect();
        }
        for (uid, row) in &mut self.rows {
            if !row.state.is_left() || outdated.contains_key(&**uid) {
                continue;
            }
            let goes = seen.get(&**uid).is_none_or(|pod| pod.terminating);
            row.state = if goes && entry.memory.is_going(uid) {
                // An eviction whose answer was lost, and that was done.
                State::Evicted
            } else if self.restarted.contains(uid) {
                State::Restarted
            } else {
                State::Settled
            };
        }
    }

    /// Follows the workloads whose pods are being replaced.
    fn follow(&mut self, entry: &Entry<'_>) {
        let turning = &entry.memory.turning;
        for (uid, (name, until)) in &self.turning {
            // Those that are finished leave before their time.
            if !turning.contains_key(uid) && *until <= entry.scene.now {
                self.unready.push(name.clone());
            }
        }
        self.turning = (turning.iter())
            .map(|(uid, turn)| (uid.clone(), (title(uid, turn, entry.memory), turn.until)))
            .collect();
    }

    fn count(&mut self, survey: &Survey) {
        let count =
            |wanted: fn(&Standing) -> bool| survey.standings.iter().filter(|it| wanted(it)).count();
        let current = count(|standing| *standing == Standing::Current);
        let known = (survey.outdated.iter()).filter(|it| !it.registry_failing);
        let settled = current + known.count() + survey.unresolved.len();
        self.summary.checked = survey.eligible;
        self.summary.current = current;
        self.summary.unknown = survey.eligible.saturating_sub(settled);
    }

    /// Returns how far the run has got.
    pub(super) fn progress(&self, sightings: &Sightings) -> Progress {
        let (answered, lookups) = sightings.answered();
        let count = |wanted: fn(&State) -> bool| {
            self.rows.values().filter(|row| wanted(&row.state)).count()
        };
        Progress {
            lookups,
            answered,
            outdated: self.rows.len(),
            evicted: count(|state| matches!(state, State::Evicted | State::WouldEvict)),
            restarted: count(|state| matches!(state, State::Restarted | State::WouldRestart)),
            held: count(|state| matches!(state, State::Held(_) | State::Failed(_))),
        }
    }

    /// Returns the report of a run that is over.
    pub(super) fn close(self, end: End, dry_run: bool, sightings: &Sightings) -> Report {
        let mut summary = self.summary;
        for row in self.rows.values() {
            summary.outdated += 1;
            match &row.state {
                State::Evicted | State::WouldEvict => summary.evicted += 1,
                State::Restarted | State::WouldRestart => summary.restarted += 1,
                State::Settled => {}
                State::Held(_) | State::Next => {
                    let held = summary.held.entry(row.state.label().to_owned());
                    *held.or_default() += 1;
                }
                State::Failed(_) => summary.failed += 1,
            }
        }
        let mut rows: Vec<Row> = self.rows.into_values().collect();
        rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let failing = sightings.failing().map(|(lookup, error)| Unresolved {
            namespace: lookup.identity.namespace.clone(),
            image: lookup.image.to_string(),
            reason: error.label(),
            message: error.brief(),
        });
        let mut unresolved: Vec<Unresolved> = failing.collect();
        unresolved.sort();
        unresolved.dedup();
        let mut unready = self.unready;
        unready.extend(self.turning.into_values().map(|(name, _)| name));
        unready.sort();
        Report {
            dry_run,
            end,
            rows,
            unresolved,
            unready,
            terminating: self.terminating,
            summary,
        }
    }
}

fn row(outdated: &Outdated, entry: &Entry<'_>) -> Row {
    let pod = &outdated.pod;
    let owner = pod.owner.as_deref();
    let workload = owner.and_then(|owner| entry.memory.workload(entry.memory.workload_of(owner)?));
    let owner = match workload {
        Some(workload) => format!("{}/{}", workload.kind, workload.name),
        None => owner.map(direct).unwrap_or_default(),
    };
    let change = |moved: &Moved| Change {
        container: moved.container.clone(),
        image: moved.lookup.image.clone(),
        running: moved.from.clone(),
        wanted: moved.to.digest.clone(),
    };
    Row {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        owner,
        changes: outdated.moved.iter().map(change).collect(),
        state: entry.state(pod),
    }
}

/// Returns a pod's direct owner as `Kind/name`.
fn direct(owner: &Owner) -> String {
    let kind = WorkloadKind::of_owner(owner.kind).map_or("", WorkloadKind::label);
    format!("{kind}/{}", owner.name)
}

fn title(uid: &str, turn: &Turn, memory: &Memory) -> String {
    let name = match memory.workload(uid) {
        Some(workload) => format!("{}/{}", workload.kind, workload.name),
        None => direct(&turn.owner),
    };
    format!("{}/{name}", turn.namespace)
}

#[cfg(test)]
mod tests;
