//! What every rule of the gate says of one pod, for people who ask why it stays.

use super::{Hold, Moment, Plan, Workload, budget::Budget, plan, plan_as_if, rules};

/// What one rule says of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// What the rule is called where it holds a pod back.
    pub rule: Hold,
    /// Whether it holds this one back.
    pub holds: bool,
    /// Whether it does so only for the sake of another pod of the owner, as a restart replaces them all.
    pub shared: bool,
}

/// Returns what each rule says of the outdated pod with this uid, in the order of [`Hold::ALL`]; nothing of
/// one that is not outdated, or on its way out.
///
/// The first that holds is what [`plan`](super::plan) holds the pod back for, where no other workload takes
/// the budget. The pace and what comes after it are asked as if the pod met all that comes before.
pub fn checks(moment: &Moment<'_>, workload: &Workload<'_>, uid: &str) -> Vec<Check> {
    let mut outdated = workload.outdated();
    let Some((member, outdated)) = outdated.find(|(member, _)| *member.pod.uid == *uid) else {
        return Vec::new();
    };
    let alone = rules::each(moment, outdated);
    let fate = |plan: &Plan<'_>| {
        let mut held = plan.held.iter();
        let held = held.find(|(held, _)| *held.pod.uid == *uid);
        held.map(|(_, hold)| *hold)
    };
    let workloads = std::slice::from_ref(workload);
    let free = fate(&plan_as_if(moment, workloads, Some(uid)));
    // Before a rule that it does not meet itself no other pod's is named.
    let shared = fate(&plan(moment, workloads)).filter(|_| alone.iter().all(|(_, holds)| !holds));
    // A restart asks no PodDisruptionBudget, and is of no node.
    let restarts = workload.restarts(member, moment);
    let is_asked = |rule| rule != Hold::Pdb || !restarts;
    let (budget, pod) = (Budget::of(moment), member.pod);
    let node = pod.node.as_deref().filter(|_| !restarts);
    let check = |rule: Hold| match alone.iter().find(|(hold, _)| *hold == rule) {
        Some((_, holds)) => {
            let holds = *holds || free == Some(rule);
            let shared = !holds && shared == Some(rule);
            (holds || shared, shared)
        }
        None => {
            let refused = member.refused == Some(rule) && is_asked(rule);
            let spent = budget.is_spent(rule, &pod.namespace, node);
            (free == Some(rule) || refused || spent, false)
        }
    };
    (Hold::ALL.into_iter())
        .map(|rule| {
            let (holds, shared) = check(rule);
            Check {
                rule,
                holds,
                shared,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        OwnerKind,
        gate::{
            Limits, Past, Rollout, Rollouts,
            notation::{NOW, Scene, at, limits, moment},
        },
    };

    /// Checks which rules hold the pod `web-<nth>` of a ReplicaSet that wants three.
    #[track_caller]
    fn check(scene: &Scene, nth: usize, moment: &Moment<'_>, expected: &[Hold]) {
        let workload = scene.workload(Some(3), 100);
        let checks = checks(moment, &workload, &format!("uid-web-{nth}"));
        assert_eq!(checks.len(), Hold::ALL.len());
        assert!(checks.iter().map(|check| check.rule).eq(Hold::ALL));
        let holding = checks.iter().filter(|check| check.holds);
        let holding: Vec<Hold> = holding.map(|check| check.rule).collect();
        assert_eq!(holding, expected);
    }

    fn scene(pods: &str) -> Scene {
        Scene::new(OwnerKind::ReplicaSet, pods)
    }

    #[test]
    fn a_pod_that_may_go_is_held_by_nothing() {
        check(&scene("R R R"), 0, &moment(NOW), &[]);
        check(&scene("R R R"), 1, &moment(NOW), &[Hold::Pace]);
    }

    #[test]
    fn all_that_hold_are_named() {
        let closed = scene("R R c").wish("window", "Fri 1:00-2:00");
        check(&closed, 0, &moment(NOW), &[Hold::Window, Hold::Pace]);
        let follower = Moment {
            leader: false,
            ..moment(NOW)
        };
        let expected = [Hold::NotLeader, Hold::Window, Hold::Pace];
        check(&closed, 1, &follower, &expected);
    }

    #[test]
    fn the_pace_is_asked_as_if_the_pod_met_its_own_rules() {
        let patient = |pods| scene(pods).wish("min-age", "1h");
        check(&patient("R R R"), 2, &moment(NOW), &[Hold::MinAge]);
        check(
            &patient("R R c@"),
            0,
            &moment(NOW),
            &[Hold::MinAge, Hold::Halted],
        );
        // The first of those that may go takes its place.
        let one = scene("R R R").wish_of(2, "strategy", "notify");
        check(&one, 2, &moment(NOW), &[Hold::Notify, Hold::Pace]);
    }

    #[test]
    fn a_refusal_and_a_budget_hold_too() {
        check(&scene("R? R R"), 0, &moment(NOW), &[Hold::Pdb]);
        check(&scene("R? R c"), 0, &moment(NOW), &[Hold::Pace, Hold::Pdb]);
        let limits = Limits {
            per_minute: 0,
            ..limits(0)
        };
        let none = Moment {
            limits,
            ..moment(NOW)
        };
        check(&scene("R R R"), 0, &none, &[Hold::Budget]);
        // It holds whose turn it is not, too.
        check(&scene("R R R"), 1, &none, &[Hold::Pace, Hold::Budget]);
    }

    #[test]
    fn who_gave_its_turn_away_is_held_by_the_pace_and_its_nodes_budget() {
        let evictions = [Past {
            at: at(NOW),
            namespace: "zoo".into(),
            node: Some("a".into()),
        }];
        let moment = Moment {
            limits: Limits {
                per_node: Some(1),
                ..limits(9)
            },
            evictions: &evictions,
            ..moment(NOW)
        };
        let scene = scene("R R R").on("a b a");
        check(&scene, 0, &moment, &[Hold::Pace, Hold::NodeBudget]);
        check(&scene, 1, &moment, &[]);
        check(&scene, 2, &moment, &[Hold::Pace, Hold::NodeBudget]);
        let none = self::scene("R R R").on("a a a");
        check(&none, 0, &moment, &[Hold::NodeBudget]);
    }

    fn restarted(pods: &str) -> Scene {
        let rollouts = Rollouts {
            automatic: true,
            paused: true,
            last: Rollout::Done,
            restarted: false,
        };
        scene(pods).wish("strategy", "restart").rolls(rollouts)
    }

    #[test]
    fn a_restart_asks_no_disruption_budget() {
        let none = scene("R? R R").wish("strategy", "restart");
        check(&none, 0, &moment(NOW), &[]);
        check(&restarted("R? R R"), 0, &moment(NOW), &[Hold::Paused]);
    }

    #[test]
    fn what_holds_another_pod_holds_the_restart_of_both() {
        let mut scene = restarted("R R R");
        scene.hold_of(1, ("window", "Fri 1:00-2:00"));
        let expected = [Hold::Window, Hold::Paused];
        check(&scene, 0, &moment(NOW), &expected);
        check(&scene, 1, &moment(NOW), &expected);
        let workload = scene.workload(Some(3), 100);
        for (uid, expected) in [("uid-web-0", true), ("uid-web-1", false)] {
            let checks = checks(&moment(NOW), &workload, uid);
            let window = checks.iter().find(|check| check.rule == Hold::Window);
            assert_eq!(window.map(|check| check.shared), Some(expected));
            assert!(checks.iter().filter(|check| check.shared).count() <= 1);
        }
        // What it does not meet itself comes first, whatever holds the others.
        let mut scene = restarted("R R R");
        scene.hold_of(0, ("window", "Fri 1:00-2:00"));
        scene.hold_of(1, ("min-age", "1h"));
        check(&scene, 0, &moment(NOW), &expected);
        scene.fates(Some(3));
    }

    #[test]
    fn of_others_there_is_nothing_to_say() {
        for pods in ["C R R", "U R R", "R! R R", "R~ R R"] {
            let scene = scene(pods);
            let workload = scene.workload(Some(3), 100);
            assert_eq!(checks(&moment(NOW), &workload, "uid-web-0"), []);
        }
        let scene = scene("R");
        assert_eq!(
            checks(&moment(NOW), &scene.workload(Some(1), 100), "other"),
            []
        );
    }
}
