//! What one run over all pods came to, in the words of the gate.

use std::{collections::BTreeMap, sync::Arc};

use crate::policy::{Digest, ImageRef, gate::Hold};

/// How far a run has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Distinct references with their credentials that the pods use.
    pub lookups: usize,
    /// How many of them have been answered for, with a digest or a failure.
    pub answered: usize,
    /// Pods found outdated.
    pub outdated: usize,
    /// How many of them have been evicted.
    pub evicted: usize,
    /// How many of them have been replaced by restarts of their owners.
    pub restarted: usize,
    /// How many of them are held back.
    pub held: usize,
}

/// Why a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is nothing left that it can do.
    Done,
    /// Its time was over.
    TimedOut,
    /// It was told to stop.
    Interrupted,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Whether evictions and restarts were only tried.
    pub dry_run: bool,
    /// Why it is over.
    pub end: End,
    /// The pods that were outdated, by namespace and name.
    pub rows: Vec<Row>,
    /// The images of which no registry gave a digest, by namespace and name.
    pub unresolved: Vec<Unresolved>,
    /// The workloads that have lost a pod, or were restarted, whose replacement is not Ready, as `namespace/Kind/name`.
    pub unready: Vec<String>,
    /// The pods that were evicted and had not gone yet, as `namespace/name`.
    pub terminating: Vec<String>,
    /// The counts.
    pub summary: Summary,
}

/// An outdated pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub name: Box<str>,
    /// Its workload where that was read, else its direct owner, as `Kind/name`.
    pub owner: String,
    /// Its outdated containers.
    pub changes: Vec<Change>,
    /// What has become of it.
    pub state: State,
}

/// A container whose tag has moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The container.
    pub container: Arc<str>,
    /// Its reference.
    pub image: Arc<ImageRef>,
    /// What it runs, as far as that is known.
    pub running: Option<Digest>,
    /// What its tag means.
    pub wanted: Digest,
}

/// What has become of an outdated pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was evicted.
    Evicted,
    /// It would have been evicted, but for the dry run.
    WouldEvict,
    /// Its owner was restarted, and it was replaced.
    Restarted,
    /// Its owner would have been restarted, but for the dry run.
    WouldRestart,
    /// It has gone or come up to date without our doing.
    Settled,
    /// It was about to go when the run ended.
    Next,
    /// It is held back.
    Held(Hold),
    /// The API server does not let it go, or its owner cannot be read; the word says how.
    Failed(Box<str>),
}

impl State {
    /// Returns the stable, documented name of the state, that of the hold where one holds the pod.
    pub fn label(&self) -> &str {
        match self {
            Self::Evicted => "evicted",
            Self::WouldEvict => "would_evict",
            Self::Restarted => "restarted",
            Self::WouldRestart => "would_restart",
            Self::Settled => "settled",
            Self::Next => "next",
            Self::Held(hold) => hold.label(),
            Self::Failed(reason) => reason,
        }
    }

    /// Says whether the pod is still outdated.
    pub const fn is_left(&self) -> bool {
        !matches!(self, Self::Evicted | Self::Restarted | Self::Settled)
    }

    /// Says whether nobody wished for what keeps the pod, so that somebody should look at it.
    const fn is_failure(&self) -> bool {
        match self {
            Self::Evicted
            | Self::WouldEvict
            | Self::Restarted
            | Self::WouldRestart
            | Self::Settled => false,
            // The pod's own annotations say so, or somebody who has paused its owner.
            Self::Held(hold) => !matches!(
                hold,
                Hold::Notify | Hold::MinAge | Hold::Window | Hold::Paused
            ),
            Self::Next | Self::Failed(_) => true,
        }
    }
}

/// An image of which no registry gave a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unresolved {
    /// The namespace by whose credentials it was asked for.
    pub namespace: Arc<str>,
    /// The reference.
    pub image: String,
    /// The stable name of what went wrong.
    pub reason: &'static str,
    /// The same in a sentence, with the host.
    pub message: String,
}

/// The counts of a run, in pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Those that are ours to refresh, when all had been looked at for the first time.
    pub checked: usize,
    /// Those of them that ran what their tags mean.
    pub current: usize,
    /// Those of which too little is known, as of one that has not started.
    pub unknown: usize,
    /// Those found outdated, then or later.
    pub outdated: usize,
    /// Those of them that were evicted, or would have been.
    pub evicted: usize,
    /// Those of them that were replaced by restarts of their owners, or would have been.
    pub restarted: usize,
    /// Those of them that are held back, by reason.
    pub held: BTreeMap<String, usize>,
    /// Those of which an image could not be looked up, and those that could not be evicted or restarted.
    pub failed: usize,
    /// All others, by the reason why they are left alone.
    pub left_alone: BTreeMap<&'static str, i64>,
}

impl Report {
    /// Returns how many pods are still outdated.
    pub fn left(&self) -> usize {
        self.rows.iter().filter(|row| row.state.is_left()).count()
    }

    /// Says in one line what has not come about and should have; `None` if all has.
    pub fn failure(&self) -> Option<String> {
        let tell = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        };
        let stays = (self.rows.iter()).filter(|row| row.state.is_failure() && !self.dry_run);
        let failures = [
            tell(
                stays.count(),
                "pod is still outdated",
                "pods are still outdated",
            ),
            tell(
                self.unresolved.len(),
                "image could not be looked up",
                "images could not be looked up",
            ),
            tell(
                self.unready.len(),
                "workload waits for a replacement to become Ready",
                "workloads wait for a replacement to become Ready",
            ),
        ];
        let mut parts: Vec<String> = failures.into_iter().flatten().collect();
        // What goes in its own time is no failure; it may be the cause of one.
        if self.end != End::Done || !parts.is_empty() {
            let pods = ("pod is still terminating", "pods are still terminating");
            parts.extend(tell(self.terminating.len(), pods.0, pods.1));
        }
        let parts = parts.join(", ");
        let end = match self.end {
            End::Done => return Some(parts).filter(|parts| !parts.is_empty()),
            End::TimedOut => "the time was over",
            End::Interrupted => "interrupted",
        };
        Some(match &*parts {
            "" => end.to_owned(),
            parts => format!("{end}: {parts}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(end: End, states: &[State]) -> Report {
        let row = |state: &State| Row {
            namespace: "shop".into(),
            name: "web".into(),
            owner: "Deployment/web".to_owned(),
            changes: Vec::new(),
            state: state.clone(),
        };
        Report {
            dry_run: false,
            end,
            rows: states.iter().map(row).collect(),
            unresolved: Vec::new(),
            unready: Vec::new(),
            terminating: Vec::new(),
            summary: Summary::default(),
        }
    }

    #[track_caller]
    fn check(end: End, states: &[State], left: usize, failure: Option<&str>) {
        let report = report(end, states);
        assert_eq!(report.left(), left);
        assert_eq!(report.failure().as_deref(), failure);
    }

    #[test]
    fn a_run_that_did_all_it_could_and_should_has_not_failed() {
        check(End::Done, &[], 0, None);
        let gone = [State::Evicted, State::Restarted, State::Settled];
        check(End::Done, &gone, 0, None);
        for hold in [Hold::Notify, Hold::MinAge, Hold::Window, Hold::Paused] {
            check(End::Done, &[State::Held(hold)], 1, None);
        }
    }

    #[test]
    fn what_nobody_wished_for_is_a_failure() {
        let one = Some("1 pod is still outdated");
        for hold in [
            Hold::Halted,
            Hold::Ineffective,
            Hold::NoRollout,
            Hold::Rollout,
            Hold::Pace,
            Hold::Pdb,
        ] {
            check(End::Done, &[State::Held(hold)], 1, one);
        }
        check(End::Done, &[State::Failed("forbidden".into())], 1, one);
    }

    #[test]
    fn a_run_that_did_not_come_to_its_end_says_so_first() {
        check(End::TimedOut, &[], 0, Some("the time was over"));
        let two = [State::Next, State::Held(Hold::Pace)];
        check(
            End::TimedOut,
            &two,
            2,
            Some("the time was over: 2 pods are still outdated"),
        );
        let mut report = report(End::Interrupted, &two);
        report.unready = vec!["shop/Deployment/web".to_owned()];
        assert_eq!(
            report.failure().unwrap(),
            "interrupted: 2 pods are still outdated, 1 workload waits for a replacement to become Ready"
        );
    }

    #[test]
    fn a_pod_that_is_still_terminating_is_no_failure_of_its_own() {
        let mut report = report(End::Done, &[State::Evicted]);
        report.terminating = vec!["shop/web-1".to_owned()];
        assert_eq!(report.failure(), None);
        let failure = |report: &Report| report.failure().unwrap();
        report.unready = vec!["shop/StatefulSet/web".to_owned()];
        let cause =
            "1 workload waits for a replacement to become Ready, 1 pod is still terminating";
        assert_eq!(failure(&report), cause);
        report.unready.clear();
        report.end = End::TimedOut;
        report.terminating.push("shop/web-2".to_owned());
        let expected = "the time was over: 2 pods are still terminating";
        assert_eq!(failure(&report), expected);
    }

    #[test]
    fn a_dry_run_leaves_what_it_finds() {
        let mut report = report(
            End::Done,
            &[
                State::Held(Hold::Pace),
                State::WouldEvict,
                State::WouldRestart,
            ],
        );
        report.dry_run = true;
        assert_eq!((report.left(), report.failure()), (3, None));
    }
}
