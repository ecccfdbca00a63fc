use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    cluster::{CallError, Seen, Workload, WorkloadKind},
    explain::judge::Judged,
    policy::{
        Container, Namespace, Phase, Pod, Running, Verdict,
        fixture::{container, digest, pod},
    },
};

mod crowd;
mod missed;

mod exceptions;

const LIMITS: Limits = Limits {
    confirm_after: Duration::from_secs(10),
    progress_deadline: Duration::from_secs(600),
    per_minute: 30,
    per_namespace: None,
    per_node: None,
};

/// The second at which everything is looked at.
const NOW: i64 = 10_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn told(second: i64, reason: EventReason, note: &str, uid: &str) -> Arc<Told> {
    Arc::new(Told {
        at: at(second),
        reason,
        note: note.into(),
        about: "Deployment/web".into(),
        namespace: "shop".into(),
        uid: uid.into(),
        related: None,
    })
}

/// Returns what the controller tells of a workload that should run the digest of `byte`.
fn outdated(second: i64, byte: u8) -> Arc<Told> {
    let note = format!("web has moved on from {} to {}", digest(9), digest(byte));
    told(second, EventReason::Outdated, &note, "web")
}

/// A pod by the second of its creation, whether it is ready, and whether it is outdated; it should run digest 2.
type Sort = (i64, bool, bool);

/// Returns what was found out about the only container of a pod.
fn judged(outdated: bool) -> Judged {
    Judged {
        target: Some(digest(2)),
        fault: None,
        verdict: match outdated {
            true => Verdict::Outdated,
            false => Verdict::Current { ambiguous: false },
        },
        images: [None, None, None],
        unfit: false,
        doubt: None,
    }
}

/// Checks what is found out of a Deployment's pods, given Events, wishes of its namespace and what it wants.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(
    pods: &[Sort],
    events: Vec<Arc<Told>>,
    wishes: &[(&str, &str)],
    desired: Result<u32, OwnerError>,
    look: impl Fn(&Scene<'_>, &Group) -> T,
    expected: T,
) {
    let pod = |(nth, (created, ready, outdated)): (usize, &Sort)| {
        let pod = pod(&format!("web-{nth}")).with(|pod| {
            (pod.created, pod.ready) = (at(*created), *ready);
            if *created == DEAD.0 {
                pod.phase = Phase::Over;
            }
            pod.containers = Box::new([Container {
                running: Running::Manifest(digest(if *outdated { 1 } else { 2 })),
                ..container("nginx:1")
            }]);
        });
        (pod.build(), judged(*outdated))
    };
    let pods = pods.iter().enumerate().map(pod).collect();
    check_pods(pods, events, wishes, desired, look, expected);
}

/// Checks the same of any pods, each with what was found out about its container.
#[track_caller]
fn check_pods<T: PartialEq + std::fmt::Debug>(
    pods: Vec<(Pod, Judged)>,
    events: Vec<Arc<Told>>,
    wishes: &[(&str, &str)],
    desired: Result<u32, OwnerError>,
    look: impl Fn(&Scene<'_>, &Group) -> T,
    expected: T,
) {
    let seen = |pod| Seen {
        pod: Arc::new(pod),
        foreign: None,
        budgets: Box::default(),
        idle_label: None,
    };
    let (seen, judged): (Vec<Seen>, Vec<Judged>) = (pods.into_iter())
        .map(|(pod, judged)| (seen(pod), judged))
        .unzip();
    let annotations = wishes
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let namespace = Namespace {
        name: "shop".into(),
        enabled: true,
        opted_out: false,
        terminating: false,
        annotations: annotations.collect(),
    };
    let mut by_uid = std::collections::HashMap::<Box<str>, Vec<_>>::new();
    for event in events {
        by_uid.entry(event.uid.clone()).or_default().push(event);
    }
    let sight = Sight {
        pods: seen,
        namespaces: [(namespace.name.clone(), namespace)].into(),
        idle_labels: std::collections::BTreeMap::new(),
        told: by_uid,
        lease: Lease::Unseen,
        now: at(NOW),
    };
    let blind = Blind::default();
    let cases: Vec<Case<'_>> = (sight.pods.iter().zip(judged))
        .map(|(seen, judged)| {
            let mut case = Case::new(seen, &sight, &blind);
            case.judged = vec![Some(judged)];
            case
        })
        .collect();
    let group = Group {
        workload: desired.map(|desired| Workload {
            kind: WorkloadKind::Deployment,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "web".to_owned(),
            desired,
            min_ready: Duration::ZERO,
            paused: false,
            rolling: false,
            stuck: false,
            rolls: true,
            generation: 1,
            resource_version: "1".to_owned(),
            refreshed: None,
        }),
        members: (0..cases.len()).collect(),
    };
    let scene = Scene::new(&sight, &blind, &cases, LIMITS);
    assert_eq!(look(&scene, &group), expected);
}

/// Checks what holds each outdated pod.
#[track_caller]
fn check_holds(
    pods: &[Sort],
    events: Vec<Arc<Told>>,
    wishes: &[(&str, &str)],
    expected: &[Option<Hold>],
) {
    let desired = u32::try_from(pods.len()).unwrap();
    let holds = |scene: &Scene<'_>, group: &Group| -> Vec<Option<Hold>> {
        let holds = scene.holds(group).into_iter();
        holds.map(|(_, hold)| hold).collect()
    };
    check(pods, events, wishes, Ok(desired), holds, expected.to_vec());
}

const OLD: Sort = (100, true, true);
const NEW: Sort = (100, true, false);

/// One that has ended, and is left lying.
const DEAD: Sort = (1, false, false);

#[test]
fn what_no_event_tells_of_is_unconfirmed() {
    check_holds(&[OLD], vec![], &[], &[Some(Hold::Unconfirmed)]);
    check_holds(&[OLD], vec![outdated(9_000, 2)], &[], &[None]);
    // It was told of another digest, and the other way round.
    let other = vec![outdated(9_000, 3)];
    check_holds(&[OLD], other, &[], &[Some(Hold::Unconfirmed)]);
    let from = format!("web has moved on from {} to {}", digest(2), digest(3));
    let back = vec![told(9_000, EventReason::Outdated, &from, "web")];
    check_holds(&[OLD], back, &[], &[Some(Hold::Unconfirmed)]);
    let stranger = format!("web has moved on to {}", digest(2));
    let stranger = vec![told(9_000, EventReason::Outdated, &stranger, "other")];
    check_holds(&[OLD], stranger, &[], &[Some(Hold::Unconfirmed)]);
    // Told a moment ago.
    check_holds(&[OLD], vec![outdated(NOW, 2)], &[], &[None]);
}

#[test]
fn what_surely_holds_comes_before_what_is_not_known() {
    let notify = [("strategy", "notify")];
    check_holds(&[OLD], vec![], &notify, &[Some(Hold::Notify)]);
    let expected = [Some(Hold::Unconfirmed), Some(Hold::Pace)];
    check_holds(&[OLD, OLD], vec![], &[], &expected);
    check_holds(&[NEW, OLD], vec![outdated(9_000, 2)], &[], &[None]);
}

#[test]
fn the_age_counts_from_the_last_event() {
    let wish = [("min-age", "1000s")];
    check_holds(&[OLD], vec![outdated(9_000, 2)], &wish, &[None]);
    check_holds(
        &[OLD],
        vec![outdated(9_001, 2)],
        &wish,
        &[Some(Hold::MinAge)],
    );
    // A controller that started anew counts anew.
    let twice = || vec![outdated(5_000, 2), outdated(9_500, 2)];
    check_holds(&[OLD], twice(), &wish, &[Some(Hold::MinAge)]);
    let since = |scene: &Scene<'_>, group: &Group| scene.since(group, &scene.cases[0]);
    check(&[OLD], twice(), &wish, Ok(1), since, Some(at(5_000)));
    check(&[OLD], vec![], &wish, Ok(1), since, None);
}

#[test]
fn what_was_told_before_the_tag_moved_away_and_back_is_over() {
    let of_nginx = |second, byte| {
        let (old, new) = (digest(9), digest(byte));
        let note = format!("docker.io/library/nginx:1 has moved on from {old} to {new}");
        told(second, EventReason::Outdated, &note, "web")
    };
    let away = || vec![of_nginx(5_000, 2), of_nginx(6_000, 3)];
    let back = || [away(), vec![of_nginx(9_000, 2)]].concat();
    let since = |scene: &Scene<'_>, group: &Group| scene.since(group, &scene.cases[0]);
    check(&[OLD], away(), &[], Ok(1), since, None);
    check(&[OLD], back(), &[], Ok(1), since, Some(at(9_000)));
    // They came for the digest between, and so too early for this one.
    let between = (7_000, true, true);
    check_holds(&[between], back(), &[], &[None]);
    // Another image's tag is none of its business.
    let other = [vec![of_nginx(5_000, 2)], vec![outdated(6_000, 3)]].concat();
    check(&[OLD], other, &[], Ok(1), since, Some(at(5_000)));
}

#[test]
fn a_ready_replacement_that_came_back_old_is_ineffective() {
    let ineffective = Some(Hold::Ineffective);
    let events = || vec![outdated(9_000, 2)];
    check_holds(
        &[(9_001, true, true), OLD],
        events(),
        &[],
        &[ineffective; 2],
    );
    check_holds(
        &[(9_000, true, true), OLD],
        events(),
        &[],
        &[Some(Hold::Pace), None],
    );
    // The Event tells it as well, until another pod comes.
    let note = format!("No more pods go. web has moved to {}", digest(2));
    let event = |at| told(at, EventReason::RefreshIneffective, &note, "web");
    let with = |at| [events(), vec![event(at)]].concat();
    let created = [(9_000, true, true), OLD];
    check_holds(&created, with(9_000), &[], &[ineffective; 2]);
    check_holds(&created, with(8_999), &[], &[Some(Hold::Pace), None]);
    // One that is not ready yet may be on its way; it is too young to be replaced itself.
    check_holds(&[(9_500, false, true), NEW], events(), &[], &[ineffective]);
    check_holds(&[(9_300, false, true), NEW], events(), &[], &[None]);
}

#[test]
fn an_event_may_name_any_time() {
    let at = |time: Timestamp| vec![outdated(time.as_second(), 2)];
    let ineffective = Some(Hold::Ineffective);
    check_holds(&[OLD], at(Timestamp::MIN), &[], &[ineffective]);
    let unconfirmed = Some(Hold::Unconfirmed);
    check_holds(&[OLD], at(Timestamp::MAX), &[], &[unconfirmed]);
}

#[test]
fn a_workload_that_cannot_be_read_is_taken_to_want_its_pods() {
    let desired = |scene: &Scene<'_>, group: &Group| scene.view(group).desired;
    let (namespace, name) = ("shop".to_owned(), "web".to_owned());
    let kind = WorkloadKind::Deployment;
    let unread = OwnerError::Unread {
        kind,
        namespace: namespace.clone(),
        name: name.clone(),
        source: CallError::Timeout(Duration::from_secs(1)),
    };
    check(
        &[OLD, NEW, DEAD],
        vec![],
        &[],
        Err(unread),
        desired,
        Some(2),
    );
    let gone = OwnerError::Gone {
        kind,
        namespace,
        name,
    };
    check(&[OLD, NEW], vec![], &[], Err(gone), desired, None);
    check(&[OLD, NEW], vec![], &[], Ok(5), desired, Some(5));
}

#[test]
fn the_evictions_of_the_last_minute_are_counted_once() {
    let count = |scene: &Scene<'_>, _: &Group| scene.evictions.len();
    let evicted = |second, uid| told(second, EventReason::Evicted, "Evicted", uid);
    check(&[OLD], vec![evicted(9_940, "a")], &[], Ok(1), count, 1);
    check(&[OLD], vec![evicted(9_939, "a")], &[], Ok(1), count, 0);
    let two = vec![evicted(9_940, "a"), evicted(9_940, "b")];
    check(&[OLD], two, &[], Ok(1), count, 2);
    check(&[OLD], vec![outdated(9_940, 2)], &[], Ok(1), count, 0);
    let restarted = vec![told(9_940, EventReason::Restarted, "Restarted", "web")];
    check(&[OLD], restarted, &[], Ok(1), count, 1);
}

#[test]
fn an_evicted_pod_that_is_gone_was_on_nobody_knows_which_node() {
    let lost = |scene: &Scene<'_>, _: &Group| {
        let namespaces = scene
            .evictions
            .iter()
            .map(|past| past.namespace.to_string());
        (scene.lost, namespaces.collect::<Vec<_>>())
    };
    let evicted = |uid| vec![told(9_940, EventReason::Evicted, "Evicted", uid)];
    let shop = || vec!["shop".to_owned()];
    check(&[OLD], evicted("a"), &[], Ok(1), lost, (1, shop()));
    check(&[OLD], evicted("uid-web-0"), &[], Ok(1), lost, (0, shop()));
    let restarted = vec![told(9_940, EventReason::Restarted, "Restarted", "web")];
    check(&[OLD], restarted, &[], Ok(1), lost, (0, shop()));
}

#[test]
fn what_is_restarted_is_told_from_what_is_evicted() {
    let restarts = |scene: &Scene<'_>, group: &Group| {
        let view = scene.view(group);
        scene.restarts(&view, &scene.cases[0])
    };
    for (strategy, desired, expected) in [
        ("evict", 1, false),
        ("restart", 1, true),
        ("restart", 2, true),
        ("auto", 1, true),
        ("auto", 2, false),
    ] {
        let wishes = [("strategy", strategy)];
        check(&[OLD], vec![], &wishes, Ok(desired), restarts, expected);
    }
}

#[test]
fn a_restart_waits_until_all_that_it_is_for_is_confirmed() {
    let on = |uid| {
        let note = format!("web has moved on from {} to {}", digest(9), digest(2));
        vec![told(9_000, EventReason::Outdated, &note, uid)]
    };
    let unconfirmed = Some(Hold::Unconfirmed);
    let wish = [("strategy", "restart")];
    check_holds(&[OLD, OLD], on("web"), &wish, &[None, None]);
    check_holds(&[OLD, OLD], on("uid-web-0"), &wish, &[unconfirmed; 2]);
    let evicted = [None, Some(Hold::Pace)];
    check_holds(&[OLD, OLD], on("uid-web-0"), &[], &evicted);
}

#[test]
fn a_lease_is_led_by_while_it_is_renewed() {
    let check = |identity: &str, renewed: Option<i64>, expected| {
        let holder = Holder {
            identity: identity.to_owned(),
            renewed: renewed.map(at),
            duration: Duration::from_secs(15),
        };
        assert_eq!(leads(&holder, at(NOW)), expected);
    };
    check("a", Some(NOW), true);
    check("a", Some(NOW + 100), true);
    check("a", Some(NOW - 75), true);
    check("a", Some(NOW - 76), false);
    check("a", None, false);
    check("", Some(NOW), false);
}
