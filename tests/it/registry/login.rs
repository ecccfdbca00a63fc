//! How one logs in where tokens are asked for: as nobody, by password, and by an identity token.

use podrefresh::registry::Settings;
use serde_json::json;
use testbed::{
    images::Format,
    registry::{Auth, Bearer, Fault, Options, Registry, Scheme, Target, User},
};

use crate::support::{
    program::{Outcome, Program},
    resolver::{ask, lookup, resolver},
};

const IDENTITY: &str = "1dentity-t0ken";

fn auth() -> Auth {
    let ann = User::new("ann", "hunter2").identity_token(IDENTITY);
    Auth::Bearer(Bearer {
        public: vec!["public/*".to_owned()],
        ..Bearer::new([ann])
    })
}

async fn registry() -> (Registry, String) {
    let registry = Registry::start(Options {
        auth: auth(),
        ..Options::default()
    })
    .await
    .unwrap();
    let image = Format::Oci.multi_platform("1");
    registry.store("team/app", "1", &image);
    (registry, image.digest().to_owned())
}

/// Runs `podrefresh digest` with the login `entry` for the registry, in all detail.
async fn digest(registry: &Registry, entry: serde_json::Value) -> Outcome {
    let config = json!({"auths": {registry.host(): entry}});
    let reference = registry.reference("team/app", "1");
    Program::new(["digest", "--log-filter=trace,kube=trace", &reference])
        .docker_config(&config)
        .run()
        .await
}

/// Checks that nothing of the run's output gives a secret away, plain or as Basic shows it.
#[track_caller]
fn check_discreet(outcome: &Outcome) {
    let output = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(
        output.contains("TRACE") && output.contains("DEBUG"),
        "the run is not told in all detail: {output}"
    );
    // ann:hunter2 and bob:hunter2
    let [ann, bob] = ["YW5uOmh1bnRlcjI", "Ym9iOmh1bnRlcjI"];
    for secret in ["hunter2", IDENTITY, ann, bob, "testbed-token-"] {
        assert!(!output.contains(secret), "{secret:?} in {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_shown_to_the_token_service_alone() {
    let (registry, wanted) = registry().await;
    let outcome = digest(&registry, json!({"username": "ann", "password": "hunter2"})).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.starts_with(&wanted), "{outcome}");
    check_discreet(&outcome);
    let schemes = |target: Target| -> Vec<(Scheme, Option<u16>)> {
        registry
            .requests(&target)
            .iter()
            .map(|seen| (seen.scheme, seen.status))
            .collect()
    };
    assert_eq!(schemes(Target::tokens()), [(Scheme::Basic, Some(200))]);
    assert_eq!(schemes(Target::manifests()), [(Scheme::Bearer, Some(200))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_exchanged() {
    let (registry, wanted) = registry().await;
    let outcome = digest(
        &registry,
        json!({"auth": "MDAwMDo=", "identitytoken": IDENTITY}),
    )
    .await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.starts_with(&wanted), "{outcome}");
    check_discreet(&outcome);
    assert_eq!(registry.token_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_told_without_the_secret() {
    let (registry, _) = registry().await;
    for entry in [
        json!({"username": "bob", "password": "hunter2"}),
        json!({"auth": "MDAwMDo=", "identitytoken": format!("{IDENTITY}-of-old")}),
    ] {
        let outcome = digest(&registry, entry).await;
        assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
        let host = registry.host();
        assert!(
            outcome
                .stderr
                .contains(&format!("no digest for {host}/team/app:1")),
            "{outcome}"
        );
        check_discreet(&outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_token_for_what_is_public_and_for_nothing_else() {
    let (registry, _) = registry().await;
    let wanted = registry.store("public/app", "1", &Format::Docker.image("linux/amd64", "1"));
    let resolver = resolver(Settings::default(), None);
    let as_nobody = async |repository| {
        let lookup = lookup(&registry.reference(repository, "1"), "shop", &[]);
        ask(&resolver, &lookup).await.map_err(|error| error.label())
    };
    assert_eq!(as_nobody("public/app").await, Ok(wanted));
    assert_eq!(as_nobody("team/app").await, Err("unauthorized"));
    let seen = registry.requests(&Target::tokens());
    assert!(
        seen.iter().all(|seen| seen.scheme == Scheme::Anonymous),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_header_is_refused_and_not_shown() {
    let (registry, _) = registry().await;
    let _guard = registry.inject(Fault::NewlineToken, Target::tokens());
    let outcome = digest(&registry, json!({"username": "ann", "password": "hunter2"})).await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    assert!(
        outcome.stderr.contains("its answer makes no sense"),
        "{outcome}"
    );
    check_discreet(&outcome);
}
