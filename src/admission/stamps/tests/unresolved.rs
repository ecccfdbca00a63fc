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

#[test]
fn a_missing_image_is_left_to_the_api_server() {
    let warning = r#"podrefresh: container c0: no digest for image "": an image must not be empty"#;
    check_unresolved(&[""], OnUnresolved::Deny, Ok(&[warning]));
}
