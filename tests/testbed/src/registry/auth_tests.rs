use super::*;

fn basic(name: &str, password: &str) -> Claim {
    Claim::Basic {
        name: name.into(),
        password: password.into(),
    }
}

fn door() -> Door {
    let alice = User::new("alice", "secret")
        .only(&["team/*"])
        .identity_token("long-lived");
    Door::new(Auth::Bearer(Bearer {
        public: vec!["open/app".into()],
        ..Bearer::new([alice])
    }))
}

#[track_caller]
fn check(
    claim: &Claim,
    refresh: Option<&str>,
    scope: &str,
    repository: &str,
    expected: Result<Option<&str>, &str>,
) {
    let now = Instant::now();
    let mut door = door();
    let issued = door
        .issue(claim, refresh, &[scope.into()], now)
        .expect("a token must be given");
    let admitted = door.admit(&Claim::Bearer(issued.token), &Method::HEAD, repository, now);
    let expected = expected
        .map(|user| user.map(str::to_owned))
        .map_err(|error| Denied::WantsBearer {
            scope: format!("repository:{repository}:pull"),
            error: Some(if error.is_empty() {
                "insufficient_scope"
            } else {
                "invalid_token"
            }),
        });
    assert_eq!(admitted, expected);
}

#[test]
fn a_token_is_good_for_its_scope_only() {
    let alice = basic("alice", "secret");
    check(
        &alice,
        None,
        "repository:team/app:pull",
        "team/app",
        Ok(Some("alice")),
    );
    check(
        &alice,
        None,
        "repository:team/app:pull",
        "team/other",
        Err(""),
    );
    check(
        &alice,
        None,
        "repository:other/app:pull",
        "other/app",
        Err(""),
    );
    check(
        &Claim::None,
        Some("long-lived"),
        "repository:team/app:pull",
        "team/app",
        Ok(Some("alice")),
    );
}

#[test]
fn anonymous_tokens_open_public_repositories() {
    check(
        &Claim::None,
        None,
        "repository:open/app:pull",
        "open/app",
        Ok(None),
    );
    check(
        &Claim::None,
        None,
        "repository:team/app:pull",
        "team/app",
        Err(""),
    );
}

#[test]
fn wrong_passwords_get_no_token() {
    let now = Instant::now();
    assert_eq!(door().issue(&basic("alice", "wrong"), None, &[], now), None);
    assert_eq!(door().issue(&Claim::Unknown, None, &[], now), None);
    assert_eq!(door().issue(&Claim::None, Some("wrong"), &[], now), None);
}

#[test]
fn a_token_ends_at_its_lifetime() {
    let now = Instant::now();
    let mut door = door();
    let scope = "repository:open/app:pull".to_owned();
    let issued = door
        .issue(&Claim::None, None, std::slice::from_ref(&scope), now)
        .unwrap();
    let claim = Claim::Bearer(issued.token);
    let at = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(
        door.admit(&claim, &Method::GET, "open/app", at(299)),
        Ok(None)
    );
    let late = Denied::WantsBearer {
        scope,
        error: Some("invalid_token"),
    };
    assert_eq!(
        door.admit(&claim, &Method::GET, "open/app", at(300)),
        Err(late)
    );
}

#[test]
fn pushing_takes_both_actions() {
    let now = Instant::now();
    let mut door = door();
    let alice = basic("alice", "secret");
    let pull = door
        .issue(&alice, None, &["repository:team/app:pull".into()], now)
        .unwrap();
    let both = door
        .issue(&alice, None, &["repository:team/app:pull,push".into()], now)
        .unwrap();
    assert!(
        door.admit(&Claim::Bearer(pull.token), &Method::PUT, "team/app", now)
            .is_err()
    );
    assert!(
        door.admit(&Claim::Bearer(both.token), &Method::PUT, "team/app", now)
            .is_ok()
    );
}

#[test]
fn basic_users_stay_in_their_repositories() {
    let door = Door::new(Auth::Basic(vec![
        User::new("alice", "secret").only(&["team/app"]),
    ]));
    let now = Instant::now();
    let admit = |claim: &Claim, repository: &str| door.admit(claim, &Method::GET, repository, now);
    let alice = basic("alice", "secret");
    assert_eq!(admit(&alice, "team/app"), Ok(Some("alice".into())));
    assert_eq!(admit(&alice, "team/other"), Err(Denied::Forbidden));
    assert_eq!(
        admit(&basic("alice", "Secret"), "team/app"),
        Err(Denied::WantsBasic)
    );
    assert_eq!(admit(&Claim::None, ""), Err(Denied::WantsBasic));
}

#[test]
fn the_header_is_taken_apart() {
    assert_eq!(Claim::of(None), Claim::None);
    assert_eq!(
        Claim::of(Some("Basic YTpiOmM=")),
        Claim::Basic {
            name: "a".into(),
            password: "b:c".into()
        }
    );
    assert_eq!(Claim::of(Some("bearer x")), Claim::Bearer("x".into()));
    assert_eq!(Claim::of(Some("Basic %%%")), Claim::Unknown);
}
