//! Every reason in words, with the numbers of the pod in question.

use jiff::Timestamp;

use super::{
    blind::Part,
    case::Case,
    gate::{Scene, leads},
    group::Group,
    report::Outcome,
    second,
    sight::Lease,
    span::span,
};
use crate::{
    cluster::{EventReason, OwnerError, lease::LEASE},
    error::Chain,
    policy::{
        disruption::{Disruptions, Kept, disruptable},
        gate::{Check, Hold, Standing, Workload, signed},
    },
};

mod budgets;
mod restart;

/// An outdated pod, and all that is known around it.
pub(super) struct Subject<'a> {
    /// What was read and judged.
    pub(super) scene: &'a Scene<'a>,
    /// The namespace of the controllers.
    pub(super) home: &'a str,
    /// Its workload.
    pub(super) group: &'a Group,
    /// The workload as the gate sees it.
    pub(super) view: &'a Workload<'a>,
    /// The pod.
    pub(super) case: &'a Case<'a>,
}

use Outcome::{Hold as Holds, Pass, Unknown};

impl Subject<'_> {
    /// Returns what a rule comes to, and why.
    pub(super) fn why(&self, check: Check) -> (Outcome, String) {
        let Check {
            rule,
            holds,
            shared,
        } = check;
        if shared {
            let why =
                "another outdated pod of its owner waits for that, and a restart replaces them all";
            return (Holds, why.to_owned());
        }
        match rule {
            Hold::NotLeader => self.leader(),
            Hold::Notify => (outcome(holds), self.strategy()),
            Hold::Unconfirmed => self.confirmed(),
            Hold::MinAge => self.min_age(holds),
            Hold::Window => (outcome(holds), self.window()),
            Hold::RegistryFailing => self.registry(),
            Hold::Ineffective => self.ineffective(holds),
            Hold::NoRollout => self.no_rollout(holds),
            Hold::Paused => self.paused(holds),
            Hold::Rollout => self.rollout(holds),
            Hold::Pace => self.pace(holds),
            Hold::Halted => self.halted(holds),
            Hold::Budget => self.budget(holds),
            Hold::NamespaceBudget => self.namespace_budget(holds),
            Hold::NodeBudget => self.node_budget(holds),
            Hold::Pdb => self.disruptions(),
            Hold::Refused => self.refused(),
        }
    }

    fn leader(&self) -> (Outcome, String) {
        let lease = format!("the Lease {}/{LEASE}", self.home);
        let now = self.scene.sight.now;
        match &self.scene.sight.lease {
            Lease::Unseen => (Unknown, format!("{lease} cannot be read from here")),
            Lease::Missing => (
                Unknown,
                format!(
                    "there is no {}: no controller runs there, or one without election",
                    &lease[4..]
                ),
            ),
            Lease::Held(holder) if holder.identity.is_empty() => {
                (Holds, format!("nobody holds {lease}"))
            }
            Lease::Held(holder) => {
                let renewed = holder.renewed.map_or_else(
                    || "never renewed".to_owned(),
                    |at| format!("renewed {} ago", span(now.duration_since(at))),
                );
                let identity = &holder.identity;
                if leads(holder, now) {
                    (Pass, format!("{identity} holds {lease}, {renewed}"))
                } else {
                    let allowed = span(signed(holder.duration));
                    let why = format!(
                        "{identity} holds {lease}, but {renewed}, where {allowed} are allowed"
                    );
                    (Holds, why)
                }
            }
        }
    }

    fn strategy(&self) -> String {
        let strategy = self.case.wishes.as_ref().map(|it| it.strategy);
        format!("the strategy is {}", strategy.unwrap_or_default().label())
    }

    fn confirmed(&self) -> (Outcome, String) {
        let Some(since) = self.scene.since(self.group, self.case) else {
            let apart = span(signed(self.scene.limits.confirm_after));
            let told = if self.scene.sees(Part::Events) {
                "no Event tells that the controller is certain"
            } else {
                "Events cannot be read from here"
            };
            return (
                Unknown,
                format!(
                    "the controller must get T in two lookups at least {apart} apart; here it was asked for once, and {told}"
                ),
            );
        };
        if !self.scene.is_confirmed(self.group, self.view, self.case) {
            let why = "another outdated pod of its owner is not seen to be confirmed, and a restart replaces them all";
            return (Unknown, why.to_owned());
        }
        (
            Pass,
            format!("the controller was certain at {}", second(since)),
        )
    }

    fn min_age(&self, holds: bool) -> (Outcome, String) {
        let Some(wish) = self.case.wish("min-age") else {
            return (Pass, "no min-age is wished".to_owned());
        };
        let known = self.case.moved().map(|moved| {
            let known = self.scene.known(self.group, self.case, moved)?;
            Some(known.told)
        });
        let youngest: Option<Vec<Timestamp>> = known.collect();
        let Some(youngest) = youngest.and_then(|known| known.into_iter().max()) else {
            let why = format!(
                "T must have been seen for {wish}, and only the controller knows since when it has"
            );
            return (Unknown, why);
        };
        let age = self.scene.sight.now.duration_since(youngest);
        let wanted = self.case.wishes.as_ref().map(|it| it.min_age);
        let seen = format!(
            "T must have been seen for {wish}, and has been for {} at least",
            span(age)
        );
        if holds {
            let left = span(signed(wanted.unwrap_or_default()).saturating_sub(age));
            (Holds, format!("{seen}; {left} are left at most"))
        } else {
            (Pass, seen)
        }
    }

    fn window(&self) -> String {
        let Some(wish) = self.case.wish("window") else {
            return "no window is wished, so it is always open".to_owned();
        };
        match self.opens() {
            None => format!("the window {wish:?} is open"),
            Some(at) => {
                let wait = span(at.duration_since(self.scene.sight.now));
                format!("the window {wish:?} is closed and opens at {at}, in {wait}")
            }
        }
    }

    /// Returns when the window opens, if it is closed.
    pub(super) fn opens(&self) -> Option<Timestamp> {
        let wishes = self.case.wishes.as_ref().ok()?;
        wishes.window.opens_next(self.scene.sight.now)
    }

    fn registry(&self) -> (Outcome, String) {
        match self.case.faults().next() {
            Some(fault) => (Holds, Chain(fault).to_string()),
            None => (Pass, "the registry answers".to_owned()),
        }
    }

    fn pace(&self, holds: bool) -> (Outcome, String) {
        match &self.group.workload {
            Err(error @ OwnerError::Unread { .. }) => return (Unknown, Chain(error).to_string()),
            Err(error) => return (Holds, Chain(error).to_string()),
            Ok(_) => {}
        }
        if !self.scene.sees(Part::Pods) {
            return (
                Unknown,
                "the other pods cannot be listed from here".to_owned(),
            );
        }
        let desired = self.view.desired.unwrap_or_default();
        let ready = self
            .view
            .members
            .iter()
            .filter(|member| member.pod.is_available());
        let now = self.scene.sight.now;
        let young = { ready.clone() }.filter(|member| !self.view.is_available(member.pod, now));
        let max = (self.view.members.iter())
            .filter_map(|member| match &member.standing {
                Standing::Outdated(outdated) => Some(outdated.wishes.max_unavailable.of(desired)),
                Standing::Current | Standing::Unknown => None,
            })
            .min();
        let young = match young.count() {
            0 => String::new(),
            count => {
                let min_ready = span(signed(self.view.min_ready));
                format!(" ({count} for less than {min_ready}, minReadySeconds)")
            }
        };
        let ready = ready.count();
        if self.restarts() {
            return self.pace_of_restart(holds, desired, ready);
        }
        let mut why = format!(
            "{desired} wanted, {ready} ready{young}, {} may be unavailable",
            max.unwrap_or_default()
        );
        if !self.case.seen.pod.ready {
            why.push_str("; this one is not ready, so it costs nothing");
        } else if holds {
            why.push_str("; it is not the turn of this one");
        }
        (outcome(holds), why)
    }

    fn halted(&self, holds: bool) -> (Outcome, String) {
        let deadline = self.scene.limits.progress_deadline;
        let now = self.scene.sight.now;
        let stuck = self.view.members.iter().filter(|member| {
            let pod = member.pod;
            let is_late = signed(deadline) <= now.duration_since(pod.created);
            !matches!(member.standing, Standing::Outdated(_))
                && !pod.ready
                && !pod.terminating
                && is_late
        });
        let stuck: Vec<&str> = stuck.map(|member| &*member.pod.name).collect();
        let deadline = span(signed(deadline));
        let why = if let Some(why) = self.stuck() {
            why
        } else if stuck.is_empty() {
            format!("no replacement has failed to become Ready within {deadline}")
        } else {
            format!("not Ready within {deadline}: {}", stuck.join(", "))
        };
        (outcome(holds), why)
    }

    fn disruptions(&self) -> (Outcome, String) {
        if self.restarts() {
            return (Pass, "a restart asks no PodDisruptionBudget".to_owned());
        }
        let unseen = [Part::Budgets, Part::Pods]
            .into_iter()
            .find(|part| !self.scene.sees(*part));
        if unseen.is_some() {
            let why = "PodDisruptionBudgets cannot be read from here; the API server asks them in the end";
            return (Unknown, why.to_owned());
        }
        let seen = self.case.seen;
        let (pod, budgets) = (&seen.pod, &seen.budgets);
        let told: Vec<String> = budgets.iter().map(|budget| budget_words(budget)).collect();
        let told = told.join("; ");
        match disruptable(pod, budgets.iter().map(|budget| &**budget)) {
            Ok(()) if budgets.is_empty() => (Pass, "no PodDisruptionBudget selects it".to_owned()),
            Ok(()) if !pod.ready => (
                Pass,
                format!("{told}; but the pod is not Ready, and may go"),
            ),
            Ok(()) => (Pass, told),
            Err(Kept::NoneAllowed) => (Holds, told),
            Err(Kept::Unobserved) => (
                Holds,
                format!("{told}; its controller has not looked at its last change yet"),
            ),
            Err(Kept::Several) => (Pass, format!("{told}; but none of them is asked")),
        }
    }

    /// Returns the names of the budgets that select the pod, if those are too many.
    fn several(&self) -> Option<String> {
        let seen = self.case.seen;
        let budgets = || seen.budgets.iter().map(|budget| &**budget);
        let is_kept = disruptable(&seen.pod, budgets()) == Err(Kept::Several);
        let names = || budgets().map(|budget| &*budget.name).collect::<Vec<_>>();
        (is_kept && !self.restarts()).then(|| names().join(" and "))
    }

    fn refused(&self) -> (Outcome, String) {
        if let Some(names) = self.several() {
            let why = "no pod can be evicted that more than one PodDisruptionBudget selects";
            return (Holds, format!("{why}: {names}"));
        }
        if !self.scene.sees(Part::Events) {
            return (Unknown, "Events cannot be read from here".to_owned());
        }
        // Earlier ones were for another digest.
        let since = self.scene.since(self.group, self.case);
        let mut told = self.scene.told(self.group, self.case).into_iter().rev();
        let last = told.find(|told| {
            told.reason == EventReason::EvictionBlocked
                && since.is_some_and(|since| since <= told.at)
        });
        match last {
            None => (Pass, "no Event tells of a refusal".to_owned()),
            // What its budgets say now stands above.
            Some(told) if told.note.to_lowercase().contains("disruption") => {
                let at = second(told.at);
                (
                    Pass,
                    format!("the last refusal that was told, at {at}, was a budget's"),
                )
            }
            Some(told) => (
                Unknown,
                format!(
                    "{} at {}; the controller asks again after pauses of at most 5m",
                    told.note,
                    second(told.at)
                ),
            ),
        }
    }
}

fn budget_words(budget: &Disruptions) -> String {
    let Disruptions {
        name,
        allowed,
        healthy,
        wanted,
        ..
    } = budget;
    let allowed = match allowed {
        0 => "no disruption".to_owned(),
        1 => "1 disruption".to_owned(),
        more => format!("{more} disruptions"),
    };
    format!("PodDisruptionBudget {name} allows {allowed} now: {healthy} healthy, {wanted} wanted")
}

const fn outcome(holds: bool) -> Outcome {
    if holds { Holds } else { Pass }
}
