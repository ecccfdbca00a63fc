//! Pods that are none of ours are never evicted, next to one that is.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::Pod};
use serde_json::{Value, json};
use testbed::kubelet;

use crate::support::{
    kube::{annotation, eventually, is_ready, name, workload},
    look::on_testbed,
    rights,
    simulated::Setup,
    world::World,
};

/// A pod as its template would have it, whose one container is always pulled.
fn bare(name: &str, image: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "app", "image": image, "imagePullPolicy": "Always"}]},
    })
}

/// Returns the namespace's pods of one name or prefix, when there are `count` and all are Ready.
async fn ready(world: &World, namespace: &str, prefix: &str, count: usize) -> Vec<Pod> {
    eventually(
        &format!("{count} Ready pods {prefix} in {namespace}"),
        || async {
            let mut pods = world.kube.pods(namespace).await;
            pods.retain(|pod| name(pod).starts_with(prefix) && is_ready(pod));
            (pods.len() == count).then_some(pods)
        },
    )
    .await
}

/// Returns uids by name, which stay the same as long as no pod is replaced.
fn identities(pods: &[Pod]) -> Vec<(String, Option<String>)> {
    let identity = |pod: &Pod| (name(pod).to_owned(), pod.metadata.uid.clone());
    pods.iter().map(identity).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pods_that_are_ours_are_evicted() {
    if !on_testbed() {
        return;
    }
    // Else the Job would be done before anything happens.
    let nodes = kubelet::Options {
        job_duration: Duration::from_secs(3600),
        ..kubelet::Options::default()
    };
    let mut world = World::with(Setup {
        nodes,
        ..Setup::default()
    })
    .await;
    world.controller(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let kube = &world.kube;
    kube.opted_in("shop").await;
    kube.namespace("other", json!({}), json!({})).await;
    kube.namespace(
        "false",
        json!({"podrefresh.io/enabled": "false"}),
        json!({}),
    )
    .await;
    kube.deployment("other", "web", 1, &image).await;
    kube.deployment("false", "web", 1, &image).await;
    kube.pod("shop", bare("bare", &image)).await;
    let job = json!({
        "metadata": {"name": "job"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "app", "image": image, "imagePullPolicy": "Always"}],
        }}},
    });
    kube.create::<Job>("shop", job).await;
    let mut cached = workload("cached", &image, json!({}));
    cached["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    kube.create::<Deployment>("shop", cached).await;
    let mut out = workload("out", &image, json!({}));
    out["spec"]["template"]["metadata"]["labels"]["podrefresh.io/enabled"] = json!("false");
    kube.create::<Deployment>("shop", out).await;
    let repository = image.strip_suffix(":stable").unwrap();
    kube.deployment("shop", "digest", 1, &format!("{repository}@{old}"))
        .await;
    kube.deployment("shop", "both", 1, &format!("{image}@{old}"))
        .await;
    kube.deployment("shop", "ours", 1, &image).await;
    let before = ready(&world, "shop", "", 7).await;
    let others = [
        ready(&world, "other", "", 1).await,
        ready(&world, "false", "", 1).await,
    ];

    world.push("shop/web", "stable", "2");
    let ours = before
        .iter()
        .find(|pod| name(pod).starts_with("ours-"))
        .unwrap();
    eventually("our pod's successor", || async {
        let pods = ready(&world, "shop", "ours-", 1).await;
        (pods[0].metadata.uid != ours.metadata.uid).then_some(())
    })
    .await;
    world.polls("shop/web", 3).await;
    world.looks(3).await;
    let but_ours = |pods: &[Pod]| {
        let mut pods = identities(pods);
        pods.retain(|(name, _)| !name.starts_with("ours-"));
        pods
    };
    assert_eq!(
        but_ours(&ready(&world, "shop", "", 7).await),
        but_ours(&before)
    );
    for (namespace, before) in ["other", "false"].into_iter().zip(&others) {
        let after = ready(&world, namespace, "", 1).await;
        assert_eq!(identities(&after), identities(before));
        assert_eq!(annotation(&after[0], "digest.podrefresh.io/app"), "");
    }
    assert_eq!(world.evictions().len(), 1, "{:#?}", world.evictions());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_a_namespace_that_is_labelled_later_are_found_outdated() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.namespace("late", json!({}), json!({})).await;
    world.kube.deployment("late", "web", 2, &image).await;
    let before = world.kube.running("late", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.looks(3).await;
    assert_eq!(
        identities(&world.kube.pods("late").await),
        identities(&before)
    );

    let label = json!({"metadata": {"labels": {"podrefresh.io/enabled": "true"}}});
    world.kube.patch_namespace("late", label).await;
    for pod in world.kube.running("late", 2, &new).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), new);
    }

    // And no longer once the label is gone.
    let label = json!({"metadata": {"labels": {"podrefresh.io/enabled": null}}});
    world.kube.patch_namespace("late", label).await;
    world.looks(2).await;
    let before = world.kube.ready("late", 2).await;
    world.push("shop/web", "stable", "3");
    world.looks(4).await;
    assert_eq!(
        identities(&world.kube.pods("late").await),
        identities(&before)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_may_not_be_read_keeps_its_pods_and_is_told_of() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let before = world.kube.running("shop", 2, &old).await;
    rights::take(&world, "deployments").await;
    world.push("shop/web", "stable", "2");
    let note = (world.kube)
        .told("shop", "EvictionBlocked", "cannot get resource")
        .await;
    assert!(
        note.starts_with("Not evicted: cannot read Deployment shop/web: "),
        "{note}"
    );
    world.looks(3).await;
    assert_eq!(
        identities(&world.kube.pods("shop").await),
        identities(&before)
    );
}
