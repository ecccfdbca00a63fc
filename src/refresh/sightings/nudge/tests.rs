use super::*;
use crate::{
    policy::{Digest, fixture::digest},
    refresh::{
        fixture::{lookup, lookup_of, seconds, unavailable},
        sightings::{Due, SHARE},
    },
    registry::Fault,
};

const INTERVAL: Duration = Duration::from_secs(3600);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// References in use whose answers are known at `start`, and not due for long.
struct Scene {
    sightings: Sightings,
    start: Instant,
}

impl Scene {
    fn new(lookups: &[Lookup]) -> Self {
        let start = Instant::now();
        let mut sightings = Sightings::new(INTERVAL, start).seeded(1);
        sightings.begin_use(start);
        for lookup in lookups {
            sightings.used(lookup);
        }
        sightings.end_use(None);
        let mut scene = Self { sightings, start };
        assert_eq!(scene.due(0).len(), lookups.len());
        for lookup in lookups {
            scene.answer(lookup, 0, 1);
        }
        scene
    }

    /// Tells of pushes at this millisecond.
    fn told(&mut self, at: u64, pushes: &[&str]) -> Vec<Hint> {
        let pushes: Vec<Push> = pushes.iter().map(|push| push.parse().unwrap()).collect();
        self.sightings.told(&pushes, self.start + ms(at))
    }

    fn due(&mut self, at: u64) -> Vec<Due> {
        self.sightings.take_due(self.start + ms(at))
    }

    fn land(&mut self, lookup: &Lookup, at: u64, answer: Result<u8, Fault>) -> Vec<End> {
        let now = self.start + ms(at);
        let answer: Result<(Digest, Instant), LookupError> = match answer {
            Ok(version) => Ok((digest(version), now)),
            Err(fault) => Err(LookupError::anonymous(&lookup.image, fault)),
        };
        self.sightings.landed(lookup, Some(answer), now, 0.0);
        std::mem::take(&mut self.sightings.ended)
    }

    fn answer(&mut self, lookup: &Lookup, at: u64, version: u8) -> Vec<End> {
        self.land(lookup, at, Ok(version))
    }

    /// Checks that the registry is next asked for `lookup` at this millisecond, for an answer at most so old.
    #[track_caller]
    fn check_asked(&mut self, lookup: &Lookup, at: u64, max_age: u64) {
        assert_eq!(self.due(at - 1), [], "before {at}");
        assert_eq!(self.sightings.soonest(), self.start + ms(at));
        let expected = Due {
            lookup: lookup.clone(),
            max_age: ms(max_age),
            at_stake: false,
        };
        assert_eq!(self.due(at), [expected], "at {at}");
    }
}

#[test]
fn a_push_is_asked_about_at_once_and_no_older_answer_will_do() {
    let mut scene = Scene::new(&[lookup()]);
    assert_eq!(scene.told(5000, &["nginx:1.27"]), [Hint::Asked]);
    scene.check_asked(&lookup(), 5200, 200);
    assert_eq!(scene.answer(&lookup(), 5300, 2), [End::Moved]);
    assert_eq!(scene.due(60_000), [], "the rest is the confirmation's");
}

#[test]
fn a_registry_that_lags_behind_is_asked_twice_more() {
    let mut scene = Scene::new(&[lookup()]);
    scene.told(5000, &["nginx:1.27"]);
    scene.check_asked(&lookup(), 5200, 200);
    assert_eq!(scene.answer(&lookup(), 5300, 1), []);
    // Nor will the answer do that is known.
    scene.check_asked(&lookup(), 7300, 1999);
    assert_eq!(scene.answer(&lookup(), 7400, 1), []);
    scene.check_asked(&lookup(), 13_400, 2000);
    assert_eq!(scene.answer(&lookup(), 13_500, 1), [End::Unchanged]);
    assert_eq!(scene.due(60_000), [], "the poll sees to it");
}

#[test]
fn a_push_told_all_the_time_is_asked_about_now_and_then() {
    let mut scene = Scene::new(&[lookup()]);
    let (mut asked, mut hints) = (Vec::new(), HashMap::new());
    for at in (5000..35_000).step_by(100) {
        for hint in scene.told(at, &["nginx:1.27", "nginx:1.27"]) {
            *hints.entry(hint.label()).or_insert(0) += 1;
        }
        if !scene.due(at).is_empty() {
            asked.push(at);
            scene.answer(&lookup(), at, 1);
        }
    }
    // Three rounds, the answer to each of which is younger than what was told before it.
    assert_eq!(
        asked,
        [
            5200, 7200, 13_200, 15_200, 17_200, 23_200, 25_200, 27_200, 33_200
        ]
    );
    assert!(hints["asked"] < 20 && 500 < hints["later"], "{hints:?}");
}

#[test]
fn a_push_told_right_after_the_first_is_not_lost() {
    let mut scene = Scene::new(&[lookup()]);
    scene.told(5000, &["nginx:1.27"]);
    scene.check_asked(&lookup(), 5200, 200);
    assert_eq!(scene.told(5250, &["nginx:1.27"]), [Hint::Later]);
    assert_eq!(scene.answer(&lookup(), 5300, 2), [End::Moved]);
    scene.check_asked(&lookup(), 15_200, 2000);
}

#[test]
fn a_lookup_under_way_does_not_answer_a_later_push() {
    let mut scene = Scene::new(&[lookup()]);
    scene.sightings.ask_at(&lookup(), scene.start + seconds(5));
    scene.check_asked(&lookup(), 5000, 0);
    scene.told(5010, &["nginx:1.27"]);
    assert_eq!(scene.due(9000), [], "it is under way");
    assert_eq!(scene.answer(&lookup(), 9000, 1), []);
    assert_eq!(scene.due(9500)[0].max_age, ms(499));
}

#[test]
fn a_registry_that_fails_is_left_its_pause() {
    let mut scene = Scene::new(&[lookup()]);
    scene.told(5000, &["nginx:1.27"]);
    scene.check_asked(&lookup(), 5200, 200);
    let fault = unavailable().fault;
    assert_eq!(scene.land(&lookup(), 5200, Err(fault)), [End::Failed]);
    assert_eq!(scene.told(6000, &["nginx:1.27"]), [Hint::Held]);
    assert_eq!(scene.due(10_199), []);
    assert_eq!(scene.due(10_200).len(), 1, "its own turn");
}

#[test]
fn what_was_missing_is_looked_for_when_it_is_pushed() {
    let mut scene = Scene::new(&[lookup()]);
    scene.sightings.ask_at(&lookup(), scene.start);
    assert_eq!(scene.due(1000).len(), 1);
    scene.land(&lookup(), 1000, Err(Fault::NotFound));
    assert_eq!(scene.told(2000, &["nginx:1.27"]), [Hint::Asked]);
    scene.check_asked(&lookup(), 2200, 200);
    assert_eq!(scene.land(&lookup(), 2300, Err(Fault::NotFound)), []);
    scene.check_asked(&lookup(), 4300, 2000);
    assert_eq!(scene.answer(&lookup(), 4400, 2), [End::Moved]);
}

/// Checks what becomes of `push`, and which of the images in use it means.
#[track_caller]
fn check_meant(in_use: &[&str], push: &str, hint: Hint, meant: &[&str]) {
    let lookups: Vec<Lookup> = in_use.iter().map(|image| lookup_of(image)).collect();
    let mut scene = Scene::new(&lookups);
    assert_eq!(scene.told(5000, &[push]), [hint], "{push} of {in_use:?}");
    let mut asked: Vec<String> = (scene.due(5200).iter())
        .map(|due| due.lookup.image.to_string())
        .collect();
    asked.sort();
    assert_eq!(asked, meant, "{push} of {in_use:?}");
}

#[test]
fn only_the_image_that_is_meant_is_asked_for() {
    let images = ["a.io/web:1", "a.io/web:2", "a.io/app:1", "b.io/web:1"];
    check_meant(&images, "a.io/web:1", Hint::Asked, &["a.io/web:1"]);
    check_meant(&images, "A.io:443/web:1", Hint::Asked, &["a.io/web:1"]);
    check_meant(&images, "a.io/web:3", Hint::Unused, &[]);
    check_meant(&images, "a.io/w:1", Hint::Unused, &[]);
    check_meant(&[], "a.io/web:1", Hint::Unused, &[]);
}

#[test]
fn docker_hub_has_many_names() {
    let pulled = ["registry-1.docker.io/library/nginx:1", "nginx:1"];
    let meant = ["docker.io/library/nginx:1", pulled[0]];
    check_meant(&pulled, "index.docker.io/nginx:1", Hint::Asked, &meant);
}

#[test]
fn a_registry_that_nobody_pulls_from_by_that_name_means_all_others() {
    let images = ["a.io/web:1", "b.io/web:1", "b.io/web:2"];
    let both = ["a.io/web:1", "b.io/web:1"];
    check_meant(&images, "registry.svc:5000/web:1", Hint::Asked, &both);
    check_meant(&images, "*/web:1", Hint::Asked, &both);
    check_meant(&images, "registry.svc:5000/web:3", Hint::Unused, &[]);
    // It is pulled from by that name, so no other one is meant.
    let images = ["a.io/web:1", "b.io/app:1"];
    check_meant(&images, "b.io/web:1", Hint::Unused, &[]);
}

#[test]
fn what_no_pod_uses_any_more_is_not_asked_for() {
    let mut scene = Scene::new(&[lookup()]);
    scene.sightings.begin_use(scene.start + seconds(1));
    scene.sightings.end_use(None);
    assert_eq!(scene.told(5000, &["nginx:1.27"]), [Hint::Unused]);
    assert_eq!(scene.due(6000), []);
}

#[test]
fn what_comes_into_use_after_a_push_is_asked_for_afresh() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.told(5000, &["nginx:1.27"]), [Hint::Unused]);
    scene.sightings.begin_use(scene.start + ms(5500));
    scene.sightings.used(&lookup());
    scene.sightings.end_use(None);
    let due = scene.due(5500);
    assert_eq!(due[0].max_age, ms(500), "not an answer of before the push");
}

#[test]
fn where_nothing_is_told_namespaces_share_an_answer() {
    let mut scene = Scene::new(&[]);
    scene.sightings.begin_use(scene.start);
    scene.sightings.used(&lookup());
    scene.sightings.end_use(None);
    assert_eq!(scene.told(1000, &[]), []);
    assert_eq!(scene.due(1100)[0].max_age, ms(1100) + SHARE);
}
