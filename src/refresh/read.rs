//! Reads the workloads whose pods might go, right before it is decided whether they do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    group::{self, Group, Scene},
    memory::{Memory, SERVER},
    tell,
};
use crate::{
    cluster::{CallError, Notice, OwnerError, Owners, Workload},
    error::Chain,
    policy::{
        Owner,
        gate::{self, Hold, Moment, Plan, plan},
    },
};

/// Workloads read at the same time.
const AT_ONCE: usize = 8;

/// How often it is planned anew what may go, as workloads have fewer pods than they want.
pub(super) const ROUNDS: usize = 4;

/// Workloads read in a pass only to tell about them by their names.
const TO_TELL: usize = 64;

/// Workloads read in a pass only to find out whether the pace holds their pods.
const TO_PACE: usize = 64;

/// The owners with outdated pods, and which of them have been read just now.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The owners.
    pub(super) groups: Vec<Group>,
    /// The uids of the workloads read.
    fresh: HashSet<Box<str>>,
    /// What is to be told of those that may not be read.
    pub(super) denied: Vec<Notice>,
}

impl Reading {
    /// Says whether the group's workload has been read just now.
    pub(super) fn is_fresh(&self, group: &Group) -> bool {
        let workload = group.workload.as_ref();
        workload.is_some_and(|uid| self.fresh.contains(uid))
    }
}

/// Reads the workloads that would lose a pod now, until none is left or the pass has taken too long.
///
/// To hold pods back what was read a while ago is good enough, or nothing at all, so that a pod that waits
/// for days, for a budget or a window, costs no calls. Only where the pace holds it, which depends on how many pods are
/// wanted, is that read now and then.
pub(super) async fn read(
    scene: Scene<'_>,
    moment: &Moment<'_>,
    owners: &Owners,
    memory: &mut Memory,
    until: Instant,
) -> Reading {
    let (mut reading, mut tried) = (Reading::default(), HashSet::<Box<str>>::new());
    let mut round = 0;
    loop {
        let groups = group::groups(scene, memory);
        let mut wanted = wanted(&groups, scene, moment, memory);
        if round == 0 {
            wanted.extend(unnamed(&groups, scene, memory).take(TO_TELL));
            wanted.extend(short(&groups, scene, memory).take(TO_TELL));
        }
        wanted.retain(|group| tried.insert(group.owner.uid.clone()));
        let over = ROUNDS <= round || until <= Instant::now();
        if wanted.is_empty() || over || memory.server.hold(SERVER, Instant::now()) {
            return Reading { groups, ..reading };
        }
        read_all(&wanted, scene, owners, memory, &mut reading, until).await;
        round += 1;
    }
}

/// Returns the groups as the gate sees them.
pub(super) fn views<'a>(
    groups: &[Group],
    scene: Scene<'a>,
    memory: &Memory,
) -> Vec<gate::Workload<'a>> {
    let mut recent: HashMap<&str, u32> = HashMap::new();
    for spent in memory.evictions() {
        *recent.entry(&spent.namespace).or_default() += 1;
    }
    let recent = |group: &Group| recent.get(&*group.namespace).copied().unwrap_or_default();
    (groups.iter())
        .map(|group| group.view(scene, memory, recent(group)))
        .collect()
}

/// Returns the groups that would lose a pod, and those that might if it were known how many they want.
pub(super) fn wanted<'g>(
    groups: &'g [Group],
    scene: Scene<'_>,
    moment: &Moment<'_>,
    memory: &Memory,
) -> Vec<&'g Group> {
    let views = views(groups, scene, memory);
    let plan = plan(moment, &views);
    let restarted = plan.restart.iter().flat_map(|restart| &restart.members);
    let go = plan.go.iter().chain(restarted);
    let go: HashSet<&str> = go.map(|member| &*member.pod.uid).collect();
    let would_lose = (groups.iter().zip(&views))
        .filter(|(_, view)| (view.members.iter()).any(|member| go.contains(&*member.pod.uid)))
        .map(|(group, _)| group);
    let might = paced(groups, &views, &plan, moment)
        .filter(|group| group.is_assumed(scene, memory))
        .take(TO_PACE);
    would_lose.chain(might).collect()
}

/// Returns the groups whose ready pods the pace holds back: it might not, if they wanted another number of pods. A
/// restart does not ask for that.
fn paced<'g>(
    groups: &'g [Group],
    views: &[gate::Workload<'_>],
    plan: &Plan<'_>,
    moment: &Moment<'_>,
) -> impl Iterator<Item = &'g Group> {
    let is_paced = |hold: &Hold| matches!(hold, Hold::Pace | Hold::Halted);
    let held = (plan.held.iter()).filter(|(member, hold)| member.pod.ready && is_paced(hold));
    let held: HashSet<&str> = held.map(|(member, _)| &*member.pod.uid).collect();
    (groups.iter().zip(views))
        .filter(move |(_, view)| {
            let is_held = |member: &gate::Member<'_>| held.contains(&*member.pod.uid);
            let mut members = view.members.iter();
            members.any(|member| is_held(member) && !view.restarts(member, moment))
        })
        .map(|(group, _)| group)
}

/// Has the readings of this pass that hold ready pods of `groups`, seen as `views`, back by the pace kept for a while,
/// and longer each time: what waits for a pod that never becomes ready costs hardly a call.
pub(super) fn wait(
    (groups, views): (&[Group], &[gate::Workload<'_>]),
    (scene, moment): (Scene<'_>, &Moment<'_>),
    plan: &Plan<'_>,
    is_fresh: impl Fn(&Group) -> bool,
    memory: &mut Memory,
) {
    let paced: Vec<&Group> = paced(groups, views, plan, moment).collect();
    for group in paced.iter().filter(|group| is_fresh(group)) {
        group.note_paced(scene, memory);
    }
    let uids: HashSet<&str> = (paced.iter())
        .filter_map(|group| group.workload.as_deref())
        .collect();
    memory.keep_paced(|uid| uids.contains(uid));
}

/// Returns the groups of which there is something to tell, and not known whom it is about.
fn unnamed<'g>(
    groups: &'g [Group],
    scene: Scene<'_>,
    memory: &Memory,
) -> impl Iterator<Item = &'g Group> {
    groups.iter().filter(move |group| {
        group.about(memory, scene.now).is_none()
            && (group.outdated(scene))
                .any(|outdated| outdated.is_certain(scene.limits.confirm_after))
    })
}

/// Returns the groups whose outdated pods have all been replaced, and that do not have all the pods that they want,
/// as far as is known: after a restart a Deployment's new ones belong to a ReplicaSet of their own, and any workload
/// may have been scaled down meanwhile, or be gone.
fn short<'g>(
    groups: &'g [Group],
    scene: Scene<'_>,
    memory: &Memory,
) -> impl Iterator<Item = &'g Group> {
    groups.iter().filter(move |group| {
        let Some(uid) = &group.workload else {
            return false;
        };
        let workload = memory.workload(uid);
        let is_up = || group.is_fresh(scene, memory, 1) || group.is_empty(scene);
        // What has not come for so long may not come soon either.
        let is_late = workload.is_some_and(|it| 0 < group.lacks(scene, memory, it.desired));
        if is_late && !group.is_assumed(scene, memory) {
            return false;
        }
        !memory.rollouts.hold(uid, scene.now)
            && group.outdated(scene).next().is_none()
            && workload.is_some_and(|it| !group.is_fresh(scene, memory, it.desired))
            && memory
                .turning
                .get(uid)
                .is_some_and(|turn| turn.evicted == 0 || is_late || is_up())
    })
}

async fn read_all(
    wanted: &[&Group],
    scene: Scene<'_>,
    owners: &Owners,
    memory: &mut Memory,
    reading: &mut Reading,
    until: Instant,
) {
    let mut siblings: HashMap<&str, Arc<[Arc<Owner>]>> = HashMap::new();
    let mut calls = Vec::new();
    for group in wanted {
        let siblings = siblings
            .entry(&group.namespace)
            .or_insert_with(|| scene.owners(&group.namespace).into())
            .clone();
        calls.push(async move { (*group, one(owners, group, &siblings).await) });
    }
    let mut answers = stream::iter(calls).buffer_unordered(AT_ONCE);
    while let Some((group, answer)) = answers.next().await {
        let now = Instant::now();
        match answer {
            Ok((workload, uids)) => {
                reading.fresh.insert(workload.uid.as_str().into());
                memory.server.over(SERVER);
                memory.read(workload, uids, now);
            }
            Err(error) => {
                unread(group, &error, memory, now);
                let about = group.about(memory, now).filter(|_| is_denied(&error));
                (reading.denied).extend(about.map(|about| tell::unread(about, &error)));
            }
        }
        // Those that are left come in the next pass, if they still would go then.
        if until <= now || memory.server.hold(SERVER, now) {
            return;
        }
    }
}

/// Reads one workload, and which of the namespace's owners belong to it.
async fn one(
    owners: &Owners,
    group: &Group,
    others: &[Arc<Owner>],
) -> Result<(Workload, Vec<Box<str>>), OwnerError> {
    let workload = owners.workload(&group.namespace, &group.owner).await?;
    let siblings = owners.siblings(&workload, others).await?;
    let siblings = siblings.iter().map(|owner| owner.uid.clone());
    let uids = siblings.chain([group.owner.uid.clone()]).collect();
    Ok((workload, uids))
}

/// Says whether somebody has to give us a right.
fn is_denied(error: &OwnerError) -> bool {
    matches!(error, OwnerError::Unread { source, .. } if source.code() == 403)
}

/// Notes that a workload could not be read. Its pods are held, as nobody knows how many of them are wanted.
pub(super) fn unread(group: &Group, error: &OwnerError, memory: &mut Memory, now: Instant) {
    let (owner, label) = (&group.owner, error.label());
    memory.unread(&owner.uid);
    if let OwnerError::Unread { source, .. } = error {
        match source {
            // It is not this workload that is to blame.
            CallError::Refused(refusal) if matches!(refusal.code, 429 | 503 | 504) => {
                let asked = refusal.retry_after;
                memory.server.refused(SERVER, "busy", asked, now);
            }
            CallError::Timeout(_) | CallError::Unreachable(_) => {
                memory.server.refused(SERVER, "away", None, now);
            }
            _ => {}
        }
    }
    let (ns, name) = (&group.namespace, &owner.name);
    let news = memory.owners.refused(&owner.uid, label, None, now);
    let gone = matches!(error, OwnerError::Gone { .. } | OwnerError::Replaced { .. });
    if let Some(workload) = group.workload.as_ref().filter(|_| gone) {
        // Nothing comes of it any more that could be waited for.
        memory.turning.remove(workload);
    }
    let error = Chain(error);
    if news && !gone {
        warn!(owner.name = %name, reason = label, error = %error, "No pod of {ns}/{name} goes: {error}");
    } else {
        debug!(owner.name = %name, reason = label, error = %error, "No pod of {ns}/{name} goes: {error}");
    }
}

#[cfg(test)]
mod tests;
