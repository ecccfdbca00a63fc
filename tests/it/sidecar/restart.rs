//! One rollout for each move of the tag, whatever the kind of the owner and the number of its pods.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use podrefresh::policy::refreshed_value;
use serde_json::{Value, json};
use testbed::{
    images::{Format, attestation},
    registry::{Auth, Options, Registry, User},
};

use super::{REFRESHED, deploy, generation, own_platform, read, refreshed, restarted, templates};
use crate::support::{kube::workload, simulated::Setup, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn many_sidecars_make_one_rollout_for_each_move_of_the_tag() {
    let world = World::start().await;
    let (image, one) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    deploy(&world, "web", &image, json!({"replicas": 4})).await;
    world.kube.running("shop", 4, &one).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(4).await;
    world.polls("shop/web", 8).await;
    assert_eq!(refreshed(&world, "shop", "web").await, "");

    let (_, two) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 4, &two).await;
    let value = refreshed_value([("app", &two.parse().unwrap())]);
    assert_eq!(refreshed(&world, "shop", "web").await, value);
    world.kube.told("shop", "Restarted", &two).await;
    world.polls("shop/web", 8).await;
    assert_eq!(templates(&world, "shop").await, 2);

    let (_, three) = world.push("shop/web", "stable", "3");
    world.kube.running("shop", 4, &three).await;
    world.polls("shop/web", 8).await;
    assert_eq!(templates(&world, "shop").await, 3);
    assert_eq!(generation(&world, "shop", "web").await, 3);

    // Back to what it meant before: the old template is taken up again, and no pod is left behind.
    world.push("shop/web", "stable", "2");
    world.kube.running("shop", 4, &two).await;
    assert_eq!(refreshed(&world, "shop", "web").await, value);
    world.polls("shop/web", 8).await;
    assert_eq!(generation(&world, "shop", "web").await, 4);
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_and_daemon_sets_are_restarted_too() {
    let world = World::start().await;
    let (image, old) = world.push("shop/db", "stable", "1");
    world.sidecar_namespace("shop").await;
    let set = workload("db", &image, json!({"replicas": 2, "serviceName": "db"}));
    world.kube.create::<StatefulSet>("shop", set).await;
    let daemons = workload("agent", &image, json!({}));
    world.kube.create::<DaemonSet>("shop", daemons).await;
    // Two of the StatefulSet, and one on each of three nodes.
    let count = 5;
    world.kube.running("shop", count, &old).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(count).await;
    let (_, new) = world.push("shop/db", "stable", "2");
    world.kube.running("shop", count, &new).await;
    world.polls("shop/db", 2 * count).await;
    let value = refreshed_value([("app", &new.parse().unwrap())]);
    for (kind, name) in [("StatefulSet", "db"), ("DaemonSet", "agent")] {
        let owner = read(&world, kind, "shop", name).await;
        assert_eq!(owner.pointer(REFRESHED), Some(&json!(value)), "{kind}");
        assert_eq!(owner["metadata"]["generation"], 2, "{kind}");
    }
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_looked_up_with_the_pods_own_secret() {
    let setup = Setup {
        auth: Auth::Basic(vec![User::new("ann", "password")]),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "password")
        .await;
    let pull =
        json!({"replicas": 2, "template": {"spec": {"imagePullSecrets": [{"name": "pull"}]}}});
    deploy(&world, "web", &image, pull).await;
    world.kube.running("shop", 2, &old).await;
    let crew = world.crew("shop", &[]).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_in_another_index_restarts_nothing() {
    let world = World::start().await;
    let app = Format::Oci.image(own_platform(), "1");
    let build =
        |number: u8| Format::Oci.index([app.clone(), attestation(&app, &number.to_string())]);
    let (image, old) = world.push_image("shop/web", "stable", &build(1));
    world.sidecar_namespace("shop").await;
    deploy(&world, "web", &image, json!({"replicas": 2})).await;
    world.kube.running("shop", 2, &old).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(2).await;
    world.push_image("shop/web", "stable", &build(2));
    world.polls("shop/web", 12).await;
    assert_eq!(generation(&world, "shop", "web").await, 1);
    // And it was looking all the time.
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 2, &new).await;
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_registry_is_asked_where_that_is_set_and_a_restart_in_vain_is_the_last() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let options = Options::default();
    let other = Registry::start(options).await.unwrap();
    other.store("shop/web", "stable", &Format::Oci.image("linux/amd64", "2"));
    world.sidecar_namespace("shop").await;
    deploy(&world, "web", &image, json!({"replicas": 2})).await;
    world.kube.running("shop", 2, &old).await;
    let flag = format!("--registry-url={}", other.url());
    let crew = world.crew("shop", &[&flag]).await;
    let value = restarted(&world, "web", "").await;
    // The nodes still pull the old one: to do it again would do no better.
    world
        .kube
        .told("shop", "RefreshIneffective", "old image")
        .await;
    world.kube.running("shop", 2, &old).await;
    assert_eq!(refreshed(&world, "shop", "web").await, value);
    assert_eq!(generation(&world, "shop", "web").await, 2);
    // What the nodes pull has caught up, and moves on.
    let next = Format::Oci.image("linux/amd64", "3");
    let new = world.registry.store("shop/web", "stable", &next);
    other.store("shop/web", "stable", &next);
    world.kube.running("shop", 2, &new).await;
    crew.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_already_pulled_anew_needs_no_restart() {
    let world = World::start().await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let one: Value = json!({"replicas": 1});
    deploy(&world, "web", &image, one).await;
    world.kube.running("shop", 1, &old).await;
    world.push("shop/web", "stable", "2");
    world.pull_anew("shop", "shop/web", "stable").await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(1).await;
    world.polls("shop/web", 6).await;
    assert_eq!(generation(&world, "shop", "web").await, 1);
    crew.assert_well();
}
