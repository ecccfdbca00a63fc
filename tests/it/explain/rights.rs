//! With few rights as much is told as may be seen, the rest is named, and nothing is written.

use serde_json::{Value, json};
use testbed::registry::{Auth, User};

use super::{explain_as, rules, run};
use crate::support::{
    kube::{name, workload},
    program::Program,
    simulated::{Setup, Simulated},
    world::World,
};

/// What one must see at least.
const LEAST: [&str; 8] = [
    "/pods",
    "/namespaces",
    "/replicationcontrollers",
    "apps/deployments",
    "apps/replicasets",
    "apps/statefulsets",
    "apps/daemonsets",
    "/configmaps",
];

/// Starts a world with a private registry, and one outdated pod that pulls with a secret.
async fn private() -> (World, String, String) {
    let setup = Setup {
        auth: Auth::Basic(vec![User::new("ann", "hunter2")]),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "hunter2")
        .await;
    let pull = json!({"template": {"spec": {"imagePullSecrets": [{"name": "pull"}]}}});
    let web = workload("web", &image, pull);
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>("shop", web)
        .await;
    let pods = world.kube.running("shop", 1, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    let pod = name(&pods[0]).to_owned();
    (world, pod, new)
}

fn unseen(found: &Value) -> Vec<&str> {
    let unseen = found["unseen"].as_array().unwrap().iter();
    unseen.map(|it| it["what"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_is_named_and_what_follows() {
    let (world, pod, new) = private().await;
    let reader = world.reader("shop", "least-reader", &LEAST).await;
    let found = explain_as(&reader, &pod).await;
    let expected = [
        "poddisruptionbudgets",
        "events",
        "leases",
        "nodes",
        "secrets",
    ];
    let container = &found["containers"][0];
    assert_eq!(container["verdict"], "unknown");
    assert_eq!(container["fault"]["reason"], "unauthorized");
    let why = container["fault"]["why"].as_str().unwrap();
    assert!(
        why.contains("shop/pull") && why.contains("may not read it"),
        "{why}"
    );
    assert_eq!(found["outdated"], false);
    assert_eq!(found["platform"], Value::Null);
    assert_eq!(
        found["next"],
        "Nothing while too little is known: no pod is evicted on a guess."
    );
    // The image is not known, so that no node was asked for.
    assert_eq!(unseen(&found), [&expected[..3], &expected[4..]].concat());
    assert!(!found.to_string().contains("hunter2"));

    let words = ["status", "-n", "shop"];
    let outcome = run(&reader, &words).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let row: Vec<&str> = outcome
        .stdout
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        (row[5], row[6], row[7]),
        ("unknown", "unauthorized", "-"),
        "{outcome}"
    );
    assert_eq!(outcome.stderr.lines().count(), 4, "{outcome}");
    assert!(
        outcome
            .stderr
            .lines()
            .all(|line| line.starts_with("Warning: ")),
        "{outcome}"
    );
    assert!(!outcome.stderr.contains("hunter2"), "{outcome}");

    // By other credentials the tag is known; the gate names what it cannot know.
    let auth =
        json!({"auths": {world.registry.host(): {"username": "ann", "password": "hunter2"}}});
    let words = ["explain", &pod, "-n", "shop", "-o", "json"];
    let outcome = Program::new(words)
        .kubeconfig(&reader)
        .docker_config(&auth)
        .run()
        .await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["containers"][0]["target"]["digest"], new, "{found:#}");
    let expected_rules = [
        "unknown not_leader",
        "unknown unconfirmed",
        "unknown budget",
        "unknown pdb",
        "unknown refused",
    ];
    assert_eq!(
        rules(&found, &["hold", "unknown"]),
        expected_rules,
        "{found:#}"
    );
    assert_eq!(found["reason"], "unconfirmed");
    assert_eq!(unseen(&found), expected[..4]);

    let Some(Simulated { cluster, .. }) = &world.simulated else {
        return;
    };
    let user = "system:serviceaccount:shop:least-reader";
    let calls = cluster.journal().find(|call| call.user == user);
    assert!(10 < calls.len());
    for call in &calls {
        assert!(["get", "list"].contains(&call.verb), "{call:?}");
    }
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_secret_the_tag_is_known() {
    let (world, pod, new) = private().await;
    let found = explain_as(&world.administrator(), &pod).await;
    assert_eq!(found["containers"][0]["target"]["digest"], new, "{found:#}");
    assert_eq!(found["outdated"], true);
    assert_eq!(unseen(&found), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_may_not_be_read_is_named() {
    let world = World::running(&["--dry-run"]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    let pods = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.told("shop", "Outdated", &new).await;
    let mut seen = vec!["events.k8s.io/events", "/events"];
    seen.extend(LEAST.into_iter().filter(|part| !part.starts_with("apps/")));
    let reader = world.reader("shop", "ownerless-reader", &seen).await;
    let outcome = run(&reader, &["status", "-n", "shop", "-o", "json"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let status: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(unseen(&status).contains(&"owners"), "{status:#}");
    for (row, pod) in status["containers"].as_array().unwrap().iter().zip(&pods) {
        assert_eq!(row["reason"], "owner_unread", "{status:#}");
        let found = explain_as(&reader, name(pod)).await;
        assert_eq!(found["reason"], "owner_unread", "{found:#}");
        assert!(
            found["next"]
                .as_str()
                .unwrap()
                .starts_with("It cannot be told from here")
        );
        assert!(rules(&found, &["unknown"]).contains(&"unknown pace".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_alone_may_be_enough() {
    let (world, pod, _) = private().await;
    let reader = world
        .reader("shop", "nobody-reader", &["/configmaps"])
        .await;
    let outcome = run(&reader, &["explain", &pod, "-n", "shop"]).await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    let complaint = outcome.complaint();
    assert!(
        complaint.starts_with("error: cannot read the pod "),
        "{outcome}"
    );
    assert!(
        complaint.contains("cannot get resource \"pods\""),
        "{outcome}"
    );
    let outcome = run(&reader, &["status", "-A"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let complaint = outcome.complaint();
    assert!(
        complaint.starts_with("error: cannot read the pods of all namespaces: "),
        "{outcome}"
    );
}
