//! Images without an answer: what is wished, and whether anybody misses it.

use super::*;

#[track_caller]
fn check_unresolved(images: &[&str], wish: OnUnresolved, expected: Result<&[&str], &str>) {
    match (planned(&Value::Null, images, wish), expected) {
        (Plan::Admit { warnings, .. }, Ok(expected)) => assert_eq!(warnings, expected),
        (Plan::Deny { message, .. }, Err(expected)) => assert_eq!(message, expected),
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
fn nobody_misses_the_digest_of_what_is_left_out() {
    let planned = |containers: &str| {
        let annotations = json!({"podrefresh.io/containers": containers});
        planned(&annotations, &["x", "a", "X"], OnUnresolved::Deny)
    };
    assert!(matches!(planned("!c2"), Plan::Deny { .. }));
    let Plan::Admit {
        resolved,
        warnings,
        unresolved,
        ..
    } = planned("c1")
    else {
        panic!("must be admitted");
    };
    assert_eq!((warnings, unresolved), (vec![], vec![]));
    assert_eq!(resolved, [format!("c1=docker.io/library/a:latest@{A}")]);
}

/// Returns what becomes of a pod that wishes for `deny`, gets `spec`, and of whose images the registry knows none.
fn denied(spec: &Value, change: PodChange) -> Plan {
    let text = json!({"spec": spec}).to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
    let parts = pod.parts().chain(pod.ephemeral());
    let none = Pod::default();
    let wants = wants::of(&pod, &none, parts, Mode::Pin, &Selection::default());
    let down = |wanted: &Wanted<'_>| match &wanted.want {
        Want::Stamp(image) | Want::Pin { image, .. } => {
            Some((image.clone(), Err("registry down".to_owned())))
        }
        Want::Nothing | Want::Unreadable { .. } => None,
    };
    let answers = wants.iter().filter_map(down).collect();
    plan(&pod, &wants, &answers, OnUnresolved::Deny, change)
}

/// Checks the warnings of a pod that is admitted, or that it is refused.
#[track_caller]
fn check_denied(spec: &Value, change: PodChange, expected: Option<&[&str]>) {
    match (denied(spec, change), expected) {
        (Plan::Admit { warnings, .. }, Some(expected)) => assert_eq!(warnings, expected),
        (Plan::Deny { .. }, None) => {}
        (plan, _) => panic!("{plan:?}"),
    }
}

#[test]
fn nobody_misses_the_digest_of_what_is_never_pulled() {
    let container = |policy: &str| json!({"containers": [{"name": "app", "image": "x:1", "imagePullPolicy": policy}]});
    let volume = |policy: &str| json!({"volumes": [{"name": "model", "image": {"reference": "x:1", "pullPolicy": policy}}]});
    for policy in ["Always", "IfNotPresent", ""] {
        check_denied(&container(policy), PodChange::Created, None);
        check_denied(&volume(policy), PodChange::Created, None);
    }
    check_denied(&container("Never"), PodChange::Created, Some(&[]));
    check_denied(&volume("Never"), PodChange::Created, Some(&[]));
    let both = json!({"containers": [
        {"name": "a", "image": "x:1", "imagePullPolicy": "Never"}, {"name": "b", "image": "y:1"},
    ]});
    check_denied(&both, PodChange::Created, None);
}

#[test]
fn an_ephemeral_container_is_never_refused() {
    let spec = json!({"ephemeralContainers": [{"name": "debug", "image": "x:1"}]});
    let warning = r#"podrefresh: ephemeral container debug: no digest for image "docker.io/library/x:1": registry down"#;
    check_denied(&spec, PodChange::Debugged, Some(&[warning]));
    for change in [PodChange::Created, PodChange::Updated] {
        check_denied(&spec, change, None);
    }
}

#[test]
fn a_missing_image_is_left_to_the_api_server() {
    let warning = r#"podrefresh: container c0: no digest for image "": an image must not be empty"#;
    check_unresolved(&[""], OnUnresolved::Deny, Ok(&[warning]));
}
