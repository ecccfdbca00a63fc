//! Which pods a run reaches, and what their owners can wish.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job};
use serde_json::{Value, json};
use testbed::kubelet;

use super::{check, namespace, run, states, wishing, world};
use crate::support::{
    kube::{OURS, SYSTEM, eventually, image_id, is_ready, name, workload},
    program::Outcome,
    simulated::Setup,
    world::World,
};

/// Returns the namespaces of the pods that were found outdated, each once.
#[track_caller]
fn namespaces(outcome: &Outcome) -> Vec<String> {
    let lines = super::lines(outcome);
    let pods = lines.iter().filter(|line| line["kind"] == "pod");
    let mut found: Vec<String> = pods
        .map(|pod| pod["namespace"].as_str().unwrap().to_owned())
        .collect();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn all_namespaces_but_those_that_opt_out_are_reached() {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let kube = &world.kube;
    let labelled = |value: &str| json!({"podrefresh.io/enabled": value});
    kube.namespace("in", labelled("true"), json!({})).await;
    kube.namespace("out", labelled("false"), json!({})).await;
    kube.namespace("plain", json!({}), json!({})).await;
    for home in ["in", SYSTEM, "out", "plain"] {
        let mut web = workload("web", &image, json!({"replicas": 1}));
        let (label, value) = OURS;
        web["metadata"]["labels"][label] = json!(value);
        kube.create::<Deployment>(home, web).await;
    }
    for home in ["in", "out", "plain"] {
        kube.running(home, 1, &old).await;
    }
    // A real one has pods of its own.
    eventually("the pod of the system's namespace", async || {
        let pods = kube.pods(SYSTEM).await;
        let mut pods = pods.iter();
        pods.any(|pod| is_ready(pod) && image_id(pod).ends_with(&old))
            .then_some(())
    })
    .await;
    let quiet = json!({"replicas": 1, "template": {"metadata": {"labels": {"podrefresh.io/enabled": "false"}}}});
    kube.create::<Deployment>("plain", workload("quiet", &image, quiet))
        .await;
    kube.ready("plain", 2).await;

    world.push("shop/web", "stable", "2");
    let dry = async |flags: &[&str]| {
        let flags: Vec<&str> = ["--dry-run"]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        namespaces(&run(&world, &flags).await)
    };
    assert_eq!(dry(&[]).await, ["in", "kube-system", "plain"]);
    assert_eq!(dry(&["--opted-in"]).await, ["in"]);
    assert_eq!(dry(&["-n", "plain"]).await, ["plain"]);
    assert_eq!(dry(&["-n", "out"]).await, Vec::<String>::new());
    assert_eq!(dry(&["-n", "in", "--opted-in"]).await, ["in"]);
    assert_eq!(
        dry(&["-n", "plain", "--opted-in"]).await,
        Vec::<String>::new()
    );
    assert_eq!(dry(&["--selector=app=other"]).await, Vec::<String>::new());
    assert_eq!(
        dry(&["-l", "app in (web),tier!=db", "-n", "in"]).await,
        ["in"]
    );
    let outcome = run(&world, &["--dry-run"]).await;
    let summary = super::summary(&outcome);
    assert_eq!(summary["left_alone"]["opted_out"], 2, "{outcome}");
}

/// Checks what becomes of a pod that wishes something.
async fn check_wish(world: &World, home: &str, wishes: Value, state: &str) {
    let (image, old) = world.push(home, "stable", "1");
    namespace(world, home).await;
    wishing(world, home, "web", &image, wishes).await;
    let before = world.kube.running(home, 1, &old).await;
    world.push(home, "stable", "2");
    let outcome = run(world, &["-n", home]).await;
    let after = world.kube.pods(home).await;
    let is_same = after.len() == 1 && name(&after[0]) == name(&before[0]);
    match state {
        "" => {
            assert_eq!(states(&outcome), Vec::<String>::new(), "{outcome}");
            assert!(is_same, "{outcome}");
        }
        state => {
            assert_eq!(states(&outcome), [state], "{outcome}");
            assert_eq!(is_same, state != "evicted", "{outcome}");
        }
    }
    // Nobody wished for more than has come about.
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_hold_and_a_run_does_not_wait_for_what_comes_after_its_end() {
    let world = world(Setup::default()).await;
    let wish = |name: &str, value: &str| json!({format!("podrefresh.io/{name}"): value});
    check_wish(&world, "once-plain", json!({}), "evicted").await;
    check_wish(&world, "once-notify", wish("strategy", "notify"), "notify").await;
    check_wish(&world, "once-age", wish("min-age", "1h"), "min_age").await;
    check_wish(&world, "once-young", wish("min-age", "3s"), "evicted").await;
    check_wish(&world, "once-names", wish("containers", "!app"), "").await;
    // Two days from now for one hour.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let day = (now + jiff::Span::new().days(2)).strftime("%a").to_string();
    let window = wish("window", &format!("{day} 00:00-01:00"));
    check_wish(&world, "once-window", window, "window").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_and_native_sidecars_count_unless_they_are_left_out() {
    let world = world(Setup::default()).await;
    let home = "once-init";
    namespace(&world, home).await;
    let [(setup, _), (proxy, _), (image, _)] =
        ["setup", "proxy", "app"].map(|it| world.push(&format!("shop/{it}"), "stable", "1"));
    let before = json!([
        {"name": "setup", "image": setup, "imagePullPolicy": "Always"},
        {"name": "proxy", "image": proxy, "imagePullPolicy": "Always", "restartPolicy": "Always"},
    ]);
    for (name, wishes) in [
        ("all", json!({})),
        ("some", json!({"podrefresh.io/containers": "app"})),
    ] {
        let template =
            json!({"metadata": {"annotations": wishes}, "spec": {"initContainers": before}});
        let spec = json!({"replicas": 1, "template": template});
        (world.kube)
            .create::<Deployment>(home, workload(name, &image, spec))
            .await;
    }
    world.kube.ready(home, 2).await;
    for (container, count) in [("setup", 1), ("proxy", 1), ("app", 2)] {
        let repository = format!("shop/{container}");
        world.push(&repository, "stable", "2");
        let outcome = run(&world, &["--dry-run", "-n", home]).await;
        check(&outcome, 0, &json!({"checked": 2, "outdated": count}));
        let row = &super::lines(&outcome)[0];
        assert_eq!(row["owner"], "Deployment/all", "{outcome}");
        assert_eq!(row["containers"][0]["container"], container, "{outcome}");
        world.push(&repository, "stable", "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_pod_such_as_the_runs_own_is_left_alone() {
    // Else it would be done before anybody looks.
    let nodes = kubelet::Options {
        job_duration: Duration::from_secs(3600),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let world = world(setup).await;
    let (image, old) = world.push("shop/job", "stable", "1");
    namespace(&world, "once-job").await;
    let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let job = json!({"metadata": {"name": "nightly"}, "spec": {"template": template}});
    world.kube.create::<Job>("once-job", job).await;
    world.kube.running("once-job", 1, &old).await;
    world.push("shop/job", "stable", "2");
    let outcome = run(&world, &["-n", "once-job"]).await;
    let expected = json!({"checked": 0, "evicted": 0, "left_alone": {"no_controller": 1}});
    check(&outcome, 0, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_defaults_for_its_pods() {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let defaults = json!({"podrefresh.io/strategy": "notify"});
    let kube = &world.kube;
    let undecided = json!({"podrefresh.io/enabled": "undecided"});
    kube.namespace("once-default", undecided, defaults).await;
    kube.deployment("once-default", "web", 1, &image).await;
    kube.running("once-default", 1, &old).await;
    world.push("shop/web", "stable", "2");
    let outcome = run(&world, &["-n", "once-default", "--exit-code"]).await;
    check(&outcome, 3, &json!({"held": {"notify": 1}, "evicted": 0}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_or_selector_that_makes_no_sense_is_named() {
    let world = world(Setup::default()).await;
    let nowhere = run(&world, &["-n", "nowhere"]).await;
    assert_eq!(nowhere.code, Some(1), "{nowhere}");
    assert_eq!(nowhere.complaint(), "error: there is no namespace nowhere");
    let selector = run(&world, &["--selector=app in (a"]).await;
    assert_eq!(selector.code, Some(2), "{selector}");
    assert!(selector.stderr.contains("'app in (a'"), "{selector}");
    let timeout = run(&world, &["--timeout=0s"]).await;
    assert_eq!(timeout.code, Some(2), "{timeout}");
    assert!(timeout.stderr.contains("--timeout"), "{timeout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_to_pull_the_new_image_itself_is_left_alone() {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, "once-restart").await;
    world
        .kube
        .deployment("once-restart", "web", 1, &image)
        .await;
    world.kube.running("once-restart", 1, &old).await;
    world.push("shop/web", "stable", "2");
    world.pull_anew("once-restart", "shop/web", "stable").await;
    let outcome = run(&world, &["-n", "once-restart"]).await;
    check(
        &outcome,
        0,
        &json!({"checked": 1, "current": 1, "outdated": 0}),
    );
}
