//! Owners and their pods in a short notation, for the tests of the gate.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Hold, Limits, Made, Member, Moment, Outdated, Rollouts, Standing, Target, Workload, checks,
    plan,
};
use crate::policy::{
    OwnerKind, Phase, Pod, Wishes,
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
        per_namespace: None,
        per_node: None,
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
/// terminating, `x` has ended, `%` may have been evicted by us, `?` was refused by the Eviction API, `@` was created a progress deadline ago, `*` less than half a
/// minute ago, `+` half a minute ago, the others almost a progress deadline ago; `|` became unready 15 seconds ago and had
/// run for as long as it is old. `^` was made from an earlier template,
/// `=` in vain from the one for its target. Pods are called `web-0`, `web-1` and so on.
pub(super) struct Scene {
    pods: Vec<(Pod, String, Wishes)>,
    pub(super) rollouts: Option<Rollouts>,
    pub(super) min_ready: Duration,
    /// How many of its pods have not come in time.
    pub(super) lacking: u32,
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
                    if marks.contains('x') {
                        pod.phase = Phase::Over;
                    }
                    let ages = [('@', 600), ('*', 29), ('+', 30)];
                    let age = ages.iter().find(|(mark, _)| marks.contains(*mark));
                    pod.created = at(NOW - age.map_or(599, |(_, age)| *age));
                    pod.ready_since = at(NOW - if marks.contains('\'') { 14 } else { 15 });
                    if marks.contains('|') {
                        let ran = pod.ready_since.duration_since(pod.created);
                        pod.ran = Duration::try_from(ran).unwrap();
                    }
                });
                (Fixture::build(pod), marks.to_owned(), Wishes::default())
            })
            .collect();
        Self {
            pods,
            rollouts: None,
            min_ready: Duration::ZERO,
            lacking: 0,
        }
    }

    /// Sets what is known of the owner's rollouts.
    pub(super) const fn rolls(mut self, rollouts: Rollouts) -> Self {
        self.rollouts = Some(rollouts);
        self
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

    /// Sets the wishes of one pod that wishes for a restart.
    pub(super) fn hold_of(&mut self, nth: usize, (name, value): (&str, &str)) {
        let wishes = [
            ("strategy".into(), "restart".into()),
            (name.into(), value.into()),
        ];
        self.pods[nth].2 = Wishes::parse(&wishes, &[]).unwrap();
    }

    /// Gives one pod to another ReplicaSet of the same Deployment.
    pub(super) fn of_another_set(mut self, nth: usize) -> Self {
        let owner = self.pods[nth].0.owner.as_mut().map(Arc::make_mut);
        owner.unwrap().uid = "uid-of-another".into();
        self
    }

    /// Binds each pod to a node, by name, in their order.
    pub(super) fn on(mut self, nodes: &str) -> Self {
        for ((pod, _, _), node) in self.pods.iter_mut().zip(nodes.split_whitespace()) {
            pod.node = Some(node.into());
        }
        self
    }

    /// Returns how many pods there are.
    pub(super) const fn len(&self) -> usize {
        self.pods.len()
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
            in_doubt: marks.contains('%'),
            refused: marks.contains('?').then_some(Hold::Pdb),
            standing: match marks.to_ascii_uppercase().as_bytes()[0] {
                b'R' => Standing::Outdated(Outdated {
                    wishes,
                    targets: vec![target(since)],
                    registry_failing: false,
                    made: match marks.as_bytes().last() {
                        Some(b'^') => Made::Earlier,
                        Some(b'=') => Made::InVain,
                        _ => Made::Now,
                    },
                }),
                b'C' => Standing::Current,
                b'U' => Standing::Unknown,
                other => panic!("{other} must be one of R, C, U"),
            },
        });
        Workload {
            desired,
            lacking: self.lacking,
            min_ready: self.min_ready,
            recent: 0,
            single: desired.map(|desired| desired == 1),
            rollouts: self.rollouts,
            members: members.collect(),
        }
    }

    /// Returns what becomes of each pod: its place in the order of eviction, `restart`, what holds it, or `-`.
    ///
    /// What each rule says of each pod must agree with it.
    pub(super) fn fates(&self, desired: Option<u32>) -> String {
        let workload = self.workload(desired, 100);
        let plan = plan(&moment(NOW), std::slice::from_ref(&workload));
        for member in &workload.members {
            let held = plan
                .held
                .iter()
                .find(|(held, _)| std::ptr::eq(*held, member));
            let checks = checks(&moment(NOW), &workload, &member.pod.uid);
            let first = checks.iter().find(|check| check.holds);
            assert_eq!(first.map(|check| check.rule), held.map(|(_, hold)| *hold));
        }
        fates(&moment(NOW), std::slice::from_ref(&workload))
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
        let mut restarts = plan.restart.iter();
        let restarts =
            restarts.any(|it| it.members.iter().any(|other| std::ptr::eq(*other, member)));
        match (goes, held, restarts) {
            (Some(nth), None, false) => (nth + 1).to_string(),
            (None, None, true) => "restart".to_owned(),
            (None, Some((_, hold)), false) => Hold::label(*hold).to_owned(),
            (None, None, false) => "-".to_owned(),
            _ => panic!("{} must not both go and stay", member.pod.name),
        }
    };
    let all = workloads.iter().flat_map(|workload| &workload.members);
    all.map(fate).collect::<Vec<_>>().join(" ")
}
