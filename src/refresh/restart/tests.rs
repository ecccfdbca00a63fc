use super::*;
use crate::{
    cluster::{CallError, Refusal},
    refresh::fixture::{Stage, deployment, runs, seconds},
};

fn stage() -> Stage {
    Stage::new([runs("a", "web", 2), runs("b", "web", 2)]).confirmed(1)
}

/// Notes `answer` to the restart of a Deployment of two pods.
fn noted(rehearsal: Option<Duration>, answer: &Restart) -> (Memory, Outcome, Instant) {
    let (stage, mut memory) = (stage(), Memory::new(seconds(300)));
    let outdated: Vec<&Outdated> = stage.survey.outdated.iter().collect();
    let asked = Asked {
        workload: &deployment("web", 2),
        outdated: &outdated,
        rehearsal,
        progress_deadline: seconds(600),
    };
    let now = stage.now();
    let outcome = asked.note(&mut memory, answer, now);
    (memory, outcome, now)
}

fn failed(code: u16) -> Restart {
    Restart::Failed(CallError::Refused(Box::new(Refusal {
        code,
        ..Refusal::default()
    })))
}

/// Checks whether workload and server wait after an answer, and whether it counts against the budgets.
#[track_caller]
fn check(answer: &Restart, workload: bool, server: bool, counts: bool) {
    let (memory, outcome, now) = noted(None, answer);
    assert_eq!(
        memory.workloads.hold("uid-web", now),
        workload,
        "{answer:?}"
    );
    assert_eq!(memory.server.hold(SERVER, now), server, "{answer:?}");
    assert_eq!(memory.evictions().count() == 1, counts, "{answer:?}");
    assert!(!memory.is_going("uid-a"), "{answer:?}");
    let expected = Outcome {
        news: true,
        go_on: !server,
    };
    assert_eq!(outcome, expected, "{answer:?}");
}

#[test]
fn a_restart_counts_once_and_on_no_node() {
    check(&Restart::Restarted, false, false, true);
    let (memory, _, now) = noted(None, &Restart::Restarted);
    let spent = memory.evictions().next().unwrap();
    assert_eq!((&*spent.namespace, spent.node.as_deref()), ("shop", None));
    let turn = &memory.turning["uid-web"];
    assert_eq!((turn.evicted, turn.until), (0, now + seconds(1200)));
    assert!(turn.targets.starts_with("app=sha256:"));
}

#[test]
fn what_somebody_else_has_changed_waits() {
    for answer in [
        Restart::Conflict,
        Restart::Gone,
        Restart::Unchanged,
        Restart::Unsupported,
    ] {
        check(&answer, true, false, false);
    }
    check(&failed(403), true, false, false);
    check(&failed(422), true, false, false);
}

#[test]
fn who_does_not_know_whether_it_was_done_counts_it() {
    check(&failed(500), true, false, true);
    check(&failed(503), true, true, true);
    let silent = Restart::Failed(CallError::Timeout(seconds(3)));
    check(&silent, true, true, true);
}

#[test]
fn a_busy_server_is_left_alone_and_no_owner_is_to_blame() {
    check(&failed(429), false, true, false);
}

#[test]
fn a_dry_run_changes_nothing_for_good_and_is_news_once() {
    let rehearsal = Some(seconds(60));
    let (mut memory, outcome, now) = noted(rehearsal, &Restart::Restarted);
    assert!(outcome.news && memory.turning.is_empty());
    for pod in ["uid-a", "uid-b"] {
        assert!(memory.is_going(pod), "{pod}");
    }
    let later = now + seconds(60);
    memory.tidy(later, ["uid-a", "uid-b"].into_iter());
    assert!(!memory.is_going("uid-a"));
    let stage = stage();
    let outdated: Vec<&Outdated> = stage.survey.outdated.iter().collect();
    let asked = Asked {
        workload: &deployment("web", 2),
        outdated: &outdated,
        rehearsal,
        progress_deadline: seconds(600),
    };
    let again = asked.note(&mut memory, &Restart::Restarted, later);
    assert!(!again.news);
}
