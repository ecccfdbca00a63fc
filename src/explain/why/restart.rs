//! The rules on restarts in words, and what other rules come to where an owner is restarted.

use super::{Holds, Pass, Subject, Unknown, outcome};
use crate::{
    cluster::Workload,
    error::Chain,
    explain::{object, report::Outcome},
    policy::gate::{Made, Rollout, Standing},
};

impl Subject<'_> {
    /// Says whether the pod's owner is to be restarted, and not the pod evicted.
    pub(in crate::explain) fn restarts(&self) -> bool {
        self.scene.restarts(self.view, self.case)
    }

    /// Returns what the pod's workload is called, where it could be read.
    pub(in crate::explain) fn owner(&self) -> Option<String> {
        self.group.workload.as_ref().ok().map(named)
    }

    pub(super) fn no_rollout(&self, holds: bool) -> (Outcome, String) {
        self.of_restart(holds, |workload| {
            let owner = named(workload);
            match (holds, workload.kind.rolls()) {
                (false, _) => format!("a new template of {owner} replaces all its pods"),
                (true, true) => format!(
                    "a new template of {owner} would not replace all its pods: its update strategy is OnDelete, \
                     or has a partition"
                ),
                (true, false) => format!("a new template of {owner} would replace none of its pods"),
            }
        })
    }

    pub(super) fn paused(&self, holds: bool) -> (Outcome, String) {
        self.of_restart(holds, |workload| {
            let not = if workload.paused { "" } else { "not " };
            format!("{} is {not}paused", named(workload))
        })
    }

    pub(super) fn rollout(&self, holds: bool) -> (Outcome, String) {
        self.of_restart(holds, |workload| {
            let owner = named(workload);
            let (outdated, earlier) = (self.count(|_| true), self.count(is(Made::Earlier)));
            let last = self.view.rollouts.map(|rollouts| rollouts.last);
            match last {
                _ if holds && 0 < earlier => {
                    let value = match &workload.refreshed {
                        Some(value) => format!("podrefresh.io/refreshed={value}"),
                        None => "no podrefresh.io/refreshed".to_owned(),
                    };
                    format!(
                        "{earlier} of {outdated} outdated pods are of an earlier template of {owner}, which has {value}"
                    )
                }
                Some(Rollout::UnderWay) if holds || 0 < self.count(is(Made::InVain)) => {
                    format!("a rollout of {owner} is under way")
                }
                Some(Rollout::UnderWay) if workload.paused => {
                    format!("a rollout of {owner} is under way, and paused")
                }
                Some(Rollout::UnderWay) => format!(
                    "a rollout of {owner} is under way, but the pods that it waits for are outdated themselves"
                ),
                Some(Rollout::Stuck) => {
                    format!("the last rollout of {owner} has made no progress in its time")
                }
                Some(Rollout::Done) | None => format!("no rollout of {owner} is under way"),
            }
        })
    }

    /// Returns what a rule that only a restart must meet comes to.
    fn of_restart(&self, holds: bool, why: impl FnOnce(&Workload) -> String) -> (Outcome, String) {
        if !self.restarts() {
            return (Pass, "it is to be evicted, not restarted".to_owned());
        }
        match &self.group.workload {
            Ok(workload) => (outcome(holds), why(workload)),
            Err(error) => (Unknown, Chain(error).to_string()),
        }
    }

    pub(super) fn ineffective(&self, holds: bool) -> (Outcome, String) {
        let restarted = self.view.rollouts.is_some_and(|it| it.restarted);
        let in_vain = 0 < self.count(is(Made::InVain));
        let why = match holds {
            true if self.restarts() && restarted && in_vain => {
                "its owner was restarted for T, and a pod of the new template has the old image: a stale mirror, or \
                 a node's cache"
            }
            true => {
                "a replacement has come back with the old image: a stale mirror, or a node's cache"
            }
            false => "no replacement is seen to have come back with the old image",
        };
        (outcome(holds), why.to_owned())
    }

    /// Returns what the pace of a restart comes to, of an owner that wants `desired` pods and has `ready`.
    pub(super) fn pace_of_restart(
        &self,
        holds: bool,
        desired: u32,
        ready: usize,
    ) -> (Outcome, String) {
        let mut why = format!(
            "{desired} wanted, {ready} ready; a restart goes at its owner's own pace, not by max-unavailable"
        );
        if holds {
            why.push_str(if desired == 0 {
                "; no pod is wanted"
            } else {
                "; it waits for pods that are not Ready"
            });
            return (Holds, why);
        }
        (Pass, why)
    }

    /// Returns how the restart for T has failed, if its owner says that it has.
    pub(super) fn stuck(&self) -> Option<String> {
        let rollouts = self.view.rollouts.filter(|_| self.restarts())?;
        let is_stuck = rollouts.restarted && rollouts.last == Rollout::Stuck;
        let owner = self.owner().filter(|_| is_stuck)?;
        Some(format!(
            "the rollout of {owner} for T has made no progress in its time"
        ))
    }

    /// Returns how many of the owner's outdated pods are of such a template.
    fn count(&self, wanted: impl Fn(Made) -> bool) -> usize {
        let members = self.view.members.iter();
        let made = members.filter_map(|member| match &member.standing {
            Standing::Outdated(outdated) => Some(outdated.made),
            Standing::Current | Standing::Unknown => None,
        });
        made.filter(|made| wanted(*made)).count()
    }
}

fn is(wanted: Made) -> impl Fn(Made) -> bool {
    move |made| made == wanted
}

fn named(workload: &Workload) -> String {
    object(workload.kind.label(), &workload.name)
}
