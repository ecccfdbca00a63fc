//! The program as a container runs it: what it says, and how it ends.

use hyper::Request;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::{api::PostParams, client::Body};
use serde_json::{Value, json};
use testbed::{
    images::{Format, attestation},
    registry::{Fault, Target},
};

use super::{deploy, generation, own_platform, restarted};
use crate::support::{
    crew::ACCOUNT,
    kube::{eventually, name},
    program::{Outcome, Program},
    skip::say,
    world::{World, client, get},
};

const QUICK: [&str; 2] = ["--poll-interval=300ms", "--confirm-after=100ms"];

/// Starts a world with a Deployment `web` of one pod; returns the pod's name, too.
async fn one_pod(spec: Value) -> (World, String) {
    let world = World::start().await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let mut all = json!({"replicas": 1});
    json_patch::merge(&mut all, &spec);
    deploy(&world, "web", &image, all).await;
    let pods = world.kube.running("shop", 1, &digest).await;
    let pod = name(&pods[0]).to_owned();
    (world, pod)
}

/// Returns a sidecar of a pod's container `app`, as an account.
async fn sidecar(world: &World, pod: &str, account: &str, flags: &[&str]) -> Program {
    let line = ["sidecar", "--container=app"].into_iter().chain(QUICK);
    let program = Program::new(line.chain(flags.iter().copied()));
    let kubeconfig = world.kubeconfig_of("shop", account).await;
    program.kubeconfig(&kubeconfig).env("POD_NAME", pod)
}

/// Changes the rules of the sidecars' account, and returns those that it had.
async fn change_role(world: &World, change: impl FnOnce(&mut Vec<PolicyRule>)) -> Vec<PolicyRule> {
    let roles = world.kube.api::<Role>("shop");
    let mut role = roles.get(ACCOUNT).await.unwrap();
    let rules = role.rules.get_or_insert_default();
    let before = rules.clone();
    change(rules);
    let params = PostParams::default();
    roles.replace(ACCOUNT, &params, &role).await.unwrap();
    before
}

fn is_for(rule: &PolicyRule, resource: &str) -> bool {
    let mut resources = rule.resources.iter().flatten();
    resources.any(|it| it == resource)
}

/// Waits until the API server knows that the sidecars' account may not do this any more: a real one hears of it later.
async fn forbidden(world: &World, method: &str, group: &str, resource: &str) {
    let client = client(&world.kubeconfig_of("shop", ACCOUNT).await).await;
    eventually("a right to be gone", async || {
        let request = Request::builder()
            .method(method)
            .uri(format!("{group}/namespaces/shop/{resource}/nobody"))
            .header("content-type", "application/merge-patch+json")
            .body(Body::from(b"{}".to_vec()))
            .unwrap();
        let status = client.send(request).await.unwrap().status();
        (status.as_u16() == 403).then_some(())
    })
    .await;
}

#[track_caller]
fn check(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(code), ""),
        "{outcome}"
    );
    for word in words {
        assert!(outcome.complaint().contains(word), "no {word:?}: {outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_watches_and_what_it_did_and_ends_at_once() {
    let (world, pod) = one_pod(json!({})).await;
    let process = sidecar(&world, &pod, ACCOUNT, &["--admin-addr=127.0.0.1:0"])
        .await
        .start();
    let said = process.says("Watching container app of pod shop/").await;
    assert!(said.contains("for Deployment web"), "{said}");
    let (_, address) = said.split_once("Serving the admin port on ").unwrap();
    let address = address.split('"').next().unwrap().parse().unwrap();
    assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz").await.0, 200);
    let (_, page) = get(address, "/metrics").await;
    // By the last one alerts tell a controller, which may not lead.
    for (series, is_there) in [
        ("\npodrefresh_build_info{", true),
        ("\npodrefresh_ready 1\n", true),
        ("podrefresh_leader", false),
    ] {
        assert_eq!(page.contains(series), is_there, "{series}: {page}");
    }
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 1, &new).await;
    process.says("Restarted Deployment shop/web").await;
    // It has used all that it ever uses. A debug build maps more of its file than a release build, and is not more
    // frugal with the rest.
    let (resident, own) = process.memory();
    say(&format!(
        "a sidecar holds {resident} KiB, {own} KiB of it its own"
    ));
    assert!(0 < own && own < 15 * 1024, "{own} KiB");
    process.signal("TERM").await;
    let outcome = process.ended().await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(0), ""), "{outcome}");
    for once in [
        "Watching container",
        "is outdated",
        "Restarted Deployment",
        "Got SIGTERM",
    ] {
        assert_eq!(outcome.stderr.matches(once).count(), 1, "{once}: {outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_told_once_and_waited_for() {
    let (world, pod) = one_pod(json!({})).await;
    let without = async |resource: &str, group: &str, verb: &str| {
        let before = change_role(&world, |rules| {
            for rule in rules.iter_mut().filter(|rule| is_for(rule, resource)) {
                rule.verbs.retain(|it| it != verb);
                if rule.verbs.is_empty() {
                    rule.verbs.push("delete".to_owned());
                }
            }
        })
        .await;
        forbidden(&world, "GET", group, resource).await;
        let process = sidecar(&world, &pod, ACCOUNT, &[]).await.start();
        let words = format!("cannot {verb} resource \\\"{resource}\\\"");
        process.says(&words).await;
        change_role(&world, |rules| *rules = before).await;
        process.says("Watching container").await;
        let log = process.log();
        let complaints = log.iter().filter(|line| line["level"] == "WARN");
        assert_eq!(complaints.count(), 1, "{log:#?}");
    };
    without("pods", "/api/v1", "get").await;
    without("replicasets", "/apis/apps/v1", "get").await;
    without("deployments", "/apis/apps/v1", "get").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_may_not_be_read_keeps_no_public_image_away() {
    let pull = json!({"template": {"spec": {"imagePullSecrets": [{"name": "pull"}]}}});
    let (world, pod) = one_pod(pull).await;
    let no_secrets = |rules: &mut Vec<PolicyRule>| rules.retain(|rule| !is_for(rule, "secrets"));
    change_role(&world, no_secrets).await;
    forbidden(&world, "GET", "/api/v1", "secrets").await;
    let process = sidecar(&world, &pod, ACCOUNT, &[]).await.start();
    let said = process.says("may not read it").await;
    assert!(
        said.contains("cannot get resource \\\"secrets\\\""),
        "{said}"
    );
    world.push("shop/web", "stable", "2");
    restarted(&world, "web", "").await;
    let told = process.says("Restarted Deployment").await;
    assert_eq!(
        told.matches("a credential was not tried").count(),
        1,
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_manifest_that_cannot_be_read_is_no_trouble_where_the_others_are_enough() {
    let world = World::start().await;
    let app = Format::Oci.image(own_platform(), "1");
    let build = |number: &str| Format::Oci.index([app.clone(), attestation(&app, number)]);
    let (image, stamp) = world.push_image("shop/web", "stable", &build("1"));
    let (_, runs) = world.push_image("shop/web", "stable", &build("2"));
    world.sidecar_namespace("shop").await;
    let stamps = json!({"digest.podrefresh.io/app": stamp, "image.podrefresh.io/app": image});
    let template = json!({"metadata": {"annotations": stamps}});
    let spec = json!({"replicas": 1, "template": template});
    deploy(&world, "web", &image, spec).await;
    let pods = world.kube.running("shop", 1, &runs).await;
    let unread = Target::manifests().reference(&stamp);
    let _fault = world.registry.inject(Fault::Status(500), unread.clone());
    let process = sidecar(&world, name(&pods[0]), ACCOUNT, &[]).await.start();
    process.says("Watching container").await;
    world.push_image("shop/web", "stable", &build("3"));
    eventually("the stamp's manifest to be asked for", || async {
        (1 < world.registry.count(&unread)).then_some(())
    })
    .await;
    world.polls("shop/web", 12).await;
    let log = process.log();
    assert!(log.iter().all(|line| line["level"] != "WARN"), "{log:#?}");
    assert_eq!(generation(&world, "shop", "web").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_an_image_for_the_node_is_told() {
    let (world, pod) = one_pod(json!({})).await;
    let process = sidecar(&world, &pod, ACCOUNT, &[]).await.start();
    process.says("Watching container").await;
    let other = Format::Oci.image("linux/s390x", "2");
    let index = Format::Oci.index([other]);
    world.push_image("shop/web", "stable", &index);
    process
        .says("its tag has no image for the node's platform")
        .await;
    world.polls("shop/web", 6).await;
    assert_eq!(generation(&world, "shop", "web").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_refused_is_told() {
    let (world, pod) = one_pod(json!({})).await;
    let look_only = |rules: &mut Vec<PolicyRule>| {
        for rule in rules {
            rule.verbs.retain(|verb| verb != "patch");
        }
    };
    change_role(&world, look_only).await;
    forbidden(&world, "PATCH", "/apis/apps/v1", "deployments").await;
    let process = sidecar(&world, &pod, ACCOUNT, &[]).await.start();
    world.push("shop/web", "stable", "2");
    let said = process.says("cannot restart Deployment shop/web").await;
    assert!(
        said.contains("cannot patch resource \\\"deployments\\\""),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_cannot_be_right_ends_it_with_what_is_wrong() {
    let (world, pod) = one_pod(json!({})).await;
    let run =
        async |pod: &str, flags: &[&str]| sidecar(&world, pod, ACCOUNT, flags).await.run().await;
    let typo = Program::new(["sidecar", "--container=ap"]).env("POD_NAME", &pod);
    let typo = typo
        .kubeconfig(&world.kubeconfig_of("shop", ACCOUNT).await)
        .run()
        .await;
    check(&typo, 1, &["no container \"ap\"", "it has app"]);
    check(
        &run("nobody", &[]).await,
        1,
        &["there is no pod shop/nobody"],
    );
    let guessed = Program::new(["sidecar", "--container=app"]).env("HOSTNAME", "node-7.example");
    let guessed = guessed
        .kubeconfig(&world.kubeconfig_of("shop", ACCOUNT).await)
        .run()
        .await;
    check(&guessed, 1, &["no pod shop/node-7.example", "set POD_NAME"]);
    // Nobody has told it a name, so that it looks for the one that its machine has.
    let untold = Program::new(["sidecar", "--container=app"]);
    let untold = untold
        .kubeconfig(&world.kubeconfig_of("shop", ACCOUNT).await)
        .run()
        .await;
    let hostname = std::fs::read_to_string("/etc/hostname").unwrap();
    let missing = format!("no pod shop/{}: ", hostname.trim());
    check(&untold, 1, &[&missing, "set POD_NAME"]);
    let nothing = Program::new(["sidecar"]).run().await;
    assert_eq!(nothing.code, Some(2), "{nothing}");
    assert!(nothing.stderr.contains("--container <NAME>"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_namespace_is_its_accounts_unless_it_is_told() {
    let (world, pod) = one_pod(json!({})).await;
    let kubeconfig = world.kubeconfig_of("shop", ACCOUNT).await;
    let mut elsewhere: Value = serde_json::from_str(&kubeconfig).unwrap();
    elsewhere["contexts"][0]["context"]["namespace"] = json!("default");
    let start = |flags: &[&'static str]| {
        let line = ["sidecar", "--container=app"].into_iter().chain(QUICK);
        let program = Program::new(line.chain(flags.iter().copied())).env("POD_NAME", &pod);
        program.kubeconfig(&elsewhere.to_string()).start()
    };
    let lost = start(&[]);
    lost.says("in the namespace \\\"default\\\"").await;
    let told = start(&["--namespace=shop"]);
    told.says(&format!("Watching container app of pod shop/{pod}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_no_owner_is_left_alone_and_stays_up() {
    let world = World::start().await;
    let (image, _) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
    let pod = json!({"metadata": {"name": "alone"}, "spec": {"containers": [container]}});
    world.kube.pod("shop", pod).await;
    let process = sidecar(&world, "alone", ACCOUNT, &[]).await.start();
    process
        .says("the pod has no owner that would replace it")
        .await;
    process.signal("INT").await;
    let outcome = process.ended().await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.stderr.matches("no owner").count(), 1, "{outcome}");
}
