//! Images that change in place, ephemeral containers and image volumes.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{create, push, stamps};
use crate::support::{kube::eventually, look::on_testbed, world::World};

const POD: &str = "/api/v1/namespaces/shop/pods/app";

/// Starts a controller and an opted-in namespace with a mode.
async fn world(mode: &str) -> World {
    let world = World::running(&[]).await;
    let label = json!({"podrefresh.io/enabled": "true"});
    let wish = json!({"podrefresh.io/mode": mode});
    world.kube.namespace("shop", label, wish).await;
    world
}

/// Sends a strategic merge patch for a pod; returns its status, warnings and the pod.
async fn patch(world: &World, path: &str, spec: Value) -> (u16, Vec<String>, Value) {
    let kind = "application/strategic-merge-patch+json";
    world
        .send_as("PATCH", path, kind, &json!({"spec": spec}))
        .await
}

/// Returns the pod `app` as it is stored.
async fn stored(world: &World) -> Pod {
    world.kube.api::<Pod>("shop").get("app").await.unwrap()
}

/// Creates the pod `app` with the containers `app` and `side`; both get stamps.
async fn two_containers(world: &World, image: &str) -> Pod {
    let containers = ["app", "side"].map(|name| json!({"name": name, "image": image}));
    let pod = json!({"metadata": {"name": "app"}, "spec": {"containers": containers}});
    let pod = world.kube.pod("shop", pod).await;
    assert_eq!(stamps(&pod).len(), 4, "{pod:#?}");
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_image_in_place_is_stamped_and_the_others_stamps_tell_what_they_run() {
    let world = world("stamp").await;
    let (old, old_digest) = push(&world, "old");
    let (new, new_digest) = push(&world, "new");
    two_containers(&world, &old).await;
    // The tag of the container that stays has moved on meanwhile: its stamp must not.
    world.push("shop/old", "stable", "moved");
    let spec = json!({"containers": [{"name": "app", "image": new}]});
    let (status, warnings, body) = patch(&world, POD, spec).await;
    assert_eq!((status, &warnings[..]), (200, &[] as &[String]), "{body:#}");
    let expected = [
        ("digest.podrefresh.io/app", &*new_digest),
        ("digest.podrefresh.io/side", &old_digest),
        ("image.podrefresh.io/app", &new),
        ("image.podrefresh.io/side", &old),
    ];
    assert_eq!(stamps(&stored(&world).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_pin_a_new_image_is_pinned() {
    let world = world("pin").await;
    let (old, old_digest) = push(&world, "old");
    let (new, new_digest) = push(&world, "new");
    two_containers(&world, &old).await;
    let spec = json!({"containers": [{"name": "app", "image": new}]});
    assert_eq!(patch(&world, POD, spec).await.0, 200);
    let pod = stored(&world).await;
    let images: Vec<_> = pod
        .spec
        .unwrap()
        .containers
        .into_iter()
        .map(|c| c.image.unwrap())
        .collect();
    assert_eq!(
        images,
        [format!("{new}@{new_digest}"), format!("{old}@{old_digest}")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_image_that_nobody_knows_loses_its_stamps_or_is_refused() {
    let world = world("stamp").await;
    let (image, _) = push(&world, "app");
    two_containers(&world, &image).await;
    let missing = image.replace("shop/app", "shop/missing");
    let spec = json!({"containers": [{"name": "app", "image": missing}]});
    let (status, warnings, _) = patch(&world, POD, spec).await;
    assert_eq!(status, 200);
    assert!(warnings[0].contains(&missing), "{warnings:?}");
    let names: Vec<String> = stamps(&stored(&world).await)
        .iter()
        .map(|(key, _)| (*key).to_owned())
        .collect();
    assert_eq!(
        names,
        ["digest.podrefresh.io/side", "image.podrefresh.io/side"]
    );

    let wish = json!({"metadata": {"annotations": {"podrefresh.io/on-unresolved": "deny"}}});
    world.kube.patch_namespace("shop", wish).await;
    let spec = json!({"containers": [{"name": "side", "image": missing}]});
    // Our watch takes a moment to see the wish.
    let refused = eventually("a refusal", || async {
        let (status, _, body) = patch(&world, &format!("{POD}?dryRun=All"), spec.clone()).await;
        (status == 403).then(|| body["message"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(
        refused.contains("update.podrefresh.io") && refused.contains(&missing),
        "{refused}"
    );
}

/// Adds the ephemeral container `debug` that runs `image`; returns the image it got.
async fn debug(world: &World, image: &str) -> String {
    let spec = json!({"ephemeralContainers": [{"name": "debug", "image": image, "targetContainerName": "app"}]});
    let (status, warnings, body) = patch(world, &format!("{POD}/ephemeralcontainers"), spec).await;
    assert_eq!((status, &warnings[..]), (200, &[] as &[String]), "{body:#}");
    let pod = stored(world).await;
    assert_eq!(stamps(&pod).len(), 2, "those of the container `app`");
    pod.spec.unwrap().ephemeral_containers.unwrap()[0]
        .image
        .clone()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_container_is_pinned_where_pods_are() {
    let world = world("pin").await;
    let (image, _) = push(&world, "app");
    create(&world, "shop", json!({"name": "app"}), &image, "").await;
    let (tools, digest) = push(&world, "tools");
    assert_eq!(debug(&world, &tools).await, format!("{tools}@{digest}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_container_stays_as_it_is_elsewhere() {
    let world = world("stamp").await;
    let (image, _) = push(&world, "app");
    create(&world, "shop", json!({"name": "app"}), &image, "").await;
    let (tools, _) = push(&world, "tools");
    assert_eq!(debug(&world, &tools).await, tools);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_container_that_nobody_knows_is_let_in_where_other_images_are_refused() {
    let world = world("stamp").await;
    let (image, _) = push(&world, "app");
    create(&world, "shop", json!({"name": "app"}), &image, "").await;
    let wish = json!({"metadata": {"annotations": {"podrefresh.io/on-unresolved": "deny"}}});
    world.kube.patch_namespace("shop", wish).await;
    let missing = image.replace("shop/app", "shop/missing");
    // Our watch takes a moment to see the wish.
    eventually("a refusal", async || {
        let spec = json!({"containers": [{"name": "app", "image": missing}]});
        let (status, _, _) = patch(&world, &format!("{POD}?dryRun=All"), spec).await;
        (status == 403).then_some(())
    })
    .await;
    let spec = json!({"ephemeralContainers": [{"name": "debug", "image": missing}]});
    let path = format!("{POD}/ephemeralcontainers");
    let (status, warnings, body) = patch(&world, &path, spec).await;
    assert_eq!(status, 200, "{body:#}");
    let [warning] = &*warnings else {
        panic!("one warning: {warnings:?}");
    };
    assert!(
        warning.contains("container debug: ") && warning.contains(&missing),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_updates_do_not_cost_a_call() {
    if !on_testbed() {
        return;
    }
    let world = world("stamp").await;
    let (image, _) = push(&world, "app");
    create(&world, "shop", json!({"name": "app"}), &image, "").await;
    let kind = "application/merge-patch+json";
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(world.send_as("PATCH", POD, kind, &labels).await.0, 200);
    let page = async |outcome: &str| {
        let series =
            format!("podrefresh_admission_reviews_total{{path=\"mutate\",outcome=\"{outcome}\"}}");
        world.controllers()[0].metric(&series).await
    };
    assert_eq!((page("stamped").await, page("ignored").await), (1.0, 0.0));
    let (new, _) = push(&world, "new");
    let spec = json!({"containers": [{"name": "app", "image": new}]});
    assert_eq!(patch(&world, POD, spec).await.0, 200);
    assert_eq!((page("stamped").await, page("ignored").await), (2.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_volume_is_stamped_and_pinned() {
    let world = world("pin").await;
    let (image, digest) = push(&world, "app");
    let (model, model_digest) = push(&world, "model");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": {
        "containers": [{"name": "app", "image": image}],
        "volumes": [{"name": "model", "image": {"reference": model}}],
    }});
    let path = "/api/v1/namespaces/shop/pods?dryRun=All";
    let (status, warnings, pod) = world.send("POST", path, &pod).await;
    assert_eq!((status, &warnings[..]), (201, &[] as &[String]), "{pod:#}");
    let annotation = |name: &str| pod["metadata"]["annotations"][name].as_str();
    assert_eq!(annotation("digest.podrefresh.io/app"), Some(&*digest));
    assert_eq!(
        annotation("digest.podrefresh.io/volume.model"),
        Some(&*model_digest)
    );
    assert_eq!(
        annotation("image.podrefresh.io/volume.model"),
        Some(&*model)
    );
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let shown = volumes
        .iter()
        .find(|volume| volume["name"] == "model")
        .unwrap();
    assert_eq!(
        shown["image"]["reference"],
        json!(format!("{model}@{model_digest}"))
    );
}
