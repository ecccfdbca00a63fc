use super::*;
use crate::{
    policy::fixture::digest,
    refresh::fixture::{lookup, lookup_of, seconds, unavailable},
    registry::Fault,
};

const INTERVAL: Duration = seconds(300);

fn sightings(now: Instant) -> Sightings {
    Sightings::new(INTERVAL, now)
}

fn ok(version: u8, at: Instant) -> Option<Result<(Digest, Instant), LookupError>> {
    Some(Ok((digest(version), at)))
}

/// Notes that exactly these are in use at `now`.
fn use_all(sightings: &mut Sightings, lookups: &[Lookup], now: Instant) {
    sightings.begin_use(now);
    for lookup in lookups {
        sightings.used(lookup);
    }
    sightings.end_use(None);
}

fn target(sightings: &mut Sightings, lookup: &Lookup) -> Option<(Digest, u32)> {
    let target = sightings.used(lookup).target.as_ref()?;
    Some((target.digest.clone(), target.sightings))
}

#[test]
fn a_reference_first_seen_is_due_at_once_and_only_once() {
    let now = Instant::now();
    let mut sightings = sightings(now);
    assert_eq!(sightings.take_due(now), []);
    use_all(&mut sightings, &[lookup()], now);
    let due = sightings.take_due(now);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].max_age, SHARE);
    use_all(&mut sightings, &[lookup()], now);
    assert_eq!(sightings.take_due(now + INTERVAL), [], "it is under way");
}

#[test]
fn what_pods_are_to_go_for_is_at_stake_until_that_is_over() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    let mut is_at_stake = |at: Instant, staked: bool| {
        use_all(&mut sightings, std::slice::from_ref(&lookup), at);
        if staked {
            sightings.stake(&lookup, at);
        }
        let due = sightings.take_due(at);
        sightings.landed(&lookup, ok(1, at), at, 0.0);
        due[0].at_stake
    };
    assert!(!is_at_stake(now, false));
    assert!(is_at_stake(now + 2 * INTERVAL, true));
    assert!(is_at_stake(now + 4 * INTERVAL, false));
    assert!(!is_at_stake(now + 6 * INTERVAL, false));
}

#[test]
fn equal_digests_are_counted_and_another_begins_anew() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    let mut land = |version, second: u64, expected: (u8, u32), news: bool| {
        let at = now + seconds(second);
        let is_news = sightings.landed(&lookup, ok(version, at), at, 0.0);
        assert_eq!(is_news, news, "{second}");
        let (version, count) = expected;
        assert_eq!(
            target(&mut sightings, &lookup),
            Some((digest(version), count)),
            "{second}"
        );
    };
    land(1, 5, (1, 1), true);
    land(1, 6, (1, 2), false);
    // Another's answer that is no younger than ours is not another sighting.
    land(1, 6, (1, 2), false);
    land(2, 5, (1, 2), false);
    land(2, 7, (2, 1), true);
    land(1, 8, (1, 1), true);
}

#[test]
fn a_failure_keeps_what_was_known_and_is_news_once() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    assert!(sightings.landed(&lookup, ok(1, now), now, 0.0));
    assert!(sightings.landed(&lookup, Some(Err(unavailable())), now, 0.0));
    assert!(!sightings.landed(&lookup, Some(Err(unavailable())), now, 0.0));
    let sighting = sightings.used(&lookup);
    assert!(sighting.fault.is_some() && sighting.target.is_some());
    let later = now + seconds(1);
    assert!(sightings.landed(&lookup, ok(1, later), later, 0.0));
    assert!(sightings.used(&lookup).fault.is_none());
}

/// Checks the pauses between lookups that all fail so.
#[track_caller]
fn check_retries(fault: Fault, chance: f64, expected_ms: &[u64]) {
    let (mut now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    for expected in expected_ms {
        assert_eq!(sightings.take_due(now).len(), 1);
        let error = LookupError::anonymous(&lookup.image, fault.clone());
        sightings.landed(&lookup, Some(Err(error)), now, chance);
        // Somebody who waits for it does not hurry a registry that fails.
        sightings.ask_at(&lookup, now);
        let next = now + Duration::from_millis(*expected);
        assert_eq!(sightings.take_due(next - Duration::from_millis(1)), []);
        assert_eq!(sightings.soonest(), next);
        now = next;
    }
}

#[test]
fn a_registry_that_fails_is_asked_less_and_less() {
    let fault = || Fault::Unavailable {
        status: 503,
        retry_after: None,
    };
    check_retries(
        fault(),
        0.0,
        &[
            5000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000,
        ],
    );
    check_retries(fault(), 1.0, &[4500, 9000]);
    let limited = |after| Fault::RateLimited {
        retry_after: seconds(after),
    };
    check_retries(limited(60), 0.0, &[60_000, 60_000]);
    check_retries(limited(900), 0.0, &[900_000]);
    let by_token = Fault::TokenService {
        host: "auth".into(),
        source: Box::new(limited(60)),
    };
    check_retries(by_token, 0.0, &[60_000]);
}

#[test]
fn a_lookup_that_breaks_is_tried_again_later() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    assert_eq!(sightings.take_due(now).len(), 1);
    assert!(!sightings.landed(&lookup, None, now, 0.0));
    assert_eq!(sightings.take_due(now + seconds(4)), []);
    assert_eq!(sightings.take_due(now + seconds(5)).len(), 1);
}

#[test]
fn the_ordinary_turns_are_spread_and_shared_by_image() {
    let now = Instant::now();
    let sightings = sightings(now);
    let images: Vec<Lookup> = (0..100)
        .map(|nth| lookup_of(&format!("app:{nth}")))
        .collect();
    let mut elsewhere = images[0].clone();
    elsewhere.identity = {
        let mut identity = (*elsewhere.identity).clone();
        identity.namespace = "elsewhere".into();
        identity.into()
    };
    let turns: Vec<Instant> = images
        .iter()
        .map(|it| sightings.next_turn(it, now))
        .collect();
    for turn in &turns {
        let pause = *turn - now;
        assert!(
            (INTERVAL / 10..=INTERVAL * 11 / 10).contains(&pause),
            "{pause:?}"
        );
    }
    let early = turns.iter().filter(|it| **it - now < INTERVAL / 2).count();
    assert!(
        (15..85).contains(&early),
        "{early} of 100 in the first half"
    );
    assert_eq!(sightings.next_turn(&elsewhere, now), turns[0]);
    // From then on it is the interval.
    assert_eq!(
        sightings.next_turn(&images[0], turns[0]),
        turns[0] + INTERVAL
    );
    assert_eq!(
        sightings.next_turn(&images[0], turns[0] + seconds(9)),
        turns[0] + INTERVAL
    );
}

#[test]
fn an_answer_that_is_waited_for_is_asked_for_anew() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    sightings.take_due(now);
    sightings.landed(&lookup, ok(1, now), now, 0.0);
    sightings.ask_at(&lookup, now + seconds(10));
    assert_eq!(sightings.take_due(now + seconds(9)), []);
    let later = now + seconds(10);
    let due = sightings.take_due(later);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].max_age, Duration::ZERO);
    assert!(
        sightings.landed(&lookup, ok(1, later), later, 0.0),
        "it was waited for"
    );
    assert_eq!(sightings.take_due(later + seconds(20)), []);
}

#[test]
fn nobody_is_asked_twice_in_a_second() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    sightings.take_due(now);
    sightings.landed(&lookup, ok(1, now), now, 0.0);
    sightings.ask_at(&lookup, now);
    sightings.ask_at(&lookup, now);
    assert_eq!(sightings.take_due(now + Duration::from_millis(999)), []);
    assert_eq!(sightings.take_due(now + GAP).len(), 1);
}

#[test]
fn a_registry_that_hangs_leaves_places_to_others_and_the_longest_due_go_first() {
    let now = Instant::now();
    let mut sightings = sightings(now);
    let hanging: Vec<Lookup> = (0..300)
        .map(|nth| lookup_of(&format!("hangs.example/app:{nth}")))
        .collect();
    use_all(&mut sightings, &hanging, now);
    assert_eq!(sightings.take_due(now).len(), IN_FLIGHT.1);
    assert_eq!(sightings.soonest(), now + BACKLOG, "others are left");
    let later = now + seconds(1);
    let all = [&hanging[..], &[lookup()]].concat();
    use_all(&mut sightings, &all, later);
    let due: Vec<Lookup> = sightings
        .take_due(later)
        .into_iter()
        .map(|due| due.lookup)
        .collect();
    assert_eq!(due, [lookup()]);
    let many: Vec<Lookup> = (0..900)
        .map(|nth| lookup_of(&format!("r{}.example/app:{nth}", nth % 30)))
        .collect();
    let mut sightings = self::sightings(now);
    use_all(&mut sightings, &many, now);
    assert_eq!(sightings.take_due(now).len(), IN_FLIGHT.0);
}

#[test]
fn a_reference_is_remembered_for_a_while_and_not_asked_for_meanwhile() {
    let (now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    sightings.take_due(now);
    sightings.landed(&lookup, ok(1, now), now, 0.0);
    let later = now + KEEP - seconds(1);
    use_all(&mut sightings, &[], later);
    assert_eq!(sightings.take_due(later), [], "nobody uses it");
    use_all(&mut sightings, std::slice::from_ref(&lookup), later);
    assert_eq!(target(&mut sightings, &lookup), Some((digest(1), 1)));
    assert_eq!(sightings.take_due(later).len(), 1, "it is long due");
    sightings.landed(&lookup, ok(1, later), later, 0.0);
    use_all(&mut sightings, &[], later + KEEP);
    assert_eq!(target(&mut sightings, &lookup), None);
}

/// Checks what is known of one reference after some answers, each as it is due: whether it counts as answered,
/// and whether an answer is worth waiting for until `patience` seconds after the last one.
#[track_caller]
fn check_awaited(
    answers: Vec<Result<u8, LookupError>>,
    patience: u64,
    answered: bool,
    awaits: bool,
) {
    let (mut now, lookup) = (Instant::now(), lookup());
    let mut sightings = sightings(now);
    use_all(&mut sightings, std::slice::from_ref(&lookup), now);
    let failing = matches!(answers.last(), Some(Err(_)));
    for answer in answers {
        let answer = answer.map(|version| (digest(version), now));
        sightings.take_due(now);
        sightings.landed(&lookup, Some(answer), now, 0.0);
        now += seconds(20);
    }
    let deadline = now - seconds(20) + seconds(patience);
    assert_eq!(sightings.answered(), (usize::from(answered), 1));
    assert_eq!(sightings.awaits(deadline), awaits);
    assert_eq!(sightings.failing().count(), usize::from(failing));
}

#[test]
fn an_answer_is_waited_for_while_it_may_come() {
    let gone = || LookupError::anonymous(&lookup().image, Fault::NotFound);
    check_awaited(vec![], 0, false, true);
    check_awaited(vec![Ok(1)], 100, true, false);
    check_awaited(vec![Err(gone())], 100, true, false);
    check_awaited(vec![Err(unavailable())], 100, true, true);
    check_awaited(vec![Err(unavailable()), Ok(1)], 100, true, false);
    check_awaited(vec![Ok(1), Err(unavailable())], 100, true, true);
    let times = |count| (0..count).map(|_| Err(unavailable())).collect();
    check_awaited(times(2), 100, true, true);
    check_awaited(times(3), 100, true, false);
    // The next attempt comes five seconds later.
    check_awaited(times(1), 5, true, false);
    check_awaited(times(1), 6, true, true);
}

#[test]
fn a_reference_that_nobody_uses_is_waited_for_by_nobody() {
    let now = Instant::now();
    let mut sightings = sightings(now);
    use_all(&mut sightings, &[lookup()], now);
    use_all(&mut sightings, &[], now + seconds(1));
    assert_eq!(sightings.answered(), (0, 0));
    assert!(!sightings.awaits(now + INTERVAL));
}
