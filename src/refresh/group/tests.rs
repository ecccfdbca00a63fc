use super::*;
use crate::{
    policy::{
        Phase, PullPolicy,
        fixture::{Fixture, digest},
        gate::Standing,
    },
    refresh::{
        fixture::{Stage, deployment, lookup, owned_by, runs, seconds, stamp, wall},
        memory::Turn,
    },
};

fn memory() -> Memory {
    Memory::new(seconds(300))
}

/// Returns the names of the pods of each group.
fn names(groups: &[Group], scene: Scene<'_>) -> Vec<String> {
    let name = |group: &Group| {
        let names = group.members.iter().map(|&index| &*scene.pods[index].name);
        names.collect::<Vec<_>>().join(" ")
    };
    groups.iter().map(name).collect()
}

fn elsewhere(pod: Fixture) -> Fixture {
    pod.with(|pod| pod.namespace = "zoo".into())
}

#[test]
fn a_group_has_all_pods_of_an_owner_with_outdated_ones() {
    let stage = Stage::new([
        runs("a", "web", 1),
        runs("b", "db", 1),
        runs("c", "web", 2),
        runs("d", "api", 2),
        runs("e", "web", 0),
        elsewhere(runs("f", "zoo", 2)),
    ])
    .confirmed(1);
    let scene = stage.scene();
    let groups = groups(scene, &memory());
    assert_eq!(names(&groups, scene), ["a c e", "d", "f"]);
    assert!(groups.iter().all(|group| group.workload.is_none()));
    let owners: Vec<String> = (scene.owners("shop").iter())
        .map(|owner| owner.name.to_string())
        .collect();
    assert_eq!(owners, ["web", "db", "api"]);
}

#[test]
fn the_replica_sets_of_a_deployment_are_one_group() {
    let stage = Stage::new([
        runs("a", "web-1", 2),
        runs("b", "web-2", 1),
        runs("c", "web-2", 2),
    ])
    .confirmed(1);
    let (scene, mut memory) = (stage.scene(), memory());
    assert_eq!(names(&groups(scene, &memory), scene), ["a", "b c"]);
    let owners = ["uid-web-1", "uid-web-2"].map(Into::into);
    memory.read(deployment("web", 3), owners, stage.now());
    let groups = groups(scene, &memory);
    assert_eq!(names(&groups, scene), ["a b c"]);
    assert_eq!(groups[0].workload.as_deref(), Some("uid-web"));
}

#[test]
fn a_workload_that_is_being_replaced_stays_a_group_until_it_is_fresh() {
    let stage = Stage::new([runs("a", "web", 1), runs("b", "web", 1)]).confirmed(1);
    let (scene, mut memory) = (stage.scene(), memory());
    assert!(groups(scene, &memory).is_empty());
    let turn = Turn {
        owner: Arc::new(owned_by("web")),
        namespace: "shop".into(),
        targets: String::new(),
        evicted: 1,
        begun: stage.now(),
        halted: false,
        short: None,
        until: stage.now() + seconds(600),
    };
    memory.turning.insert("uid-web".into(), turn);
    let groups = groups(scene, &memory);
    assert_eq!(names(&groups, scene), ["a b"]);
    let fresh = |desired| groups[0].is_fresh(scene, &memory, desired);
    assert!(fresh(2) && fresh(1) && !fresh(3));
}

/// Has a pod end, as when its node is short of memory.
fn dead(pod: &mut Pod) {
    (pod.phase, pod.ready) = (Phase::Over, false);
}

/// Checks whether a workload of two pods counts as fresh.
#[track_caller]
fn check_fresh(other: Fixture, expected: bool) {
    let stage = Stage::new([runs("a", "web", 1), other]).confirmed(1);
    let scene = stage.scene();
    let group = Group {
        owner: Arc::new(owned_by("web")),
        namespace: "shop".into(),
        workload: None,
        members: vec![0, 1],
    };
    assert_eq!(group.is_fresh(scene, &memory(), 1), expected);
}

#[test]
fn fresh_is_what_runs_its_tag_and_is_ready() {
    check_fresh(runs("b", "web", 1), true);
    check_fresh(runs("b", "web", 2), false);
    check_fresh(runs("b", "web", 0), false);
    check_fresh(runs("b", "web", 1).with(|pod| pod.ready = false), false);
    check_fresh(runs("b", "web", 2).with(|pod| pod.terminating = true), true);
    check_fresh(runs("b", "web", 2).with(dead), true);
}

/// Checks how many pods a workload of three is taken to want.
#[track_caller]
fn check_desired(prepare: impl FnOnce(&mut Memory, Instant), expected: Option<u32>) {
    let mut pods: Vec<Fixture> = ["a", "b", "c"].map(|name| runs(name, "web", 2)).into();
    pods.push(runs("d", "web", 2).with(|pod| pod.terminating = true));
    pods.push(runs("e", "web", 2).with(dead));
    let stage = Stage::new(pods).confirmed(1);
    let (scene, mut memory) = (stage.scene(), memory());
    prepare(&mut memory, stage.now());
    let groups = groups(scene, &memory);
    assert_eq!(groups[0].view(scene, &memory, 0).desired, expected);
}

#[test]
fn what_is_not_known_to_be_missing_is_not_missing() {
    let read = |memory: &mut Memory, at| memory.read(deployment("web", 5), ["uid-web".into()], at);
    check_desired(|_, _| {}, Some(3));
    check_desired(read, Some(5));
    check_desired(|memory, now| read(memory, now - seconds(9)), Some(5));
    check_desired(
        |memory, now| {
            read(memory, now);
            memory.owners.refused("uid-web", "owner_gone", None, now);
        },
        None,
    );
}

/// Checks what holds two pods of a workload, one ready and one not.
#[track_caller]
fn check_refused(
    prepare: impl FnOnce(&mut Memory, Instant) -> bool,
    ready: Option<Hold>,
    other: Option<Hold>,
) {
    let unready = runs("b", "web", 2).with(|pod| pod.ready = false);
    let stage = Stage::new([runs("a", "web", 2), unready]).confirmed(1);
    let (scene, mut memory) = (stage.scene(), memory());
    memory.read(deployment("web", 2), ["uid-web".into()], stage.now());
    assert!(prepare(&mut memory, stage.now()));
    let groups = groups(scene, &memory);
    let view = groups[0].view(scene, &memory, 0);
    assert_eq!(
        (view.members[0].refused, view.members[1].refused),
        (ready, other)
    );
}

#[test]
fn a_refusal_holds_those_that_it_is_for() {
    check_refused(|_, _| true, None, None);
    check_refused(
        |memory, now| memory.ready.refused("uid-web", "blocked", None, now),
        Some(Hold::Pdb),
        None,
    );
    check_refused(
        |memory, now| memory.pods.refused("uid-b", "blocked", None, now),
        None,
        Some(Hold::Pdb),
    );
    check_refused(
        |memory, now| memory.workloads.refused("uid-web", "forbidden", None, now),
        Some(Hold::Refused),
        Some(Hold::Refused),
    );
}

/// Checks which of two pods of an owner the digest counts as ineffective for: one created long ago, and one at
/// `created` that is ready or not. The digest was first seen at second 0, and it is 20 now.
#[track_caller]
fn check_ineffective(created: i64, ready: bool, expected: [bool; 2]) {
    // Another owner's pod tells what the API server's clock shows.
    let young = runs("c", "api", 1).with(|pod| pod.created = wall(0));
    let mut stage = Stage::new([runs("a", "web", 2), young]).confirmed(1);
    let late = runs("b", "web", 2).with(|pod| {
        (pod.created, pod.ready) = (wall(created), ready);
    });
    stage.pods.push(Arc::new(late.build()));
    stage.second = 19;
    stage.look();
    stage.second = 20;
    stage.answer(&lookup(), 1);
    stage.look();
    let (scene, memory) = (stage.scene(), memory());
    let groups = groups(scene, &memory);
    let view = groups[0].view(scene, &memory, 0);
    let ineffective: Vec<bool> = (view.members.iter())
        .map(|member| match &member.standing {
            Standing::Outdated(outdated) => outdated.targets[0].ineffective,
            _ => panic!("{} must be outdated", member.pod.name),
        })
        .collect();
    assert_eq!(ineffective, expected);
}

#[test]
fn a_ready_replacement_that_came_back_old_stops_its_owner() {
    // Half of the time that it takes to confirm a digest.
    check_ineffective(6, true, [true, true]);
    check_ineffective(5, true, [false, false]);
    check_ineffective(-100_000, true, [false, false]);
}

/// Checks whether an owner is taken for one whose pods come back old, of which one was created at `created` and stamped
/// with `stamped`. The digest was first seen at second 0; `gone` is when we evicted a pod for it, if we did.
#[track_caller]
fn check_stamped(created: u64, stamped: u8, gone: Option<u64>, expected: bool) {
    let pod = runs("a", "web", 2).with(|pod| {
        pod.created = wall(i64::try_from(created).unwrap());
        stamp(pod, stamped);
    });
    let clock = runs("c", "api", 1).with(|pod| pod.created = wall(0));
    let mut stage = Stage::new([runs("b", "web", 2), clock]).confirmed(1);
    stage.pods.push(Arc::new(pod.build()));
    stage.second = created + 1;
    stage.look();
    stage.answer(&lookup(), 1);
    stage.look();
    let (scene, mut memory) = (stage.scene(), memory());
    memory.read(deployment("web", 2), ["uid-web".into()], scene.now);
    if let Some(second) = gone {
        memory.aim("uid-web", [&digest(1)], stage.start + seconds(second));
    }
    let groups = groups(scene, &memory);
    let view = groups[0].view(scene, &memory, 0);
    for member in &view.members {
        let Standing::Outdated(outdated) = &member.standing else {
            panic!("{} must be outdated", member.pod.name);
        };
        assert_eq!(outdated.targets[0].ineffective, expected);
    }
}

#[test]
fn a_pod_whose_stamp_tells_that_its_tag_meant_something_else_did_not_come_in_vain() {
    check_stamped(3600, 2, None, false);
    check_stamped(3600, 3, None, false);
    check_stamped(600, 2, None, false);
    // The webhook may have used an old answer.
    check_stamped(599, 2, None, true);
    // It came for ours, and so would the next.
    check_stamped(3600, 2, Some(3590), true);
    check_stamped(3600, 2, Some(3604), true);
    check_stamped(3600, 2, Some(3607), false);
}

#[test]
fn one_that_is_not_ready_only_waits_itself() {
    check_ineffective(6, false, [false, true]);
    check_ineffective(5, false, [false, false]);
}

#[test]
fn what_was_known_before_a_pod_was_seen_does_not_speak_against_it() {
    let mut stage = Stage::new([runs("a", "web", 2)]).confirmed(1);
    stage.pods.push(Arc::new(
        runs("b", "web", 3)
            .with(|pod| pod.created = wall(11))
            .build(),
    ));
    stage.second = 20;
    stage.look();
    let (scene, memory) = (stage.scene(), memory());
    let groups = groups(scene, &memory);
    let view = groups[0].view(scene, &memory, 0);
    let known = view.members.iter().map(|member| match &member.standing {
        Standing::Outdated(outdated) => {
            let target = outdated.targets[0];
            (target.sightings, target.ineffective)
        }
        _ => panic!("{} must be outdated", member.pod.name),
    });
    // And nobody goes for what may be over.
    assert_eq!(known.collect::<Vec<_>>(), [(0, false), (0, false)]);
    let certain: Vec<bool> = (stage.survey.outdated.iter())
        .map(|outdated| outdated.is_certain(seconds(10)))
        .collect();
    assert_eq!(certain, [true, false]);
    assert_eq!(stage.survey.outdated[1].moved[0].from, Some(digest(3)));
}

#[test]
fn events_are_about_the_workload_or_the_owner_if_that_cannot_be_read() {
    let stage = Stage::new([runs("a", "web", 2)]).confirmed(1);
    let (scene, now) = (stage.scene(), stage.now());
    let about = |memory: &Memory| groups(scene, memory)[0].about(memory, now);
    let mut memory = memory();
    assert_eq!(about(&memory), None);
    memory.owners.refused("uid-web", "owner_unread", None, now);
    assert_eq!(about(&memory), About::owner("shop", &owned_by("web")));
    memory.read(deployment("web", 1), ["uid-web".into()], now);
    assert_eq!(about(&memory), Some(About::workload(&deployment("web", 1))));
}

/// Checks whether an owner in mode `pin` loses no more pods once one has come back with `image`, which runs what its node
/// had, at the second `created`.
#[track_caller]
fn check_stray(image: &str, had: u8, created: i64, expected: bool) {
    let of = |name: &str, image: &str, version: u8| {
        let image = Arc::new(image.parse().unwrap());
        runs(name, "web", version).with(|pod| {
            pod.annotations = Arc::new([("mode".into(), "pin".into())]);
            let container = &mut pod.containers[0];
            (container.image, container.pull) = (Ok(image), PullPolicy::IfNotPresent);
        })
    };
    let pinned = format!("nginx:1.27@{}", digest(2));
    let old = of("a", &pinned, 2).with(|pod| stamp(pod, 2));
    let mut stage = Stage::new([old]).confirmed(1);
    let late = of("b", image, had).with(|pod| pod.created = wall(created));
    stage.pods.push(Arc::new(late.build()));
    stage.second = 20;
    stage.answer(&lookup(), 1);
    stage.look();
    let (scene, memory) = (stage.scene(), memory());
    let groups = groups(scene, &memory);
    let view = groups[0].view(scene, &memory, 0);
    let Standing::Outdated(outdated) = &view.members[0].standing else {
        panic!("the old one must be outdated");
    };
    assert_eq!(outdated.targets[0].ineffective, expected);
}

#[test]
fn a_replacement_that_lost_its_pin_stops_its_owner() {
    check_stray("nginx:1.27", 3, 6, true);
    check_stray("nginx:1.27", 2, 6, true);
    // It was there before the tag moved.
    check_stray("nginx:1.27", 3, 5, false);
    // Its node had nothing, and has pulled what it should.
    check_stray("nginx:1.27", 1, 6, false);
    check_stray("nginx:1.28", 3, 6, false);
}
