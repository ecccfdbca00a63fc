//! What has become of the workloads that lost pods for our sake: all is well, or a new pod does not become ready.

use std::{
    collections::{HashMap, HashSet},
    mem,
    time::Duration,
};

use tracing::{info, warn};

use super::{
    group::{Group, Scene},
    memory::{Memory, Turn},
    survey::Outdated,
    target::after,
    tell,
    term::Term,
};
use crate::policy::gate::{Hold, Plan};

/// How long a workload is remembered in which a new pod is not ready, after it was seen so last.
const KEEP: Duration = Duration::from_secs(60);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All its pods run what their tags mean, and are ready.
    Refreshed,
    /// One that has come since has not become ready in its time, or has not come in it. It may still, which is another
    /// end.
    Halted,
}

/// Returns the end to which the workload of a group has come, if that is new; one of which nothing comes is waited
/// for no longer.
pub(super) fn end(group: &Group, scene: Scene<'_>, memory: &mut Memory) -> Option<(End, Turn)> {
    let uid = group.workload.as_deref()?;
    let (turn, desired) = (memory.turning.get(uid)?, memory.workload(uid)?.desired);
    if desired == 0 && group.is_empty(scene) {
        // Scaled to nothing meanwhile.
        memory.turning.remove(uid);
        return None;
    }
    if group.is_fresh(scene, memory, desired) {
        let turn = memory.turning.remove(uid)?;
        return Some((End::Refreshed, turn));
    }
    let deadline = scene.limits.progress_deadline;
    let ready = group.time_left(scene, turn.begun, deadline);
    let turn = memory.turning.get_mut(uid)?;
    let is_short = 0 < turn.evicted && group.count(scene) < desired;
    turn.short = is_short.then(|| turn.short.unwrap_or(scene.now));
    let here =
        (turn.short).map(|since| after(since, deadline).saturating_duration_since(scene.now));
    let left = ready.into_iter().chain(here).min();
    if group.outdated(scene).next().is_none() {
        // No old pod is left: however many new ones are to come, they are on their way.
        let last = after(scene.now, deadline);
        turn.until = turn.until.min(last);
    }
    let halted = left == Some(Duration::ZERO);
    let was_halted = mem::replace(&mut turn.halted, halted);
    if let Some(left) = left {
        // It is waited for as long as it has time, and told of until it is ready.
        turn.until = turn.until.max(after(scene.now, left.saturating_add(KEEP)));
    }
    (halted && !was_halted).then(|| (End::Halted, turn.clone()))
}

impl Term<'_> {
    /// Tells of the workloads that have come to an end.
    pub(super) fn finish(&mut self, scene: Scene<'_>, groups: &[Group]) {
        for group in groups {
            let Some((end, turn)) = end(group, scene, &mut self.memory) else {
                continue;
            };
            let workload = group.workload.as_deref();
            let Some(workload) = workload.and_then(|uid| self.memory.workload(uid)) else {
                continue;
            };
            let (ns, name, kind) = (&workload.namespace, &workload.name, workload.kind);
            let deeds = tell::deeds(&turn);
            let notice: fn(_, &Turn) -> _ = match end {
                End::Refreshed => {
                    info!(
                        pod.namespace = %ns, owner.kind = %kind, owner.name = %name,
                        "Refreshed {kind} {ns}/{name}: all its pods run what their tags mean now, {deeds}"
                    );
                    tell::refreshed
                }
                // Those that are held back for it tell of it themselves.
                End::Halted if group.outdated(scene).next().is_some() => continue,
                End::Halted => {
                    warn!(
                        pod.namespace = %ns, owner.kind = %kind, owner.name = %name, reason = Hold::Halted.label(),
                        "Refreshed {kind} {ns}/{name}, but a new pod has not become ready in time: {deeds}"
                    );
                    tell::halted
                }
            };
            if let Some(about) = group.about(&self.memory, scene.now) {
                self.parts.recorder.record(notice(about, &turn));
            }
        }
    }

    /// Shows in how many workloads a pod that is up to date has not become ready in time.
    pub(super) fn show_halted(
        &self,
        groups: &[Group],
        plan: &Plan<'_>,
        places: &HashMap<&str, (usize, &Outdated)>,
    ) {
        let held = plan.held.iter().filter(|(_, hold)| *hold == Hold::Halted);
        let held = held.filter_map(|(member, _)| Some(places.get(&*member.pod.uid)?.0));
        let is_halted = |group: &Group| {
            let uid = group.workload.as_deref();
            let turn = uid.and_then(|uid| self.memory.turning.get(uid));
            turn.is_some_and(|turn| turn.halted)
        };
        let turning = groups.iter().enumerate();
        let turning = turning.filter(|(_, group)| is_halted(group));
        let halted: HashSet<usize> = turning.map(|(nth, _)| nth).chain(held).collect();
        let gauge = &self.parts.metrics.refresh_halted_workloads;
        gauge.set(i64::try_from(halted.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Phase, fixture::Fixture},
        refresh::fixture::{Stage, deployment, limits, owned_by, runs, seconds, wall},
    };

    const DEADLINE: i64 = 600;

    /// Returns a pod that runs `version`, created at `second`.
    fn pod(name: &str, version: u8, ready: bool, second: i64) -> Fixture {
        runs(name, "web", version).with(|pod| {
            pod.ready = ready;
            pod.created = wall(second);
        })
    }

    /// The end of a Deployment of `desired` pods, whose first was evicted at second 100, as seen at `second`; and
    /// whether it is remembered as halted.
    fn ended(desired: u32, pods: Vec<Fixture>, second: u64) -> (Option<End>, bool) {
        ended_short(desired, pods, None, second)
    }

    /// The same, of one that has had too few pods since the second `short`.
    fn ended_short(
        desired: u32,
        pods: Vec<Fixture>,
        short: Option<u64>,
        second: u64,
    ) -> (Option<End>, bool) {
        assert_eq!(limits().progress_deadline, seconds(600));
        let clock = runs("clock", "other", 1).with(|pod| pod.created = wall(110));
        let mut stage = Stage::new(pods.into_iter().chain([clock]));
        stage.second = 110;
        let mut stage = stage.confirmed(1);
        stage.second = second;
        stage.look();
        let start = stage.start;
        let scene = stage.scene();
        let mut memory = Memory::new(seconds(300));
        memory.read(deployment("web", desired), ["uid-web".into()], scene.now);
        let turn = Turn {
            owner: owned_by("web").into(),
            namespace: "shop".into(),
            targets: String::new(),
            evicted: 1,
            begun: start + seconds(100),
            halted: false,
            short: short.map(|second| start + seconds(second)),
            until: start + seconds(700),
        };
        memory.turning.insert("uid-web".into(), turn);
        let groups = super::super::group::groups(scene, &memory);
        let [group] = &groups[..] else {
            panic!("{groups:?}");
        };
        let end = end(group, scene, &mut memory);
        assert!(super::end(group, scene, &mut memory).is_none(), "told once");
        let turn = memory.turning.get("uid-web");
        (end.map(|(end, _)| end), turn.is_some_and(|it| it.halted))
    }

    #[track_caller]
    fn check(desired: u32, pods: Vec<Fixture>, second: i64, expected: Option<End>) {
        let second = u64::try_from(second).unwrap();
        let halted = expected == Some(End::Halted);
        assert_eq!(ended(desired, pods, second), (expected, halted));
    }

    #[test]
    fn all_pods_up_to_date_and_ready_is_the_end() {
        check(1, vec![pod("a", 1, true, 101)], 200, Some(End::Refreshed));
        check(2, vec![pod("a", 1, true, 101)], 200, None);
    }

    #[test]
    fn a_replacement_that_is_not_ready_in_time_is_one_too() {
        let broken = |created| vec![pod("a", 1, false, created)];
        check(1, broken(101), 101 + DEADLINE, Some(End::Halted));
        check(1, broken(101), 100 + DEADLINE, None);
        // It was like that before, for another reason.
        check(1, broken(94), 101 + DEADLINE, None);
        check(1, broken(95), 101 + DEADLINE, Some(End::Halted));
        // It was up for a while.
        let stumbled = |fell| {
            pod("a", 1, false, 101).with(|pod| {
                (pod.ready_since, pod.ran) = (wall(fell), seconds(500));
            })
        };
        check(1, vec![stumbled(650)], 650 + 499, None);
        check(1, vec![stumbled(650)], 650 + 500, Some(End::Halted));
        // Its image could not even be pulled.
        check(
            1,
            vec![pod("a", 0, false, 101)],
            101 + DEADLINE,
            Some(End::Halted),
        );
    }

    #[test]
    fn a_replacement_that_does_not_come_in_time_is_one_too() {
        let check = |second, pods: Vec<Fixture>, expected| {
            let halted = expected == Some(End::Halted);
            let ended = ended_short(2, pods, Some(200), second);
            assert_eq!(ended, (expected, halted), "{second}");
        };
        let up = |name| pod(name, 1, true, 101);
        check(799, vec![up("a")], None);
        check(800, vec![up("a")], Some(End::Halted));
        check(800, vec![], Some(End::Halted));
        // It is there, or on its way out still.
        check(800, vec![up("a"), pod("b", 2, true, 0)], None);
        let ending = pod("b", 2, false, 0).with(|pod| pod.terminating = true);
        check(800, vec![up("a"), ending], None);
    }

    #[test]
    fn a_replacement_that_has_ended_is_none_any_more() {
        let dead = || pod("b", 0, false, 101).with(|pod| pod.phase = Phase::Over);
        let fresh = |name| pod(name, 1, true, 0);
        check(2, vec![fresh("a"), dead()], 101 + DEADLINE, None);
        let pods = vec![fresh("a"), dead(), fresh("c")];
        check(2, pods, 101 + DEADLINE, Some(End::Refreshed));
    }

    #[test]
    fn an_outdated_pod_is_no_replacement() {
        check(1, vec![pod("a", 2, false, 101)], 101 + DEADLINE, None);
        let pods = vec![pod("a", 2, true, 0), pod("b", 1, false, 101)];
        check(2, pods, 101 + DEADLINE, Some(End::Halted));
    }
}
