//! Updates under webhooks with conditions, and what the subresource for ephemeral containers keeps.

use serde_json::{Value, json};
use testbed::api::{object, resource};

use crate::support::{Failure, start};

const PODS: &str = "/api/v1/namespaces/a/pods";

/// Returns a configuration of a webhook that nobody answers for, called for updates of pods under `expression`.
fn configuration(expression: &str, policy: &str) -> Value {
    json!({ "metadata": { "name": "m" }, "webhooks": [{
        "name": "m.example.io", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": policy,
        "clientConfig": { "url": "https://127.0.0.1:1/" },
        "rules": [{ "operations": ["UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
        "matchConditions": [{ "name": "c", "expression": expression }],
    }] })
}

/// Checks what a label on a pod comes to under a webhook that is down, whose condition is `expression`.
async fn check(expression: &str, policy: &str, expected: (u16, &str)) -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "app", "image": "app:v1" }] } });
    client.json("POST", PODS, &pod).await?;
    let configuration = configuration(expression, policy);
    let api = cluster.api();
    api.create(&resource::VALIDATING_WEBHOOKS, "", configuration)
        .await?;
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let merge = "application/merge-patch+json";
    let answer = client.patch(&format!("{PODS}/p"), merge, &label).await?;
    assert_eq!(answer.status, expected.0, "{expression}: {}", answer.text);
    assert!(
        answer.text.contains(expected.1),
        "{expression}: {}",
        answer.text
    );
    Ok(())
}

#[tokio::test]
async fn a_webhook_is_called_where_its_conditions_hold() -> Result<(), Failure> {
    let labelled = "has(object.metadata.labels) && !has(oldObject.metadata.labels)";
    check(labelled, "Fail", (500, "failed calling webhook")).await?;
    check(labelled, "Ignore", (200, "")).await?;
    check("has(oldObject.metadata.labels)", "Fail", (200, "")).await
}

#[tokio::test]
async fn a_condition_that_cannot_be_told_refuses_where_failures_count() -> Result<(), Failure> {
    check("object.spec.nosuch == 'x'", "Fail", (403, "is forbidden")).await?;
    check("object.spec.nosuch == 'x'", "Ignore", (200, "")).await
}

#[tokio::test]
async fn a_condition_beyond_this_cel_is_not_taken() -> Result<(), Failure> {
    let (cluster, _) = start().await?;
    let configuration = configuration("authorizer.path('/').check('get').allowed()", "Ignore");
    let created = cluster
        .api()
        .create(&resource::VALIDATING_WEBHOOKS, "", configuration)
        .await;
    assert_eq!(created.map_err(|error| error.code).err(), Some(501));
    Ok(())
}

#[tokio::test]
async fn with_ephemeral_containers_nothing_else_changes() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let pod = json!({
        "metadata": { "name": "p", "annotations": { "a": "b" } },
        "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
    });
    client.json("POST", PODS, &pod).await?;
    let patch = json!({
        "metadata": { "annotations": { "a": "c", "d": "e" }, "labels": { "f": "g" } },
        "spec": { "ephemeralContainers": [{ "name": "debug", "image": "tools:v1" }], "activeDeadlineSeconds": 5 },
    });
    let path = format!("{PODS}/p/ephemeralcontainers");
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(client.patch(&path, strategic, &patch).await?.status, 200);
    let stored = cluster
        .api()
        .get(&resource::PODS, "a", "p")
        .ok_or("the pod must be there")?;
    assert_eq!(stored["metadata"]["annotations"], json!({ "a": "b" }));
    assert_eq!(stored["metadata"]["labels"], Value::Null);
    assert_eq!(stored["spec"]["activeDeadlineSeconds"], Value::Null);
    let ephemeral = object::list(&stored, "/spec/ephemeralContainers");
    assert_eq!(ephemeral[0]["image"], "tools:v1");
    assert_eq!(object::generation(&stored), 2);
    Ok(())
}
