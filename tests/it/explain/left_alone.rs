//! Pods that are none of ours, each with why.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::Pod};
use serde_json::{Value, json};
use testbed::kubelet;

use super::{explain, run};
use crate::support::{
    kube::{eventually, name, workload},
    simulated::Setup,
    world::World,
};

/// Checks why a pod is left alone.
async fn check(world: &World, pod: &Pod, reason: &str, why: &str) -> Value {
    let found = explain(world, pod).await;
    let expected = json!({"reason": reason, "why": why});
    assert_eq!(found["leftAlone"], expected, "{found:#}");
    assert_eq!(found["reason"], reason);
    assert_eq!(found["rules"], json!([]));
    assert_eq!(found["next"], "Nothing: it is left alone.");
    found
}

/// Returns the only pod of `shop` whose name begins with `prefix`, once it runs.
async fn pod(world: &World, prefix: &str) -> Pod {
    eventually(prefix, || async {
        let pods = world.kube.pods("shop").await.into_iter();
        let mut named = pods.filter(|pod| name(pod).starts_with(prefix));
        named.find(|pod| {
            let status = pod.status.as_ref();
            status.is_some_and(|status| status.phase.as_deref() == Some("Running"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_alone_is_told_with_why() {
    // Else the Job would be done before anybody looks.
    let nodes = kubelet::Options {
        job_duration: Duration::from_secs(3600),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    let with = |name: &str, meta: Value, spec: Value| {
        workload(
            name,
            &image,
            json!({"template": {"metadata": meta, "spec": spec}}),
        )
    };
    // Nobody is there to refuse it.
    let wishes = json!({"annotations": {"podrefresh.io/max-unavailable": "a few"}});
    let odd = with("odd", wishes, json!({}));
    world.kube.create::<Deployment>("shop", odd).await;
    world.controller(&[]).await;
    let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
    let bare = json!({"metadata": {"name": "bare"}, "spec": {"containers": [container]}});
    world.kube.pod("shop", bare).await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let job = json!({"metadata": {"name": "nightly"}, "spec": {"template": template}});
    world.kube.create::<Job>("shop", job).await;
    let out = json!({"labels": {"podrefresh.io/enabled": "false"}});
    let cached =
        json!({"containers": [{"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}]});
    for deployment in [
        with("out", out, json!({})),
        with("cached", json!({}), cached),
    ] {
        world.kube.create::<Deployment>("shop", deployment).await;
    }

    let nothing = "nothing controls it, so nothing would replace it";
    let found = check(&world, &pod(&world, "bare").await, "no_controller", nothing).await;
    assert_eq!(found["owner"], Value::Null);
    assert_eq!(found["containers"][0]["target"]["digest"], digest);
    let job = "Job/nightly controls it; only pods of ReplicaSets, StatefulSets, DaemonSets and \
               ReplicationControllers are refreshed";
    let found = check(&world, &pod(&world, "nightly").await, "no_controller", job).await;
    assert_eq!(found["owner"], "Job/nightly");
    let label = "its label podrefresh.io/enabled=false says so";
    let found = check(&world, &pod(&world, "out").await, "opted_out", label).await;
    assert_eq!(found["containers"][0]["stamp"], Value::Null);
    let wishes = "podrefresh.io/max-unavailable=\"a few\" must be a number of pods from 1, such as 1, or a \
                  percentage from 1% to 100%, such as 25%";
    check(&world, &pod(&world, "odd").await, "bad_wishes", wishes).await;
    let counts = "none of its containers counts";
    let found = check(
        &world,
        &pod(&world, "cached").await,
        "nothing_counts",
        counts,
    )
    .await;
    let uncounted = &found["containers"][0]["uncounted"];
    assert_eq!(uncounted["reason"], "not_pulled", "{uncounted}");

    // A pod that was to be left alone, and is not.
    let unclear = json!({"labels": {"podrefresh.io/enabled": "no"}});
    let unclear = with("unclear", unclear, json!({}));
    world.kube.create::<Deployment>("shop", unclear).await;
    let unclear = pod(&world, "unclear").await;
    let found = explain(&world, &unclear).await;
    assert_eq!(
        (&found["leftAlone"], &found["idleLabel"]),
        (&Value::Null, &json!("no"))
    );
    let text = run(
        &world.administrator(),
        &["explain", name(&unclear), "-nshop"],
    )
    .await;
    let line = "\nIts label podrefresh.io/enabled=\"no\" means nothing: only \"false\" opts out\n";
    assert!(text.stdout.contains(line), "{text}");

    for value in ["yes", "True", "1", ""] {
        let label = json!({"metadata": {"labels": {"podrefresh.io/enabled": value}}});
        world.kube.patch_namespace("shop", label).await;
        let means = format!(
            "the namespace shop is labelled podrefresh.io/enabled={value:?}, which means nothing: only \"true\" opts in"
        );
        check(&world, &unclear, "namespace_not_enabled", &means).await;
        for words in [&["status", "-n", "shop"][..], &["status", "-A"]] {
            let outcome = run(&world.administrator(), words).await;
            assert_eq!((outcome.code, &*outcome.stdout), (Some(0), ""), "{outcome}");
            let means = means.replacen('t', "T", 1);
            assert!(outcome.stderr.contains(&means), "{outcome}");
        }
        let outcome = run(&world.administrator(), &["status", "-A", "-o", "json"]).await;
        let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(
            found["idleLabels"],
            json!([{"namespace": "shop", "value": value}])
        );
    }
    let label = json!({"metadata": {"labels": {"podrefresh.io/enabled": null}}});
    world.kube.patch_namespace("shop", label).await;
    let label = "the namespace shop is not labelled podrefresh.io/enabled=true";
    check(
        &world,
        &pod(&world, "cached").await,
        "namespace_not_enabled",
        label,
    )
    .await;
}
