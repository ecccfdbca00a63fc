//! How a run ends: its exit codes, its table, what stops it early, and what it says of what is left.

use std::time::Duration;

use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
    config::Kubeconfig,
};
use serde_json::json;
use testbed::{
    faults::Effect,
    kubelet,
    registry::{Fault, Target},
};

use super::{check, lines, namespace, program, run, states, world};
use crate::support::{
    breaker::Breaker,
    history::History,
    kube::{PATIENCE, eventually, name, workload},
    look::on_testbed,
    program::Program,
    simulated::Setup,
    world::World,
};

/// Starts a world with a Deployment of `replicas` in a namespace that has not opted in, of which the tag has
/// moved; returns the new digest as well.
async fn outdated(home: &str, replicas: u16, setup: Setup) -> (World, String) {
    let world = world(setup).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, home).await;
    world
        .kube
        .deployment(home, "web", replicas.into(), &image)
        .await;
    world.kube.running(home, replicas.into(), &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    (world, new)
}

/// Does the same, and the new image never becomes ready.
async fn broken(home: &str, replicas: u16) -> (World, Breaker) {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, home).await;
    let breaker = Breaker::of(&world, home);
    let object = workload("web", &image, json!({"replicas": replicas}));
    let object = breaker.breakable(object);
    world.kube.create::<Deployment>(home, object).await;
    world.kube.running(home, replicas.into(), &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    breaker.breaks(&world, &new);
    (world, breaker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_lost_sight_of_pods_waits_until_it_sees_them() {
    if !on_testbed() {
        return;
    }
    let (world, new) = outdated("once-blind", 2, Setup::default()).await;
    let cluster = &world.testbed().cluster;
    let watches = |resource: &str, verb: &str| resource == "pods" && verb == "watch";
    let blind = (cluster.faults()).inject(Effect::Unavailable, move |seen| {
        watches(seen.resource, seen.verb) && seen.user.contains("podrefresh")
    });
    let run = program(&world, &["-n", "once-blind"]).await.start();
    let refused = cluster.journal().wait_for(3, PATIENCE, move |entry| {
        watches(&entry.resource, entry.verb) && entry.status == 503
    });
    assert!(refused.await, "it must try to see them");
    assert!(world.evictions().is_empty(), "{:#?}", world.evictions());
    drop(blind);
    let outcome = run.ended().await;
    check(&outcome, 0, &json!({"evicted": 2}));
    world.kube.running("once-blind", 2, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_a_table_and_writes_nothing() {
    let (world, new) = outdated("once-dry", 2, Setup::default()).await;
    let before = world.kube.pods("once-dry").await;
    let flags = ["--dry-run", "--output=table", "-n", "once-dry"];
    let outcome = run(&world, &flags).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let heading = outcome.stdout.lines().next().unwrap();
    for column in [
        "NAMESPACE",
        "POD",
        "OWNER",
        "CONTAINER",
        "IMAGE",
        "RUNS",
        "WANTED",
        "STATE",
    ] {
        assert!(heading.contains(column), "{column}: {outcome}");
    }
    let of = |pod| {
        let mut rows = outcome
            .stdout
            .lines()
            .filter(|line| line.contains(name(pod)));
        rows.next().unwrap_or_else(|| panic!("{outcome}"))
    };
    let rows: Vec<&str> = before.iter().map(of).collect();
    assert!(rows.iter().all(|row| row.contains(&new[..19])), "{outcome}");
    // One may go, the other when that one is up again.
    let ends = |state: &str| rows.iter().filter(|row| row.ends_with(state)).count();
    assert_eq!((ends(" would_evict"), ends(" pace")), (1, 1), "{outcome}");
    let counts = "checked 2, current 0, unknown 0, outdated 2, would be evicted 1, would be restarted 0, failed 0\nheld: pace 1\n";
    assert!(outcome.stdout.contains(counts), "{outcome}");

    let asked = run(&world, &["--dry-run", "--exit-code", "-n", "once-dry"]).await;
    check(
        &asked,
        3,
        &json!({"outdated": 2, "left": 2, "dry_run": true}),
    );
    let names = |pods: &[k8s_openapi::api::core::v1::Pod]| -> Vec<String> {
        pods.iter().map(|pod| name(pod).to_owned()).collect()
    };
    assert_eq!(names(&world.kube.pods("once-dry").await), names(&before));
    assert_eq!(
        world.kube.notes("once-dry", "Outdated").await,
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_tag_fails_the_run_and_keeps_its_pods() {
    let (world, new) = outdated("once-gone", 1, Setup::default()).await;
    let (gone, digest) = world.push("shop/gone", "stable", "1");
    world.kube.deployment("once-gone", "gone", 1, &gone).await;
    eventually("both pods", async || {
        (world.kube.ready("once-gone", 2).await.len() == 2).then_some(())
    })
    .await;
    assert!(world.registry.delete("shop/gone", "stable"));
    let dry = run(&world, &["--dry-run", "-n", "once-gone"]).await;
    check(&dry, 0, &json!({"failed": 1, "outdated": 1}));
    let outcome = run(&world, &["-n", "once-gone"]).await;
    let expected = json!({"checked": 2, "outdated": 1, "evicted": 1, "failed": 1, "end": "done"});
    check(&outcome, 1, &expected);
    assert_eq!(outcome.complaint(), "error: 1 image could not be looked up");
    let image = &lines(&outcome)[1];
    assert_eq!(
        (&image["kind"], &image["reason"]),
        (&json!("image"), &json!("not_found"))
    );
    assert_eq!(image["image"], gone);
    let pods = world.kube.ready("once-gone", 2).await;
    let runs = |digest: &str| {
        let ids = pods.iter().map(crate::support::kube::image_id);
        ids.filter(|id| id.ends_with(digest)).count()
    };
    assert_eq!((runs(&digest), runs(&new)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stumbles_is_asked_again() {
    let (world, new) = outdated("once-stumble", 1, Setup::default()).await;
    let target = Target::manifests().outside().repository("shop/web");
    let _fault = world.registry.inject_times(4, Fault::Status(503), target);
    let outcome = run(&world, &["-n", "once-stumble"]).await;
    check(&outcome, 0, &json!({"evicted": 1, "failed": 0}));
    world.kube.running("once-stumble", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_at_once_is_asked_for_again() {
    let (world, new) = outdated("once-manifest", 1, Setup::default()).await;
    // The tag is answered by HEAD; what stands behind it, for which one asks by GET, is not: for the old and the new
    // manifest, each of which is tried three times at once.
    let target = Target::manifests().outside().repository("shop/web");
    let target = target.method(Method::GET);
    let _fault = world.registry.inject_times(6, Fault::Status(503), target);
    let outcome = run(&world, &["-n", "once-manifest"]).await;
    check(&outcome, 0, &json!({"evicted": 1, "failed": 0}));
    world.kube.running("once-manifest", 1, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_allows_nothing_is_waited_for_until_the_time_is_over() {
    let (world, _) = outdated("once-pdb", 2, Setup::default()).await;
    world.kube.budget("once-pdb", "web", "web", 2).await;
    let history = History::begin(&world.kube, "once-pdb", "web-").await;
    let outcome = run(&world, &["-n", "once-pdb", "--timeout=6s"]).await;
    check(
        &outcome,
        1,
        &json!({"evicted": 0, "end": "timed_out", "left": 2}),
    );
    assert!(states(&outcome).contains(&"pdb".to_owned()), "{outcome}");
    assert_eq!(
        outcome.complaint(),
        "error: the time was over: 2 pods are still outdated"
    );
    let dry = run(&world, &["-n", "once-pdb", "--dry-run"]).await;
    assert!(states(&dry).contains(&"pdb".to_owned()), "{dry}");
    assert_eq!(history.gone(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_refused_is_not_waited_for() {
    let (world, _) = outdated("once-two", 1, Setup::default()).await;
    for name in ["a", "b"] {
        world.kube.budget("once-two", name, "web", 0).await;
    }
    let outcome = run(&world, &["-n", "once-two"]).await;
    // Nobody can evict a pod of two budgets, so its time is not used up.
    check(
        &outcome,
        1,
        &json!({"evicted": 0, "failed": 1, "end": "done", "left": 1}),
    );
    assert_eq!(states(&outcome), ["misconfigured"], "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_stops_after_as_many_pods_as_may_be_down() {
    for (flag, end) in [
        ("--timeout=8s", "timed_out"),
        ("--progress-deadline=3s", "done"),
    ] {
        let (world, _breaker) = broken("once-broken", 3).await;
        let history = History::begin(&world.kube, "once-broken", "web-").await;
        let outcome = run(&world, &["-n", "once-broken", flag]).await;
        let unready = json!(["once-broken/Deployment/web"]);
        let expected = json!({"evicted": 1, "left": 2, "end": end, "unready": unready});
        check(&outcome, 1, &expected);
        assert_eq!(history.gone().len(), 1, "{outcome}");
        let hold = if end == "done" { "halted" } else { "pace" };
        let held = states(&outcome)
            .iter()
            .filter(|state| *state == hold)
            .count();
        assert_eq!(held, 2, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_that_leaves_nothing_to_stop_ends_the_run_in_its_time() {
    let (world, _breaker) = broken("once-single", 1).await;
    let flags = ["-n", "once-single", "--progress-deadline=3s"];
    let outcome = run(&world, &flags).await;
    let unready = json!(["once-single/Deployment/web"]);
    let expected = json!({"evicted": 1, "left": 0, "end": "done", "unready": unready});
    check(&outcome, 1, &expected);
}

/// Checks that a run whose owner is changed by `hand` in the middle, so that nothing comes back, does not wait for it.
async fn check_nothing_comes_back(home: &str, hand: impl AsyncFnOnce(&Api<Deployment>)) {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_secs(2),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let (world, _) = outdated(home, 2, setup).await;
    let process = program(&world, &["-n", home]).await.start();
    process.says(&format!("Evicted {home}/")).await;
    hand(&world.kube.api(home)).await;
    let outcome = process.ended().await;
    let expected = json!({"end": "done", "left": 0, "failed": 0, "unready": []});
    check(&outcome, 0, &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_scaled_to_nothing_is_not_waited_for() {
    check_nothing_comes_back("once-zero", async |deployments| {
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        let params = PatchParams::default();
        deployments.patch("web", &params, &none).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_deleted_is_not_waited_for() {
    check_nothing_comes_back("once-deleted", async |deployments| {
        let params = DeleteParams::default();
        deployments.delete("web", &params).await.unwrap();
    })
    .await;
}

/// Checks that a signal in the middle of a run ends it, and that no pod goes after.
async fn check_signal(signal: &str) {
    let nodes = kubelet::Options {
        ready_delay: Duration::from_secs(2),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let (world, _) = outdated("once-signal", 4, setup).await;
    let history = History::begin(&world.kube, "once-signal", "web-").await;
    let process = program(&world, &["-n", "once-signal"]).await.start();
    process.says("Evicted once-signal/").await;
    process.signal(signal).await;
    let outcome = process.ended().await;
    let evicted = states(&outcome)
        .iter()
        .filter(|it| *it == "evicted")
        .count();
    assert!((1..4).contains(&evicted), "{outcome}");
    check(
        &outcome,
        1,
        &json!({"end": "interrupted", "left": 4 - evicted}),
    );
    assert!(
        outcome.complaint().starts_with("error: interrupted: "),
        "{outcome}"
    );
    world.kube.ready("once-signal", 4).await;
    assert_eq!(history.gone().len(), evicted, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_evictions_and_what_is_left_is_told() {
    check_signal("TERM").await;
    check_signal("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_fails_the_run_in_time() {
    let world = World::start().await;
    let mut kubeconfig = Kubeconfig::from_yaml(&world.administrator()).unwrap();
    // Nobody listens there.
    let nowhere = Some("https://127.0.0.1:1".to_owned());
    kubeconfig.clusters[0].cluster.as_mut().unwrap().server = nowhere;
    let kubeconfig = serde_json::to_string(&kubeconfig).unwrap();
    let program = Program::new(["once", "--output=json", "--timeout=2s"]);
    let outcome = program.kubeconfig(&kubeconfig).run().await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    // The last line says why.
    let complaint = "error: the pods and namespaces could not be listed within 2s: the API server cannot be reached: ";
    assert!(outcome.complaint().starts_with(complaint), "{outcome}");
    assert!(
        outcome.complaint().contains("Connection refused"),
        "{outcome}"
    );
}
