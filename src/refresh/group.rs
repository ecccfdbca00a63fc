//! The owners of outdated pods with all their pods, as the gate wants them.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    facts::Doubt,
    memory::Memory,
    missed::{Missed, came_in_vain},
    survey::{self, Outdated, Survey},
    target::after,
    template::Template,
};
use crate::cluster::{About, Workload};
use crate::policy::{
    Owner, Phase, Pod,
    gate::{self, Hold, Limits, Made, Member, Past, signed},
    wishes::Strategy,
};

/// How much older than an eviction's answer a pod may be that replaces the evicted one: as long as the answer may
/// take, and the second to which creation times are cut.
pub(super) const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// The pods of one moment, and what is to say of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// All pods of the cache, ordered by namespace.
    pub(super) pods: &'a [Arc<Pod>],
    /// What was found.
    pub(super) survey: &'a Survey,
    /// What the operator has set.
    pub(super) limits: Limits,
    /// The steady clock.
    pub(super) now: Instant,
    /// The wall clock.
    pub(super) wall: Timestamp,
}

impl Scene<'_> {
    /// Returns what the wall clock would have shown at `at`, were it always as it is now.
    ///
    /// So a clock that is set neither makes a digest old nor forgets an eviction.
    pub(super) fn wall_at(&self, at: Instant) -> Timestamp {
        self.wall - self.now.saturating_duration_since(at)
    }

    /// Returns what has been used up of the budgets.
    pub(super) fn past(&self, memory: &Memory) -> Vec<Past> {
        let past = memory.evictions().map(|spent| Past {
            at: self.wall_at(spent.at),
            namespace: spent.namespace.clone(),
            node: spent.node.clone(),
        });
        past.collect()
    }

    /// Returns the places of the pods in `namespace`.
    fn of(&self, namespace: &str) -> Range<usize> {
        let start = self.pods.partition_point(|pod| *pod.namespace < *namespace);
        let count = self.pods[start..].partition_point(|pod| *pod.namespace == *namespace);
        start..start + count
    }

    /// Returns the direct owners of the pods in `namespace`, each once.
    pub(super) fn owners(&self, namespace: &str) -> Vec<Arc<Owner>> {
        let mut seen = HashSet::new();
        self.pods[self.of(namespace)]
            .iter()
            .filter_map(|pod| pod.owner.as_ref())
            .filter(|owner| seen.insert(&owner.uid))
            .cloned()
            .collect()
    }
}

/// A workload with outdated pods, or one of its direct owners while the workload has not been read.
#[derive(Debug)]
pub(super) struct Group {
    /// One of the direct owners of its pods.
    pub(super) owner: Arc<Owner>,
    /// Its namespace.
    pub(super) namespace: Arc<str>,
    /// The workload's uid in the memory, if it has been read.
    pub(super) workload: Option<Box<str>>,
    /// Indices of its pods.
    members: Vec<usize>,
}

/// Returns the owners with outdated pods and those whose pods are being replaced, each with all its pods.
pub(super) fn groups(scene: Scene<'_>, memory: &Memory) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_uid: HashMap<&str, usize> = HashMap::new();
    let mut namespaces = HashSet::new();
    let outdated = scene.survey.outdated.iter().map(|Outdated { pod, .. }| {
        let owner = pod.owner.as_ref();
        let owner = owner.expect("an outdated pod must have an owner");
        (owner, &pod.namespace)
    });
    let turning = memory.turning.values();
    let turning = turning.map(|turn| (&turn.owner, &turn.namespace));
    for (owner, namespace) in outdated.chain(turning) {
        let workload = memory.workload_of(owner);
        by_uid
            .entry(workload.unwrap_or(&owner.uid))
            .or_insert_with(|| {
                namespaces.insert(namespace);
                groups.push(Group {
                    owner: owner.clone(),
                    namespace: namespace.clone(),
                    workload: workload.map(Into::into),
                    members: Vec::new(),
                });
                groups.len() - 1
            });
    }
    for index in namespaces.into_iter().flat_map(|name| scene.of(name)) {
        let Some(owner) = &scene.pods[index].owner else {
            continue;
        };
        if let Some(group) = by_uid.get(memory.workload_of(owner).unwrap_or(&owner.uid)) {
            groups[*group].members.push(index);
        }
    }
    groups
}

impl Group {
    /// Returns the group as the gate sees it. `recent` is how many pods of its namespace went lately.
    ///
    /// While it is not known how many pods the workload wants, it is assumed that none is missing and none too many. No
    /// pod is let go on that, nor held back by the pace for long: the workload is read for either.
    pub(super) fn view<'a>(
        &self,
        scene: Scene<'a>,
        memory: &Memory,
        recent: u32,
    ) -> gate::Workload<'a> {
        let uid = self.workload.as_deref();
        let missed = Missed::of(self, scene, memory);
        let template = self.template(scene, memory);
        let made =
            |outdated: &Outdated| template.as_ref().map_or(Made::Now, |it| it.made(outdated));
        let member = |&index: &usize| {
            let pod: &'a Pod = &scene.pods[index];
            Member {
                pod,
                evicted: memory.is_going(&pod.uid),
                in_doubt: memory.is_in_doubt(&pod.uid),
                refused: refused(pod, uid, memory, scene.now),
                standing: match scene.survey.standings[index] {
                    survey::Standing::Unknown => gate::Standing::Unknown,
                    survey::Standing::Current => gate::Standing::Current,
                    survey::Standing::Outdated(at) => {
                        let outdated = &scene.survey.outdated[at];
                        let in_vain = |moved: &survey::Moved| {
                            came_in_vain(self, scene, memory, &outdated.pod, moved)
                        };
                        let facts = facts(scene, outdated, &missed, in_vain, made(outdated));
                        gate::Standing::Outdated(facts)
                    }
                },
            }
        };
        let assumed = || u32::try_from(self.staying(scene).count()).ok();
        let desired = match self.is_unread(scene, memory) {
            true => None,
            false => self.desired(scene, memory).or_else(assumed),
        };
        gate::Workload {
            desired,
            lacking: desired.map_or(0, |desired| self.lacks(scene, memory, desired)),
            min_ready: uid
                .and_then(|uid| memory.workload(uid))
                .map(|workload| workload.min_ready)
                .unwrap_or_default(),
            recent,
            single: uid
                .and_then(|uid| memory.workload(uid))
                .map(Workload::is_single),
            rollouts: template.as_ref().map(Template::rollouts),
            members: self.members.iter().map(member).collect(),
        }
    }

    /// Returns how many pods its workload wants, if that was read lately enough.
    fn desired(&self, scene: Scene<'_>, memory: &Memory) -> Option<u32> {
        let staying = self.staying(scene).count();
        memory.desired(self.workload.as_deref()?, staying, scene.now)
    }

    /// Says whether its workload could not be read, and it is too early to try again.
    fn is_unread(&self, scene: Scene<'_>, memory: &Memory) -> bool {
        memory.owners.hold(&self.owner.uid, scene.now)
    }

    /// Says whether it is only assumed how many pods its workload wants.
    pub(super) fn is_assumed(&self, scene: Scene<'_>, memory: &Memory) -> bool {
        !self.is_unread(scene, memory) && self.desired(scene, memory).is_none()
    }

    /// Has its reading, which is of just now and holds ready pods back by the pace, kept for a while.
    pub(super) fn note_paced(&self, scene: Scene<'_>, memory: &mut Memory) {
        if let Some(uid) = &self.workload {
            memory.paced(uid, self.staying(scene).count(), scene.now);
        }
    }

    /// Returns its template, where it is needed and known well enough to say whether the workload may be restarted.
    pub(super) fn template<'a>(
        &self,
        scene: Scene<'_>,
        memory: &'a Memory,
    ) -> Option<Template<'a>> {
        let restarts =
            |it: &Outdated| matches!(it.wishes.strategy, Strategy::Restart | Strategy::Auto);
        let workload = memory.template(self.workload.as_deref()?, scene.now)?;
        let is_needed = self.outdated(scene).any(restarts);
        is_needed.then(|| Template::new(workload, self.outdated(scene)))
    }

    /// Returns its pods that stay, and what their verdicts come to.
    pub(super) fn staying<'a>(
        &self,
        scene: Scene<'a>,
    ) -> impl Iterator<Item = (&'a Arc<Pod>, survey::Standing)> {
        (self.members.iter())
            .map(move |&index| (&scene.pods[index], scene.survey.standings[index]))
            .filter(|(pod, _)| pod.stays())
    }

    /// Says whether it has `desired` pods, all of which run what their tags mean and are ready.
    pub(super) fn is_fresh(&self, scene: Scene<'_>, memory: &Memory, desired: u32) -> bool {
        let mut count = 0;
        let all = self.staying(scene).all(|(pod, standing)| {
            count += 1;
            standing == survey::Standing::Current && pod.ready && !memory.is_going(&pod.uid)
        });
        all && desired.max(1) <= count
    }

    /// Returns how much time is left of `deadline` for the pod that has had the most of it, of those that have come
    /// since `begun`, are not outdated, and are not ready; nothing where its time is over.
    pub(super) fn time_left(
        &self,
        scene: Scene<'_>,
        begun: Instant,
        deadline: Duration,
    ) -> Option<Duration> {
        let clock = scene.survey.clock?;
        let (begun, now) = (clock.at(begun) - SLACK, clock.at(scene.now));
        let waits = |pod: &Pod, standing| {
            !pod.ready && !matches!(standing, survey::Standing::Outdated(_)) && begun <= pod.created
        };
        let left = |pod: &Pod| {
            let left = pod.due(deadline).duration_since(now);
            Duration::try_from(left).unwrap_or_default()
        };
        (self.staying(scene))
            .filter(|(pod, standing)| waits(pod, *standing))
            .map(|(pod, _)| left(pod))
            .min()
    }

    /// Returns how many pods it has, those on their way out too: some controllers wait for their end.
    pub(super) fn count(&self, scene: Scene<'_>) -> u32 {
        let is_over = |index: &&usize| scene.pods[**index].phase == Phase::Over;
        let count = self.members.iter().filter(|index| !is_over(index)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns how many of the `desired` pods have not come in the time that each has: an admission plugin, a quota or
    /// a webhook refuses them.
    pub(super) fn lacks(&self, scene: Scene<'_>, memory: &Memory, desired: u32) -> u32 {
        let turn = (self.workload.as_deref()).and_then(|uid| memory.turning.get(uid));
        let is_late = turn
            .and_then(|turn| turn.short)
            .is_some_and(|since| after(since, scene.limits.progress_deadline) <= scene.now);
        match is_late {
            true => desired.saturating_sub(self.count(scene)),
            false => 0,
        }
    }

    /// Says whether it has no pod that stays.
    pub(super) fn is_empty(&self, scene: Scene<'_>) -> bool {
        self.staying(scene).next().is_none()
    }

    /// Returns what Events about the group are about: its workload, or, while that cannot be read, its
    /// pods' direct owner. `None` while it has not been tried.
    pub(super) fn about(&self, memory: &Memory, now: Instant) -> Option<About> {
        let workload = self.workload.as_ref().and_then(|uid| memory.workload(uid));
        match workload {
            Some(workload) => Some(About::workload(workload)),
            None if memory.owners.hold(&self.owner.uid, now) => {
                About::owner(&self.namespace, &self.owner)
            }
            None => None,
        }
    }

    /// Returns the outdated pods of the group.
    pub(super) fn outdated<'a>(&self, scene: Scene<'a>) -> impl Iterator<Item = &'a Outdated> {
        self.members
            .iter()
            .filter_map(move |&index| match scene.survey.standings[index] {
                survey::Standing::Outdated(at) => Some(&scene.survey.outdated[at]),
                _ => None,
            })
    }
}

/// Returns what the API server refused the pod's eviction for, while it is too early to ask again.
pub(super) fn refused(
    pod: &Pod,
    workload: Option<&str>,
    memory: &Memory,
    now: Instant,
) -> Option<Hold> {
    if workload.is_some_and(|uid| memory.workloads.hold(uid, now)) {
        return Some(Hold::Refused);
    }
    // The same would be said again, until it is seen as it is now.
    if memory.is_outrun(pod) {
        return Some(Hold::Refused);
    }
    // A budget holds all ready pods of a workload; one that is not ready it may let go.
    let budget = pod.ready && workload.is_some_and(|uid| memory.ready.hold(uid, now));
    (budget || memory.pods.hold(&pod.uid, now)).then_some(Hold::Pdb)
}

fn facts<'a>(
    scene: Scene<'a>,
    outdated: &'a Outdated,
    missed: &Missed<'_>,
    in_vain: impl Fn(&survey::Moved) -> bool,
    made: Made,
) -> gate::Outdated<'a> {
    // A replacement that came back as old as before is given time to become ready before it goes, too:
    // else one that crashes would be evicted again and again.
    let created = outdated.pod.created;
    let age = (scene.survey.clock).map(|clock| clock.at(scene.now).duration_since(created));
    let young = age.is_none_or(|age| age < signed(scene.limits.progress_deadline));
    let target = |moved: &survey::Moved| {
        let what = (&*moved.container, &moved.to.digest);
        // What the tag meant before the pod was seen so says nothing against it, and nothing has been
        // seen before it is known that this is another image at all.
        let is_certain = outdated.since <= moved.to.last && outdated.doubt != Some(Doubt::Open);
        let counts = is_certain && !missed.suspected.contains(&what);
        gate::Target {
            first_seen: scene.wall_at(moved.to.first),
            last_seen: scene.wall_at(moved.to.last),
            sightings: if counts { moved.to.sightings } else { 0 },
            ineffective: missed.certain.contains(&what)
                || young && outdated.since <= moved.to.last && in_vain(moved),
        }
    };
    let targets = outdated.moved.iter().map(target).collect();
    gate::Outdated {
        wishes: &outdated.wishes,
        targets,
        registry_failing: outdated.registry_failing || outdated.doubt == Some(Doubt::Failing),
        made,
    }
}

impl Outdated {
    /// Says whether it is certain what the pod should run: another image, and each of its tags was asked for
    /// twice, at least `apart`, and at least once since the pod has been seen so.
    pub(super) fn is_certain(&self, apart: Duration) -> bool {
        let mut targets = self.moved.iter().map(|moved| &moved.to);
        self.doubt.is_none() && targets.all(|to| to.is_confirmed(apart) && self.since <= to.last)
    }
}

#[cfg(test)]
mod tests;
