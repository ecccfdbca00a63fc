//! Wishes that make no sense are refused in words, stamps are ours alone, and nobody else is held up.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{create, push};
use crate::support::{
    files::tempfile,
    hands::Hands,
    kube::{eventually, name, workload},
    kubectl::Kubectl,
    look::on_testbed,
    skip::need,
    world::World,
};

const PODS: &str = "/api/v1/namespaces/shop/pods";

/// Starts a controller and an opted-in namespace, and waits until the API server asks about wishes.
pub(super) async fn world() -> World {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let bad = pod(&json!({"podrefresh.io/mode": "x"}));
    let asked = async || {
        let (status, _, _) = world
            .send("POST", &format!("{PODS}?dryRun=All"), &bad)
            .await;
        (status == 403).then_some(())
    };
    eventually("a refusal", asked).await;
    world
}

/// Returns a bare pod with these annotations.
fn pod(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "try-", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "127.0.0.1:1/a@sha256:0000000000000000000000000000000000000000000000000000000000000000"}]},
    })
}

/// Returns each kind of object with `annotations` where they count, and where it is created.
fn all_kinds(annotations: &Value) -> Vec<(&'static str, Value)> {
    let template = json!({"metadata": {"labels": {"app": "a"}, "annotations": annotations},
        "spec": pod(annotations)["spec"]});
    let of = |version: &str, kind: &str, spec: Value| {
        let mut object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        if !["Job", "CronJob"].contains(&kind) {
            object["spec"]["template"] = template.clone();
            object["spec"]["selector"] = json!({"matchLabels": {"app": "a"}});
        }
        object
    };
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let mut controller = of("v1", "ReplicationController", json!({}));
    controller["spec"]["selector"] = json!({"app": "a"});
    let jobs = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}});
    vec![
        (PODS, pod(annotations)),
        (
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "annotations": annotations}}),
        ),
        ("/api/v1/namespaces/shop/replicationcontrollers", controller),
        (
            "/apis/apps/v1/namespaces/shop/deployments",
            of("apps/v1", "Deployment", json!({})),
        ),
        (
            "/apis/apps/v1/namespaces/shop/statefulsets",
            of("apps/v1", "StatefulSet", json!({"serviceName": "a"})),
        ),
        (
            "/apis/apps/v1/namespaces/shop/daemonsets",
            of("apps/v1", "DaemonSet", json!({})),
        ),
        (
            "/apis/apps/v1/namespaces/shop/replicasets",
            of("apps/v1", "ReplicaSet", json!({})),
        ),
        (
            "/apis/batch/v1/namespaces/shop/jobs",
            of("batch/v1", "Job", json!({"template": once})),
        ),
        (
            "/apis/batch/v1/namespaces/shop/cronjobs",
            of("batch/v1", "CronJob", jobs),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_refused_for_all_that_is_wrong_at_once() {
    let world = world().await;
    let bad = json!({"podrefresh.io/mode": "pn", "podrefresh.io/max-unavailable": "0"});
    for (path, object) in all_kinds(&bad) {
        let (status, _, answer) = world.send("POST", path, &object).await;
        assert_eq!(status, 403, "{path}: {answer:#}");
        let message = answer["message"].as_str().unwrap();
        for part in [
            "admission webhook \"validate.podrefresh.io\" denied the request: podrefresh: ",
            "podrefresh.io/mode=\"pn\" must be one of stamp, pin (did you mean \"pin\"?)",
            "podrefresh.io/max-unavailable=\"0\" must be a number of pods from 1",
        ] {
            assert!(message.contains(part), "{path}: {message}");
        }
    }
    // The last one is what a restart writes into templates, and their pods carry.
    let good = json!({
        "podrefresh.io/mode": "pin", "podrefresh.io/max-unavailable": "25%", "podrefresh.io/refreshed": "3cdfd64aa25d1afa",
    });
    for (path, object) in all_kinds(&good) {
        let (status, warnings, answer) = world
            .send("POST", &format!("{path}?dryRun=All"), &object)
            .await;
        assert_eq!(status, 201, "{path}: {answer:#}");
        assert!(
            !warnings.iter().any(|w| w.contains("podrefresh")),
            "{path}: {warnings:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_and_a_wish_out_of_place_are_warned_of() {
    let world = world().await;
    let path = format!("{PODS}?dryRun=All");
    let (status, warnings, _) = world
        .send("POST", &path, &pod(&json!({"podrefresh.io/mod": "pin"})))
        .await;
    assert_eq!(status, 201);
    let [warning] = &warnings[..] else {
        panic!("one warning: {warnings:?}");
    };
    assert!(
        warning.contains("podrefresh: podrefresh.io/mod=")
            && warning.contains("podrefresh.io/mode"),
        "{warning}"
    );
    let mut deployment = workload("web", "a", json!({}));
    deployment["metadata"]["annotations"] = json!({"podrefresh.io/mode": "pin"});
    let path = "/apis/apps/v1/namespaces/shop/deployments?dryRun=All";
    let (status, warnings, _) = world.send("POST", path, &deployment).await;
    assert_eq!(status, 201);
    assert!(
        warnings[0].contains("podrefresh.io/mode has no effect here"),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_the_refusal_and_applies_what_makes_sense() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = world().await;
    let hands = Hands::new(kubectl, &world);
    let (image, _) = push(&world, "app");
    let mut web = workload("web", &image, json!({}));
    web["apiVersion"] = json!("apps/v1");
    web["kind"] = json!("Deployment");
    web["spec"]["template"]["metadata"]["annotations"] = json!({"podrefresh.io/strategy": "evct"});
    let bad = tempfile(&web.to_string());
    let apply = |file: &std::path::Path| format!("kubectl -n shop apply -f {}", file.display());
    let refused = hands.shell(&apply(bad.path())).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains(
            "admission webhook \"validate.podrefresh.io\" denied the request: podrefresh: \
             podrefresh.io/strategy=\"evct\" must be one of evict, restart, auto, notify (did you mean \"evict\"?)"
        ),
        "{said}"
    );
    web["spec"]["template"]["metadata"]["annotations"] = json!({"podrefresh.io/strategy": "evict"});
    let good = tempfile(&web.to_string());
    hands
        .prints(&apply(good.path()), "deployment.apps/web created")
        .await;
    let pods = world.kube.ready("shop", 1).await;
    let script = format!(
        "kubectl -n shop annotate --overwrite pod {} digest.podrefresh.io/app=x",
        name(&pods[0])
    );
    let refused = hands.shell(&script).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains(
            "denied the request: podrefresh: digest.podrefresh.io/app=\"x\" must stay \"sha256:"
        ),
        "{said}"
    );
    hands
        .run(&format!("kubectl -n shop label pod {} a=b", name(&pods[0])))
        .await;
}

/// Sends a merge patch; returns the status and the message of a refusal.
pub(super) async fn merge(world: &World, path: &str, patch: Value) -> (u16, String) {
    let kind = "application/merge-patch+json";
    let (status, _, answer) = world.send_as("PATCH", path, kind, &patch).await;
    (
        status,
        answer["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_webhook_changes_a_stamp() {
    let world = world().await;
    let (image, digest) = push(&world, "app");
    let created = create(&world, "shop", json!({"name": "app"}), &image, "").await;
    assert_eq!(created.stamps()[0], ("digest.podrefresh.io/app", &*digest));
    let path = format!("{PODS}/app");
    let annotate = |annotations: Value| {
        merge(
            &world,
            &path,
            json!({"metadata": {"annotations": annotations}}),
        )
    };
    let other = digest.replace(|c: char| c.is_ascii_digit(), "0");
    for (annotations, expected) in [
        (
            json!({"digest.podrefresh.io/app": other}),
            "digest.podrefresh.io/app=",
        ),
        (
            json!({"image.podrefresh.io/app": null}),
            "image.podrefresh.io/app must stay",
        ),
        (
            json!({"digest.podrefresh.io/b": "x"}),
            "digest.podrefresh.io/b=\"x\" must not be added",
        ),
    ] {
        let (status, message) = annotate(annotations).await;
        assert_eq!(status, 403, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    // What else there is on the pod is anybody's.
    assert_eq!(annotate(json!({"other": "x"})).await.0, 200);
    assert_eq!(
        annotate(json!({"podrefresh.io/window": "Mon 1:00-2:00"}))
            .await
            .0,
        200
    );
    let labels =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"activeDeadlineSeconds": 100_000}});
    assert_eq!(merge(&world, &path, labels).await.0, 200);
    // Nobody believes the stamps of a pod that is left alone.
    let out = json!({"metadata": {"labels": {"podrefresh.io/enabled": "false"}, "annotations": {"digest.podrefresh.io/app": null}}});
    let (status, message) = merge(&world, &path, out).await;
    assert_eq!(status, 200, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_being_deleted_gets_rid_of_its_finalizers() {
    let world = world().await;
    let (image, _) = push(&world, "app");
    let metadata = json!({"name": "app", "finalizers": ["example.org/hold"]});
    create(&world, "shop", metadata, &image, "").await;
    let pods = world.kube.api::<Pod>("shop");
    pods.delete("app", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    let patch = json!({"metadata": {"finalizers": null, "annotations": null}});
    let (status, message) = merge(&world, &format!("{PODS}/app"), patch).await;
    assert_eq!(status, 200, "{message}");
    eventually("the pod's end", || async {
        pods.get_opt("app").await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_got_past_holds_nobody_up() {
    let mut world = World::start().await;
    world.kube.opted_in("shop").await;
    let (image, _) = push(&world, "app");
    let wishes = json!({"podrefresh.io/mode": "pn"});
    let mut web = workload("web", &image, json!({}));
    web["spec"]["template"]["metadata"]["annotations"] = wishes;
    // Nobody is there to refuse it.
    world.kube.create::<Deployment>("shop", web).await;
    let before = world.kube.ready("shop", 1).await;
    world.controller(&[]).await;
    let bad = pod(&json!({"podrefresh.io/mode": "x"}));
    let asked = async || {
        let (status, _, _) = world
            .send("POST", &format!("{PODS}?dryRun=All"), &bad)
            .await;
        (status == 403).then_some(())
    };
    eventually("a refusal", asked).await;
    // Other changes of the Deployment, a new ReplicaSet with the old wish, and its pods.
    let path = "/apis/apps/v1/namespaces/shop/deployments/web";
    let env = json!([{"name": "app", "image": image, "env": [{"name": "A", "value": "b"}]}]);
    let patch = json!({"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {"spec": {"containers": env}}}});
    let (status, message) = merge(&world, path, patch).await;
    assert_eq!(status, 200, "{message}");
    eventually("another pod", || async {
        let pods = world.kube.pods("shop").await;
        let is_new = pods.len() == 1 && name(&pods[0]) != name(&before[0]);
        is_new.then_some(())
    })
    .await;
    world.kube.ready("shop", 1).await;
    world
        .kube
        .told("shop", "BadWishes", "podrefresh.io/mode")
        .await;
    let worse =
        json!({"spec": {"template": {"metadata": {"annotations": {"podrefresh.io/mode": "pnn"}}}}});
    assert_eq!(merge(&world, path, worse).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn system_namespaces_and_a_controller_that_is_down_refuse_nothing() {
    let mut world = world().await;
    let bad = pod(&json!({"podrefresh.io/mode": "x"}));
    for namespace in ["kube-system", "podrefresh"] {
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let (status, _, answer) = world.send("POST", &path, &bad).await;
        // A real API server has other reasons to refuse this pod: podrefresh's own namespace takes restricted ones only.
        let is_ours = answer.to_string().contains("admission webhook");
        assert!(
            status == 201 || !on_testbed() && !is_ours,
            "{status} {answer:#}"
        );
    }
    world.kill_first();
    // The end of a process closes its connections at once; the task that was ended here may take a moment.
    eventually("a pod that nobody refuses", || async {
        let path = format!("{PODS}?dryRun=All");
        let (status, ..) = world.send("POST", &path, &bad).await;
        (status == 201).then_some(())
    })
    .await;
}
