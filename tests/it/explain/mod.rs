//! What `explain` and `status` find out, run as people run them.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::support::{
    kube::name,
    program::{Outcome, Program},
    world::World,
};

mod docs;
mod left_alone;
mod outdated;
mod plugin;
mod restart;
mod rights;
mod status;

/// All rules, in their order.
const RULES: usize = podrefresh::policy::gate::Hold::ALL.len();

/// Runs the program with a kubeconfig.
async fn run(kubeconfig: &str, words: &[&str]) -> Outcome {
    let words = words.iter().copied();
    Program::new(words).kubeconfig(kubeconfig).run().await
}

/// Runs `explain <pod> -n shop -o json` with a kubeconfig, which must go well, and returns what it printed.
async fn explain_as(kubeconfig: &str, pod: &str) -> Value {
    let words = ["explain", pod, "-n", "shop", "-o", "json"];
    let outcome = run(kubeconfig, &words).await;
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Explains a pod of the namespace `shop` as the administrator.
async fn explain(world: &World, pod: &Pod) -> Value {
    explain_as(&world.administrator(), name(pod)).await
}

/// Returns the rules of an explanation with these outcomes, each as `<outcome> <rule>`.
fn rules(found: &Value, outcomes: &[&str]) -> Vec<String> {
    let rules = found["rules"].as_array().unwrap();
    assert_eq!(rules.len(), RULES, "{found:#}");
    let rule = |rule: &Value| {
        let outcome = rule["outcome"].as_str().unwrap();
        let named = format!("{outcome} {}", rule["rule"].as_str().unwrap());
        outcomes.contains(&outcome).then_some(named)
    };
    rules.iter().filter_map(rule).collect()
}

/// Returns why a rule says what it says.
#[track_caller]
fn why<'a>(found: &'a Value, rule: &str) -> &'a str {
    let mut rules = found["rules"].as_array().unwrap().iter();
    let rule = rules.find(|it| it["rule"] == rule).unwrap();
    rule["why"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_current_pod_is_told_whole() {
    let world = World::running(&[]).await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let pod = &world.kube.running("shop", 1, &digest).await[0];
    let found = explain(&world, pod).await;
    let owner = &pod.metadata.owner_references.as_ref().unwrap()[0].name;
    let facts = json!({"digest": digest, "image": digest});
    let stamp = json!({"digest": digest, "image": digest, "valid": true});
    let running = json!({"digest": digest, "image": digest, "state": "manifest"});
    let expected = json!({
        "namespace": "shop",
        "pod": name(pod),
        "node": pod.spec.as_ref().unwrap().node_name,
        "platform": "linux/amd64",
        "owner": format!("ReplicaSet/{owner}"),
        "workload": "Deployment/web",
        "ready": true,
        "leftAlone": null,
        "idleLabel": null,
        "containers": [{
            "name": "app", "image": image, "pullPolicy": "Always", "uncounted": null, "verdict": "current",
            "ambiguous": false, "target": facts, "stamp": stamp, "running": running, "fault": null, "unfit": false,
            "doubt": null,
        }],
        "outdated": false,
        "since": null,
        "rules": [],
        "reason": null,
        "next": "Nothing: it runs what its tags mean now.",
        "events": [],
        "unseen": [],
    });
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said() {
    let world = World::start().await;
    world.kube.opted_in("shop").await;
    let kubeconfig = world.administrator();
    for (words, expected) in [
        (
            ["explain", "web-1", "-n", "shop"],
            "error: there is no pod \"web-1\" in the namespace \"shop\"\n",
        ),
        (
            ["explain", "web-1", "-n", "nowhere"],
            "error: there is no namespace \"nowhere\"\n",
        ),
        (
            ["status", "-o", "json", "-nnowhere"],
            "error: there is no namespace \"nowhere\"\n",
        ),
    ] {
        let outcome = run(&kubeconfig, &words).await;
        let told = (outcome.code, &*outcome.stdout, &*outcome.stderr);
        assert_eq!(told, (Some(1), "", expected));
    }
}
