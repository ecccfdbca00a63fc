use super::*;
use crate::{
    cluster::Refusal,
    policy::gate::Hold,
    refresh::{
        fixture::{owned_by, runs, seconds},
        group::refused,
    },
};

/// Notes `answer` to the eviction of a pod, ready or not; returns the memory before and after, a second later.
struct Noted {
    memory: Memory,
    outcome: Outcome,
    now: Instant,
}

fn asked<'a>(pod: &'a Pod, rehearsal: Option<Duration>) -> Asked<'a> {
    Asked {
        pod,
        owner: pod.owner.as_ref().unwrap(),
        workload: "uid-w",
        moved: &[],
        targets: "app=sha256:1",
        rehearsal,
        progress_deadline: seconds(600),
    }
}

fn note_one(ready: bool, rehearsal: Option<Duration>, answer: &Eviction) -> Noted {
    let (mut memory, now) = (Memory::new(seconds(300)), Instant::now());
    let pod = runs("a", "web", 1).with(|pod| pod.ready = ready).build();
    let outcome = note(&mut memory, asked(&pod, rehearsal), answer, now);
    Noted {
        memory,
        outcome,
        now,
    }
}

/// Checks what waits after an answer (`pod`, `ready`, `workload`, `server`), whether the pod counts as going,
/// whether it is counted against the budget, and whether others may be tried.
#[track_caller]
fn check(ready: bool, answer: &Eviction, waits: &str, going: bool, counts: bool, go_on: bool) {
    let Noted {
        memory,
        outcome,
        now,
    } = note_one(ready, None, answer);
    let held = [
        ("pod", memory.pods.hold("uid-a", now)),
        ("ready", memory.ready.hold("uid-w", now)),
        ("workload", memory.workloads.hold("uid-w", now)),
        ("server", memory.server.hold(SERVER, now)),
    ];
    let held: Vec<&str> = held.iter().filter(|it| it.1).map(|it| it.0).collect();
    assert_eq!(held.join(" "), waits, "{answer:?}");
    assert_eq!(memory.is_going("uid-a"), going, "{answer:?}");
    assert_eq!(memory.evictions().count() == 1, counts, "{answer:?}");
    assert_eq!(outcome, Outcome { news: true, go_on }, "{answer:?}");
}

fn blocked(budget: &str, retry_after: Option<Duration>) -> Eviction {
    Eviction::Blocked {
        budget: Some(budget.to_owned()),
        message: "wait".to_owned(),
        retry_after,
    }
}

fn failed(code: u16) -> Eviction {
    Eviction::Failed(CallError::Refused(Box::new(Refusal {
        code,
        ..Refusal::default()
    })))
}

fn message() -> String {
    "no".to_owned()
}

#[test]
fn an_evicted_pod_is_going_and_counts() {
    check(true, &Eviction::Evicted, "", true, true, true);
}

#[test]
fn a_budget_holds_all_ready_pods_or_one_that_is_not() {
    check(true, &blocked("b", None), "ready", false, false, true);
    check(false, &blocked("b", None), "pod", false, false, true);
}

#[test]
fn a_refusal_of_a_workload_holds_all_its_pods() {
    for ready in [true, false] {
        let (no, gone) = (message(), Eviction::NamespaceTerminating);
        let two = Eviction::Misconfigured {
            message: no.clone(),
        };
        check(ready, &two, "workload", false, false, true);
        let forbidden = Eviction::Forbidden { message: no };
        check(ready, &forbidden, "workload", false, false, true);
        check(ready, &gone, "workload", false, false, true);
        check(ready, &failed(422), "workload", false, false, true);
    }
    let deferred = Eviction::Deferred { message: message() };
    check(true, &deferred, "pod", false, false, true);
}

#[test]
fn a_pod_that_is_gone_already_is_not_counted() {
    check(true, &Eviction::Gone, "", true, false, true);
    check(true, &Eviction::Replaced, "", true, false, true);
}

#[test]
fn a_pod_that_has_changed_is_asked_for_again_as_it_is_then() {
    // The API server's own trouble, where nobody has named a version.
    check(true, &Eviction::Changed, "pod", false, false, true);
    let (mut memory, now) = (Memory::new(seconds(300)), Instant::now());
    let seen = |version: &str| {
        let pod = runs("a", "web", 1).with(|pod| {
            pod.ready = false;
            pod.version = Some(version.into());
        });
        pod.build()
    };
    let outcome = note(
        &mut memory,
        asked(&seen("7"), None),
        &Eviction::Changed,
        now,
    );
    assert!(outcome.go_on && !memory.is_going("uid-a"));
    let refused = |pod: &Pod, memory: &Memory| refused(pod, Some("uid-w"), memory, now);
    assert_eq!(refused(&seen("7"), &memory), Some(Hold::Refused));
    assert_eq!(refused(&seen("8"), &memory), None);
    let ready = runs("a", "web", 1).build();
    assert_eq!(refused(&ready, &memory), None);
    // It is remembered for as long as the pod is there.
    memory.tidy(now, ["uid-a"].into_iter());
    assert_eq!(refused(&seen("7"), &memory), Some(Hold::Refused));
    memory.tidy(now, ["uid-b"].into_iter());
    assert_eq!(refused(&seen("7"), &memory), None);
}

#[test]
fn a_server_that_is_busy_or_away_is_left_alone() {
    let busy = Eviction::Busy { retry_after: None };
    check(true, &busy, "server", false, false, false);
    let silent = Eviction::Failed(CallError::Timeout(seconds(3)));
    check(true, &silent, "workload server", true, true, false);
    check(true, &failed(503), "workload server", true, true, false);
    check(true, &failed(401), "workload server", false, false, false);
    // It was never asked.
    let unsent = Eviction::Failed(CallError::Credentials("no token".into()));
    check(true, &unsent, "workload server", false, false, false);
    // A webhook that fails is no server that is away.
    check(true, &failed(500), "workload", true, true, true);
}

/// Checks for how long a pod counts as going after a failure.
#[track_caller]
fn check_doubt(answer: &Eviction, expected: Duration) {
    let Noted {
        mut memory, now, ..
    } = note_one(true, None, answer);
    memory.tidy(now + expected - seconds(1), ["uid-a"].into_iter());
    assert!(memory.is_going("uid-a"));
    memory.tidy(now + expected, ["uid-a"].into_iter());
    assert!(!memory.is_going("uid-a"));
    // Until it is asked again, or gone, it may be either.
    assert!(memory.is_in_doubt("uid-a"));
    let pod = runs("a", "web", 1).build();
    note(&mut memory, asked(&pod, None), &blocked("b", None), now);
    assert!(!memory.is_in_doubt("uid-a"));
    memory.doubt("uid-a", true);
    memory.tidy(now + expected, ["uid-b"].into_iter());
    assert!(!memory.is_in_doubt("uid-a"));
}

#[test]
fn who_knows_not_whether_it_was_done_takes_it_for_done() {
    check_doubt(&failed(500), FAILURE);
    check_doubt(&failed(504), FAILURE);
    check_doubt(&Eviction::Failed(CallError::Timeout(seconds(3))), SILENCE);
}

#[test]
fn a_server_says_how_long_it_is_busy_but_not_for_ever() {
    let until = |retry_after| {
        let noted = note_one(true, None, &Eviction::Busy { retry_after });
        noted.memory.next_end(noted.now).unwrap() - noted.now
    };
    assert_eq!(until(Some(seconds(7))), seconds(7));
    assert_eq!(until(Some(Duration::MAX)), seconds(30));
    assert_eq!(until(Some(Duration::ZERO)), seconds(1));
}

#[test]
fn the_same_refusal_is_news_once() {
    let Noted {
        mut memory, now, ..
    } = note_one(true, None, &blocked("b", None));
    let pod = runs("other", "web", 1).build();
    let mut again = |answer: &Eviction, news| {
        let outcome = note(&mut memory, asked(&pod, None), answer, now);
        assert_eq!(outcome.news, news, "{answer:?}");
    };
    again(&blocked("b", None), false);
    again(&blocked("c", None), true);
    again(&Eviction::Evicted, true);
    again(&blocked("c", None), true);
}

#[test]
fn an_eviction_ends_what_was_waited_for() {
    let Noted {
        mut memory, now, ..
    } = note_one(true, None, &blocked("b", None));
    memory.workloads.refused("uid-w", "failed", None, now);
    memory.server.refused(SERVER, "busy", None, now);
    let pod = runs("other", "web", 1).build();
    note(&mut memory, asked(&pod, None), &Eviction::Evicted, now);
    assert!(!memory.ready.hold("uid-w", now));
    assert!(!memory.workloads.hold("uid-w", now));
    assert!(!memory.server.hold(SERVER, now));
}

#[test]
fn a_workload_is_turning_as_long_as_its_pods_go() {
    let Noted {
        mut memory, now, ..
    } = note_one(true, None, &Eviction::Evicted);
    memory.turning.get_mut("uid-w").unwrap().short = Some(now);
    let later = now + seconds(500);
    let pod = runs("other", "web", 1).build();
    note(&mut memory, asked(&pod, None), &Eviction::Evicted, later);
    let turn = &memory.turning["uid-w"];
    assert_eq!(turn.short, None, "this one's has its own time");
    assert_eq!((turn.evicted, turn.until), (2, later + seconds(600)));
    assert_eq!((*turn.owner).clone(), owned_by("web"));
    assert_eq!(turn.targets, "app=sha256:1");
}

#[test]
fn a_dry_run_changes_nothing_for_good_and_is_news_once() {
    let rehearsal = Some(seconds(60));
    let Noted {
        mut memory,
        outcome,
        now,
    } = note_one(true, rehearsal, &Eviction::Evicted);
    assert!(outcome.news && memory.turning.is_empty());
    assert!(memory.is_going("uid-a"));
    assert_eq!(memory.evictions().count(), 1);
    let later = now + seconds(60);
    memory.tidy(later, ["uid-a"].into_iter());
    assert!(!memory.is_going("uid-a"));
    let pod = runs("a", "web", 1).build();
    let again = note(
        &mut memory,
        asked(&pod, rehearsal),
        &Eviction::Evicted,
        later,
    );
    assert!(!again.news);
}
