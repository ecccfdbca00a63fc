//! Our own pins, after another webhook has written other registries into their images.

use super::*;

/// Returns the annotations of a pod whose container `c0` was stamped as `image` with digest `digest`, and pinned.
fn pinned(digest: &str, image: &str) -> Value {
    json!({"podrefresh.io/mode": "pin", "digest.podrefresh.io/c0": digest, "image.podrefresh.io/c0": image})
}

#[test]
fn a_pin_is_made_anew_where_its_repository_is_another_one() {
    check(
        pinned(A, "h.io/b:1"),
        &[&format!("b:1@{A}")],
        &[
            &format!("digest.podrefresh.io/c0={B}"),
            "image.podrefresh.io/c0=docker.io/library/b:1",
            &format!("containers/0=b:1@{B}"),
        ],
    );
    // A true mirror has the same content: the stamp alone is another one.
    check(
        pinned(B, "h.io/b:1"),
        &[&format!("b:1@{B}")],
        &["image.podrefresh.io/c0=docker.io/library/b:1"],
    );
    check(
        pinned(B, "docker.io/library/b:1"),
        &[&format!("b:1@{B}")],
        &[],
    );
}

#[test]
fn a_users_own_digest_stays() {
    let stripped = ["-digest.podrefresh.io/c0", "-image.podrefresh.io/c0"];
    check(pinned(A, "h.io/b:1"), &[&format!("b:1@{B}")], &stripped);
    check(pinned(A, "h.io/b:2"), &[&format!("b:1@{A}")], &stripped);
}

#[test]
fn a_pin_for_another_repository_is_taken_off_when_nobody_answers() {
    let moved = || pinned(A, "h.io/x:1");
    check(
        moved(),
        &[&format!("x:1@{A}")],
        &[
            "-digest.podrefresh.io/c0",
            "-image.podrefresh.io/c0",
            "containers/0=x:1",
        ],
    );
    // Which is what an image without an answer comes to in the first place.
    check(json!({"podrefresh.io/mode": "pin"}), &["x:1"], &[]);
    let image = format!("x:1@{A}");
    let told = |wish| planned(&moved(), &[&image], wish);
    let Plan::Admit { warnings, .. } = told(OnUnresolved::Warn) else {
        panic!("must be admitted");
    };
    assert!(warnings[0].ends_with("registry down"), "{warnings:?}");
    assert!(matches!(told(OnUnresolved::Deny), Plan::Deny { .. }));
}

#[test]
fn no_pin_stays_without_its_stamps() {
    let fits = |over: usize| {
        let mut annotations = pinned(B, "docker.io/library/b:1");
        let length = |(key, value): (&String, &Value)| key.len() + value.as_str().unwrap().len();
        let ours: usize = annotations.as_object().unwrap().iter().map(length).sum();
        annotations["x"] = json!("y".repeat(edits::ANNOTATIONS_BYTES - 1 - ours + over));
        annotations
    };
    let image = format!("b:1@{B}");
    check(fits(0), &[&image], &[]);
    check(
        fits(1),
        &[&image],
        &[
            "-digest.podrefresh.io/c0",
            "-image.podrefresh.io/c0",
            "containers/0=b:1",
        ],
    );
}
