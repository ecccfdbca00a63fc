//! A label that opts no pod out, though it looks so, is warned of and stored as it is.

use serde_json::{Value, json};

use super::validate::world;
use crate::support::{kube::workload, world::World};

const MEANS_NOTHING: &str = "means nothing: only \"false\" opts a pod out";
const NO_EFFECT: &str = "has no effect here: \"false\" on the pod template opts its pods out";

/// Sends an object, and checks that it is let in with this warning about a label of that value, or with none.
async fn check(world: &World, method: &str, path: &str, object: &Value, value: &str, fault: &str) {
    let form = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let path = format!("{path}?dryRun=All");
    let (status, warnings, answer) = world.send_as(method, &path, form, object).await;
    assert!(matches!(status, 200 | 201), "{answer:#}");
    let ours = warnings
        .iter()
        .filter(|it| it.contains("podrefresh.io/enabled"));
    // The API server writes it into a header, with the quotes escaped.
    let ours: Vec<_> = ours.map(|it| it.replace('\\', "")).collect();
    let expected = match fault {
        "" => vec![],
        fault => vec![format!(
            "299 - \"podrefresh: the label podrefresh.io/enabled={value:?} {fault}\""
        )],
    };
    assert_eq!(ours, expected, "{method} {object:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_opts_no_pod_out_is_warned_of() {
    let world = world().await;
    let image = "127.0.0.1:1/a:1";
    let (pods, deployments) = (
        "/api/v1/namespaces/shop/pods",
        "/apis/apps/v1/namespaces/shop/deployments",
    );
    let label = |value: &str| json!({"podrefresh.io/enabled": value});
    let pod = |value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": label(value)}, "spec": {"containers": [{"name": "a", "image": image}]},
        })
    };
    let deployment = |own: &str, template: Option<&str>| {
        let labels = match template {
            Some(value) => json!({"template": {"metadata": {"labels": label(value)}}}),
            None => json!({}),
        };
        let mut object = workload("web", image, labels);
        object["apiVersion"] = json!("apps/v1");
        object["kind"] = json!("Deployment");
        object["metadata"]["labels"] = label(own);
        object
    };
    for value in ["False", "no", "0"] {
        check(&world, "POST", pods, &pod(value), value, MEANS_NOTHING).await;
        let (template, own) = (deployment("true", Some(value)), deployment(value, None));
        check(&world, "POST", deployments, &template, value, MEANS_NOTHING).await;
        check(&world, "POST", deployments, &own, value, NO_EFFECT).await;
    }
    for value in ["true", "false"] {
        check(&world, "POST", pods, &pod(value), value, "").await;
        let both = deployment(value, Some(value));
        check(&world, "POST", deployments, &both, value, "").await;
    }
    let own = deployment("false", None);
    check(&world, "POST", deployments, &own, "false", NO_EFFECT).await;
    // One that has come into being already.
    assert_eq!(world.send("POST", pods, &pod("true")).await.0, 201);
    let path = format!("{pods}/a");
    for (value, fault) in [("no", MEANS_NOTHING), ("true", ""), ("false", "")] {
        let change = json!({"metadata": {"labels": label(value)}});
        check(&world, "PATCH", &path, &change, value, fault).await;
    }
}
