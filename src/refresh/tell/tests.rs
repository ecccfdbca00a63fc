use std::sync::Arc;

use super::*;
use crate::{
    policy::fixture::digest,
    refresh::fixture::{Stage, lookup_of, owned_by, runs, seconds, unavailable},
};

fn stage() -> Stage {
    Stage::new([runs("a", "web", 2)]).confirmed(1)
}

fn about() -> About {
    About::owner("shop", &owned_by("web")).unwrap()
}

#[test]
fn what_has_moved_is_told_with_both_digests() {
    let stage = stage();
    let outdated = &stage.survey.outdated[0];
    let (old, new) = (digest(2), digest(1));
    let moves = format!("docker.io/library/nginx:1.27 has moved on from {old} to {new}");
    let expected = Notice {
        about: about(),
        related: None,
        reason: EventReason::Outdated,
        once_for: occasion(outdated),
        note: moves.clone(),
    };
    let told = super::outdated(&about(), outdated);
    assert_eq!(told, std::slice::from_ref(&expected));
    let expected = Notice {
        about: About::pod(&outdated.pod),
        once_for: format!("app={new}"),
        reason: EventReason::Evicted,
        note: format!("Evicted: {moves}"),
        ..expected
    };
    assert_eq!(evicted(outdated), expected);
}

#[test]
fn what_an_event_has_no_room_for_is_told_by_more_of_them() {
    let stage = stage();
    let mut outdated = stage.survey.outdated[0].clone();
    let first = outdated.moved[0].clone();
    // Beside its image a move is 165 bytes long, and "; " stands between two: four of 89 bytes are 1,022.
    let image = |nth: u8, bytes: usize| format!("a.io/{nth}{}:1", "x".repeat(bytes - 8));
    let moved = |nth: u8, bytes: usize| {
        let mut moved = first.clone();
        moved.lookup = lookup_of(&image(nth, bytes));
        moved.to.digest = digest(100 + nth);
        moved
    };
    for (bytes, expected) in [(89, vec![4, 2]), (90, vec![3, 3])] {
        outdated.moved = (0..6).map(|nth| moved(nth, bytes)).collect();
        let told = super::outdated(&about(), &outdated);
        let notes: Vec<&str> = told.iter().map(|notice| &*notice.note).collect();
        assert!(
            notes.iter().all(|note| note.len() <= NOTE_LIMIT),
            "{notes:?}"
        );
        let counts: Vec<usize> = (notes.iter())
            .map(|note| note.matches(" has moved on from ").count())
            .collect();
        assert_eq!(counts, expected);
        let all = notes.join("; ");
        for nth in 0..6 {
            let (image, to) = (image(nth, bytes), digest(100 + nth));
            let moved = format!("{image} has moved on from {} to {to}", digest(2));
            assert!(all.contains(&moved), "{all}");
        }
        assert_ne!(told[0].once_for, told[1].once_for);
    }
}

#[test]
fn what_is_told_once_depends_on_the_digest() {
    let stage = stage();
    let mut other = stage.survey.outdated[0].clone();
    let before = blocked(about(), &other, "the budget b says no");
    assert_eq!(before.related, Some(About::pod(&other.pod)));
    assert_eq!(before.note, "Not evicted yet: the budget b says no");
    let again = blocked(about(), &other, "the budget b needs 3 healthy pods");
    assert_eq!(before.once_for, again.once_for);
    other.moved[0].to.last += seconds(60);
    assert_eq!(before.once_for, blocked(about(), &other, "no").once_for);
    // The tag has meant something else meanwhile.
    other.moved[0].to.first += seconds(60);
    assert_ne!(before.once_for, blocked(about(), &other, "no").once_for);
    let mut other = stage.survey.outdated[0].clone();
    other.moved[0].to.digest = digest(3);
    assert_ne!(before.once_for, blocked(about(), &other, "no").once_for);
}

/// Checks which Event a hold makes.
#[track_caller]
fn check_held(hold: Hold, expected: Option<EventReason>) {
    let stage = stage();
    let notice = held(about(), &stage.survey.outdated[0], hold);
    assert_eq!(notice.map(|notice| notice.reason), expected, "{hold:?}");
}

#[test]
fn only_holds_that_want_somebody_are_told() {
    for hold in Hold::ALL {
        let expected = match hold {
            Hold::Halted => Some(EventReason::RefreshHalted),
            Hold::Ineffective => Some(EventReason::RefreshIneffective),
            Hold::NoRollout => Some(EventReason::EvictionBlocked),
            _ => None,
        };
        check_held(hold, expected);
    }
}

#[test]
fn a_tag_nobody_knows_is_told_of_the_owner_and_once_for_each_fault() {
    let stage = stage();
    let finding = Finding {
        pod: Arc::clone(&stage.pods[0]),
        what: Found::Unresolved {
            lookup: stage.survey.outdated[0].moved[0].lookup.clone(),
            fault: unavailable(),
        },
    };
    let notice = found(&finding);
    assert_eq!(notice.about, about());
    assert_eq!(notice.related, Some(About::pod(&stage.pods[0])));
    assert_eq!(notice.once_for, "docker.io/library/nginx:1.27 unavailable");
    assert_eq!(
        notice.note,
        "Nobody knows what docker.io/library/nginx:1.27 means now: docker.io: it answered 503"
    );
}

#[test]
fn the_end_says_how_many_pods_went() {
    let begun = tokio::time::Instant::now();
    let turn = |evicted| Turn {
        owner: Arc::new(owned_by("web")),
        namespace: "shop".into(),
        targets: "app=x".to_owned(),
        evicted,
        begun,
        halted: false,
        short: None,
        until: tokio::time::Instant::now() + seconds(1),
    };
    let notice = refreshed(about(), &turn(3));
    assert_eq!(notice.reason, EventReason::Refreshed);
    let later = Turn {
        begun: begun + seconds(1),
        ..turn(3)
    };
    assert_ne!(notice.once_for, refreshed(about(), &later).once_for);
    assert_eq!(
        notice.note,
        "All pods run what their tags mean now; 3 pods were evicted"
    );
    let notice = halted(about(), &turn(1));
    assert_eq!(notice.reason, EventReason::RefreshHalted);
    assert_eq!(notice.once_for, halted(about(), &turn(2)).once_for);
    assert!(
        notice
            .note
            .contains("not become ready in time; 1 pod was evicted"),
        "{}",
        notice.note
    );
    assert!(
        refreshed(about(), &turn(0))
            .note
            .ends_with("it was restarted")
    );
    assert!(
        refreshed(about(), &turn(1))
            .note
            .ends_with("1 pod was evicted")
    );
}
