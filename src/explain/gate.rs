//! The gate over one workload, by what can be known from here.

mod heard;

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    blind::{Blind, Part},
    case::{Case, Moved},
    group::Group,
    sight::{Lease, Sight},
};
use crate::{
    cluster::{EventReason, Holder, OwnerError, Told, Workload},
    policy::{
        Digest, Template,
        disruption::{Kept, disruptable},
        gate::{self, Hold, Limits, Made, Member, Moment, Past, plan, signed},
    },
};

/// How far others' clocks may be ahead of or behind ours: a Lease may seem not to have been renewed for as much longer.
pub(super) const SKEW: SignedDuration = SignedDuration::from_secs(60);

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// Everything that was read and judged.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// What may be seen.
    pub(super) sight: &'a Sight,
    /// What may not.
    blind: &'a Blind,
    /// The pods.
    pub(super) cases: &'a [Case<'a>],
    /// The controller's limits.
    pub(super) limits: Limits,
    /// The evictions and restarts of the last minute that were told.
    pub(super) evictions: Vec<Past>,
    /// How many of the evicted pods are gone, so that their nodes are not known.
    pub(super) lost: usize,
}

impl<'a> Scene<'a> {
    /// Returns the scene of what was read.
    pub(super) fn new(
        sight: &'a Sight,
        blind: &'a Blind,
        cases: &'a [Case<'a>],
        limits: Limits,
    ) -> Self {
        let told = sight.told.values().flatten();
        let recent = told.filter(|told| {
            matches!(told.reason, EventReason::Evicted | EventReason::Restarted)
                && sight.now.duration_since(told.at) <= MINUTE
        });
        // An Event lies under each of the objects that it has to do with.
        let recent: HashMap<(Timestamp, &str), &Told> = recent
            .map(|told| ((told.at, &*told.uid), &**told))
            .collect();
        // Where an evicted pod ran is known while it still ends. A restart is of no node.
        let pod = |told: &Told| {
            let mut pods = sight.pods.iter().map(|seen| &seen.pod);
            pods.find(|pod| pod.uid == told.uid)
        };
        let is_lost = |told: &Told| told.reason == EventReason::Evicted && pod(told).is_none();
        let lost = recent.values().filter(|told| is_lost(told)).count();
        Self {
            sight,
            blind,
            cases,
            limits,
            lost,
            evictions: (recent.into_values())
                .map(|told| Past {
                    at: told.at,
                    namespace: told.namespace.clone(),
                    node: pod(told).and_then(|pod| pod.node.clone()),
                })
                .collect(),
        }
    }

    /// Returns what all decisions share. Where it is not known who leads, somebody does.
    pub(super) fn moment(&self) -> Moment<'_> {
        Moment {
            now: self.sight.now,
            leader: !matches!(&self.sight.lease, Lease::Held(holder) if !leads(holder, self.sight.now)),
            limits: self.limits,
            evictions: &self.evictions,
        }
    }

    /// Says whether Events tell that a controller is certain of all that makes a pod outdated; and, if its owner is
    /// to be restarted, all others that a restart is for.
    pub(super) fn is_confirmed(
        &self,
        group: &Group,
        view: &gate::Workload<'_>,
        case: &Case<'_>,
    ) -> bool {
        let mut members = group.members.iter().map(|nth| &self.cases[*nth]);
        let place = members.position(|other| other.seen.pod.uid == case.seen.pod.uid);
        place.is_some_and(|place| self.confirmed(group, view)[place])
    }

    /// Says the same of each pod of the group, in their order.
    fn confirmed(&self, group: &Group, view: &gate::Workload<'_>) -> Vec<bool> {
        let moment = self.moment();
        let known = group.members.iter().map(|nth| {
            let case = &self.cases[*nth];
            let mut moved = case.moved();
            moved.all(|moved| self.known(group, case, moved).is_some())
        });
        let restarts = view.members.iter();
        let restarts = restarts.map(|member| view.restarts(member, &moment));
        let members: Vec<(bool, bool)> = known.zip(restarts).collect();
        let company = members.iter().all(|(known, restarts)| *known || !restarts);
        (members.into_iter())
            .map(|(known, restarts)| known && (company || !restarts))
            .collect()
    }

    /// Says whether a pod's owner is to be restarted, and not the pod evicted.
    pub(super) fn restarts(&self, view: &gate::Workload<'_>, case: &Case<'_>) -> bool {
        let mut members = view.members.iter();
        let member = members.find(|member| member.pod.uid == case.seen.pod.uid);
        member.is_some_and(|member| view.restarts(member, &self.moment()))
    }

    /// Returns the group as the gate sees it, its pods in their order; what cannot be known from here is taken to hold
    /// nobody back.
    pub(super) fn view(&self, group: &Group) -> gate::Workload<'_> {
        let missed = self.missed(group);
        let cases = || group.members.iter().map(|nth| &self.cases[*nth]);
        let workload = group.workload.as_ref().ok();
        let template = workload.map(|workload| {
            let moved = cases().flat_map(Case::moved);
            let targets = moved.map(|moved| (&*moved.container.name, moved.target));
            Template::new(workload.refreshed.as_deref(), targets)
        });
        let members: Vec<Member<'_>> = cases()
            .map(|case| self.member(group, case, &missed, template.as_ref()))
            .collect();
        let desired = match &group.workload {
            Ok(workload) => Some(workload.desired),
            Err(OwnerError::Unread { .. }) => {
                let staying = members.iter().filter(|member| member.pod.stays());
                u32::try_from(staying.count()).ok()
            }
            Err(_) => None,
        };
        gate::Workload {
            desired,
            // Nothing that can be read tells since when.
            lacking: 0,
            min_ready: workload.map(|it| it.min_ready).unwrap_or_default(),
            recent: 0,
            single: workload.map(Workload::is_single),
            rollouts: (workload.zip(template.as_ref()))
                .map(|(workload, template)| workload.rollouts(template.is_restarted())),
            members,
        }
    }

    /// Returns what holds each outdated pod of the group back, if anything does, by the index of its case.
    pub(super) fn holds(&self, group: &Group) -> Vec<(usize, Option<Hold>)> {
        let views = [self.view(group)];
        let moment = self.moment();
        let plan = plan(&moment, &views);
        let held: HashMap<&str, Hold> = (plan.held.iter())
            .map(|(member, hold)| (&*member.pod.uid, *hold))
            .collect();
        let confirmed = self.confirmed(group, &views[0]);
        let members = group.members.iter().copied().zip(confirmed);
        (members.filter(|(nth, _)| self.cases[*nth].is_outdated()))
            .map(|(nth, confirmed)| {
                let known = held.get(&*self.cases[nth].seen.pod.uid).copied();
                (nth, known.or((!confirmed).then_some(Hold::Unconfirmed)))
            })
            .collect()
    }

    /// Returns what holds a pod back, given what is known to: what nobody has confirmed is not acted on.
    pub(super) fn reason(
        &self,
        group: &Group,
        view: &gate::Workload<'_>,
        case: &Case<'_>,
        known: Option<Hold>,
    ) -> Option<Hold> {
        known.or_else(|| (!self.is_confirmed(group, view, case)).then_some(Hold::Unconfirmed))
    }

    fn member<'v>(
        &'v self,
        group: &Group,
        case: &'v Case<'_>,
        missed: &HashSet<(&str, &Digest)>,
        template: Option<&Template<'_>>,
    ) -> Member<'v> {
        let pod = &*case.seen.pod;
        let kept = disruptable(pod, case.seen.budgets.iter().map(|budget| &**budget));
        let moved: Vec<Moved<'_>> = case.moved().collect();
        let standing = match &case.wishes {
            Ok(wishes) if !moved.is_empty() => gate::Standing::Outdated(gate::Outdated {
                wishes,
                targets: (moved.iter())
                    .map(|moved| self.target(group, case, *moved, missed))
                    .collect(),
                registry_failing: case.faults().next().is_some(),
                made: template.map_or(Made::Now, |template| {
                    template.made(pod, moved.iter().map(|moved| &*moved.container.name))
                }),
            }),
            _ if case.is_current() => gate::Standing::Current,
            _ => gate::Standing::Unknown,
        };
        Member {
            pod,
            evicted: false,
            in_doubt: false,
            refused: kept.err().map(|kept| match kept {
                Kept::Several => Hold::Refused,
                Kept::NoneAllowed | Kept::Unobserved => Hold::Pdb,
            }),
            standing,
        }
    }

    fn target(
        &self,
        group: &Group,
        case: &Case<'_>,
        moved: Moved<'_>,
        missed: &HashSet<(&str, &Digest)>,
    ) -> gate::Target {
        let now = self.sight.now;
        let known = self.known(group, case, moved);
        let age = now.duration_since(case.seen.pod.created);
        let young = age < signed(self.limits.progress_deadline);
        let patience = case.wishes.as_ref().map(|wishes| wishes.min_age);
        let patience = patience.unwrap_or_default();
        gate::Target {
            first_seen: match known {
                Some(known) => known.told,
                None => {
                    let before = signed(self.limits.confirm_after.max(patience));
                    now.saturating_sub(before).unwrap_or(Timestamp::MIN)
                }
            },
            last_seen: known.map_or(now, |known| {
                let confirmed = known.told.saturating_add(signed(self.limits.confirm_after));
                now.max(confirmed.unwrap_or(Timestamp::MAX))
            }),
            sightings: 2,
            ineffective: missed.contains(&(&*moved.container.name, moved.target))
                || young && self.came_in_vain(group, case, moved),
        }
    }

    /// Says whether a part of the cluster could be seen.
    pub(super) fn sees(&self, part: Part) -> bool {
        self.blind.sees(part)
    }
}

/// Says whether the holder of a Lease leads.
pub(super) fn leads(holder: &Holder, now: Timestamp) -> bool {
    let allowed = signed(holder.duration).saturating_add(SKEW);
    let renewed = holder.renewed.map(|at| now.duration_since(at));
    !holder.identity.is_empty() && renewed.is_some_and(|ago| ago <= allowed)
}

#[cfg(test)]
mod tests;
