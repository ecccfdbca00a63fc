//! What Events tell of pods: since when they are outdated, and which replacements came in vain.

use std::collections::HashSet;

use jiff::Timestamp;

use super::Scene;
use crate::{
    cluster::{EventReason, Told},
    explain::{
        case::{Case, Moved},
        group::Group,
    },
    policy::Digest,
    registry::Lookup,
};

/// What Events tell of a digest that a container should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::explain) struct Known {
    /// When a controller told first that the container is outdated for it.
    pub(in crate::explain) since: Timestamp,
    /// When one told so last; a controller that starts anew counts anew. It had seen the digest for a while by then.
    pub(in crate::explain) told: Timestamp,
}

impl Known {
    /// Says whether the pod was created when its tag meant already what it should run.
    fn is_late(self, case: &Case<'_>) -> bool {
        self.told < case.seen.pod.created
    }
}

impl<'a> Scene<'a> {
    /// Returns the Events about a pod of the group and about those that control it, oldest first.
    pub(in crate::explain) fn told(&self, group: &Group, case: &Case<'_>) -> Vec<&'a Told> {
        let pod = &case.seen.pod;
        let workload = group.workload.as_ref().ok();
        let uids = [
            Some(&*pod.uid),
            pod.owner.as_ref().map(|owner| &*owner.uid),
            workload.map(|workload| &*workload.uid),
        ];
        let uids: Vec<&str> = uids.into_iter().flatten().collect();
        self.sight.told(&uids)
    }

    /// Returns what Events tell of what a container of the pod should run.
    pub(in crate::explain) fn known(
        &self,
        group: &Group,
        case: &Case<'_>,
        moved: Moved<'_>,
    ) -> Option<Known> {
        let target = format!(" to {}", moved.target);
        let image = Lookup::of(&case.seen.pod, moved.container)?.image;
        let image = format!("{image} has moved on");
        let mut known: Option<Known> = None;
        for told in self.told(group, case) {
            if told.reason != EventReason::Outdated {
                continue;
            }
            if told.note.contains(&target) {
                let since = known.map_or(told.at, |known| known.since);
                known = Some(Known {
                    since,
                    told: told.at,
                });
            } else if told.note.contains(&image) {
                // The tag has meant something else meanwhile.
                known = None;
            }
        }
        known
    }

    /// Says whether the pod was created when its tag meant already what it should run, as far as can be told; by the rules
    /// of the controller, a stamp may tell otherwise of a pod that came for none of ours.
    pub(super) fn came_in_vain(&self, group: &Group, case: &Case<'_>, moved: Moved<'_>) -> bool {
        let created = case.seen.pod.created;
        let known = self.known(group, case, moved);
        let Some(known) = known.filter(|known| known.is_late(case)) else {
            return false;
        };
        let target = format!(" to {}", moved.target);
        let is_ours = |told: &Told| {
            matches!(told.reason, EventReason::Evicted | EventReason::Restarted)
                && told.at <= created
                && told.note.contains(&target)
        };
        self.told(group, case).into_iter().any(is_ours)
            || !(moved.container).denies(moved.target, known.told, created)
    }

    /// Returns since when a pod is outdated, if Events tell of all that makes it so.
    pub(in crate::explain) fn since(&self, group: &Group, case: &Case<'_>) -> Option<Timestamp> {
        let known = case.moved().map(|moved| self.known(group, case, moved));
        let known: Option<Vec<Known>> = known.collect();
        known?.into_iter().map(|known| known.since).min()
    }

    /// Returns the containers and digests that a replacement has missed: it was created after the digest was
    /// first seen, is Ready, and is outdated for it all the same.
    pub(super) fn missed(&self, group: &Group) -> HashSet<(&str, &Digest)> {
        let (mut missed, mut asked) = (HashSet::new(), HashSet::new());
        let members = group.members.iter().map(|nth| &self.cases[*nth].seen.pod);
        let newest = members.map(|pod| pod.created).max();
        let cases = group.members.iter().map(|nth| &self.cases[*nth]);
        for case in cases.filter(|case| case.seen.pod.ready) {
            for moved in case.moved().filter(|moved| moved.judged.doubt.is_none()) {
                if self.came_in_vain(group, case, moved)
                    || self.is_told_ineffective(group, case, moved.target, newest)
                {
                    missed.insert((&*moved.container.name, moved.target));
                }
            }
        }
        for case in group.members.iter().map(|nth| &self.cases[*nth]) {
            for moved in case.moved().filter(|it| it.container.is_pinned()) {
                let what = (&*moved.container.name, moved.target);
                if asked.insert(what) && self.strayed(group, case, moved) {
                    missed.insert(what);
                }
            }
        }
        missed
    }

    /// Says whether a replacement of the pod was not pinned as the pod is, and runs another image than it should.
    fn strayed(&self, group: &Group, case: &Case<'_>, moved: Moved<'_>) -> bool {
        let Some(known) = self.known(group, case, moved) else {
            return false;
        };
        let mut others = group.members.iter().map(|nth| &self.cases[*nth]);
        others.any(|other| {
            let pod = &other.seen.pod;
            pod.strayed_from(moved.container, moved.target) && known.is_late(other)
        })
    }

    /// Says whether an Event tells that a replacement missed `target`, and no pod has come since, the `newest` of which
    /// was created then. Times of creation are cut to seconds, so that a pod itself may not tell.
    fn is_told_ineffective(
        &self,
        group: &Group,
        case: &Case<'_>,
        target: &Digest,
        newest: Option<Timestamp>,
    ) -> bool {
        let target = format!(" to {target}");
        self.told(group, case).into_iter().any(|told| {
            told.reason == EventReason::RefreshIneffective
                && told.note.contains(&target)
                && newest.is_none_or(|newest| newest <= told.at)
        })
    }
}
