//! The stamps: what the registries said of a pod's images in, what to change and to say out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    edits::{self, Edit},
    review::{Pod, Strings},
    wants::{Want, Wanted},
};
use crate::policy::{
    Digest, ImageRef,
    names::{digest_annotation, image_annotation},
    wishes::OnUnresolved,
};

/// As much of an unreadable image as a warning shows.
const IMAGE_CHARS: usize = 80;

/// What the registries said of the images that were asked about, or why they did not.
pub type Answers = HashMap<Arc<ImageRef>, Result<Digest, String>>;

/// What is to be done with a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Let it in.
    Admit {
        /// What to change; empty when all is as it should be.
        edits: Vec<Edit>,
        /// What to tell its creator.
        warnings: Vec<String>,
        /// The images without a stamp that should have one, with the cause.
        unresolved: Vec<(String, String)>,
    },
    /// Refuse it.
    Deny {
        /// What to tell its creator.
        message: String,
    },
}

/// Decides what happens to `pod`.
///
/// Asked again for its own result it wants no change, so it does not matter how often the API server calls.
pub fn plan(
    pod: &Pod<'_>,
    wants: &[Wanted<'_>],
    answers: &Answers,
    on_unresolved: OnUnresolved,
) -> Plan {
    let mut stamps = BTreeMap::new();
    let mut pins = Vec::new();
    let mut unresolved = Vec::new();
    let mut warnings = Vec::new();
    for wanted in wants {
        let container = wanted.container;
        let (image, cause) = match settle(&wanted.want, answers) {
            Ok(None) => continue,
            Ok(Some((image, digest))) => {
                stamps.insert(digest_annotation(container), digest.to_string());
                stamps.insert(image_annotation(container), image.to_string());
                pins.extend(pin(wanted, digest));
                continue;
            }
            Err(why) => why,
        };
        warnings.push(format!(
            "podrefresh: container {container}: no digest for image {image:?}: {cause}"
        ));
        // The API server itself refuses a pod without an image, in better words.
        if !image.is_empty() {
            unresolved.push((image, cause));
        }
    }
    if let (OnUnresolved::Deny, Some((image, cause))) = (on_unresolved, unresolved.first()) {
        return Plan::Deny {
            message: format!(
                "podrefresh: no digest for image {image:?}, and podrefresh.io/on-unresolved is deny: {cause}"
            ),
        };
    }
    if on_unresolved == OnUnresolved::Admit {
        warnings.clear();
    }
    let none = Strings::new();
    let present = pod
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.annotations.as_ref())
        .unwrap_or(&none);
    if !edits::fit(present, &stamps) {
        warnings.push("podrefresh: no stamps: the pod's annotations are too large".to_owned());
        stamps.clear();
        // Without its stamps nobody could tell a pin from a user's own digest.
        pins.clear();
    }
    Plan::Admit {
        edits: edits::of(present, stamps).into_iter().chain(pins).collect(),
        warnings,
        unresolved,
    }
}

/// Returns the digest to stamp for what a container wants, if it wants one; else the image and why there is none.
fn settle<'w>(
    want: &'w Want,
    answers: &'w Answers,
) -> Result<Option<(&'w ImageRef, &'w Digest)>, (String, String)> {
    let (image, present) = match want {
        Want::Nothing => return Ok(None),
        Want::Stamp(image) => (image, None),
        Want::Pin { image, present } => (image, present.as_ref()),
        Want::Unreadable { image, cause } => return Err((short(image), cause.clone())),
    };
    let cause = match (answers.get(image), present) {
        (Some(Ok(digest)), _) => return Ok(Some((image, digest))),
        // A pin that an earlier call has written stays true when nobody answers this time.
        (_, Some(digest)) => return Ok(Some((image, digest))),
        (Some(Err(cause)), None) => cause.clone(),
        (None, None) => "it was not looked up".to_owned(),
    };
    Err((image.to_string(), cause))
}

/// Returns the edit that pins a container's image to `digest`, if it wants to be pinned and is not yet: behind the
/// user's own text where that has the tag, else behind the full reference.
fn pin(wanted: &Wanted<'_>, digest: &Digest) -> Option<Edit> {
    let Want::Pin { image, present } = &wanted.want else {
        return None;
    };
    if present.as_ref() == Some(digest) {
        return None;
    }
    let pinned = image.pinned_to(digest.clone());
    let own = wanted.text.split('@').next().unwrap_or_default();
    let short = format!("{own}@{digest}");
    let is_same = short.parse().is_ok_and(|parsed: ImageRef| parsed == pinned);
    Some(Edit::SetImage {
        place: wanted.place,
        image: if is_same { short } else { pinned.to_string() },
    })
}

/// Returns the beginning of an image that may be anything, so that a warning has room for the cause.
fn short(image: &str) -> String {
    let mut short: String = image.chars().take(IMAGE_CHARS).collect();
    if short.len() < image.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admission::wants;

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
        let wants = wants::of(&pod, wants::mode(&pod, &[]));
        plan(&pod, &wants, &answers, on_unresolved)
    }

    /// Checks the edits as `key=value` and `-key`.
    #[track_caller]
    fn check(annotations: Value, images: &[&str], expected: &[&str]) {
        let Plan::Admit { edits, .. } = planned(&annotations, images, OnUnresolved::Warn) else {
            panic!("must be admitted");
        };
        let edits: Vec<_> = edits
            .iter()
            .map(|edit| match edit {
                Edit::Annotate { key, value } => format!("{key}={value}"),
                Edit::Strip { key } => format!("-{key}"),
                Edit::SetImage { place, image } => {
                    format!("{}/{}={image}", place.list, place.index)
                }
            })
            .collect();
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

    #[track_caller]
    fn check_unresolved(images: &[&str], wish: OnUnresolved, expected: Result<&[&str], &str>) {
        match (planned(&Value::Null, images, wish), expected) {
            (Plan::Admit { warnings, .. }, Ok(expected)) => assert_eq!(warnings, expected),
            (Plan::Deny { message }, Err(expected)) => assert_eq!(message, expected),
            (plan, _) => panic!("{plan:?}"),
        }
    }

    #[test]
    fn an_image_without_an_answer_follows_the_wish() {
        check_unresolved(&["x", "a"], OnUnresolved::Admit, Ok(&[]));
        check_unresolved(
            &["x", "a"],
            OnUnresolved::Warn,
            Ok(&[
                r#"podrefresh: container c0: no digest for image "docker.io/library/x:latest": registry down"#,
            ]),
        );
        check_unresolved(
            &["a", "x"],
            OnUnresolved::Deny,
            Err(
                r#"podrefresh: no digest for image "docker.io/library/x:latest", and podrefresh.io/on-unresolved is deny: registry down"#,
            ),
        );
        check_unresolved(&["a"], OnUnresolved::Deny, Ok(&[]));
    }

    #[test]
    fn a_missing_image_is_left_to_the_api_server() {
        let warning =
            r#"podrefresh: container c0: no digest for image "": an image must not be empty"#;
        check_unresolved(&[""], OnUnresolved::Deny, Ok(&[warning]));
    }

    #[test]
    fn a_warning_leaves_room_for_the_cause() {
        let image = format!("{}:!", "x".repeat(250));
        let Plan::Admit { warnings, .. } = planned(&Value::Null, &[&image], OnUnresolved::Warn)
        else {
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
            Plan::Deny { message } => panic!("{message}"),
        };
        assert_eq!(edits(stamps), (2, 0));
        assert_eq!(edits(stamps - 1), (0, 1));
    }
}
