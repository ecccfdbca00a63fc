//! How many pods of one owner may be down for our sake, and which of them go first.

use jiff::Timestamp;

use super::{Candidate, Hold, Member, Moment, Standing, Workload, queue::Turns, signed};
use crate::policy::Pod;

/// Returns which of the owner's `candidates` may go, in their order, and which might in the place of another; the rest
/// joins `held`.
///
/// In a StatefulSet none might: its order is the user's.
pub(super) fn allow<'a>(
    moment: &Moment<'_>,
    workload: &'a Workload<'a>,
    candidates: Vec<Candidate<'a>>,
    held: &mut Vec<(&'a Member<'a>, Hold)>,
) -> Turns<'a> {
    let mut pace = Pace::of(moment, workload);
    let mut turns = Turns::default();
    for candidate in candidates {
        let member = candidate.member;
        match pace.check(member) {
            Ok(()) => turns.go.push(candidate),
            Err(hold) if pace.is_turn_of_others(member) => turns.spare.push((candidate, hold)),
            Err(hold) => held.push((member, hold)),
        }
    }
    turns
}

/// What an owner can still bear to lose.
struct Pace {
    /// No pod may go: the owner wants none, or we do not know how many.
    closed: bool,
    /// How many more available pods may go.
    spare: u32,
    /// A pod that runs the target has not become ready: the target looks broken.
    broken: bool,
    /// Such a pod, or so many of which too little is known that waiting for the others will not do.
    stuck: bool,
    /// Pods that were let go cost this much of what was spare.
    taken: u32,
}

impl Pace {
    fn of(moment: &Moment<'_>, workload: &Workload<'_>) -> Self {
        let desired = workload.desired.unwrap_or(0);
        let strictest = workload
            .outdated()
            .map(|(_, outdated)| outdated.wishes.max_unavailable.of(desired))
            .min();
        let broken = (workload.members.iter())
            .any(|member| matches!(member.standing, Standing::Current) && member.is_stuck(moment));
        let lasting = workload.stuck(desired, moment);
        Self {
            closed: desired == 0,
            spare: strictest.map_or(0, |max| {
                max.saturating_sub(workload.unavailable(desired, moment.now))
            }),
            broken,
            stuck: broken || strictest.is_some_and(|max| 0 < lasting && max <= lasting),
            taken: 0,
        }
    }

    /// Says whether the pod may go, and counts it as gone if so.
    fn check(&mut self, member: &Member<'_>) -> Result<(), Hold> {
        if self.closed {
            return Err(Hold::Pace);
        }
        // A pod that is not ready serves nobody, so it costs nothing. But it may recover, which is better than
        // what it would be replaced by once that is known not to start.
        if !member.pod.ready && self.broken {
            return Err(Hold::Halted);
        }
        if member.pod.ready && self.spare == 0 {
            return Err(if self.stuck { Hold::Halted } else { Hold::Pace });
        }
        // It would be refused again, and must not keep the others from their turn.
        if let Some(hold) = member.refused {
            return Err(hold);
        }
        if member.pod.ready {
            self.spare -= 1;
            self.taken += 1;
        }
        Ok(())
    }

    /// Says whether a pod that may not go is only held because others go before it, who need not be the first.
    fn is_turn_of_others(&self, member: &Member<'_>) -> bool {
        let is_ordered = member.pod.ordinal().is_some();
        member.pod.ready && 0 < self.taken && member.refused.is_none() && !is_ordered
    }
}

impl Workload<'_> {
    /// Returns how many of the `desired` pods are not there to serve at `now`, seen with caution.
    ///
    /// The cache may lag behind, so a pod that we evicted counts as gone while it is still seen alive. It counts against
    /// the desired pods even where more than those are available: the owner is about to remove the surplus, and does not
    /// know that we took one. For the same reason ours count, while there is a surplus, until they are gone for good.
    fn unavailable(&self, desired: u32, now: Timestamp) -> u32 {
        let seen = self.count(|member| self.is_available(member.pod, now));
        let going = if desired < seen {
            self.count(|member| member.evicted)
        } else {
            self.count(|member| member.evicted && self.is_available(member.pod, now))
        };
        desired.saturating_sub(seen).saturating_add(going)
    }

    /// Returns how many of the `desired` pods will not be there to serve even when all others are that may come yet.
    ///
    /// What is stuck may be surplus, and no reason for anybody to wait: a pod of a rollout that hangs, say. A pod that
    /// nobody lets be created may never come.
    fn stuck(&self, desired: u32, moment: &Moment<'_>) -> u32 {
        let places = self.count(|member| member.evicted || member.pod.stays());
        let stuck = self.count(|member| {
            !matches!(member.standing, Standing::Outdated(_)) && member.is_stuck(moment)
        });
        let lost = stuck.saturating_add(self.lacking);
        desired.saturating_sub(places.max(desired).saturating_sub(lost))
    }

    fn count(&self, is: impl Fn(&Member<'_>) -> bool) -> u32 {
        u32::try_from(self.members.iter().filter(|member| is(member)).count()).unwrap_or(u32::MAX)
    }

    /// Says whether a pod can serve at `now`, and has been ready for as long as its owner wants to see that.
    pub fn is_available(&self, pod: &Pod, now: Timestamp) -> bool {
        pod.is_available() && signed(self.min_ready) <= now.duration_since(pod.ready_since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::policy::{OwnerKind, gate::notation::Scene};

    /// Checks what becomes of each pod of a ReplicaSet, in the notation of [`Scene`].
    #[track_caller]
    fn check(desired: u32, max_unavailable: &str, pods: &str, expected: &str) {
        let scene =
            Scene::new(OwnerKind::ReplicaSet, pods).wish("max-unavailable", max_unavailable);
        assert_eq!(scene.fates(Some(desired)), expected, "{pods}");
    }

    #[test]
    fn as_many_ready_pods_go_as_may_be_down() {
        check(3, "1", "R R R", "1 pace pace");
        check(3, "2", "R R R", "1 2 pace");
        check(3, "3", "R R R", "1 2 3");
        check(3, "9", "R R R", "1 2 3");
        check(
            8,
            "25%",
            "R R R R R R R R",
            "1 2 pace pace pace pace pace pace",
        );
        check(3, "25%", "R R R", "1 pace pace");
        check(1, "1", "R", "1");
    }

    #[test]
    fn a_pod_that_is_missing_or_not_ready_holds_the_next_back() {
        check(3, "1", "R R c", "pace pace -");
        check(3, "1", "R R", "pace pace");
        check(3, "2", "R R", "1 pace");
        check(3, "1", "R R C", "1 pace -");
        check(3, "1", "R R u", "pace pace -");
        check(3, "1", "R R C~", "pace pace -");
    }

    #[test]
    fn a_pod_that_has_ended_is_none_of_the_owners() {
        check(3, "1", "R R R ux@", "1 pace pace -");
        check(3, "1", "R R R Ux", "1 pace pace -");
        // What it leaves missing is missing.
        check(3, "1", "R R ux@", "pace pace -");
        check(3, "1", "R r C cx@", "pace 1 - -");
    }

    #[test]
    fn a_pod_is_available_when_it_has_been_ready_for_long_enough() {
        let check = |pods: &str, expected: &str| {
            let mut scene = Scene::new(OwnerKind::ReplicaSet, pods);
            scene.min_ready = Duration::from_secs(15);
            assert_eq!(scene.fates(Some(3)), expected, "{pods}");
        };
        check("R R C", "1 pace -");
        check("R R C'", "pace pace -");
        check("R' R C", "pace pace -");
        check("R R R C'", "1 pace pace -");
        check("R! R C", "- pace -");
        super::tests::check(3, "1", "R R C'", "1 pace -");
    }

    #[test]
    fn what_we_evicted_is_down_though_still_seen() {
        check(3, "1", "R! R R", "- pace pace");
        check(3, "2", "R! R R", "- 1 pace");
        check(3, "1", "R!~ R R", "- pace pace");
        check(3, "2", "R!~ R R", "- 1 pace");
        // Its successor is ready, and it only takes its time to end.
        check(3, "1", "R!~ C R R", "- - 1 pace");
    }

    #[test]
    fn a_surplus_is_not_ours_to_spend() {
        check(3, "1", "R R R R R", "1 pace pace pace pace");
        check(3, "1", "R! R R R R", "- pace pace pace pace");
        check(3, "1", "R!~ R R R R", "- pace pace pace pace");
        check(3, "2", "R! R R R R", "- 1 pace pace pace");
        check(3, "1", "R~ R R R R", "- 1 pace pace pace");
    }

    #[test]
    fn outdated_pods_that_are_not_ready_go_first_and_cost_nothing() {
        check(3, "1", "R r R", "pace 1 pace");
        check(3, "1", "r r r", "1 2 3");
        check(4, "2", "R r R R", "2 1 pace pace");
        check(3, "1", "r! r R", "- 1 pace");
    }

    #[test]
    fn an_owner_that_wants_nothing_or_is_not_known_loses_nothing() {
        check(0, "1", "R r", "pace pace");
        let scene = Scene::new(OwnerKind::ReplicaSet, "R r");
        assert_eq!(scene.fates(None), "pace pace");
    }

    #[test]
    fn a_successor_that_does_not_start_halts_its_owner() {
        check(3, "1", "R R c", "pace pace -");
        check(3, "1", "R R c@", "halted halted -");
        check(3, "1", "R R u@", "halted halted -");
        check(3, "1", "R R c@~", "pace pace -");
        check(3, "1", "R R c@!", "pace pace -");
        check(3, "2", "R R c@", "1 halted -");
        check(3, "1", "R R C@", "1 pace -");
        // What is stuck is surplus, and the others wait for us.
        check(3, "1", "R R R u@", "1 pace pace -");
        check(3, "1", "R! R R u@", "- pace pace -");
        check(3, "1", "R!~ R R u@", "- pace pace -");
        check(3, "1", "R! R u@", "- halted -");
        check(3, "2", "R! R! u@ R", "- - - pace");
        // It was ready, and may be again.
        check(3, "1", "R R c@|", "pace pace -");
        check(3, "1", "R r c@|", "pace 1 -");
    }

    #[test]
    fn a_successor_that_does_not_come_halts_its_owner() {
        let check = |lacking, max: &str, pods: &str, expected: &str| {
            let mut scene = Scene::new(OwnerKind::ReplicaSet, pods).wish("max-unavailable", max);
            scene.lacking = lacking;
            assert_eq!(scene.fates(Some(3)), expected, "{lacking} {pods}");
        };
        check(0, "1", "R R", "pace pace");
        check(1, "1", "R R", "halted halted");
        check(1, "1", "R r", "halted 1");
        check(1, "2", "R R", "1 pace");
        check(2, "2", "R", "halted");
    }

    #[test]
    fn a_target_that_does_not_start_takes_no_unready_pod_either() {
        check(3, "1", "R r c@", "halted halted -");
        check(3, "1", "R r c", "pace 1 -");
        // Nothing says that the target is to blame.
        check(3, "1", "R r u@", "halted 1 -");
        // A fix has been pushed: what ran the broken target is outdated itself.
        check(3, "1", "R r r@", "pace 2 1");
    }

    #[test]
    fn a_refused_pod_waits_and_keeps_nobody_from_its_turn() {
        check(3, "1", "R? R R", "pdb 1 pace");
        check(3, "1", "R? R? R?", "pdb pdb pdb");
        check(3, "1", "R? R c", "pace pace -");
        check(3, "1", "r? R R", "pdb pace pace");
    }

    #[test]
    fn stateful_sets_go_from_the_highest_ordinal() {
        let fates = |pods| Scene::new(OwnerKind::StatefulSet, pods).fates(Some(3));
        assert_eq!(fates("R R R"), "pace pace 1");
        assert_eq!(fates("r R R"), "1 pace pace");
        assert_eq!(fates("r r R"), "2 1 pace");
        let many = Scene::new(OwnerKind::StatefulSet, "R R R R R R R R R R R").fates(Some(11));
        assert!(many.ends_with(" 1"), "10 comes before 9: {many}");
    }

    #[test]
    fn the_strictest_of_several_wishes_holds() {
        let scene = Scene::new(OwnerKind::ReplicaSet, "R R R R")
            .wish("max-unavailable", "3")
            .wish_of(2, "max-unavailable", "2");
        assert_eq!(scene.fates(Some(4)), "1 2 pace pace");
        // A pod that is not outdated has no say.
        let scene = Scene::new(OwnerKind::ReplicaSet, "R R R C")
            .wish("max-unavailable", "3")
            .wish_of(3, "max-unavailable", "2");
        assert_eq!(scene.fates(Some(4)), "1 2 3 -");
    }
}
