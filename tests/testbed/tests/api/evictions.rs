//! Evictions, answer by answer.

use serde_json::{Value, json};
use testbed::api::{object, resource};

use crate::support::{Failure, budget, running_pod, start};

fn eviction(name: &str, options: Value) -> Value {
    let mut body =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    if !options.is_null() {
        body["deleteOptions"] = options;
    }
    body
}

fn uri(name: &str) -> String {
    format!("/api/v1/namespaces/a/pods/{name}/eviction")
}

fn refused(why: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "details": { "causes": [{ "reason": "DisruptionBudget", "message": why }] }, "code": 429,
    })
}

#[tokio::test]
async fn an_evicted_pod_is_marked_and_given_its_grace() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "e1", "e", true).await?;
    for _ in 0..2 {
        let answer = client
            .json("POST", &uri("e1"), &eviction("e1", Value::Null))
            .await?;
        assert_eq!(answer.status, 201);
        assert_eq!(
            answer.body,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
        );
    }
    let pod = client.get("/api/v1/namespaces/a/pods/e1").await?.body;
    assert_eq!(pod["metadata"]["generation"], 2);
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 2);
    let condition = object::condition(&pod, "DisruptionTarget")
        .cloned()
        .unwrap_or_default();
    assert_eq!(condition["reason"], "EvictionByEvictionAPI");
    assert_eq!(condition["message"], "Eviction API: evicting");
    Ok(())
}

#[tokio::test]
async fn preconditions_hold() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let uid = running_pod(&cluster, "e2", "e", true).await?;
    let wrong = "11111111-1111-1111-1111-111111111111";
    let body = eviction("e2", json!({ "preconditions": { "uid": wrong } }));
    let answer = client.json("POST", &uri("e2"), &body).await?;
    let message = format!(
        "Operation cannot be fulfilled on Pod \"e2\": the UID in the precondition ({wrong}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    assert_eq!(
        answer.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": "Conflict", "details": { "name": "e2", "kind": "Pod" }, "code": 409,
        })
    );
    let body = eviction("e2", json!({ "preconditions": { "resourceVersion": "1" } }));
    assert_eq!(client.json("POST", &uri("e2"), &body).await?.status, 409);
    let body = eviction(
        "e2",
        json!({ "preconditions": { "uid": uid }, "gracePeriodSeconds": 0 }),
    );
    assert_eq!(client.json("POST", &uri("e2"), &body).await?.status, 201);
    assert_eq!(
        client.get("/api/v1/namespaces/a/pods/e2").await?.status,
        404
    );
    Ok(())
}

#[tokio::test]
async fn a_dry_run_asks_the_budget_and_evicts_nothing() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "e", "e", true).await?;
    let all = json!({ "dryRun": ["All"] });
    assert_eq!(
        client
            .json("POST", &uri("e"), &eviction("e", all.clone()))
            .await?
            .status,
        201
    );
    let in_query = format!("{}?dryRun=All", uri("e"));
    assert_eq!(
        client
            .json("POST", &in_query, &eviction("e", Value::Null))
            .await?
            .status,
        201
    );
    let spec = json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": "e" } } });
    let status = json!({ "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1 });
    budget(&cluster, "b", spec, status).await?;
    let answer = client.json("POST", &uri("e"), &eviction("e", all)).await?;
    assert_eq!(answer.status, 429);
    assert!(!answer.headers.contains_key("retry-after"));
    let pod = client.get("/api/v1/namespaces/a/pods/e").await?.body;
    assert!(!object::is_terminating(&pod));
    assert_eq!(object::condition(&pod, "DisruptionTarget"), None);
    assert_eq!(
        cluster
            .journal()
            .count(|entry| entry.is("create", "pods/eviction") && entry.dry_run),
        3
    );
    Ok(())
}

#[tokio::test]
async fn a_budget_is_spent_at_once() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "b1", "b", true).await?;
    running_pod(&cluster, "b2", "b", true).await?;
    let spec = json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": "b" } } });
    let status = json!({ "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2 });
    budget(&cluster, "b", spec, status).await?;
    assert_eq!(
        client
            .json("POST", &uri("b1"), &eviction("b1", Value::Null))
            .await?
            .status,
        201
    );
    let answer = client
        .json("POST", &uri("b2"), &eviction("b2", Value::Null))
        .await?;
    assert_eq!(
        answer.body,
        refused("The disruption budget b needs 1 healthy pods and has 2 currently")
    );
    Ok(())
}

#[tokio::test]
async fn the_budget_is_asked_before_the_preconditions() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "b1", "b", true).await?;
    let spec = json!({ "minAvailable": 2, "selector": { "matchLabels": { "app": "b" } } });
    let status = json!({ "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2 });
    budget(&cluster, "b", spec, status).await?;
    let body = eviction("b1", json!({ "preconditions": { "uid": "wrong" } }));
    let answer = client.json("POST", &uri("b1"), &body).await?;
    assert_eq!(
        answer.body,
        refused("The disruption budget b needs 2 healthy pods and has 2 currently")
    );
    Ok(())
}

#[tokio::test]
async fn a_budget_nobody_has_looked_at_asks_for_patience() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "u0", "u", true).await?;
    let spec = json!({ "minAvailable": 0, "selector": { "matchLabels": { "app": "u" } } });
    let status = json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 });
    budget(&cluster, "u", spec, status).await?;
    let answer = client
        .json("POST", &uri("u0"), &eviction("u0", Value::Null))
        .await?;
    assert_eq!(
        answer
            .headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()),
        Some("10")
    );
    let mut expected = refused("The disruption budget u is still being processed by the server.");
    expected["details"]["retryAfterSeconds"] = json!(10);
    assert_eq!(answer.body, expected);
    Ok(())
}

#[tokio::test]
async fn two_budgets_are_too_many() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "t1", "t", true).await?;
    for name in ["x", "y"] {
        let spec = json!({ "minAvailable": 0, "selector": { "matchLabels": { "app": "t" } } });
        budget(
            &cluster,
            name,
            spec,
            json!({ "observedGeneration": 1, "disruptionsAllowed": 1 }),
        )
        .await?;
    }
    let answer = client
        .json("POST", &uri("t1"), &eviction("t1", Value::Null))
        .await?;
    assert_eq!(
        answer.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            "code": 500,
        })
    );
    Ok(())
}

#[tokio::test]
async fn a_pod_that_serves_nobody_may_go() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let blocked = json!({ "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 1, "expectedPods": 1 });
    for (name, ready, policy, phase, expected) in [
        ("nr1", false, Value::Null, "Running", 429),
        ("nr2", false, json!("AlwaysAllow"), "Running", 201),
        ("pend", false, Value::Null, "Pending", 201),
        ("done", false, Value::Null, "Succeeded", 201),
        ("ready", true, json!("AlwaysAllow"), "Running", 429),
    ] {
        running_pod(&cluster, name, name, ready).await?;
        cluster
            .api()
            .update_status(&resource::PODS, "a", name, |status| {
                status["phase"] = json!(phase)
            })?;
        let mut spec = json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": name } } });
        if !policy.is_null() {
            spec["unhealthyPodEvictionPolicy"] = policy;
        }
        budget(&cluster, name, spec, blocked.clone()).await?;
        let answer = client
            .json("POST", &uri(name), &eviction(name, Value::Null))
            .await?;
        assert_eq!(answer.status, expected, "{name}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test]
async fn an_odd_body_still_evicts_unless_validation_is_strict() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "e4", "e", true).await?;
    let body = json!({ "delete_options": { "dryRun": ["All"] }, "metadata": { "name": "e4" } });
    let strict = format!("{}?fieldValidation=Strict", uri("e4"));
    let answer = client.json("POST", &strict, &body).await?;
    assert_eq!(
        answer.body["message"],
        "Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: unknown field \"delete_options\""
    );
    let answer = client.json("POST", &uri("e4"), &body).await?;
    assert_eq!(answer.status, 201);
    let warning = answer
        .headers
        .get("warning")
        .and_then(|value| value.to_str().ok());
    assert_eq!(
        warning,
        Some("299 - \"unknown field \\\"delete_options\\\"\"")
    );
    let pod = client.get("/api/v1/namespaces/a/pods/e4").await?.body;
    assert!(object::is_terminating(&pod));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_evicted_is_told() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "e6", "e", true).await?;
    let missing = client
        .json("POST", &uri("nosuch"), &eviction("nosuch", Value::Null))
        .await?;
    assert_eq!(missing.body["message"], "pods \"nosuch\" not found");
    let other = client
        .json("POST", &uri("e6"), &eviction("other", Value::Null))
        .await?;
    assert_eq!(
        other.body["message"],
        "name in URL does not match name in Eviction object"
    );
    let empty = client
        .send(
            "POST",
            &uri("e6"),
            &[("content-type", "application/json")],
            "",
        )
        .await?;
    assert_eq!(
        empty.body["message"],
        "the object provided is unrecognized (must be of type Eviction): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
    );
    let nowhere = client
        .json(
            "POST",
            "/api/v1/namespaces/no/pods/e/eviction",
            &eviction("e", Value::Null),
        )
        .await?;
    assert_eq!(nowhere.body["message"], "namespaces \"no\" not found");
    assert_eq!(client.get(&uri("e6")).await?.status, 405);
    Ok(())
}
