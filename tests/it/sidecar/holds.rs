//! What keeps sidecars from a restart, and what does not.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::{deploy, generation, refreshed, restarted};
use crate::support::{
    breaker::Breaker,
    kube::{eventually, image_id, name, workload},
    simulated::Simulated,
    world::World,
};

/// Starts a world with a Deployment `web` of two pods; returns the digest that they run, too.
async fn two_pods(spec: Value) -> (World, String) {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let mut all = json!({"replicas": 2});
    json_patch::merge(&mut all, &spec);
    deploy(&world, "web", &image, all).await;
    world.kube.running("shop", 2, &old).await;
    (world, old)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_is_left_alone_until_it_goes_on() {
    let (world, old) = two_pods(json!({"paused": false})).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(2).await;
    world
        .kube
        .patch::<Deployment>("shop", "web", json!({"spec": {"paused": true}}))
        .await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.polls("shop/web", 10).await;
    assert_eq!(refreshed(&world, "shop", "web").await, "");
    world.kube.running("shop", 2, &old).await;
    world
        .kube
        .patch::<Deployment>("shop", "web", json!({"spec": {"paused": false}}))
        .await;
    world.kube.running("shop", 2, &new).await;
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_way_is_left_alone() {
    let (world, _) = two_pods(json!({})).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(2).await;
    // Its new pods find no node.
    let nowhere = json!({"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "at-all"}}}}});
    world.kube.patch::<Deployment>("shop", "web", nowhere).await;
    eventually("a pod of the new template", async || {
        (world.kube.pods("shop").await.len() == 3).then_some(())
    })
    .await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.polls("shop/web", 10).await;
    assert_eq!(refreshed(&world, "shop", "web").await, "");
    // It goes on, and its pods run what the tag means: there is nothing left to do.
    let anywhere = json!({"spec": {"template": {"spec": {"nodeSelector": null}, "metadata": {"labels": {"round": "2"}}}}});
    world
        .kube
        .patch::<Deployment>("shop", "web", anywhere)
        .await;
    world.kube.running("shop", 2, &new).await;
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_push_stays_small_and_its_fix_comes_through() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let breaker = Breaker::of(&world, "shop");
    let spec = json!({"replicas": 2, "progressDeadlineSeconds": 600});
    let web = breaker.breakable(workload("web", &image, spec));
    world.kube.create::<Deployment>("shop", web).await;
    world.kube.running("shop", 2, &old).await;
    // What a pod has of time to become ready before it counts as failing.
    let crew = world.crew("shop", &["--progress-deadline=1s"]).await;
    crew.begun(2).await;
    let bad = testbed::images::Format::Oci.image("linux/amd64", "bad");
    breaker.breaks(&world, bad.digest());
    let (_, broken) = world.push_image("shop/web", "stable", &bad);
    let value = restarted(&world, "web", "").await;
    eventually("a pod that does not become ready", async || {
        let pods = world.kube.pods("shop").await;
        pods.iter()
            .any(|pod| image_id(pod).ends_with(&broken))
            .then_some(())
    })
    .await;
    world.polls("shop/web", 12).await;
    // One broken push takes no more than its rollout may: here a quarter of two, rounded down.
    let pods = world.kube.pods("shop").await;
    let well = pods.iter().filter(|pod| image_id(pod).ends_with(&old));
    assert_eq!(
        well.count(),
        2,
        "{:?}",
        pods.iter().map(name).collect::<Vec<_>>()
    );
    assert_eq!(refreshed(&world, "shop", "web").await, value);
    assert_eq!(generation(&world, "shop", "web").await, 2);

    let (_, fixed) = world.push("shop/web", "stable", "fixed");
    world.kube.running("shop", 2, &fixed).await;
    assert_eq!(generation(&world, "shop", "web").await, 3);
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_of_the_pod_are_honoured() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let wish = |name: &str, value: &str| json!({"replicas": 1, "template": {"metadata": {"annotations": {name: value}}}});
    let opted_out = json!({
        "replicas": 1,
        "template": {"metadata": {"labels": {"podrefresh.io/enabled": "false"}}},
    });
    let present = json!({"replicas": 1, "template": {"spec": {"containers": [
        {"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"},
    ]}}});
    // A window of one minute, half a day from now.
    let minute = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(12);
    let from = minute.to_zoned(jiff::tz::TimeZone::UTC);
    let to = &from + jiff::SignedDuration::from_mins(1);
    let window = format!(
        "{} {}-{}",
        from.strftime("%a"),
        from.strftime("%H:%M"),
        to.strftime("%H:%M")
    );
    for (name, spec) in [
        ("opted-out", opted_out),
        ("not-pulled", present),
        ("window", wish("podrefresh.io/window", &window)),
        ("min-age", wish("podrefresh.io/min-age", "1h")),
        ("notify", wish("podrefresh.io/strategy", "notify")),
        ("unreadable", wish("podrefresh.io/window", "whenever")),
        // What a controller is told does not keep a sidecar from the only thing that it can do.
        ("evict", wish("podrefresh.io/strategy", "evict")),
        ("free", json!({"replicas": 1})),
    ] {
        deploy(&world, name, &image, spec).await;
    }
    world.kube.running("shop", 8, &old).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(8).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    restarted(&world, "free", "").await;
    restarted(&world, "evict", "").await;
    world.kube.told("shop", "Outdated", &new).await;
    world.kube.told("shop", "BadWishes", "whenever").await;
    world.polls("shop/web", 24).await;
    for name in [
        "opted-out",
        "not-pulled",
        "window",
        "min-age",
        "notify",
        "unreadable",
    ] {
        assert_eq!(refreshed(&world, "shop", name).await, "", "{name}");
    }
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_restarts_nothing_and_has_the_api_server_check_it() {
    let (world, old) = two_pods(json!({})).await;
    let crew = world.crew("shop", &["--dry-run"]).await;
    crew.begun(2).await;
    world.push("shop/web", "stable", "2");
    world.polls("shop/web", 12).await;
    world.kube.running("shop", 2, &old).await;
    assert_eq!(generation(&world, "shop", "web").await, 1);
    // A real API server does not tell of the tries.
    if let Some(Simulated { cluster, .. }) = &world.simulated {
        let patches = cluster
            .journal()
            .find(|call| call.is("patch", "deployments"));
        let tried = patches
            .iter()
            .filter(|call| call.uri.contains("dryRun=All") && call.is_success());
        // Each sidecar once, however often it looks.
        assert_eq!(tried.count(), 2, "{patches:#?}");
    }
    crew.assert_well();
}
