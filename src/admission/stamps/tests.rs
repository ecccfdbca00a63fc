use serde_json::{Value, json};

use super::*;
use crate::{
    admission::wants,
    policy::wishes::{Mode, Selection},
};

mod moved;
mod unresolved;

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Returns the plan for a pod with a container for each of `images`: `c0`, `c1`, …
///
/// The registry knows `a` and `b`, and fails for all else.
fn planned(annotations: &Value, images: &[&str], on_unresolved: OnUnresolved) -> Plan {
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(i, image)| json!({"name": format!("c{i}"), "image": image}))
        .collect();
    let text =
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}})
            .to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let answers = images
        .iter()
        .filter_map(|image| image.parse::<ImageRef>().ok()?.tagged())
        .map(|image| {
            let answer = match image.repository() {
                "library/a" => Ok(A.parse().unwrap()),
                "library/b" => Ok(B.parse().unwrap()),
                _ => Err("registry down".to_owned()),
            };
            (Arc::new(image), answer)
        })
        .collect();
    let wants = wants::of(
        &pod,
        &Pod::default(),
        pod.parts(),
        wants::mode(&pod, &[]),
        &wants::containers(&pod, &[]),
    );
    plan(&pod, &wants, &answers, on_unresolved, PodChange::Created)
}

/// Returns an edit as `key=value`, `-key` or `list/index=image`.
fn told(edit: &Edit) -> String {
    match edit {
        Edit::Annotate { key, value } => format!("{key}={value}"),
        Edit::Strip { key } => format!("-{key}"),
        Edit::SetImage { place, image } => {
            format!("{}/{}={image}", place.list.field(), place.index)
        }
    }
}

/// Checks the edits as `key=value` and `-key`.
#[track_caller]
fn check(annotations: Value, images: &[&str], expected: &[&str]) {
    let Plan::Admit { edits, .. } = planned(&annotations, images, OnUnresolved::Warn) else {
        panic!("must be admitted");
    };
    let edits: Vec<_> = edits.iter().map(told).collect();
    assert_eq!(edits, expected);
}

#[test]
fn a_pin_goes_behind_the_users_own_tag() {
    let pin = json!({"podrefresh.io/mode": "pin"});
    check(
        pin,
        &["b:1", "a"],
        &[
            &format!("digest.podrefresh.io/c0={B}"),
            &format!("digest.podrefresh.io/c1={A}"),
            "image.podrefresh.io/c0=docker.io/library/b:1",
            "image.podrefresh.io/c1=docker.io/library/a:latest",
            &format!("containers/0=b:1@{B}"),
            &format!("containers/1=docker.io/library/a:latest@{A}"),
        ],
    );
}

#[test]
fn a_pin_is_written_once_and_follows_its_tag_until_then() {
    let pinned = |digest: &str, image: &str| {
        json!({"podrefresh.io/mode": "pin", "digest.podrefresh.io/c0": digest,
            "image.podrefresh.io/c0": image})
    };
    check(
        pinned(B, "docker.io/library/b:1"),
        &[&format!("b:1@{B}")],
        &[],
    );
    check(
        pinned(A, "docker.io/library/b:1"),
        &[&format!("b:1@{A}")],
        &[
            &format!("digest.podrefresh.io/c0={B}"),
            &format!("containers/0=b:1@{B}"),
        ],
    );
    // Nobody answers for x: what an earlier call has written stays.
    check(
        pinned(A, "docker.io/library/x:1"),
        &[&format!("x:1@{A}")],
        &[],
    );
}

#[test]
fn an_image_without_an_answer_is_not_pinned() {
    check(json!({"podrefresh.io/mode": "pin"}), &["x:1"], &[]);
}

#[test]
fn each_tagged_container_gets_its_two_stamps() {
    check(
        Value::Null,
        &["a", "b:1"],
        &[
            &format!("digest.podrefresh.io/c0={A}"),
            &format!("digest.podrefresh.io/c1={B}"),
            "image.podrefresh.io/c0=docker.io/library/a:latest",
            "image.podrefresh.io/c1=docker.io/library/b:1",
        ],
    );
}

#[test]
fn our_own_stamps_are_not_written_again() {
    let stamps = json!({
        "digest.podrefresh.io/c0": A, "image.podrefresh.io/c0": "docker.io/library/a:latest",
    });
    check(stamps, &["a"], &[]);
}

#[test]
fn forged_stamps_are_overwritten_or_stripped() {
    check(
        json!({"digest.podrefresh.io/c0": B, "image.podrefresh.io/c0": "docker.io/library/a:latest"}),
        &["a"],
        &[&format!("digest.podrefresh.io/c0={A}")],
    );
    check(
        json!({"digest.podrefresh.io/other": A, "image.podrefresh.io/": "x", "podrefresh.io/mode": "stamp",
            "xdigest.podrefresh.io/c0": "x"}),
        &[],
        &["-digest.podrefresh.io/other", "-image.podrefresh.io/"],
    );
    check(
        json!({"digest.podrefresh.io/c0": A}),
        &[&format!("a:1@{B}")],
        &["-digest.podrefresh.io/c0"],
    );
}

#[test]
fn an_earlier_stamp_without_an_answer_now_is_stripped() {
    check(
        json!({"digest.podrefresh.io/c0": A, "image.podrefresh.io/c0": "docker.io/library/x:latest"}),
        &["x", "a:1"],
        &[
            "-digest.podrefresh.io/c0",
            "-image.podrefresh.io/c0",
            &format!("digest.podrefresh.io/c1={A}"),
            "image.podrefresh.io/c1=docker.io/library/a:1",
        ],
    );
}

#[test]
fn a_warning_leaves_room_for_the_cause() {
    let image = format!("{}:!", "x".repeat(250));
    let Plan::Admit { warnings, .. } = planned(&Value::Null, &[&image], OnUnresolved::Warn) else {
        panic!("must be admitted");
    };
    assert!(
        warnings[0].find("at most 255").is_some_and(|at| at < 256),
        "{warnings:?}"
    );
}

#[test]
fn stamps_never_push_a_pod_over_the_limit_for_annotations() {
    let stamps = "digest.podrefresh.io/c0".len()
        + A.len()
        + "image.podrefresh.io/c0docker.io/library/a:latest".len();
    let filled = |room: usize| json!({"x": "y".repeat(edits::ANNOTATIONS_BYTES - 1 - room)});
    let edits = |room| match planned(&filled(room), &["a"], OnUnresolved::Warn) {
        Plan::Admit {
            edits, warnings, ..
        } => (edits.len(), warnings.len()),
        Plan::Deny { message, .. } => panic!("{message}"),
    };
    assert_eq!(edits(stamps), (2, 0));
    assert_eq!(edits(stamps - 1), (0, 1));
}

#[test]
fn stamps_that_stay_on_a_changed_pod_count_too() {
    // Those of `c0` give way to new ones; those of `c1` stay.
    let old = json!({
        "digest.podrefresh.io/c0": B, "image.podrefresh.io/c0": "docker.io/library/a:1",
        "digest.podrefresh.io/c1": B, "image.podrefresh.io/c1": "docker.io/library/b:1",
    });
    let after = [
        ("digest.podrefresh.io/c0", A),
        ("image.podrefresh.io/c0", "docker.io/library/a:2"),
        ("digest.podrefresh.io/c1", B),
        ("image.podrefresh.io/c1", "docker.io/library/b:1"),
    ];
    let after: usize = after
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let filled = |over: usize| {
        let mut annotations = old.clone();
        annotations["x"] = json!("y".repeat(edits::ANNOTATIONS_BYTES - 1 - after + over));
        annotations
    };
    let check = |over: usize, expected: &[&str]| {
        check_change(PodChange::Updated, filled(over), &["a:2", "b:1"], expected);
    };
    let stamped = [
        &*format!("digest.podrefresh.io/c0={A}"),
        "image.podrefresh.io/c0=docker.io/library/a:2",
    ];
    check(0, &stamped);
    check(1, &["-digest.podrefresh.io/c0", "-image.podrefresh.io/c0"]);
}

/// Checks the edits to a pod in mode `mode` of which only the image of `c0` has changed, or that got the ephemeral
/// container `d0` beside it.
#[track_caller]
fn check_change(change: PodChange, annotations: Value, images: &[&str], expected: &[&str]) {
    let list = |prefix: &str, images: &[&str]| -> Vec<Value> {
        let images = images.iter().enumerate();
        images
            .map(|(i, image)| json!({"name": format!("{prefix}{i}"), "image": image}))
            .collect()
    };
    let text = json!({"metadata": {"annotations": annotations}, "spec": {
        "containers": list("c", images), "ephemeralContainers": list("d", &images[..1]),
    }})
    .to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let parts = match change {
        PodChange::Created => pod.parts().collect::<Vec<_>>(),
        PodChange::Updated => pod.parts().take(1).collect(),
        PodChange::Debugged => pod.ephemeral().collect(),
    };
    let containers = wants::containers(&pod, &[]);
    let (none, mode) = (Pod::default(), wants::mode(&pod, &[]));
    let wants = wants::of(&pod, &none, parts.into_iter(), mode, &containers);
    let image: Arc<ImageRef> = Arc::new("a:2".parse().unwrap());
    let answers = [(image, Ok(A.parse().unwrap()))].into();
    let plan = plan(&pod, &wants, &answers, OnUnresolved::Warn, change);
    let Plan::Admit {
        edits, resolved, ..
    } = plan
    else {
        panic!("must be admitted");
    };
    assert_eq!(edits.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(resolved.is_empty(), images[0] != "a:2");
}

fn stamped(mode: &str) -> Value {
    json!({
        "podrefresh.io/mode": mode,
        "digest.podrefresh.io/c0": B, "image.podrefresh.io/c0": "docker.io/library/a:1",
        "digest.podrefresh.io/c1": B, "image.podrefresh.io/c1": "docker.io/library/a:1",
    })
}

#[test]
fn a_new_image_in_place_is_restamped_and_the_other_stamps_stay() {
    let restamped = [
        &*format!("digest.podrefresh.io/c0={A}"),
        "image.podrefresh.io/c0=docker.io/library/a:2",
    ];
    check_change(
        PodChange::Updated,
        stamped("stamp"),
        &["a:2", "a:1"],
        &restamped,
    );
    let pin = format!("containers/0=a:2@{A}");
    let pinned: Vec<&str> = restamped.into_iter().chain([&*pin]).collect();
    check_change(PodChange::Updated, stamped("pin"), &["a:2", "a:1"], &pinned);
    let stripped = ["-digest.podrefresh.io/c0", "-image.podrefresh.io/c0"];
    check_change(
        PodChange::Updated,
        stamped("stamp"),
        &["x:2", "a:1"],
        &stripped,
    );
}

#[test]
fn an_ephemeral_container_is_pinned_and_cannot_be_stamped() {
    check_change(PodChange::Debugged, stamped("stamp"), &["a:2"], &[]);
    let pin = format!("ephemeralContainers/0=a:2@{A}");
    check_change(PodChange::Debugged, stamped("pin"), &["a:2"], &[&pin]);
}

#[test]
fn an_image_volume_is_stamped_and_pinned_like_a_container() {
    let text =
        json!({"metadata": {"annotations": {"podrefresh.io/mode": "pin"}}, "spec": {"volumes": [
            {"name": "tmp"}, {"name": "model", "image": {"reference": "a:1"}},
        ]}})
        .to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let wants = wants::of(
        &pod,
        &Pod::default(),
        pod.parts(),
        Mode::Pin,
        &Selection::default(),
    );
    let image: Arc<ImageRef> = Arc::new("a:1".parse().unwrap());
    let answers = [(image, Ok(A.parse().unwrap()))].into();
    let plan = plan(
        &pod,
        &wants,
        &answers,
        OnUnresolved::Warn,
        PodChange::Created,
    );
    let Plan::Admit {
        edits, resolved, ..
    } = plan
    else {
        panic!("must be admitted");
    };
    let expected = [
        format!("digest.podrefresh.io/volume.model={A}"),
        "image.podrefresh.io/volume.model=docker.io/library/a:1".to_owned(),
        format!("volumes/1=a:1@{A}"),
    ];
    assert_eq!(edits.iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(
        resolved,
        [format!("volume.model=docker.io/library/a:1@{A}")]
    );
}

#[test]
fn of_a_long_image_the_end_gives_way_to_the_cause() {
    let image = format!("h.example.org/{}:stable", "x".repeat(200));
    let Plan::Admit { warnings, .. } = planned(&Value::Null, &[&image], OnUnresolved::Warn) else {
        panic!("must be admitted");
    };
    assert!(
        warnings[0].ends_with("xx…\": registry down"),
        "{warnings:?}"
    );
    assert_eq!(warnings[0].len(), 256);
    let fits = format!("h.example.org/{}:stable", "x".repeat(100));
    let Plan::Admit { warnings, .. } = planned(&Value::Null, &[&fits], OnUnresolved::Warn) else {
        panic!("must be admitted");
    };
    assert!(
        warnings[0].contains(&format!("{fits:?}: registry down")),
        "{warnings:?}"
    );
}
