//! What replacements should run by now and do not, so that more evictions would be in vain.

use std::collections::HashSet;

use super::{
    group::{Group, Scene},
    survey,
};
use crate::policy::{Container, Digest, Pod};

/// Containers and the digests that a replacement has missed: it was created after the digest was first seen, is Ready,
/// and is outdated for it all the same (a stale mirror, an image from the node's cache), or would be if anything had
/// pinned it.
#[derive(Debug, Default)]
pub(super) struct Missed<'a> {
    /// Those that are certain.
    pub(super) certain: HashSet<(&'a str, &'a Digest)>,
    /// It may be that the tag has moved on, and the pod runs what it means by now: nobody else goes before that is
    /// known, which the next sighting tells.
    pub(super) suspected: HashSet<(&'a str, &'a Digest)>,
}

impl<'a> Missed<'a> {
    /// Returns what the pods of a workload have missed.
    pub(super) fn of(group: &Group, scene: Scene<'a>) -> Self {
        let mut missed = Self::default();
        for outdated in group.outdated(scene).filter(|it| it.pod.ready) {
            for moved in &outdated.moved {
                if !is_late(scene, &outdated.pod, moved) {
                    continue;
                }
                let what = (&*moved.container, &moved.to.digest);
                if outdated.doubt.is_none() && outdated.since <= moved.to.last {
                    missed.certain.insert(what);
                } else {
                    missed.suspected.insert(what);
                }
            }
        }
        let mut asked = HashSet::new();
        for (pinned, moved) in pinned(group, scene) {
            let what = (&*moved.container, &moved.to.digest);
            if asked.insert(what) && strayed(group, scene, pinned, moved) {
                missed.certain.insert(what);
            }
        }
        missed
    }
}

/// Returns the containers that make pods outdated and were pinned, each with what has moved.
fn pinned<'a>(
    group: &Group,
    scene: Scene<'a>,
) -> impl Iterator<Item = (&'a Container, &'a survey::Moved)> {
    group.outdated(scene).flat_map(|outdated| {
        let find = |moved: &survey::Moved| {
            let mut containers = outdated.pod.containers.iter();
            containers.find(|it| it.name == moved.container && it.is_pinned())
        };
        (outdated.moved.iter()).filter_map(move |moved| Some((find(moved)?, moved)))
    })
}

/// Says whether a replacement was not pinned as its predecessor was, and runs another image than it should: the webhook
/// was not asked.
fn strayed(group: &Group, scene: Scene<'_>, pinned: &Container, moved: &survey::Moved) -> bool {
    let strayed = |pod: &Pod| pod.strayed_from(pinned, &moved.to.digest);
    (group.staying(scene)).any(|(pod, _)| strayed(pod) && is_late(scene, pod, moved))
}

/// Says whether the pod was created when the container's tag meant what it should run.
///
/// Nobody is evicted for a digest before `confirm_after` has passed since it was first seen, so that replacements
/// are at least as late. Half of it is left to clocks that differ, and to a cache that showed a pod late.
pub(super) fn is_late(scene: Scene<'_>, pod: &Pod, moved: &survey::Moved) -> bool {
    scene.survey.clock.is_some_and(|clock| {
        let first = clock.best(moved.to.first, (scene.now, scene.wall));
        let soonest = first.checked_add(scene.limits.confirm_after / 2);
        soonest.is_ok_and(|soonest| moved.to.precedes(soonest, pod.created))
    })
}
