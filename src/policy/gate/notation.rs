//! Owners and their pods in a short notation, for the tests of the gate.

use std::time::Duration;

use jiff::Timestamp;

use super::{Hold, Limits, Member, Moment, Outdated, Standing, Target, Workload, plan};
use crate::policy::{
    OwnerKind, Pod, Wishes,
    fixture::{Fixture, pod},
};

/// The second at which [`Scene`]s take place.
pub(super) const NOW: i64 = 1000;

/// Returns the time `second` seconds after the epoch.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Returns limits of 10 s to confirm, 600 s to become ready, and `per_minute` evictions.
pub(super) fn limits(per_minute: u32) -> Limits {
    Limits {
        confirm_after: Duration::from_secs(10),
        progress_deadline: Duration::from_secs(600),
        per_minute,
    }
}

/// Returns the moment at `second` of a leader without recent evictions.
pub(super) fn moment(second: i64) -> Moment<'static> {
    Moment {
        now: at(second),
        leader: true,
        limits: limits(30),
        evictions: &[],
    }
}

/// Returns what is known of a digest that was first seen at `second` and soon confirmed.
pub(super) fn target(second: i64) -> Target {
    Target {
        first_seen: at(second),
        last_seen: at(second + 10),
        sightings: 2,
        ineffective: false,
    }
}

/// The pods of one owner, each a letter and marks, separated by spaces:
///
/// `R` is outdated, `C` current, `U` unknown, in small letters the same but not ready. `!` was evicted by us, `~` is
/// terminating, `?` was refused by the Eviction API, `@` was created a progress deadline ago, the others just now.
/// Pods are called `web-0`, `web-1` and so on.
pub(super) struct Scene {
    pods: Vec<(Pod, String, Wishes)>,
}

impl Scene {
    pub(super) fn new(kind: OwnerKind, notation: &str) -> Self {
        let pods = notation
            .split_whitespace()
            .enumerate()
            .map(|(nth, marks)| {
                let pod = pod(&format!("web-{nth}")).owned_by(kind).with(|pod| {
                    pod.ready = marks.starts_with(|c: char| c.is_ascii_uppercase());
                    pod.terminating = marks.contains('~');
                    pod.created = at(if marks.contains('@') {
                        NOW - 600
                    } else {
                        NOW - 599
                    });
                });
                (Fixture::build(pod), marks.to_owned(), Wishes::default())
            })
            .collect();
        Self { pods }
    }

    /// Sets a wish of all pods.
    pub(super) fn wish(mut self, name: &str, value: &str) -> Self {
        for nth in 0..self.pods.len() {
            self = self.wish_of(nth, name, value);
        }
        self
    }

    /// Sets the only wish of one pod.
    pub(super) fn wish_of(mut self, nth: usize, name: &str, value: &str) -> Self {
        self.pods[nth].2 = Wishes::parse(&[(name.into(), value.into())], &[]).unwrap();
        self
    }

    /// Moves all pods to another namespace.
    pub(super) fn settle(&mut self, namespace: &str) {
        for (pod, _, _) in &mut self.pods {
            pod.namespace = namespace.into();
        }
    }

    /// Returns the owner; outdated pods have a target first seen at `since`.
    pub(super) fn workload(&self, desired: Option<u32>, since: i64) -> Workload<'_> {
        let members = self.pods.iter().map(|(pod, marks, wishes)| Member {
            pod,
            evicted: marks.contains('!'),
            refused: marks.contains('?').then_some(Hold::Pdb),
            standing: match marks.to_ascii_uppercase().as_bytes()[0] {
                b'R' => Standing::Outdated(Outdated {
                    wishes,
                    targets: vec![target(since)],
                    registry_failing: false,
                }),
                b'C' => Standing::Current,
                b'U' => Standing::Unknown,
                other => panic!("{other} must be one of R, C, U"),
            },
        });
        Workload {
            desired,
            recent: 0,
            members: members.collect(),
        }
    }

    /// Returns what becomes of each pod: its place in the order of eviction, what holds it, or `-`.
    pub(super) fn fates(&self, desired: Option<u32>) -> String {
        fates(&moment(NOW), &[self.workload(desired, 100)])
    }
}

/// Returns what becomes of each pod of all owners, one after the other.
pub(super) fn fates(moment: &Moment<'_>, workloads: &[Workload<'_>]) -> String {
    let plan = plan(moment, workloads);
    let fate = |member: &Member<'_>| {
        let goes = plan
            .go
            .iter()
            .position(|other| std::ptr::eq(*other, member));
        let held = plan
            .held
            .iter()
            .find(|(other, _)| std::ptr::eq(*other, member));
        match (goes, held) {
            (Some(nth), None) => (nth + 1).to_string(),
            (None, Some((_, hold))) => Hold::label(*hold).to_owned(),
            (None, None) => "-".to_owned(),
            (Some(_), Some(_)) => panic!("{} must not both go and stay", member.pod.name),
        }
    };
    let all = workloads.iter().flat_map(|workload| &workload.members);
    all.map(fate).collect::<Vec<_>>().join(" ")
}
