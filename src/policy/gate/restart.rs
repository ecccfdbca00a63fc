//! May an owner's pods be replaced by a change of its template now, instead of one by one?

use std::time::Duration;

use super::{Candidate, Hold, Member, Moment, Outdated, Standing, Workload, candidates};
use crate::policy::{OwnerKind, wishes::Strategy};

/// How long a pod may take to become ready, or ready again, before a rollout that waits for it counts as failing, so that it does
/// not keep its own fix away. Longer than most pods take, and far shorter than the ten minutes of a Deployment.
const STARTING: Duration = Duration::from_secs(30);

/// What is known of an owner's rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollouts {
    /// Whether a change of its template replaces all its pods without anybody's doing.
    pub automatic: bool,
    /// Whether somebody has paused them.
    pub paused: bool,
    /// How far the last one has come.
    pub last: Rollout,
    /// Whether its template was written for the digests that its outdated pods should run.
    pub restarted: bool,
}

/// How far a rollout has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// All pods are of the template as it is now.
    Done,
    /// Pods are being replaced.
    UnderWay,
    /// It has made no progress in the time that its owner gives it.
    Stuck,
}

/// Which template of its owner an outdated pod was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Another than it has now: the pod is being replaced already.
    Earlier,
    /// The one that it has now.
    Now,
    /// The same, which was written for just the digests that the pod does not run; and nothing says that its tags
    /// meant something else when it was created.
    InVain,
}

/// An owner to restart.
#[derive(Debug, Clone)]
pub struct Restart<'a> {
    /// Its outdated pods, at least one.
    pub members: Vec<&'a Member<'a>>,
}

/// Returns the pods that the rules let go, in the order in which they should: those to evict, and those whose
/// owner is to be restarted instead. The others join `held`; they do not hold a restart of the pod `free`.
pub(super) fn split<'a>(
    moment: &Moment<'_>,
    workload: &'a Workload<'a>,
    free: Option<&str>,
    held: &mut Vec<(&'a Member<'a>, Hold)>,
) -> (Vec<Candidate<'a>>, Vec<Candidate<'a>>) {
    let mut others = Vec::new();
    let candidates = candidates(moment, workload, free, &mut others);
    let restarts = |member: &Member<'_>| workload.restarts(member, moment);
    let (restarted, evicted): (Vec<_>, Vec<_>) =
        (candidates.into_iter()).partition(|candidate| restarts(candidate.member));
    // A restart replaces them all: what holds one of them back, holds all.
    let strictest = (others.iter().filter(|(member, _)| restarts(member))).map(|(_, hold)| *hold);
    let is_free = |candidate: &Candidate<'_>| free == Some(&*candidate.member.pod.uid);
    let strictest = strictest.min().filter(|_| !restarted.iter().any(is_free));
    held.extend(others);
    let Some(hold) = strictest else {
        return (evicted, restarted);
    };
    held.extend(
        restarted
            .into_iter()
            .map(|candidate| (candidate.member, hold)),
    );
    (evicted, Vec::new())
}

/// Returns the restart that replaces the owner's `candidates`, and the first of these; or they join `held`.
pub(super) fn allow<'a>(
    moment: &Moment<'_>,
    workload: &'a Workload<'a>,
    candidates: Vec<Candidate<'a>>,
    held: &mut Vec<(&'a Member<'a>, Hold)>,
) -> Option<(Candidate<'a>, Restart<'a>)> {
    let first = *candidates.first()?;
    let members: Vec<_> = candidates.iter().map(|it| it.member).collect();
    match workload.check_restart(moment, &members) {
        Ok(()) => Some((first, Restart { members })),
        Err(hold) => {
            held.extend(members.into_iter().map(|member| (member, hold)));
            None
        }
    }
}

impl Workload<'_> {
    /// Says whether an outdated pod is to be replaced by a restart, not by an eviction.
    ///
    /// While it is not known whether the workload has one pod, it is assumed: it is read before anything is done.
    pub fn restarts(&self, member: &Member<'_>, moment: &Moment<'_>) -> bool {
        let Standing::Outdated(outdated) = &member.standing else {
            return false;
        };
        let wished = match outdated.wishes.strategy {
            Strategy::Restart => true,
            Strategy::Auto => self.single.unwrap_or(true),
            Strategy::Evict | Strategy::Notify => false,
        };
        // The StatefulSet's controller waits for such a pod for ever, whatever has become of the template; but one that
        // would not roll a new template out is not restarted at all, nor are its pods evicted instead.
        let rolls_out = self.rollouts.is_none_or(|rollouts| rollouts.automatic);
        wished && !(rolls_out && member.is_of_stateful_set() && member.is_failing(moment))
    }

    /// Says whether its pods that stay are of several direct owners, as a Deployment's are while it is rolled out.
    fn has_two_owners(&self) -> bool {
        let staying = self.members.iter().filter(|member| !member.is_going());
        let mut owners = staying.filter_map(|member| Some(&*member.pod.owner.as_ref()?.uid));
        let first = owners.next();
        owners.any(|owner| Some(owner) != first)
    }

    /// Returns what holds the restart of all its outdated pods, `members`, back.
    fn check_restart(&self, moment: &Moment<'_>, members: &[&Member<'_>]) -> Result<(), Hold> {
        let staying = || self.members.iter().filter(|member| !member.is_going());
        let unready = || staying().filter(|member| !member.pod.ready);
        let is_current = |member: &Member<'_>| matches!(member.standing, Standing::Current);
        let broken = unready().any(|member| is_current(member) && member.is_stuck(moment));
        if let Some(rollouts) = self.rollouts {
            let failing = unready().any(|member| member.is_failing(moment))
                && unready().all(|member| matches!(member.standing, Standing::Outdated(_)));
            rollouts.check(members, failing, broken)?;
        }
        if self.desired.is_none_or(|desired| desired == 0) {
            return Err(Hold::Pace);
        }
        if broken {
            return Err(Hold::Halted);
        }
        // A new pod that runs the target is given time to show whether it does, where something is at stake; and
        // no StatefulSet replaces anything before all its pods are ready.
        let at_stake = members.iter().any(|member| member.pod.ready);
        let waits =
            |member: &Member<'_>| at_stake && is_current(member) || member.is_of_stateful_set();
        if unready().any(waits) {
            // Where it is not known how far the last rollout has come, its own pods may tell.
            let is_rolling = self.rollouts.is_none() && self.has_two_owners();
            return Err(if is_rolling {
                Hold::Rollout
            } else {
                Hold::Pace
            });
        }
        // It would be refused again.
        match members.iter().find_map(|member| member.refused) {
            Some(Hold::Refused) => Err(Hold::Refused),
            _ => Ok(()),
        }
    }
}

impl Rollouts {
    /// Returns what holds a restart back; `failing` says that the pods which a rollout waits for are outdated
    /// themselves, `broken` that one which is not outdated has not become ready in time.
    fn check(self, members: &[&Member<'_>], failing: bool, broken: bool) -> Result<(), Hold> {
        if !self.automatic {
            return Err(Hold::NoRollout);
        }
        if self.paused {
            return Err(Hold::Paused);
        }
        let made = || members.iter().filter_map(|member| member.outdated());
        let any = |wanted: Made| made().any(|outdated| outdated.made == wanted);
        if self.restarted && any(Made::Earlier) {
            // All is done, and the rest is up to the owner.
            let halted = broken || self.last == Rollout::Stuck;
            return Err(if halted { Hold::Halted } else { Hold::Rollout });
        }
        if self.restarted && any(Made::InVain) {
            return Err(Hold::Ineffective);
        }
        match self.last {
            Rollout::UnderWay if !failing => Err(Hold::Rollout),
            // The cache does not show yet that they are gone.
            Rollout::Done if any(Made::Earlier) => Err(Hold::Rollout),
            _ => Ok(()),
        }
    }
}

impl<'a> Member<'a> {
    /// Returns what is known of it if it is outdated.
    const fn outdated(&self) -> Option<&Outdated<'a>> {
        match &self.standing {
            Standing::Outdated(outdated) => Some(outdated),
            Standing::Current | Standing::Unknown => None,
        }
    }

    /// Says whether it stays, and is not ready though it has had the time to become so.
    fn is_failing(&self, moment: &Moment<'_>) -> bool {
        self.is_unready_for(STARTING.min(moment.limits.progress_deadline), moment)
    }

    fn is_of_stateful_set(&self) -> bool {
        let owner = self.pod.owner.as_ref();
        owner.is_some_and(|owner| owner.kind == OwnerKind::StatefulSet)
    }
}

#[cfg(test)]
mod tests;
