//! What the refresh path tells people: Events for what it found, did and could not do.

use super::{
    memory::Turn,
    survey::{Finding, Found, Moved, Outdated},
};
use crate::{
    cluster::{About, EventReason, NOTE_LIMIT, Notice, OwnerError},
    error::Chain,
    policy::{Pod, gate::Hold},
};

/// Returns what one look at all pods found besides outdated pods.
pub(super) fn found(Finding { pod, what }: &Finding) -> Notice {
    let (reason, once_for, note) = match what {
        Found::Unreadable(wishes) => {
            let note = format!("Left alone: {wishes}");
            (EventReason::BadWishes, note.clone(), note)
        }
        Found::Stale { container, target } => (
            EventReason::StaleCache,
            format!("{container}={target}"),
            format!(
                "Container {container} runs an older image from the node's cache: its tag meant {target} already \
                 when the pod was created, but it is not pulled always"
            ),
        ),
        Found::Unresolved { lookup, fault } => {
            let image = &lookup.image;
            return Notice {
                related: Some(About::pod(pod)),
                ..notice(
                    owner(pod).unwrap_or_else(|| About::pod(pod)),
                    EventReason::Unresolved,
                    format!("{image} {}", fault.label()),
                    format!("Nobody knows what {image} means now: {}", fault.brief()),
                )
            };
        }
    };
    notice(About::pod(pod), reason, once_for, note)
}

/// Returns that a pod was evicted.
pub(super) fn evicted(outdated: &Outdated) -> Notice {
    notice(
        About::pod(&outdated.pod),
        EventReason::Evicted,
        targets(outdated),
        format!("Evicted: {}", moves(outdated)),
    )
}

/// Returns why an eviction was not done.
pub(super) fn blocked(about: About, outdated: &Outdated, why: &str) -> Notice {
    Notice {
        related: Some(About::pod(&outdated.pod)),
        ..notice(
            about,
            EventReason::EvictionBlocked,
            occasion(outdated),
            format!("Not evicted yet: {why}"),
        )
    }
}

/// Returns that the pods of a workload are kept, as nobody may say how many of them it wants.
pub(super) fn unread(about: About, why: &OwnerError) -> Notice {
    let note = format!("Not evicted: {}", Chain(why));
    notice(
        about,
        EventReason::EvictionBlocked,
        why.label().to_owned(),
        note,
    )
}

/// Returns that the pods of a workload are outdated: in as many Events as it takes to name all digests, as `status` and
/// `explain` read them there.
pub(super) fn outdated(about: &About, outdated: &Outdated) -> Vec<Notice> {
    let notice = |moved| {
        let (once_for, note) = (occasion_of(moved), moves_of(moved));
        notice(about.clone(), EventReason::Outdated, once_for, note)
    };
    parts(&outdated.moved).into_iter().map(notice).collect()
}

/// Returns what has moved in parts, each of which an Event has room for.
fn parts(moved: &[Moved]) -> Vec<&[Moved]> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    for end in 2..=moved.len() {
        if NOTE_LIMIT < moves_of(&moved[begin..end]).len() {
            parts.push(&moved[begin..end - 1]);
            begin = end - 1;
        }
    }
    parts.push(&moved[begin..]);
    parts
}

/// Returns that all pods of a workload run what their tags mean now.
pub(super) fn refreshed(about: About, turn: &Turn) -> Notice {
    let note = format!("All pods run what their tags mean now; {}", deeds(turn));
    notice(about, EventReason::Refreshed, end(turn), note)
}

/// Returns that a pod which has come for what was done to a workload is not ready in time, or has not come, and none is
/// left to stop.
pub(super) fn halted(about: About, turn: &Turn) -> Notice {
    let deeds = deeds(turn);
    let note = match turn.short {
        None => format!(
            "None of its pods is outdated any more, and one that has come since has not become ready in time; {deeds}. \
             It is over when that pod recovers or the tag moves again"
        ),
        Some(_) => format!(
            "None of its pods is outdated any more, and one that it wants has not come in time; {deeds}. Its \
             controller's Events say why"
        ),
    };
    notice(about, EventReason::RefreshHalted, end(turn), note)
}

/// Returns what was done to a workload.
pub(super) fn deeds(turn: &Turn) -> String {
    match turn.evicted {
        0 => "it was restarted".to_owned(),
        1 => "1 pod was evicted".to_owned(),
        count => format!("{count} pods were evicted"),
    }
}

/// Returns that a workload was restarted.
pub(super) fn restarted(about: About, outdated: &Outdated) -> Notice {
    notice(
        about,
        EventReason::Restarted,
        occasion(outdated),
        format!("Restarted: {}", moves(outdated)),
    )
}

/// Returns why a restart was not done.
pub(super) fn not_restarted(about: About, outdated: &Outdated, why: &str) -> Notice {
    notice(
        about,
        EventReason::EvictionBlocked,
        occasion(outdated),
        format!("Not restarted: {why}"),
    )
}

/// Returns the notice of a hold that somebody should look at.
pub(super) fn held(about: About, outdated: &Outdated, hold: Hold) -> Option<Notice> {
    let (reason, note) = match hold {
        Hold::Halted => (
            EventReason::RefreshHalted,
            "No more pods go: one that is up to date, or is to come, has not become ready in time. It goes on when \
             that pod recovers or the tag moves again",
        ),
        Hold::Ineffective => (
            EventReason::RefreshIneffective,
            "No more pods go: a replacement came back with the old image (a stale mirror, or a node's cache). \
             It goes on when the tag moves again",
        ),
        Hold::NoRollout => (
            EventReason::EvictionBlocked,
            "Not restarted: a new template would not replace all its pods (a ReplicaSet of its own, the update \
             strategy OnDelete, or a partition). The strategy evict would",
        ),
        _ => return None,
    };
    let note = format!("{note}. {}", moves(outdated));
    Some(notice(about, reason, occasion(outdated), note))
}

const fn notice(about: About, reason: EventReason, once_for: String, note: String) -> Notice {
    Notice {
        about,
        related: None,
        reason,
        once_for,
        note,
    }
}

fn owner(pod: &Pod) -> Option<About> {
    About::owner(&pod.namespace, pod.owner.as_ref()?)
}

/// Returns what is told of a workload once: what its pod should run, and since when the registry says so, as a tag may
/// move away and back.
fn occasion(outdated: &Outdated) -> String {
    occasion_of(&outdated.moved)
}

fn occasion_of(moved: &[Moved]) -> String {
    let since = moved.iter().map(|moved| moved.to.first).min();
    format!("{} {since:?}", targets_of(moved))
}

/// Returns what is told once of what became of a workload.
fn end(turn: &Turn) -> String {
    format!("{} {:?}", turn.targets, turn.begun)
}

/// Returns the digests that the pod should run.
pub(super) fn targets(outdated: &Outdated) -> String {
    targets_of(&outdated.moved)
}

fn targets_of(moved: &[Moved]) -> String {
    let targets: Vec<String> = moved
        .iter()
        .map(|moved| format!("{}={}", moved.container, moved.to.digest))
        .collect();
    targets.join(",")
}

/// Returns which tags have moved from where to where.
pub(super) fn moves(outdated: &Outdated) -> String {
    moves_of(&outdated.moved)
}

fn moves_of(moved: &[Moved]) -> String {
    let moves: Vec<String> = (moved.iter())
        .map(|moved| {
            let (image, to) = (&moved.lookup.image, &moved.to.digest);
            match &moved.from {
                Some(from) => format!("{image} has moved on from {from} to {to}"),
                None => format!("{image} has moved on to {to}"),
            }
        })
        .collect();
    moves.join("; ")
}

#[cfg(test)]
mod tests;
