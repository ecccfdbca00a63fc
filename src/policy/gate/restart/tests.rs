use super::*;
use crate::policy::gate::{
    Limits, Workload,
    notation::{NOW, Scene, fates, limits, moment},
    plan,
};

/// An owner that has finished its last rollout, which was not for what its outdated pods should run.
const DONE: Rollouts = Rollouts {
    automatic: true,
    paused: false,
    last: Rollout::Done,
    restarted: false,
};

const UNDER_WAY: Rollouts = Rollouts {
    last: Rollout::UnderWay,
    ..DONE
};

const STUCK: Rollouts = Rollouts {
    last: Rollout::Stuck,
    ..DONE
};

const fn restarted(rollouts: Rollouts) -> Rollouts {
    Rollouts {
        restarted: true,
        ..rollouts
    }
}

fn scene(kind: OwnerKind, strategy: &str, pods: &str) -> Scene {
    Scene::new(kind, pods).wish("strategy", strategy)
}

/// Checks what becomes of the pods of a Deployment of three that is to be restarted.
#[track_caller]
fn check(rollouts: Rollouts, pods: &str, expected: &str) {
    let scene = scene(OwnerKind::ReplicaSet, "restart", pods).rolls(rollouts);
    assert_eq!(scene.fates(Some(3)), expected, "{pods} {rollouts:?}");
}

#[test]
fn a_restart_takes_all_outdated_pods_whatever_their_number() {
    check(DONE, "R R R", "restart restart restart");
    check(DONE, "R C R", "restart - restart");
    check(DONE, "R r r", "restart restart restart");
    check(DONE, "C C C", "- - -");
    check(DONE, "R!~ R R", "- restart restart");
}

#[test]
fn what_is_not_known_holds_nothing_back_before_it_is_read() {
    let scene = |pods| scene(OwnerKind::ReplicaSet, "restart", pods);
    assert_eq!(scene("R R R").fates(Some(3)), "restart restart restart");
    // What the pods say already costs no reading.
    assert_eq!(scene("R R c").fates(Some(3)), "pace pace -");
    assert_eq!(scene("R R R").fates(Some(0)), "pace pace pace");
    assert_eq!(scene("R R R").fates(None), "pace pace pace");
}

#[test]
fn an_owner_whose_template_replaces_nothing_is_not_restarted() {
    let never = Rollouts {
        automatic: false,
        ..DONE
    };
    check(never, "R R R", "no_rollout no_rollout no_rollout");
    let never = Rollouts {
        paused: true,
        ..never
    };
    check(never, "R r R", "no_rollout no_rollout no_rollout");
    // A pod that a StatefulSet would wait for is not evicted where nobody waits; before that is known the owner is read.
    let fates = |rollouts: Option<Rollouts>| {
        let mut scene = scene(OwnerKind::StatefulSet, "restart", "R R r+");
        scene.rollouts = rollouts;
        scene.fates(Some(3))
    };
    assert_eq!(fates(None), "pace pace 1");
    assert_eq!(fates(Some(DONE)), "pace pace 1");
    assert_eq!(fates(Some(never)), "no_rollout no_rollout no_rollout");
}

#[test]
fn a_paused_owner_waits() {
    let paused = |rollouts| Rollouts {
        paused: true,
        ..rollouts
    };
    check(paused(DONE), "R R R", "paused paused paused");
    check(paused(UNDER_WAY), "r R R", "paused paused paused");
}

#[test]
fn a_rollout_under_way_is_waited_for() {
    check(UNDER_WAY, "R R R", "rollout rollout rollout");
    check(UNDER_WAY, "R R C", "rollout rollout -");
    check(UNDER_WAY, "R R c", "rollout rollout -");
    check(UNDER_WAY, "R R r*", "rollout rollout rollout");
    check(UNDER_WAY, "R R u", "rollout rollout -");
}

#[test]
fn a_rollouts_own_pods_tell_of_it_before_its_owner_is_read() {
    let fates = |pods, rollouts: Option<Rollouts>| {
        let mut scene = scene(OwnerKind::ReplicaSet, "restart", pods).of_another_set(2);
        scene.rollouts = rollouts;
        scene.fates(Some(3))
    };
    assert_eq!(fates("R R c", None), "rollout rollout -");
    assert_eq!(fates("R R c", Some(DONE)), "pace pace -");
    // Nothing is left of it, or to wait for.
    assert_eq!(fates("R c C~", None), "pace - -");
    assert_eq!(fates("R R C", None), "restart restart -");
}

#[test]
fn a_rollout_whose_own_pods_are_outdated_and_fail_gets_its_fix() {
    check(UNDER_WAY, "R R r+", "restart restart restart");
    check(UNDER_WAY, "R r+ r*", "restart restart restart");
    // One of them has got the fix already.
    check(UNDER_WAY, "R R r+ c*", "rollout rollout rollout -");
    check(UNDER_WAY, "R R r+~", "rollout rollout -");
    check(STUCK, "R R r", "restart restart restart");
    check(STUCK, "R R R", "restart restart restart");
}

#[test]
fn a_pod_that_has_ended_keeps_no_restart_away() {
    check(UNDER_WAY, "R R r+ ux@", "restart restart restart -");
    check(DONE, "R R R cx@", "restart restart restart -");
    let stateful = scene(OwnerKind::StatefulSet, "restart", "R R ux").rolls(DONE);
    assert_eq!(stateful.fates(Some(3)), "restart restart -");
    // It tells of no rollout either.
    let other = scene(OwnerKind::ReplicaSet, "restart", "r R cx").of_another_set(2);
    assert_eq!(other.fates(Some(3)), "restart restart -");
    let other = scene(OwnerKind::ReplicaSet, "restart", "R c Ux").of_another_set(2);
    assert_eq!(other.fates(Some(2)), "pace - -");
}

#[test]
fn a_short_progress_deadline_makes_rollouts_fail_soon() {
    let fates = |progress| {
        let scene = scene(OwnerKind::ReplicaSet, "restart", "R R r*").rolls(UNDER_WAY);
        let limits = Limits {
            progress_deadline: Duration::from_secs(progress),
            ..limits(30)
        };
        let moment = Moment {
            limits,
            ..moment(NOW)
        };
        fates(&moment, &[scene.workload(Some(3), 100)])
    };
    assert_eq!(fates(29), "restart restart restart");
    assert_eq!(fates(30), "rollout rollout rollout");
}

#[test]
fn an_owner_is_restarted_once_for_its_targets() {
    check(restarted(UNDER_WAY), "R^ R^ c", "rollout rollout -");
    check(restarted(UNDER_WAY), "r^ R^ C", "rollout rollout -");
    // The cache lags behind.
    check(restarted(DONE), "R^ C C C", "rollout - - -");
    check(DONE, "R^ C C C", "rollout - - -");
    // The new pods do not become ready: the old ones stay until the tag moves on.
    check(restarted(UNDER_WAY), "R^ R^ c@", "halted halted -");
    check(restarted(STUCK), "R^ R^ c", "halted halted -");
    check(restarted(DONE), "R= R C", "ineffective ineffective -");
}

#[test]
fn a_tag_that_moved_away_and_back_is_a_reason_to_restart_again() {
    check(restarted(DONE), "R C C", "restart - -");
    check(restarted(UNDER_WAY), "R C C", "rollout - -");
    check(restarted(UNDER_WAY), "r+ C C", "restart - -");
}

#[test]
fn a_target_that_does_not_start_is_rolled_out_nowhere() {
    check(DONE, "R R c", "pace pace -");
    check(DONE, "R R c@", "halted halted -");
    check(DONE, "R R c@|", "pace pace -");
    // Nothing is at stake, unless it is known to be broken.
    check(DONE, "r r c", "restart restart -");
    check(DONE, "r r c@", "halted halted -");
    check(STUCK, "R R c@", "halted halted -");
    check(DONE, "R R u@", "restart restart -");
    check(DONE, "R R c~", "restart restart -");
}

#[test]
fn a_refused_restart_waits_but_no_budget_of_disruptions_is_asked() {
    let mut refused = scene(OwnerKind::ReplicaSet, "restart", "R? R R").rolls(DONE);
    assert_eq!(refused.fates(Some(3)), "restart restart restart");
    refused.settle("shop");
    let mut workload = refused.workload(Some(3), 100);
    for member in &mut workload.members {
        member.refused = Some(Hold::Refused);
    }
    assert_eq!(fates(&moment(NOW), &[workload]), "refused refused refused");
}

#[test]
fn pods_that_a_stateful_set_waits_for_are_evicted_first() {
    let fates = |pods, rollouts| {
        let scene = scene(OwnerKind::StatefulSet, "restart", pods);
        scene.rolls(rollouts).fates(Some(3))
    };
    assert_eq!(fates("R R R", DONE), "restart restart restart");
    assert_eq!(fates("R R r", DONE), "pace pace 1");
    assert_eq!(fates("R R r*", DONE), "pace pace pace");
    assert_eq!(fates("R R r|", DONE), "pace pace pace");
    assert_eq!(fates("R R r", UNDER_WAY), "pace pace 1");
    assert_eq!(fates("R R r*", UNDER_WAY), "rollout rollout rollout");
    assert_eq!(fates("R R c", UNDER_WAY), "rollout rollout -");
}

#[test]
fn auto_restarts_only_the_deployment_of_one_pod() {
    let fates = |kind, pods, desired| {
        let scene = scene(kind, "auto", pods).rolls(DONE);
        let mut workload = scene.workload(Some(desired), 100);
        workload.single = Some(kind == OwnerKind::ReplicaSet && desired == 1);
        fates(&moment(NOW), &[workload])
    };
    assert_eq!(fates(OwnerKind::ReplicaSet, "R", 1), "restart");
    assert_eq!(fates(OwnerKind::ReplicaSet, "R R R", 3), "1 pace pace");
    assert_eq!(fates(OwnerKind::StatefulSet, "R", 1), "1");
    assert_eq!(fates(OwnerKind::DaemonSet, "R R R", 3), "1 pace pace");
}

#[test]
fn an_owner_that_nobody_has_read_is_taken_for_one_to_restart() {
    let scene = scene(OwnerKind::ReplicaSet, "auto", "R R R");
    let mut workload = scene.workload(None, 100);
    (workload.single, workload.desired) = (None, Some(3));
    assert_eq!(fates(&moment(NOW), &[workload]), "restart restart restart");
}

#[test]
fn what_holds_one_pod_back_holds_the_restart() {
    let scene = |strategy| {
        let scene = scene(OwnerKind::ReplicaSet, "restart", "R R R").rolls(DONE);
        scene.wish_of(1, "strategy", strategy)
    };
    assert_eq!(scene("notify").fates(Some(3)), "restart notify restart");
    assert_eq!(scene("evict").fates(Some(3)), "restart 1 restart");
    let mixed = scene("restart");
    let mut workload = mixed.workload(Some(3), 100);
    if let Standing::Outdated(outdated) = &mut workload.members[1].standing {
        outdated.registry_failing = true;
    }
    let failing = "registry_failing registry_failing registry_failing";
    assert_eq!(fates(&moment(NOW), &[workload]), failing);
}

/// Checks what becomes of two owners' pods, the first to be restarted, under budgets.
#[track_caller]
fn check_budget(limits: Limits, expected: &str) {
    let restarted = scene(OwnerKind::ReplicaSet, "restart", "R R R").rolls(DONE);
    let evicted = Scene::new(OwnerKind::ReplicaSet, "R R").wish("max-unavailable", "2");
    let workloads: [Workload<'_>; 2] = [
        restarted.workload(Some(3), 100),
        evicted.workload(Some(2), 200),
    ];
    let moment = Moment {
        limits,
        ..moment(NOW)
    };
    assert_eq!(fates(&moment, &workloads), expected);
}

#[test]
fn a_restart_counts_as_one_eviction_of_its_namespace_and_of_no_node() {
    check_budget(limits(3), "restart restart restart 1 2");
    check_budget(limits(2), "restart restart restart 1 budget");
    check_budget(limits(0), "budget budget budget budget budget");
    let one = Limits {
        per_namespace: Some(1),
        ..limits(9)
    };
    check_budget(
        one,
        "restart restart restart namespace_budget namespace_budget",
    );
    let no_node = Limits {
        per_node: Some(0),
        ..limits(9)
    };
    check_budget(no_node, "restart restart restart node_budget node_budget");
}

#[test]
fn a_plan_names_each_restart_with_its_pods() {
    let scene = scene(OwnerKind::ReplicaSet, "restart", "R C R").rolls(DONE);
    let workloads = [scene.workload(Some(3), 100)];
    let plan = plan(&moment(NOW), &workloads);
    let names: Vec<_> = (plan.restart[0].members.iter())
        .map(|member| &*member.pod.name)
        .collect();
    assert_eq!((plan.restart.len(), plan.go.len()), (1, 0));
    assert_eq!(names, ["web-0", "web-2"]);
}
