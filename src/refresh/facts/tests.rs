//! What is found out, and what is made of it, by hand.

use serde_json::{Value, json};

use super::*;
use crate::policy::{ContainerKind, PullIdentity, PullPolicy, Running, Stamp};

const INTERVAL: Duration = Duration::from_secs(60);

/// The digest that the tag means now.
const T: u8 = 1;

fn digest(byte: u8) -> Digest {
    Digest::of_sha256([byte; 32])
}

/// Returns an index of images, each for linux on an architecture.
fn index(own: u8, images: &[(&str, u8)]) -> ManifestFact {
    let children: Vec<Value> = images
        .iter()
        .map(|(architecture, byte)| {
            json!({"digest": digest(*byte).to_string(), "platform": {"os": "linux", "architecture": architecture}})
        })
        .collect();
    read(own, &json!({"schemaVersion": 2, "manifests": children}))
}

fn image(own: u8) -> ManifestFact {
    read(
        own,
        &json!({"schemaVersion": 2, "config": {}, "layers": []}),
    )
}

fn read(own: u8, body: &Value) -> ManifestFact {
    let manifest = Manifest::decode(digest(own), body.to_string().as_bytes());
    ManifestFact::Read(Arc::new(manifest.unwrap()))
}

/// A container that seems outdated, on a node for arm64.
struct Scene {
    facts: Facts,
    container: Container,
    lookup: Lookup,
    now: Instant,
}

impl Scene {
    fn new(stamp: Option<u8>, running: Running) -> Self {
        let image = Arc::new("a.io/app:1".parse().unwrap());
        let container = Container {
            name: "app".into(),
            kind: ContainerKind::Ordinary,
            stamp: stamp.map(|byte| Stamp::new(&image, digest(byte))),
            image: Ok(Arc::clone(&image)),
            pull: PullPolicy::Always,
            running,
        };
        let identity = Arc::new(PullIdentity {
            namespace: "shop".into(),
            secrets: Box::default(),
            service_account: "default".into(),
        });
        Self {
            facts: Facts::new(INTERVAL),
            container,
            lookup: Lookup { image, identity },
            now: Instant::now(),
        }
    }

    fn judge(&mut self) -> (Verdict, Option<Doubt>) {
        let node = Arc::from("node-1");
        let (container, lookup) = (&self.container, &self.lookup);
        (self.facts).judge(Some(&node), container, lookup, &digest(T), self.now)
    }

    /// Returns which digests are asked for now, 0 for the node.
    fn asked(&mut self) -> Vec<u8> {
        let due = self.facts.take_due(self.now, usize::MAX);
        let mut asked: Vec<u8> = due
            .iter()
            .map(|question| match question {
                Question::Manifest(_, digest) => digest.bytes()[0],
                Question::Platform(_) => 0,
            })
            .collect();
        asked.sort_unstable();
        asked
    }

    fn lands(&mut self, byte: u8, fact: ManifestFact) {
        let key = (self.lookup.clone(), digest(byte));
        let landed = Landed::Manifest(key, fact, Duration::ZERO);
        self.facts.landed(landed, self.now);
    }

    fn node_lands(&mut self, architecture: Option<&str>) {
        let platform = architecture.map(|architecture| {
            Some(Arc::new(Platform {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
            }))
        });
        let landed = Landed::Platform("node-1".into(), platform);
        self.facts.landed(landed, self.now);
    }
}

/// Checks what comes of a container that runs 2 under the stamp 3, once these manifests have been read.
#[track_caller]
fn check(
    target: ManifestFact,
    running: ManifestFact,
    stamp: ManifestFact,
    expected: (Verdict, Option<Doubt>),
) {
    let mut scene = Scene::new(Some(3), Running::Manifest(digest(2)));
    assert_eq!(scene.judge(), OPEN);
    assert_eq!(scene.asked(), [T, 2, 3]);
    assert_eq!(scene.judge(), OPEN);
    assert!(scene.asked().is_empty(), "they are under way");
    scene.lands(T, target);
    scene.lands(2, running);
    scene.lands(3, stamp);
    let first = scene.judge();
    if scene.asked() == [0] {
        assert_eq!(first, OPEN);
        scene.node_lands(Some("arm64"));
    }
    assert_eq!(scene.judge(), expected);
    assert_eq!(scene.judge(), expected);
}

const OPEN: (Verdict, Option<Doubt>) = (Verdict::Outdated, Some(Doubt::Open));
const FAILING: (Verdict, Option<Doubt>) = (Verdict::Outdated, Some(Doubt::Failing));
const OUTDATED: (Verdict, Option<Doubt>) = (Verdict::Outdated, None);
const IDENTICAL: (Verdict, Option<Doubt>) = (Verdict::Identical, None);

#[test]
fn the_same_image_for_the_nodes_platform_is_identical() {
    let old = || index(2, &[("amd64", 10), ("arm64", 20)]);
    let other = || index(3, &[("arm64", 30)]);
    check(
        index(T, &[("amd64", 10), ("arm64", 20)]),
        old(),
        other(),
        IDENTICAL,
    );
    check(
        index(T, &[("amd64", 11), ("arm64", 20)]),
        old(),
        other(),
        IDENTICAL,
    );
    check(index(T, &[("arm64", 30)]), old(), other(), IDENTICAL);
    check(
        index(T, &[("amd64", 10), ("arm64", 21)]),
        old(),
        other(),
        OUTDATED,
    );
}

#[test]
fn an_index_around_the_same_image_is_no_change() {
    let (current, index) = (
        Verdict::Current { ambiguous: false },
        index(T, &[("arm64", 2)]),
    );
    check(index, image(2), image(3), (current, None));
    check(
        image(T),
        self::index(2, &[("arm64", T)]),
        image(3),
        IDENTICAL,
    );
}

#[test]
fn other_images_are_outdated_and_no_node_is_asked() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.judge();
    assert_eq!(scene.asked(), [T, 2]);
    scene.lands(T, image(T));
    scene.lands(2, image(2));
    assert_eq!(scene.judge(), OUTDATED);
    assert!(scene.asked().is_empty());
}

#[test]
fn an_index_without_anything_for_the_node_replaces_nobody() {
    let old = || index(2, &[("arm64", 20)]);
    let target = || index(T, &[("s390x", 10), ("amd64", 11)]);
    check(
        target(),
        old(),
        index(3, &[("arm64", 30)]),
        (Verdict::Unknown, None),
    );
    // It is no matter then what the old one was.
    check(
        target(),
        ManifestFact::Failed,
        ManifestFact::Gone,
        (Verdict::Unknown, None),
    );
}

#[test]
fn a_failure_is_news_once_until_it_is_over() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.judge();
    scene.asked();
    let key = (scene.lookup.clone(), digest(2));
    let mut lands = |fact| {
        let landed = Landed::Manifest(key.clone(), fact, Duration::ZERO);
        scene.facts.landed(landed, scene.now)
    };
    let news = [(); 3].map(|()| lands(ManifestFact::Failed));
    assert_eq!(news, [true, false, false]);
    assert!(!lands(ManifestFact::Gone));
    assert!(lands(ManifestFact::Failed), "that is another episode");
}

#[test]
fn what_the_registry_has_no_more_is_outdated() {
    let new = || index(T, &[("arm64", 20)]);
    check(new(), ManifestFact::Gone, ManifestFact::Gone, OUTDATED);
    check(
        new(),
        ManifestFact::Gone,
        index(3, &[("arm64", 20)]),
        IDENTICAL,
    );
    // What the tag means must be there: else its successor could not start.
    check(ManifestFact::Gone, image(2), image(3), FAILING);
}

#[test]
fn a_registry_that_does_not_say_holds_unless_the_rest_is_enough() {
    let new = || index(T, &[("arm64", 20)]);
    check(ManifestFact::Failed, image(2), image(3), FAILING);
    check(new(), ManifestFact::Failed, image(3), FAILING);
    check(
        new(),
        ManifestFact::Failed,
        index(3, &[("arm64", 20)]),
        IDENTICAL,
    );
}

#[test]
fn the_first_answers_may_be_enough() {
    let mut scene = Scene::new(Some(3), Running::Manifest(digest(2)));
    scene.judge();
    scene.asked();
    scene.lands(T, index(T, &[("arm64", 2)]));
    assert_eq!(scene.judge(), (Verdict::Current { ambiguous: false }, None));
}

#[test]
fn a_node_that_nobody_knows_is_asked_for_again() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.judge();
    scene.asked();
    scene.lands(T, index(T, &[("arm64", 20)]));
    scene.lands(2, index(2, &[("arm64", 20)]));
    scene.judge();
    for pause in [5, 10, 20, 40, 60, 60] {
        assert_eq!(scene.asked(), [0], "{pause}");
        scene.node_lands(None);
        assert_eq!(scene.judge(), OPEN);
        assert_eq!(
            scene.facts.soonest(),
            Some(scene.now + Duration::from_secs(pause))
        );
        assert!(scene.asked().is_empty());
        scene.now += Duration::from_secs(pause);
    }
    assert_eq!(scene.asked(), [0]);
    scene.node_lands(Some("arm64"));
    assert_eq!(scene.judge(), IDENTICAL);
    assert_eq!(scene.facts.soonest(), None);
}

#[test]
fn failures_are_asked_again_and_answers_never() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.judge();
    scene.asked();
    scene.lands(T, index(T, &[("arm64", 20)]));
    let least = Duration::from_secs(7);
    let key = (scene.lookup.clone(), digest(2));
    (scene.facts).landed(
        Landed::Manifest(key, ManifestFact::Failed, least),
        scene.now,
    );
    scene.judge();
    assert_eq!(scene.asked(), [0]);
    scene.node_lands(Some("arm64"));
    assert_eq!(scene.judge(), FAILING);
    assert_eq!(scene.facts.soonest(), Some(scene.now + least));
    scene.now += least;
    assert_eq!(scene.asked(), [2]);
    assert_eq!(scene.judge(), FAILING, "it holds while it is asked again");
    scene.lands(2, index(2, &[("arm64", 20)]));
    assert_eq!(scene.judge(), IDENTICAL);
    assert_eq!(scene.facts.soonest(), None);
}

#[test]
fn what_nobody_uses_is_forgotten() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.facts.begin_use();
    scene.judge();
    scene.facts.end_use();
    assert_eq!(scene.asked(), [T, 2]);
    scene.lands(T, image(T));
    scene.facts.begin_use();
    scene.facts.end_use();
    // What is under way comes home first.
    scene.lands(2, image(2));
    assert_eq!(scene.judge(), OPEN);
    assert_eq!(scene.asked(), [T]);
}

#[test]
fn no_more_is_asked_than_there_is_room_for() {
    let mut scene = Scene::new(Some(3), Running::Manifest(digest(2)));
    scene.judge();
    assert_eq!(scene.facts.take_due(scene.now, 2).len(), 2);
    assert_eq!(scene.facts.take_due(scene.now, 2).len(), 1);
}

#[test]
fn a_manifest_that_fails_is_awaited_until_it_has_failed_three_times() {
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    let late = |scene: &Scene| scene.now + Duration::from_secs(3600);
    scene.judge();
    assert_eq!(scene.asked(), [T, 2]);
    assert!(!scene.facts.awaits(late(&scene)), "it has not failed yet");
    scene.lands(2, image(2));
    // The pauses between the tries.
    for pause in [5, 10] {
        scene.lands(T, ManifestFact::Failed);
        assert_eq!(scene.judge(), FAILING);
        let again = scene.now + Duration::from_secs(pause);
        assert!(!scene.facts.awaits(again), "it comes too late");
        assert!(scene.facts.awaits(again + Duration::from_secs(1)));
        scene.now = again;
        assert_eq!(scene.asked(), [T]);
        assert!(scene.facts.awaits(scene.now), "it is under way");
    }
    scene.lands(T, ManifestFact::Failed);
    assert!(!scene.facts.awaits(late(&scene)));
    // One that nobody needs any more is not awaited.
    let mut scene = Scene::new(None, Running::Manifest(digest(2)));
    scene.judge();
    scene.asked();
    scene.lands(T, ManifestFact::Failed);
    assert!(scene.facts.awaits(late(&scene)));
    scene.facts.begin_use();
    assert!(!scene.facts.awaits(late(&scene)));
}
