//! Which digests behind a tag are our own pins.

use super::*;

#[track_caller]
fn check_pin(image: &str, stamps: Value, expected: &str) {
    let containers = json!([{"name": "app", "image": image}]);
    let pod = json!({"metadata": {"annotations": stamps}, "spec": {"containers": containers}});
    check_want(&pod, Mode::Pin, expected);
}

#[test]
fn in_mode_pin_a_tag_and_our_own_pin_want_a_pin() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let pinned = format!("nginx:1.27@{digest}");
    let stamps = |digest: &str, image: &str| json!({"digest.podrefresh.io/app": digest, "image.podrefresh.io/app": image});
    let ours = stamps(&digest, "docker.io/library/nginx:1.27");
    check_pin(
        "nginx:1.27",
        Value::Null,
        "pin docker.io/library/nginx:1.27 Nothing",
    );
    check_pin(
        &pinned,
        ours.clone(),
        &format!("pin docker.io/library/nginx:1.27 Ours({digest})"),
    );
    check_pin(&pinned, Value::Null, "nothing");
    check_pin(
        &pinned,
        stamps(&digest, "docker.io/library/nginx:1.28"),
        "nothing",
    );
    check_pin(&format!("nginx@{digest}"), ours, "nothing");
}

#[test]
fn our_pin_in_another_repository_is_told_from_a_users_own_digest() {
    let (digest, other) = (
        format!("sha256:{}", "a".repeat(64)),
        format!("sha256:{}", "b".repeat(64)),
    );
    let stamps = json!({"digest.podrefresh.io/app": digest, "image.podrefresh.io/app": "docker.io/library/nginx:1.27"});
    let check = |image: &str, expected: &str| check_pin(image, stamps.clone(), expected);
    for repository in ["mirror.corp/library/nginx", "docker.io/mirror/nginx"] {
        check(
            &format!("{repository}:1.27@{digest}"),
            &format!("pin {repository}:1.27 Moved({digest})"),
        );
        check(&format!("{repository}:1.27@{other}"), "nothing");
        check(&format!("{repository}:1.28@{digest}"), "nothing");
        check(&format!("{repository}@{digest}"), "nothing");
        check(
            &format!("{repository}:1.27"),
            &format!("pin {repository}:1.27 Nothing"),
        );
    }
    // Somebody gives a running pod the same digest out of another registry, which is his choice.
    let pod = |image: &str| json!({"metadata": {"annotations": stamps}, "spec": {"containers": [{"name": "app", "image": image}]}});
    let new = pod(&format!("mirror.corp/library/nginx:1.27@{digest}"));
    let old = pod(&format!("nginx:1.27@{digest}"));
    check_change(&old, &new, Mode::Pin, "nothing");
    let mut other = old;
    other["metadata"]["annotations"]["image.podrefresh.io/app"] =
        json!("docker.io/library/nginx:1.26");
    check_change(&other, &new, Mode::Pin, "Moved");
}
