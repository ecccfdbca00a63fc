//! Private images: each namespace by its own secret, and no harm from one that is of no use.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::registry::{Auth, Bearer, Target, User};

use super::uids;
use crate::support::{
    kube::{annotation, workload},
    look::on_testbed,
    rights,
    simulated::Setup,
    world::World,
};

/// Starts a world whose registry asks for credentials; not on a real control plane, whose nodes need not know
/// how to pull with a pull secret.
async fn private(auth: Auth) -> Option<World> {
    if !on_testbed() {
        return None;
    }
    let setup = Setup {
        auth,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    world.controller(&[]).await;
    Some(world)
}

/// Makes an opted-in namespace with a pull secret.
async fn namespace(world: &World, name: &str, user: &str, password: &str) {
    world.kube.opted_in(name).await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret(name, "pull", &host, user, password)
        .await;
}

/// Creates a Deployment `web` that pulls with the secret `pull`.
async fn deploy(world: &World, namespace: &str, replicas: u32, image: &str) {
    let pull = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let web = workload(
        "web",
        image,
        json!({"replicas": replicas, "template": pull}),
    );
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>(namespace, web)
        .await;
}

/// Tries to create a pod that pulls with the secret `pull`; returns status, warnings and pod.
async fn try_pod(world: &World, namespace: &str, image: &str) -> (u16, Vec<String>, Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-"},
        "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "app", "image": image, "imagePullPolicy": "Always"}],
        },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    world.send("POST", &path, &pod).await
}

fn stamp(pod: &Value) -> &str {
    pod.pointer("/metadata/annotations/digest.podrefresh.io~1app")
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// Checks that two namespaces ask by their own secrets for one image, and a third one with a wrong secret gets nothing.
async fn check_own_secrets(auth: fn(Vec<User>) -> Auth) {
    let users = vec![
        User::new("ann", "a-password"),
        User::new("bob", "b-password"),
    ];
    let Some(world) = private(auth(users)).await else {
        return;
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "a", "ann", "a-password").await;
    namespace(&world, "b", "bob", "b-password").await;
    namespace(&world, "c", "ann", "wrong-password").await;
    for name in ["a", "b"] {
        deploy(&world, name, 1, &image).await;
        let pods = world.kube.running(name, 1, &old).await;
        assert_eq!(
            annotation(&pods[0], "digest.podrefresh.io/app"),
            old,
            "{name}"
        );
    }
    // The answer that the others got is known by now, and fresh.
    let (status, warnings, pod) = try_pod(&world, "c", &image).await;
    assert_eq!((status, stamp(&pod)), (201, ""), "{pod:#}");
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("shop/web:stable")),
        "{warnings:?}"
    );
    assert!(
        !warnings.concat().contains("wrong-password"),
        "{warnings:?}"
    );

    let (_, new) = world.push("shop/web", "stable", "2");
    for name in ["a", "b"] {
        world.kube.running(name, 1, &new).await;
    }
    let asked = world.registry.requests(&Target::manifests().outside());
    let good = asked.iter().filter(|request| request.status == Some(200));
    let users: std::collections::BTreeSet<_> =
        good.filter_map(|request| request.user.as_deref()).collect();
    assert_eq!(users.into_iter().collect::<Vec<_>>(), ["ann", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_asks_with_its_own_password_and_profits_from_no_other() {
    check_own_secrets(Auth::Basic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_namespace_asks_with_its_own_token_and_profits_from_no_other() {
    check_own_secrets(|users| Auth::Bearer(Bearer::new(users))).await;
}

/// Changes the password of ann in the pull secret of `shop`.
async fn change_password(world: &World, password: &str) {
    let config =
        json!({"auths": {world.registry.host(): {"username": "ann", "password": password}}});
    let patch = json!({"stringData": {".dockerconfigjson": config.to_string()}});
    world.kube.patch::<Secret>("shop", "pull", patch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_used_without_a_restart() {
    let Some(world) = private(Auth::Basic(vec![User::new("ann", "first")])).await else {
        return;
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "shop", "ann", "first").await;
    deploy(&world, "shop", 1, &image).await;
    let before = world.kube.running("shop", 1, &old).await;

    world
        .registry
        .require(Auth::Basic(vec![User::new("ann", "second")]));
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Unresolved", &image).await;
    world.looks(3).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    change_password(&world, "second").await;
    let pods = world.kube.running("shop", 1, &new).await;
    assert_eq!(annotation(&pods[0], "digest.podrefresh.io/app"), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_whose_successor_could_not_pull() {
    let Some(world) = private(Auth::Basic(vec![User::new("ann", "first")])).await else {
        return;
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "shop", "ann", "first").await;
    deploy(&world, "shop", 1, &image).await;
    let before = world.kube.running("shop", 1, &old).await;

    // What was read before is still accepted, and what the node would read now is not.
    change_password(&world, "wrong").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Unresolved", &image).await;
    world.looks(3).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));
    change_password(&world, "first").await;
    world.kube.running("shop", 1, &new).await;
}

/// Checks what a secret that is of no use does: pods are admitted with a warning that names it, a metric says why, and
/// nothing is evicted until it is of use again.
async fn check_useless(reason: &str, secret: Option<Value>) {
    let Some(world) = private(Auth::Basic(vec![User::new("ann", "first")])).await else {
        return;
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "shop", "ann", "first").await;
    deploy(&world, "shop", 1, &image).await;
    let before = world.kube.running("shop", 1, &old).await;

    let secrets = world.kube.api::<Secret>("shop");
    secrets
        .delete("pull", &DeleteParams::default())
        .await
        .unwrap();
    if let Some(mut secret) = secret {
        secret["metadata"] = json!({"name": "pull"});
        world.kube.create::<Secret>("shop", secret).await;
    }
    // The old password is of no use any more either, so nothing that was read before can help.
    world
        .registry
        .require(Auth::Basic(vec![User::new("ann", "second")]));
    let (_, new) = world.push("shop/web", "stable", "2");
    let note = world.kube.told("shop", "Unresolved", &image).await;
    assert!(note.contains("shop/pull"), "names the secret: {note}");
    let problems = format!("podrefresh_credentials_problems_total{{reason=\"{reason}\"}}");
    world.controllers()[0].reaches(&problems, 1.0).await;
    let (status, warnings, pod) = try_pod(&world, "shop", &image).await;
    assert_eq!((status, stamp(&pod)), (201, ""), "{pod:#}");
    let named =
        |warning: &String| warning.contains("shop/web:stable") && warning.contains("shop/pull");
    assert!(warnings.iter().any(named), "{warnings:?}");
    world.looks(4).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));

    let _ = secrets.delete("pull", &DeleteParams::default()).await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "second")
        .await;
    world.kube.running("shop", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_evicts_nobody() {
    check_useless("secret_missing", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_type_evicts_nobody() {
    let secret = json!({"type": "Opaque", "stringData": {".dockerconfigjson": "{}"}});
    check_useless("secret_wrong_type", Some(secret)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_secret_evicts_nobody() {
    // The API server itself refuses what is not JSON in the other type.
    let secret = json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{\"auths\": 7}"}});
    check_useless("config_malformed", Some(secret)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_useless_secret_does_no_harm_to_a_public_image() {
    let world = World::running(&[]).await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    let (status, warnings, pod) = try_pod(&world, "shop", &image).await;
    assert_eq!(
        (status, stamp(&pod)),
        (201, &*digest),
        "{warnings:?} {pod:#}"
    );
    let problems = "podrefresh_credentials_problems_total{reason=\"secret_missing\"}";
    world.controllers()[0].shows(problems, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_image_behind_an_ended_secret_evicts_nobody() {
    let public = |password| {
        Auth::Bearer(Bearer {
            public: vec!["shop/web".to_owned()],
            ..Bearer::new([User::new("ann", password)])
        })
    };
    let Some(world) = private(public("first")).await else {
        return;
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "shop", "ann", "first").await;
    deploy(&world, "shop", 1, &image).await;
    let before = world.kube.running("shop", 1, &old).await;

    world.registry.require(public("second"));
    world.registry.revoke_tokens();
    let (_, new) = world.push("shop/web", "stable", "2");
    let note = world.kube.told("shop", "Unresolved", &image).await;
    for part in ["shop/pull", "nodes cannot pull"] {
        assert!(note.contains(part), "{note}");
    }
    // A pod that is created all the same is told what its tag means: whether it starts is up to its node.
    let (status, warnings, pod) = try_pod(&world, "shop", &image).await;
    assert_eq!((status, stamp(&pod)), (201, &*new), "{warnings:?} {pod:#}");
    world.looks(4).await;
    assert_eq!(uids(&world.kube.pods("shop").await), uids(&before));

    let secrets = world.kube.api::<Secret>("shop");
    let _ = secrets.delete("pull", &DeleteParams::default()).await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "second")
        .await;
    world.kube.running("shop", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_may_not_be_read_are_named_as_such() {
    let Some(world) = private(Auth::Basic(vec![User::new("ann", "first")])).await else {
        return;
    };
    let (image, _) = world.push("shop/web", "stable", "1");
    namespace(&world, "shop", "ann", "first").await;
    rights::take(&world, "secrets").await;

    let (status, warnings, pod) = try_pod(&world, "shop", &image).await;
    assert_eq!((status, stamp(&pod)), (201, ""), "{pod:#}");
    assert!(
        warnings.iter().any(|warning| warning.contains("shop/pull")),
        "{warnings:?}"
    );
    let problems = "podrefresh_credentials_problems_total{reason=\"secret_forbidden\"}";
    world.controllers()[0].reaches(problems, 1.0).await;
    let pods: Vec<Pod> = world.kube.pods("shop").await;
    assert!(pods.is_empty(), "a dry run stores nothing");
}
