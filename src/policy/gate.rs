//! Which outdated pods may go in this pass, and why all others may not.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Pod, Wishes};

mod budget;
mod checks;
mod hold;
#[cfg(test)]
mod notation;
mod pace;
mod queue;
mod restart;
mod rules;

pub use checks::{Check, checks};
pub use hold::Hold;
pub use restart::{Made, Restart, Rollout, Rollouts};
pub use rules::rules;

use queue::Queue;

/// What all decisions of one pass share.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time of the pass.
    pub now: Timestamp,
    /// Whether this replica leads.
    pub leader: bool,
    /// What the operator has set.
    pub limits: Limits,
    /// The evictions of the last minute; older ones do no harm, order does not matter.
    pub evictions: &'a [Past],
}

/// An eviction that was answered, or a restart, which counts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: Timestamp,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's node, if it had one.
    pub node: Option<Arc<str>>,
}

/// What the operator has set for all pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far apart the first and the last lookup of a digest must be.
    pub confirm_after: Duration,
    /// How long a new pod may take to become ready before its owner counts as halted.
    pub progress_deadline: Duration,
    /// How many pods may be evicted in any 60 seconds.
    pub per_minute: u32,
    /// How many of these in one namespace, if that is limited.
    pub per_namespace: Option<u32>,
    /// How many of these on one node, if that is limited.
    pub per_node: Option<u32>,
}

/// An owner with all its pods, whether outdated or not.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    /// How many pods it wants, read just now; `None` when that is not known, which holds all of them.
    pub desired: Option<u32>,
    /// How many of these have not come in the time that each has, though it lost some for our sake.
    pub lacking: u32,
    /// How long a pod must have been ready to serve for certain (`minReadySeconds`), as last read.
    pub min_ready: Duration,
    /// How many pods of its namespace have been evicted in the last minute.
    pub recent: u32,
    /// Whether it is a Deployment that wants one pod; `None` when that is not known.
    pub single: Option<bool>,
    /// How it can be restarted, read just now; `None` when that is not known, which holds nothing back yet.
    pub rollouts: Option<Rollouts>,
    /// Its pods, as last seen.
    pub members: Vec<Member<'a>>,
}

/// One pod of an owner.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The pod, as last seen.
    pub pod: &'a Pod,
    /// Whether we have evicted it; it may still be seen, alive or terminating.
    pub evicted: bool,
    /// Whether nobody knows what became of its last eviction: it may be gone, though it is not seen so.
    pub in_doubt: bool,
    /// What the Eviction API refused it for lately, while it is too early to ask again.
    pub refused: Option<Hold>,
    /// What its verdicts come to.
    pub standing: Standing<'a>,
}

/// What a pod's verdicts come to.
#[derive(Debug, Clone)]
pub enum Standing<'a> {
    /// It runs what its tags mean now.
    Current,
    /// It is not ours to refresh, or too little is known.
    Unknown,
    /// One of its containers that count is outdated.
    Outdated(Outdated<'a>),
}

/// What is known of an outdated pod.
#[derive(Debug, Clone)]
pub struct Outdated<'a> {
    /// The wishes for it.
    pub wishes: &'a Wishes,
    /// What its outdated containers should run; at least one.
    pub targets: Vec<Target>,
    /// Whether the registry of an image that its successor must pull is failing.
    pub registry_failing: bool,
    /// Which template it was made from; only restarts ask for it.
    pub made: Made,
}

/// What is known of the digest that an outdated container should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// When a registry gave it first, without another digest since.
    pub first_seen: Timestamp,
    /// When a registry gave it last; an answer from a cache is no new sighting.
    pub last_seen: Timestamp,
    /// How often a registry has given it since `first_seen`, both included.
    pub sightings: u32,
    /// Whether a successor came up with the old image all the same.
    pub ineffective: bool,
}

/// What one pass may do.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// The pods that may be evicted, in the order in which they must.
    pub go: Vec<&'a Member<'a>>,
    /// The owners that may be restarted, in the order in which they must.
    pub restart: Vec<Restart<'a>>,
    /// All other outdated pods, each with what holds it back.
    pub held: Vec<(&'a Member<'a>, Hold)>,
}

/// Returns what may go now and what may not, over all outdated pods that are not gone already.
///
/// Namespaces take turns, and the owners in each, so that a large one does not use up the budget of all
/// others; among equals the digest known longest goes first. A pod whose node has no budget left gives its turn to
/// one of its owner's elsewhere, except in a StatefulSet.
pub fn plan<'a>(moment: &Moment<'_>, workloads: &'a [Workload<'a>]) -> Plan<'a> {
    plan_as_if(moment, workloads, None)
}

/// Returns the plan as it were if the pod with the uid `free` met all the rules that it must meet alone.
fn plan_as_if<'a>(
    moment: &Moment<'_>,
    workloads: &'a [Workload<'a>],
    free: Option<&str>,
) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut queue = Queue::default();
    for workload in workloads {
        let held = &mut plan.held;
        let (evicted, restarted) = restart::split(moment, workload, free, held);
        let turns = pace::allow(moment, workload, evicted, held);
        let restart = restart::allow(moment, workload, restarted, held);
        queue.add(workload.recent, turns, restart);
    }
    queue.spend(moment, &mut plan);
    plan
}

/// An outdated pod that the rules let go.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    member: &'a Member<'a>,
    /// When the first of its targets was first seen.
    since: Timestamp,
}

/// Returns the pods that the rules let go, in the order in which they should; the others join `held`.
fn candidates<'a>(
    moment: &Moment<'_>,
    workload: &'a Workload<'a>,
    free: Option<&str>,
    held: &mut Vec<(&'a Member<'a>, Hold)>,
) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (member, outdated) in workload.outdated() {
        let verdict = if free == Some(&*member.pod.uid) {
            Ok(())
        } else {
            rules(moment, outdated)
        };
        match verdict {
            Ok(()) => candidates.push(Candidate {
                member,
                since: outdated.since().unwrap_or(moment.now),
            }),
            Err(hold) => held.push((member, hold)),
        }
    }
    candidates.sort_by_key(|candidate| {
        let Member { pod, in_doubt, .. } = candidate.member;
        // Whoever may be gone already goes before one that is there for certain.
        let order = (Reverse(pod.ordinal()), pod.created, &pod.name);
        (pod.ready, !in_doubt, order)
    });
    candidates
}

impl<'a> Workload<'a> {
    /// Returns the outdated pods that are still to go.
    fn outdated(&'a self) -> impl Iterator<Item = (&'a Member<'a>, &'a Outdated<'a>)> {
        self.members
            .iter()
            .filter(|member| !member.is_going())
            .filter_map(|member| match &member.standing {
                Standing::Outdated(outdated) => Some((member, outdated)),
                Standing::Current | Standing::Unknown => None,
            })
    }
}

impl Member<'_> {
    /// Says whether it is on its way out, for our sake or another's, or has ended.
    const fn is_going(&self) -> bool {
        self.evicted || !self.pod.stays()
    }

    /// Says whether it stays, and has not become ready in all the time it was given.
    fn is_stuck(&self, moment: &Moment<'_>) -> bool {
        self.is_unready_for(moment.limits.progress_deadline, moment)
    }

    /// Says whether it stays, and is not ready though it has had `time` to become so.
    fn is_unready_for(&self, time: Duration, moment: &Moment<'_>) -> bool {
        !self.pod.ready && !self.is_going() && self.pod.due(time) <= moment.now
    }
}

impl Outdated<'_> {
    /// Returns when the first of its targets was first seen.
    fn since(&self) -> Option<Timestamp> {
        self.targets.iter().map(|target| target.first_seen).min()
    }
}

/// Returns a limit in the type that differences of timestamps have; the longest of them for a longer one.
pub fn signed(limit: Duration) -> SignedDuration {
    SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        notation::{NOW, Scene, at, fates, limits, moment},
        *,
    };
    use crate::policy::OwnerKind;

    fn scene(pods: &str) -> Scene {
        Scene::new(OwnerKind::ReplicaSet, pods).wish("max-unavailable", "100%")
    }

    /// Checks the fates of the pods of two owners under a budget.
    #[track_caller]
    fn check(per_minute: u32, first: (&str, i64), second: (&str, i64), expected: &str) {
        let scenes = [scene(first.0), scene(second.0)];
        let workloads = [
            scenes[0].workload(Some(3), first.1),
            scenes[1].workload(Some(3), second.1),
        ];
        let moment = Moment {
            limits: limits(per_minute),
            ..moment(NOW)
        };
        assert_eq!(fates(&moment, &workloads), expected);
    }

    #[test]
    fn owners_take_turns_and_the_oldest_digest_begins() {
        check(9, ("R R R", 200), ("R R R", 100), "2 4 6 1 3 5");
        check(9, ("R R R", 100), ("R R R", 100), "1 3 5 2 4 6");
        check(9, ("R R R", 100), ("r R R", 200), "2 3 5 1 4 6");
    }

    #[test]
    fn the_budget_is_for_all_owners() {
        check(6, ("R R R", 100), ("R R R", 100), "1 3 5 2 4 6");
        check(5, ("R R R", 100), ("R R R", 100), "1 3 5 2 4 budget");
        check(
            1,
            ("R R R", 100),
            ("R R R", 100),
            "1 budget budget budget budget budget",
        );
        check(0, ("R C C", 100), ("C C C", 100), "budget - - - - -");
        check(2, ("r r r", 100), ("R! C C", 100), "1 2 budget - - -");
    }

    #[test]
    fn earlier_evictions_use_up_the_budget() {
        let scene = scene("R R R");
        let evictions = [60, 61].map(|ago| Past {
            at: at(NOW - ago),
            namespace: "shop".into(),
            node: None,
        });
        let moment = Moment {
            limits: limits(2),
            evictions: &evictions,
            ..moment(NOW)
        };
        let fates = fates(&moment, &[scene.workload(Some(3), 100)]);
        assert_eq!(fates, "1 budget budget");
    }

    #[test]
    fn a_rule_holds_before_the_pace() {
        let scene = Scene::new(OwnerKind::ReplicaSet, "R R c").wish_of(0, "strategy", "notify");
        assert_eq!(scene.fates(Some(3)), "notify pace -");
        let scene = Scene::new(OwnerKind::ReplicaSet, "R R R").wish_of(0, "strategy", "notify");
        assert_eq!(scene.fates(Some(3)), "notify 1 pace");
    }

    /// Checks the order of the pods of two owners in two namespaces, of which the first has lost `recent` pods.
    #[track_caller]
    fn check_namespaces(recent: u32, first: &str, second: &str, expected: &str) {
        let mut other = scene(second);
        other.settle("other");
        let scenes = [scene(first), other];
        let mut workloads = [
            scenes[0].workload(Some(4), 100),
            scenes[1].workload(Some(4), 200),
        ];
        workloads[0].recent = recent;
        assert_eq!(fates(&moment(NOW), &workloads), expected);
    }

    #[test]
    fn namespaces_take_turns_and_the_least_served_begins() {
        check_namespaces(0, "R R R R", "R C C C", "1 3 4 5 2 - - -");
        check_namespaces(0, "R R R R", "R R C C", "1 3 5 6 2 4 - -");
        check_namespaces(1, "R R R R", "R R C C", "2 4 5 6 1 3 - -");
        check_namespaces(9, "R R R R", "R R C C", "3 4 5 6 1 2 - -");
        check_namespaces(1, "r R R C", "R C C C", "2 3 4 - 1 - - -");
    }

    #[test]
    fn labels_are_distinct() {
        let labels = Hold::ALL.map(Hold::label);
        for (nth, label) in labels.iter().enumerate() {
            assert!(!labels[..nth].contains(label), "{label}");
        }
        assert!(Hold::ALL.is_sorted());
    }
}
