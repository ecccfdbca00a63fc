//! Which pods get stamps, for which containers, and which ones.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use serde_json::{Value, json};

use super::{create, meddler, push, stamps, try_pod};
use crate::support::{
    kube::{eventually, name, workload},
    world::World,
};

/// Starts a controller and an opted-in namespace.
async fn world() -> World {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_all_kinds_are_stamped_for_containers_of_all_kinds() {
    let world = world().await;
    let [app, init, sidecar] = ["app", "init", "sidecar"].map(|name| push(&world, name));
    let spec = json!({
        "initContainers": [
            {"name": "init", "image": init.0},
            {"name": "sidecar", "image": sidecar.0, "restartPolicy": "Always"},
        ],
        "containers": [{"name": "app", "image": app.0}],
    });
    let with_spec = |name: &str| {
        let mut object = workload(name, &app.0, json!({}));
        object["spec"]["template"]["spec"] = spec.clone();
        object
    };
    world
        .kube
        .create::<Deployment>("shop", with_spec("deployment"))
        .await;
    world
        .kube
        .create::<StatefulSet>("shop", with_spec("stateful-set"))
        .await;
    world
        .kube
        .create::<DaemonSet>("shop", with_spec("daemon-set"))
        .await;
    world
        .kube
        .pod("shop", json!({"metadata": {"name": "bare"}, "spec": spec}))
        .await;

    let kinds = ["deployment", "stateful-set", "daemon-set", "bare"];
    let all_there = async || {
        let pods = world.kube.pods("shop").await;
        let there = |kind: &&str| pods.iter().any(|pod| name(pod).starts_with(*kind));
        kinds.iter().all(there).then_some(pods)
    };
    let expected = [
        ("digest.podrefresh.io/app", &*app.1),
        ("digest.podrefresh.io/init", &init.1),
        ("digest.podrefresh.io/sidecar", &sidecar.1),
        ("image.podrefresh.io/app", &app.0),
        ("image.podrefresh.io/init", &init.0),
        ("image.podrefresh.io/sidecar", &sidecar.0),
    ];
    for pod in crate::support::kube::eventually("pods of all kinds", all_there).await {
        assert_eq!(stamps(&pod), expected, "{}", name(&pod));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_the_user_chose_is_not_stamped_and_forged_stamps_are_not_believed() {
    let world = world().await;
    let (image, digest) = push(&world, "app");
    let repository = image.strip_suffix(":stable").unwrap();
    let forged = json!({
        "generateName": "a-",
        "annotations": {
            "digest.podrefresh.io/app": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "image.podrefresh.io/app": "docker.io/library/other:1",
            "digest.podrefresh.io/none": "forged",
        },
    });
    for fixed in [
        format!("{repository}@{digest}"),
        format!("{image}@{digest}"),
    ] {
        assert_eq!(
            try_pod(&world, "shop", &fixed).await.stamps(),
            [],
            "{fixed}"
        );
        let created = create(&world, "shop", forged.clone(), &fixed, "").await;
        assert_eq!(created.stamps(), [], "{fixed}");
    }
    let created = create(&world, "shop", forged, &image, "").await;
    let expected = [
        ("digest.podrefresh.io/app", &*digest),
        ("image.podrefresh.io/app", &*image),
    ];
    assert_eq!(created.stamps(), expected);
    assert_eq!(created.warnings, [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_none_of_ours_are_left_as_they_are() {
    let world = world().await;
    let (image, _) = push(&world, "app");
    world.kube.namespace("other", json!({}), json!({})).await;
    let no = json!({"podrefresh.io/enabled": "no"});
    world.kube.namespace("no", no, json!({})).await;
    let forged = json!({"digest.podrefresh.io/app": "sha256:0"});
    let out = json!({"generateName": "a-", "annotations": forged, "labels": {"podrefresh.io/enabled": "false"}});
    let plain = json!({"generateName": "a-", "annotations": forged});
    for (namespace, metadata) in [("shop", &out), ("other", &plain), ("no", &plain)] {
        let created = create(&world, namespace, metadata.clone(), &image, "").await;
        assert_eq!(created.status, 201, "{created:#?}");
        assert_eq!(
            created.stamps(),
            [("digest.podrefresh.io/app", "sha256:0")],
            "{namespace}"
        );
    }
    // They do not even cost a call; the same pod in the right place does.
    let page = "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"ignored\"}";
    assert_eq!(world.controllers()[0].metric(page).await, 0.0);
    assert_eq!(world.registry.manifest_requests(), 0);
    let created = create(&world, "shop", plain, &image, "").await;
    assert_eq!(created.stamps().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_answered_and_stores_nothing() {
    let world = world().await;
    let (image, digest) = push(&world, "app");
    let created = try_pod(&world, "shop", &image).await;
    assert_eq!(created.status, 201, "{created:#?}");
    assert_eq!(created.stamps()[0], ("digest.podrefresh.io/app", &*digest));
    assert!(world.kube.pods("shop").await.is_empty());
}

/// Adds an annotation and a container, unless they are there already.
fn inject(pod: &Value) -> Vec<Value> {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let mut names = containers.iter().map(|container| &container["name"]);
    if names.any(|name| name == "injected") {
        return Vec::new();
    }
    let image = &containers[0]["image"];
    vec![
        json!({"op": "add", "path": "/metadata/annotations/meddled", "value": "yes"}),
        json!({"op": "add", "path": "/spec/containers/-", "value": {"name": "injected", "image": image}}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_webhook_injects_is_stamped_when_we_are_asked_again() {
    let world = world().await;
    let (image, digest) = push(&world, "app");
    meddler::register(&world, "Never", inject).await;
    // A real API server takes a moment to know of a webhook.
    let created = crate::support::kube::eventually("a pod that was meddled with", || async {
        let created = try_pod(&world, "shop", &image).await;
        let meddled = created.body["metadata"]["annotations"]["meddled"] == "yes";
        meddled.then_some(created)
    })
    .await;
    let expected = [
        ("digest.podrefresh.io/app", &*digest),
        ("digest.podrefresh.io/injected", &digest),
        ("image.podrefresh.io/app", &image),
        ("image.podrefresh.io/injected", &image),
    ];
    assert_eq!(created.stamps(), expected);
    let containers = created.body["spec"]["containers"].as_array().unwrap().len();
    assert_eq!(containers, 2);
    meddler::remove(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_created_unstamped_while_the_webhook_is_down() {
    let mut world = world().await;
    let (image, _) = push(&world, "app");
    assert_eq!(try_pod(&world, "shop", &image).await.stamps().len(), 2);
    world.kill_first();
    // The end of a process closes its connections at once; the task that was ended here may take a moment.
    let unstamped = async || {
        let created = try_pod(&world, "shop", &image).await;
        assert_eq!(created.status, 201, "{created:?}");
        created.stamps().is_empty().then_some(())
    };
    eventually("a pod without stamps", unstamped).await;
    world.controller(&[]).await;
    // The API server may still hold on to what it knew of the webhook that is gone.
    let stamped = async || {
        let created = try_pod(&world, "shop", &image).await;
        (created.stamps().len() == 2).then_some(())
    };
    eventually("a stamped pod", stamped).await;
}
