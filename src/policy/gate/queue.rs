//! Who goes first where there is not enough budget for all.

use std::{collections::HashMap, vec};

use super::{Candidate, Hold, Member, Moment, Plan, Restart, budget::Budget};

/// What an owner's pace lets go.
#[derive(Default)]
pub(super) struct Turns<'a> {
    /// The pods that may go, in the order in which they should.
    pub(super) go: Vec<Candidate<'a>>,
    /// Ready pods that might go in the place of one of these, each with what holds it until then.
    pub(super) spare: Vec<(Candidate<'a>, Hold)>,
}

/// What only a budget can hold back, and what may stand in for it.
#[derive(Default)]
pub(super) struct Queue<'a> {
    steps: Vec<Step<'a>>,
    /// The spare pods of each owner.
    spares: Vec<vec::IntoIter<(Candidate<'a>, Hold)>>,
}

/// A pod that may go, or an owner that may be restarted.
struct Step<'a> {
    /// How many steps of its owner come before it.
    turn: usize,
    /// The pod, or the first that is to be replaced.
    first: Candidate<'a>,
    /// The restart, if it is one.
    whole: Option<Restart<'a>>,
    /// How many pods of its namespace have gone lately.
    recent: u32,
    /// The owner's place in `spares`.
    owner: usize,
}

impl<'a> Queue<'a> {
    /// Adds what may go of one owner, in whose namespace `recent` pods have gone lately.
    pub(super) fn add(
        &mut self,
        recent: u32,
        turns: Turns<'a>,
        restart: Option<(Candidate<'a>, Restart<'a>)>,
    ) {
        let owner = self.spares.len();
        self.spares.push(turns.spare.into_iter());
        let steps = turns.go.into_iter().map(|first| (first, None));
        let restart = restart.map(|(first, restart)| (first, Some(restart)));
        let steps = steps.chain(restart).enumerate();
        self.steps.extend(steps.map(|(turn, (first, whole))| Step {
            turn,
            first,
            whole,
            recent,
            owner,
        }));
    }

    /// Lets go what the budgets allow, in the order of [`plan`](super::plan); the others are held.
    pub(super) fn spend(self, moment: &Moment<'_>, plan: &mut Plan<'a>) {
        let Self { steps, mut spares } = self;
        let mut budget = Budget::of(moment);
        for step in in_order(steps) {
            let (member, pod) = (step.first.member, step.first.member.pod);
            let node = pod.node.as_deref().filter(|_| step.whole.is_none());
            match (budget.take(&pod.namespace, node), step.whole) {
                (Ok(()), None) => plan.go.push(member),
                (Ok(()), Some(restart)) => plan.restart.push(restart),
                (Err(hold), Some(restart)) => {
                    let members = restart.members.into_iter();
                    plan.held.extend(members.map(|member| (member, hold)));
                }
                // One that is not ready takes nobody's place, and one that may be gone keeps its own.
                (Err(Hold::NodeBudget), None) if pod.ready && !member.in_doubt => {
                    let spares = &mut spares[step.owner];
                    let hold = match stand_in(spares, &mut budget, &mut plan.held) {
                        Some((other, hold)) => {
                            plan.go.push(other);
                            hold
                        }
                        None => Hold::NodeBudget,
                    };
                    plan.held.push((member, hold));
                }
                (Err(hold), None) => plan.held.push((member, hold)),
            }
        }
        let left = spares.into_iter().flatten();
        (plan.held).extend(left.map(|(candidate, hold)| (candidate.member, hold)));
    }
}

/// Returns the first spare pod whose node has budget left, which it takes; those before it are held, as no budget
/// comes back.
fn stand_in<'a: 'b, 'b>(
    spares: &mut vec::IntoIter<(Candidate<'a>, Hold)>,
    budget: &mut Budget<'b>,
    held: &mut Vec<(&'a Member<'a>, Hold)>,
) -> Option<(&'a Member<'a>, Hold)> {
    for (candidate, hold) in spares {
        let pod = candidate.member.pod;
        if budget.take(&pod.namespace, pod.node.as_deref()).is_ok() {
            return Some((candidate.member, hold));
        }
        held.push((candidate.member, hold));
    }
    None
}

/// Sorts the steps of all owners: namespaces take turns, and the owners in each.
fn in_order(mut steps: Vec<Step<'_>>) -> impl Iterator<Item = Step<'_>> {
    // The sorts are stable: what is equal keeps the order of the owners.
    steps.sort_by_key(|step| (step.turn, step.first.member.pod.ready, step.first.since));
    let mut served: HashMap<&str, u32> = HashMap::new();
    let mut steps: Vec<_> = (steps.into_iter())
        .map(|step| {
            let namespace = &step.first.member.pod.namespace;
            let served = served.entry(namespace).or_insert(step.recent);
            *served = served.saturating_add(1);
            (*served, step)
        })
        .collect();
    steps.sort_by_key(|(served, _)| *served);
    steps.into_iter().map(|(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        OwnerKind,
        gate::{
            Limits, Past,
            notation::{NOW, Scene, at, fates, limits, moment},
        },
    };

    /// Checks the fates of the pods of several owners, of which each has the pods of these kinds on these nodes, where
    /// each node may lose one pod a minute and `spent` have lost theirs.
    #[track_caller]
    fn check(owners: &[(OwnerKind, &str, &str)], max: &str, spent: &str, expected: &str) {
        check_among(9, owners, max, spent, expected);
    }

    #[track_caller]
    fn check_among(
        per_minute: u32,
        owners: &[(OwnerKind, &str, &str)],
        max: &str,
        spent: &str,
        expected: &str,
    ) {
        let scenes: Vec<Scene> = (owners.iter())
            .map(|(kind, pods, nodes)| {
                let scene = Scene::new(*kind, pods).wish("max-unavailable", max);
                scene.on(nodes)
            })
            .collect();
        let desired = |scene: &Scene| u32::try_from(scene.len()).unwrap();
        let workloads: Vec<_> = (scenes.iter())
            .map(|scene| scene.workload(Some(desired(scene)), 100))
            .collect();
        let evictions: Vec<Past> = (spent.split_whitespace())
            .map(|node| Past {
                at: at(NOW),
                namespace: "zoo".into(),
                node: Some(node.into()),
            })
            .collect();
        let limits = Limits {
            per_node: Some(1),
            ..limits(per_minute)
        };
        let moment = Moment {
            limits,
            evictions: &evictions,
            ..moment(NOW)
        };
        assert_eq!(fates(&moment, &workloads), expected);
    }

    use OwnerKind::{DaemonSet, ReplicaSet, StatefulSet};

    #[test]
    fn a_pod_whose_node_has_budget_goes_in_the_place_of_one_whose_node_has_none() {
        let one = |nodes| [(ReplicaSet, "R R R", nodes)];
        check(&one("a b c"), "1", "", "1 pace pace");
        check(&one("a b c"), "1", "a", "pace 1 pace");
        check(&one("a b c"), "1", "a b", "pace pace 1");
        check(&one("a b c"), "1", "a b c", "node_budget pace pace");
        check(&one("a a b"), "2", "", "1 pace 2");
        check(&one("a a b"), "2", "a", "pace node_budget 1");
        check(&one("a b c"), "2", "a", "pace 2 1");
    }

    #[test]
    fn it_takes_over_where_the_turn_was() {
        // The first owner's second choice comes before the second owner's first.
        let two = [(DaemonSet, "R R", "a b"), (DaemonSet, "R R", "b c")];
        check(&two, "1", "a", "pace 1 pace 2");
        check(&two, "1", "", "1 pace 2 pace");
        check(&two, "1", "a c", "pace 1 node_budget pace");
        check_among(2, &two, "1", "a", "pace 1 budget pace");
    }

    #[test]
    fn a_stateful_set_keeps_its_order() {
        let one = |nodes| [(StatefulSet, "R R R", nodes)];
        check(&one("a b c"), "1", "", "pace pace 1");
        check(&one("a b c"), "1", "c", "pace pace node_budget");
    }

    #[test]
    fn one_that_is_not_ready_gives_nobody_its_turn() {
        let one = |pods| [(ReplicaSet, pods, "a b c")];
        check(&one("r R R"), "1", "a", "node_budget pace pace");
        check(&one("r r R"), "1", "a", "node_budget 1 pace");
        check(&one("r R R"), "2", "a", "node_budget 1 pace");
        check(&one("r R R"), "2", "b", "1 pace 2");
    }

    #[test]
    fn one_that_may_be_gone_keeps_its_turn() {
        let one = |pods| [(ReplicaSet, pods, "a b c")];
        check(&one("R R% R"), "1", "", "pace 1 pace");
        check(&one("R R% R"), "1", "b", "pace node_budget pace");
        check(&one("R R% R"), "2", "b", "1 node_budget pace");
        check(&one("R R% R"), "2", "a", "pace 1 2");
    }

    #[test]
    fn nobody_stands_in_who_may_not_go_himself() {
        let one = |pods| [(ReplicaSet, pods, "a b c")];
        check(&one("R R? R"), "1", "a", "pace pace 1");
        check(&one("R R? C"), "1", "a", "node_budget pace -");
        // As many are down as may be.
        check(&one("R R c"), "1", "a", "pace pace -");
    }
}
