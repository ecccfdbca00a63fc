use super::*;
use crate::{
    policy::{
        OwnerKind, PullPolicy,
        fixture::{Fixture, container, digest},
    },
    refresh::{
        facts::{Landed, ManifestFact, Question},
        fixture::{Stage, lookup, runs, seconds, stamp, unavailable, wall},
    },
    registry::Manifest,
};

/// Checks what the pods of one namespace come to, once their tag has been confirmed to mean version 1:
/// `C` is current, `R` outdated, `-` unknown.
#[track_caller]
fn check(pods: Vec<Fixture>, expected: &str) {
    let stage = Stage::new(pods).confirmed(1);
    let standings = stage
        .survey
        .standings
        .iter()
        .map(|standing| match standing {
            Standing::Unknown => '-',
            Standing::Current => 'C',
            Standing::Outdated(at) => {
                assert!(*at < stage.survey.outdated.len());
                'R'
            }
        });
    assert_eq!(standings.collect::<String>(), expected);
}

fn web(runs_version: u8) -> Fixture {
    runs("web", "web", runs_version)
}

#[test]
fn a_pod_stands_as_its_containers_do() {
    check(vec![web(1), web(2), web(0)], "CR-");
    let with_second = |version| {
        let second = web(version).build().containers[0].clone();
        web(1).with(|pod| pod.containers = Box::new([pod.containers[0].clone(), second]))
    };
    check(vec![with_second(1), with_second(2), with_second(0)], "CR-");
}

#[test]
fn a_pod_that_is_not_ours_is_unknown_however_old() {
    check(
        vec![
            web(2).with(|pod| pod.opted_out = true),
            web(2).with(|pod| pod.terminating = true),
            web(2).owned_by(OwnerKind::Other),
            web(2).with(|pod| pod.containers[0].pull = PullPolicy::IfNotPresent),
            web(2).with(|pod| pod.annotations = Arc::new([("mode".into(), "x".into())])),
            web(2),
        ],
        "-----R",
    );
}

#[test]
fn only_pods_of_namespaces_that_have_opted_in_are_looked_at() {
    let mut stage = Stage::new([web(2)]).confirmed(1);
    stage.namespace.enabled = false;
    stage.look();
    assert_eq!(stage.survey.standings, [Standing::Unknown]);
    assert!(stage.survey.outdated.is_empty());
    stage.namespace.enabled = true;
    stage.look();
    assert_eq!(stage.survey.standings, [Standing::Outdated(0)]);
}

/// Checks what is asked for because of one container.
#[track_caller]
fn check_asked(container: Container, expected: Option<&str>) {
    let pod = web(1).with(|pod| pod.containers = Box::new([container]));
    let mut stage = Stage::new([pod]);
    stage.look();
    let due = stage.sightings.take_due(stage.now());
    let asked: Vec<String> = due.iter().map(|due| due.lookup.image.to_string()).collect();
    assert_eq!(
        asked,
        expected.map(str::to_owned).into_iter().collect::<Vec<_>>()
    );
}

#[test]
fn what_may_be_acted_on_or_reported_is_looked_up() {
    let nginx = "docker.io/library/nginx:1.27";
    check_asked(container("nginx:1.27"), Some(nginx));
    let cached = |stamped: bool| {
        let mut pod = web(1).build();
        pod.containers[0].pull = PullPolicy::IfNotPresent;
        if stamped {
            stamp(&mut pod, 1);
        }
        pod.containers[0].clone()
    };
    check_asked(cached(true), Some(nginx));
    check_asked(cached(false), None);
    let at = digest(1);
    check_asked(container(&format!("nginx:1.27@{at}")), None);
    let mut pinned = web(1).build();
    pinned.containers[0] = container(&format!("nginx:1.27@{at}"));
    stamp(&mut pinned, 1);
    check_asked(pinned.containers[0].clone(), Some(nginx));
    check_asked(container("Nginx"), None);
}

#[test]
fn pods_with_the_same_image_and_credentials_share_a_lookup() {
    let mut stage = Stage::new([web(1), web(2), runs("db", "db", 1)]);
    stage.look();
    assert_eq!(stage.sightings.take_due(stage.now()).len(), 1);
    let other = web(1).with(|pod| {
        let mut identity = (*pod.identity).clone();
        identity.secrets = Box::new(["pull".into()]);
        pod.identity = Arc::new(identity);
    });
    let mut stage = Stage::new([web(1), other]);
    stage.look();
    assert_eq!(stage.sightings.take_due(stage.now()).len(), 2);
}

#[test]
fn what_an_outdated_pod_runs_and_should_run_is_told() {
    let stage = Stage::new([web(2)]).confirmed(1);
    let outdated = &stage.survey.outdated[0];
    let moved = &outdated.moved[0];
    assert_eq!(moved.from, Some(digest(2)));
    assert_eq!(moved.to.digest, digest(1));
    assert_eq!(moved.lookup, lookup());
    assert_eq!(
        outdated.since, stage.start,
        "the first look after the first answer"
    );
    assert!(!outdated.registry_failing);
}

#[test]
fn a_failing_registry_is_told_with_what_was_known_before() {
    let mut stage = Stage::new([web(2)]).confirmed(1);
    let now = stage.now();
    stage
        .sightings
        .landed(&lookup(), Some(Err(unavailable())), now, 0.0);
    stage.look();
    assert_eq!(stage.survey.standings, [Standing::Outdated(0)]);
    assert!(stage.survey.outdated[0].registry_failing);
    let [
        Finding {
            what: Found::Unresolved { fault, .. },
            ..
        },
    ] = &stage.survey.findings[..]
    else {
        panic!("{:?}", stage.survey.findings);
    };
    assert_eq!(fault.label(), "unavailable");
}

#[test]
fn a_stale_cache_is_told_and_not_acted_on() {
    let stale = web(2).with(|pod| {
        pod.containers[0].pull = PullPolicy::IfNotPresent;
        stamp(pod, 1);
    });
    // Its tag has moved since, and nobody acts on that.
    let left_out = web(2).with(|pod| {
        pod.containers[0].pull = PullPolicy::IfNotPresent;
        stamp(pod, 2);
    });
    let stage = Stage::new([stale, left_out]).confirmed(1);
    assert_eq!(stage.survey.standings, [Standing::Unknown; 2]);
    let mut expected = Tally::default();
    expected.container(Verdict::StaleCache);
    expected.left_alone(Ineligible::NothingCounts);
    expected.left_alone(Ineligible::NothingCounts);
    assert_eq!(stage.survey.tally, expected);
    let [
        Finding {
            what: Found::Stale { container, target },
            ..
        },
    ] = &stage.survey.findings[..]
    else {
        panic!("{:?}", stage.survey.findings);
    };
    assert_eq!((&**container, target), ("app", &digest(1)));
}

/// Checks what is told and counted of a container that runs 2 from its node's cache under the stamp of its tag, 1, once
/// this is known of the manifest of 1.
#[track_caller]
fn check_cached(fact: Option<ManifestFact>, comparing: bool, stale: bool) {
    let cached = web(2).with(|pod| {
        pod.containers[0].pull = PullPolicy::IfNotPresent;
        stamp(pod, 1);
    });
    let mut stage = Stage::new([cached, web(1)]);
    stage.reads = false;
    stage = stage.confirmed(1);
    assert!(stage.survey.comparing && stage.survey.findings.is_empty());
    let asked = stage.facts.take_due(stage.now(), usize::MAX);
    assert_eq!(asked, [Question::Manifest(lookup(), digest(1))]);
    if let Some(fact) = fact {
        let landed = Landed::Manifest((lookup(), digest(1)), fact, Duration::ZERO);
        stage.facts.landed(landed, stage.now());
    }
    stage.look();
    let survey = &stage.survey;
    assert_eq!(
        (survey.comparing, survey.findings.len() == 1),
        (comparing, stale)
    );
    let mut tally = Tally::default();
    tally.left_alone(Ineligible::NothingCounts);
    tally.container(Verdict::Current { ambiguous: false });
    if stale {
        tally.container(Verdict::StaleCache);
    }
    assert_eq!(survey.tally, tally);
    assert_eq!(survey.standings, [Standing::Unknown, Standing::Current]);
}

#[test]
fn a_cached_image_is_stale_only_where_it_is_none_of_its_tags_images() {
    let index = |child: u8| {
        let body = format!(
            r#"{{"schemaVersion": 2, "manifests": [{{"digest": "{}"}}]}}"#,
            digest(child)
        );
        let manifest = Manifest::decode(digest(1), body.as_bytes());
        ManifestFact::Read(Arc::new(manifest.unwrap()))
    };
    check_cached(Some(index(2)), false, false);
    check_cached(Some(index(3)), false, true);
    check_cached(Some(ManifestFact::Failed), false, false);
    check_cached(Some(ManifestFact::Gone), false, false);
    check_cached(None, true, false);
}

#[test]
fn what_is_true_of_all_pods_of_an_owner_is_told_once() {
    let (owner, bad): (_, Arc<Annotations>) = (
        Arc::new(crate::refresh::fixture::owned_by("web")),
        Arc::new([("mode".into(), "x".into())]),
    );
    let pod = |name: &str| {
        runs(name, "web", 1).with(|pod| {
            pod.owner = Some(Arc::clone(&owner));
            pod.annotations = Arc::clone(&bad);
        })
    };
    let mut stage = Stage::new([
        pod("a"),
        pod("b"),
        runs("c", "other", 1).with(|pod| {
            pod.annotations = Arc::clone(&bad);
        }),
    ]);
    let findings = &stage.look().findings;
    let pods: Vec<&str> = findings.iter().map(|it| &*it.pod.name).collect();
    assert_eq!(pods, ["a", "c"]);
    assert!(matches!(findings[0].what, Found::Unreadable(_)));
}

#[test]
fn a_digest_comes_after_the_youngest_pod_that_was_seen_with_it_first() {
    let mut stage = Stage::new([web(2).with(|pod| pod.created = wall(-5))]).confirmed(1);
    let newest = |stage: &Stage| stage.survey.outdated[0].moved[0].to.newest;
    assert_eq!(newest(&stage), Some(wall(-5)));
    stage.second += 100;
    stage.pods[0] = Arc::new(web(2).with(|pod| pod.created = wall(50)).build());
    stage.look();
    assert_eq!(newest(&stage), Some(wall(-5)), "it stays");
    stage.second += 1;
    stage.answer(&lookup(), 3);
    stage.look();
    stage.look();
    assert_eq!(newest(&stage), Some(wall(50)), "another digest has its own");
}

#[test]
fn a_pod_that_runs_more_than_is_known_is_not_certain_until_its_tag_was_asked_for_again() {
    let apart = seconds(10);
    let mut stage = Stage::new([web(1)]).confirmed(1);
    assert!(stage.survey.outdated.is_empty());
    // The tag moves, nobody has asked yet, and a pod is started that pulls what it means now.
    stage.second += 100;
    stage.pods.push(Arc::new(runs("young", "web", 2).build()));
    stage.look();
    let young = &stage.survey.outdated[0];
    assert!(!young.is_certain(apart));
    let to = &young.moved[0].to;
    assert_eq!(
        to.wanted(young.since, apart),
        Some(stage.now()),
        "asked for at once"
    );
    stage.second += 1;
    stage.answer(&lookup(), 2);
    stage.look();
    let outdated: Vec<&str> = stage
        .survey
        .outdated
        .iter()
        .map(|it| &*it.pod.name)
        .collect();
    assert_eq!(outdated, ["web"], "the other one is");
    assert!(!stage.survey.outdated[0].is_certain(apart));
    stage.second += 10;
    stage.answer(&lookup(), 2);
    stage.look();
    assert!(stage.survey.outdated[0].is_certain(apart));
}

#[test]
fn what_has_not_been_compared_yet_is_not_certain() {
    let mut stage = Stage::new([web(2)]);
    stage.reads = false;
    stage = stage.confirmed(1);
    let doubtful = |stage: &Stage| {
        let outdated = &stage.survey.outdated[0];
        (outdated.doubt, outdated.is_certain(seconds(10)))
    };
    assert_eq!(stage.survey.standings, [Standing::Outdated(0)]);
    assert_eq!(doubtful(&stage), (Some(Doubt::Open), false));
    stage.reads = true;
    stage.look();
    assert_eq!(doubtful(&stage), (None, true));
}
