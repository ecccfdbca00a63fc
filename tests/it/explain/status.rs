//! One line for each container.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use testbed::{
    images::{Format, attestation},
    registry::Target,
};

use super::{explain, run};
use crate::support::{
    kube::{eventually, name, workload},
    look::on_testbed,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_container_of_opted_in_namespaces_has_its_line() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.opted_in("shelf").await;
    let out = json!({"podrefresh.io/enabled": "false"});
    world.kube.namespace("other", out, json!({})).await;
    for namespace in ["shop", "other"] {
        world.kube.deployment(namespace, "web", 1, &image).await;
    }
    let pod = world.kube.running("shop", 1, &old).await.remove(0);
    let kubeconfig = world.administrator();
    let replica_set = &pod.metadata.owner_references.as_ref().unwrap()[0].name;
    let row = json!({
        "namespace": "shop", "pod": name(&pod), "container": "app", "image": image,
        "running": old, "registry": old, "stamp": old, "verdict": "current", "reason": null, "since": null,
        "owner": format!("ReplicaSet/{replica_set}"), "node": pod.spec.as_ref().unwrap().node_name,
    });
    for words in [
        &["status", "-A", "-ojson"][..],
        &["status", "-nshop", "-ojson"],
    ] {
        let outcome = run(&kubeconfig, words).await;
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");
        let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(found, json!({"containers": [row], "unseen": []}));
    }

    let empty = json!({"containers": [], "unseen": []});
    let outcome = run(&kubeconfig, &["status", "-nshelf", "-ojson"]).await;
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.code, found), (Some(0), empty));
    assert_eq!(outcome.stderr, "No resources found in shelf namespace.\n");
    let outcome = run(&kubeconfig, &["status", "--namespace", "other"]).await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(0), ""), "{outcome}");
    assert_eq!(
        outcome.stderr,
        "The namespace other has not opted in: kubectl label --overwrite namespace other podrefresh.io/enabled=true\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_left_alone_has_no_verdict_whatever_others_run() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
    let bare = json!({"metadata": {"name": "bare"}, "spec": {"containers": [container]}});
    world.kube.pod("shop", bare).await;
    world.kube.running("shop", 2, &old).await;
    let outcome = run(&world.administrator(), &["status", "-nshop", "-ojson"]).await;
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let told = |nth: usize| {
        let row = &found["containers"][nth];
        json!([row["verdict"], row["registry"], row["reason"]])
    };
    assert_eq!(told(0), json!([null, null, "no_controller"]), "{found:#}");
    assert_eq!(told(1), json!(["current", old, null]), "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_tells_why_an_outdated_pod_stays() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    let wishes = json!({"podrefresh.io/strategy": "notify"});
    let enabled = json!({"podrefresh.io/enabled": "true"});
    world.kube.namespace("shop", enabled, wishes).await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Outdated", &new).await;

    let outcome = run(&world.administrator(), &["status", "-A", "-owide"]).await;
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");
    let mut lines = outcome
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = [
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "RUNNING",
        "REGISTRY",
        "VERDICT",
        "REASON",
        "SINCE",
        "IMAGE",
        "STAMP",
        "OWNER",
        "NODE",
    ];
    assert_eq!(lines.next().unwrap(), head);
    let short = |digest: &str| digest[..19].to_owned();
    for _ in 0..2 {
        let row = lines.next().unwrap();
        assert_eq!(
            (row[0], row[2], row[3], row[4]),
            ("shop", "app", &*short(&old), &*short(&new))
        );
        assert_eq!((row[5], row[6]), ("outdated", "notify"));
        // When it was found so, which an Event tells.
        assert!(row[7].ends_with('s') && row[7] != "-", "{outcome}");
        assert_eq!((row[8], row[9]), (&*image, &*short(&old)));
    }
    assert_eq!(lines.next(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_its_tags_index_is_a_stale_one_for_nobody() {
    if !on_testbed() {
        return;
    }
    let world = World::running(&[]).await;
    let app = Format::Oci.image("linux/amd64", "1");
    let index = Format::Oci.index([app.clone(), attestation(&app, "1")]);
    let (image, digest) = world.push_image("shop/web", "stable", &index);
    // Of a pull by an index CRI-O may report the image in it.
    world.testbed().kubelet.mirror(&image, Some(app.digest()));
    world.kube.opted_in("shop").await;
    let mut cached = workload("web", &image, json!({}));
    cached["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    world.kube.create::<Deployment>("shop", cached).await;
    let pod = world.kube.running("shop", 1, app.digest()).await.remove(0);
    let index = Target::manifests().reference(&digest).outside();
    let read = async || (0 < world.registry.count(&index)).then_some(());
    eventually("the controller to read the index", read).await;
    world.looks(3).await;
    let stale = "podrefresh_refresh_containers{verdict=\"stale_cache\"}";
    assert_eq!(world.controllers()[0].metric(stale).await, 0.0);
    let told = world.kube.notes("shop", "StaleCache").await;
    assert!(told.is_empty(), "{told:?}");

    let outcome = run(&world.administrator(), &["status", "-A", "-ojson"]).await;
    let status: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let row = &status["containers"][0];
    assert_eq!(
        (&row["stamp"], &row["registry"]),
        (&json!(digest), &json!(digest))
    );
    assert_eq!(
        (&row["verdict"], &row["reason"]),
        (&json!("current"), &json!("not_pulled"))
    );
    let found = explain(&world, &pod).await;
    assert_eq!(found["containers"][0]["verdict"], "current", "{found:#}");
}
