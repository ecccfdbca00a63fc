use super::*;
use crate::refresh::fixture::{deployment, owned_by, seconds};

fn memory() -> (Memory, Instant) {
    (Memory::new(seconds(300)), Instant::now())
}

#[test]
fn a_pod_is_going_until_it_is_gone() {
    let (mut memory, now) = memory();
    memory.goes("a", None);
    memory.goes("b", Some(now + seconds(90)));
    memory.tidy(now + seconds(89), ["a", "b"].into_iter());
    assert!(memory.is_going("a") && memory.is_going("b"));
    assert_eq!(memory.next_end(now), Some(now + seconds(90)));
    memory.tidy(now + seconds(90), ["a", "b"].into_iter());
    assert!(memory.is_going("a") && !memory.is_going("b"));
    memory.tidy(now + seconds(90), ["b"].into_iter());
    assert!(!memory.anything_goes());
}

#[test]
fn the_minute_includes_both_ends() {
    let (mut memory, now) = memory();
    memory.spend(&"shop".into(), Some(&"n1".into()), now);
    let spent = memory.evictions().next().unwrap();
    assert_eq!((spent.at, &*spent.namespace), (now, "shop"));
    assert_eq!(spent.node.as_deref(), Some("n1"));
    assert_eq!(memory.next_end(now), Some(now + MINUTE));
    memory.tidy(now + seconds(60), [].into_iter());
    assert_eq!(memory.evictions().count(), 1);
    memory.tidy(now + MINUTE + Duration::from_millis(1), [].into_iter());
    assert_eq!(memory.evictions().count(), 0);
}

#[test]
fn a_reading_holds_for_a_while_and_names_for_longer() {
    let (mut memory, now) = memory();
    let owners = ["uid-a", "uid-b"].map(Into::into);
    memory.read(deployment("web", 3), owners, now);
    assert_eq!(memory.workload_of(&owned_by("a")), Some("uid-web"));
    assert_eq!(memory.workload_of(&owned_by("b")), Some("uid-web"));
    assert_eq!(memory.workload_of(&owned_by("c")), None);
    let old = now + READING_TIME;
    assert_eq!(memory.desired("uid-web", 3, old - seconds(1)), Some(3));
    assert_eq!(memory.desired("uid-web", 3, old), None);
    let late = now + KEEP - seconds(1);
    memory.tidy(late, [].into_iter());
    assert!(memory.workload("uid-web").is_some());
    memory.keep("uid-web", late);
    memory.tidy(now + KEEP, [].into_iter());
    assert!(memory.workload("uid-web").is_some(), "it was of interest");
    memory.tidy(late + KEEP, [].into_iter());
    assert!(memory.workload("uid-web").is_none());
    assert_eq!(memory.workload_of(&owned_by("a")), None);
}

#[test]
fn a_template_is_judged_by_a_reading_of_this_look_or_while_it_holds() {
    let (mut memory, now) = memory();
    memory.read(deployment("web", 1), ["uid-a".into()], now + seconds(1));
    let (same, next) = (now, now + seconds(2));
    assert!(memory.template("uid-web", same).is_some());
    assert!(memory.template("uid-web", next).is_none());
    memory.rollouts.refused("uid-web", "paused", None, next);
    assert!(memory.template("uid-web", next).is_some());
    assert!(memory.template("uid-web", next + seconds(5)).is_none());
    assert!(memory.template("uid-other", next).is_none());
}

#[test]
fn an_owner_that_was_read_is_not_waited_for_any_more() {
    let (mut memory, now) = memory();
    memory.owners.refused("uid-a", "owner_unread", None, now);
    assert!(memory.owners.hold("uid-a", now));
    memory.read(deployment("web", 3), ["uid-a".into()], now);
    assert!(!memory.owners.hold("uid-a", now));
    memory.unread("uid-a");
    assert_eq!(memory.workload_of(&owned_by("a")), None);
}

#[test]
fn the_first_pause_is_no_longer_than_a_poll() {
    let now = Instant::now();
    for (poll, pause) in [(300, 5), (5, 5), (4, 4)] {
        let mut memory = Memory::new(seconds(poll));
        memory.ready.refused("w", "pdb", None, now);
        assert_eq!(memory.next_end(now), Some(now + seconds(pause)));
    }
}

#[test]
fn what_is_over_is_forgotten() {
    let (mut memory, now) = memory();
    let turn = Turn {
        owner: Arc::new(owned_by("a")),
        namespace: "shop".into(),
        targets: String::new(),
        evicted: 1,
        begun: now,
        halted: false,
        short: None,
        until: now + seconds(600),
    };
    memory.turning.insert("uid-web".into(), turn);
    for waits in [&mut memory.pods, &mut memory.ready, &mut memory.workloads] {
        waits.refused("w", "pdb", None, now);
    }
    memory.owners.refused("w", "owner_gone", None, now);
    memory.server.refused(SERVER, "busy", None, now);
    memory.tidy(now + seconds(599), [].into_iter());
    assert_eq!(memory.turning.len(), 1);
    memory.tidy(now + seconds(3600), [].into_iter());
    assert!(memory.turning.is_empty());
    assert_eq!(memory.next_end(now), None);
}
