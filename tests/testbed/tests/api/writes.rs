//! Creating, changing and deleting.

use serde_json::{Value, json};
use testbed::api::{object, resource};

use crate::support::{Failure, running_pod, start};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/a/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/a/events";

fn lease(name: &str, holder: &str, renewed: &str, seconds: i64) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": name },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": renewed },
    })
}

const NOW: &str = "2026-01-01T00:00:00.000000Z";

#[tokio::test]
async fn a_lease_is_taken_by_one_writer_alone() -> Result<(), Failure> {
    let (_cluster, client) = start().await?;
    let one = format!("{LEASES}/l");
    assert_eq!(
        client.get(&one).await?.body["message"],
        "leases.coordination.k8s.io \"l\" not found"
    );
    let first = client
        .json("POST", LEASES, &lease("l", "a", NOW, 15))
        .await?;
    assert_eq!(first.status, 201);
    let again = client
        .json("POST", LEASES, &lease("l", "b", NOW, 15))
        .await?;
    assert_eq!(
        again.body["details"],
        json!({ "name": "l", "group": "coordination.k8s.io", "kind": "leases" })
    );
    let mut mine = first.body.clone();
    mine["spec"]["holderIdentity"] = json!("b");
    assert_eq!(client.json("PUT", &one, &mine).await?.status, 200);
    let stale = client.json("PUT", &one, &mine).await?;
    assert_eq!(
        stale.body["message"],
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let blind = client.json("PUT", &one, &lease("l", "c", NOW, 15)).await?;
    assert_eq!(
        blind.body["message"],
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let zero = client
        .json("POST", LEASES, &lease("z", "a", NOW, 0))
        .await?;
    assert_eq!(
        zero.body["message"],
        "Lease.coordination.k8s.io \"z\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"
    );
    let short = client
        .json("POST", LEASES, &lease("z", "a", "2026-01-01T00:00:00Z", 15))
        .await?;
    assert_eq!(short.status, 400);
    let missing = client
        .json("PUT", &format!("{LEASES}/new"), &lease("new", "x", NOW, 15))
        .await?;
    assert_eq!(missing.status, 201);
    let mut revived = first.body;
    revived["metadata"]["name"] = json!("other");
    assert_eq!(
        client
            .json("PUT", &format!("{LEASES}/other"), &revived)
            .await?
            .status,
        409
    );
    Ok(())
}

#[tokio::test]
async fn an_event_has_two_faces() -> Result<(), Failure> {
    let (_cluster, client) = start().await?;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "web.1" }, "eventTime": NOW,
        "reportingController": "podrefresh.io/controller", "reportingInstance": "p-0", "action": "Evict",
        "reason": "RefreshEvicted", "type": "Normal", "note": "evicted",
        "regarding": { "kind": "Deployment", "namespace": "a", "name": "web", "apiVersion": "apps/v1" },
    });
    let created = client.json("POST", EVENTS, &event).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.body["deprecatedFirstTimestamp"], Value::Null);
    let core = client.get("/api/v1/namespaces/a/events/web.1").await?.body;
    assert_eq!(
        (core["message"].as_str(), core["source"].clone()),
        (Some("evicted"), json!({}))
    );
    let series = json!({ "series": { "count": 2, "lastObservedTime": NOW } });
    let merge = "application/merge-patch+json";
    assert_eq!(
        client
            .patch(&format!("{EVENTS}/web.1"), merge, &series)
            .await?
            .body["series"]["count"],
        2
    );
    let changed = client
        .patch(
            &format!("{EVENTS}/web.1"),
            merge,
            &json!({ "note": "changed" }),
        )
        .await?;
    assert_eq!(
        changed.body["message"],
        "Event \"web.1\" is invalid: message: Invalid value: \"changed\": field is immutable"
    );
    for (field, value, expected) in [
        (
            "eventTime",
            Value::Null,
            "Event \"x\" is invalid: eventTime: Required value",
        ),
        (
            "action",
            json!(""),
            "Event \"x\" is invalid: action: Required value",
        ),
        (
            "type",
            json!("Strange"),
            "Event \"x\" is invalid: type: Invalid value: \"\": has invalid value: Strange",
        ),
        (
            "note",
            json!("n".repeat(1025)),
            "Event \"x\" is invalid: message: Invalid value: \"\": can have at most 1024 characters",
        ),
        (
            "reason",
            json!("r".repeat(129)),
            "Event \"x\" is invalid: reason: Invalid value: \"\": can have at most 128 characters",
        ),
        (
            "regarding",
            json!({ "kind": "Namespace", "name": "a" }),
            "Event \"x\" is invalid: involvedObject.namespace: Invalid value: \"\": does not match event.namespace",
        ),
    ] {
        let mut event = event.clone();
        event["metadata"]["name"] = json!("x");
        event[field] = value;
        assert_eq!(
            client.json("POST", EVENTS, &event).await?.body["message"],
            expected
        );
    }
    let found = client
        .get(&format!("{EVENTS}?fieldSelector=regarding.name%3Dweb"))
        .await?
        .body;
    assert_eq!(object::list(&found, "/items").len(), 1);
    Ok(())
}

#[tokio::test]
async fn deleting_answers_by_kind() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let map = json!({ "metadata": { "name": "c" } });
    let map = cluster
        .api()
        .create(&resource::CONFIG_MAPS, "a", map)
        .await?;
    let uri = "/api/v1/namespaces/a/configmaps/c";
    let wrong = client
        .json("DELETE", uri, &json!({ "preconditions": { "uid": "x" } }))
        .await?;
    assert_eq!(
        wrong.body["details"],
        json!({ "name": "c", "kind": "ConfigMap" })
    );
    let gone = client.send("DELETE", uri, &[], "").await?;
    assert_eq!(
        gone.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": { "name": "c", "kind": "configmaps", "uid": object::uid(&map) },
        })
    );
    running_pod(&cluster, "p", "p", true).await?;
    let pod = client
        .send("DELETE", "/api/v1/namespaces/a/pods/p", &[], "")
        .await?
        .body;
    assert_eq!(
        (pod["kind"].as_str(), pod["metadata"]["generation"].as_i64()),
        (Some("Pod"), Some(2))
    );
    Ok(())
}

#[tokio::test]
async fn finalizers_keep_an_object_until_they_are_gone() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    let map = json!({ "metadata": { "name": "c", "finalizers": ["x.io/keep"] } });
    cluster
        .api()
        .create(&resource::CONFIG_MAPS, "a", map)
        .await?;
    let uri = "/api/v1/namespaces/a/configmaps/c";
    assert_eq!(client.send("DELETE", uri, &[], "").await?.status, 200);
    let kept = client.get(uri).await?.body;
    assert!(object::is_terminating(&kept));
    let merge = "application/merge-patch+json";
    client
        .patch(uri, merge, &json!({ "metadata": { "finalizers": null } }))
        .await?;
    assert_eq!(client.get(uri).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_deployment_counts_its_generation() -> Result<(), Failure> {
    let (_cluster, client) = start().await?;
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
            },
        },
    });
    let created = client.json("POST", deployments, &web).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(
        created.body["spec"]["strategy"]["rollingUpdate"],
        json!({ "maxSurge": "25%", "maxUnavailable": "25%" })
    );
    assert_eq!(created.body["status"], json!({}));
    let one = format!("{deployments}/web");
    let strategic = "application/strategic-merge-patch+json";
    let label = json!({ "metadata": { "labels": { "x": "y" } } });
    assert_eq!(
        client.patch(&one, strategic, &label).await?.body["metadata"]["generation"],
        1
    );
    let image = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": "app:v2" }] } } } });
    let patched = client.patch(&one, strategic, &image).await?.body;
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(
        patched["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    let selector = json!({ "spec": { "selector": { "matchLabels": { "x": "y" } } } });
    let refused = client.patch(&one, strategic, &selector).await?;
    assert_eq!(
        refused.body["message"],
        "Deployment.apps \"web\" is invalid: [spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`, spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"x\":\"y\"}}: field is immutable]"
    );
    let three = json!({ "spec": { "replicas": 3 } });
    let scale = client
        .patch(
            &format!("{one}/scale"),
            "application/merge-patch+json",
            &three,
        )
        .await?
        .body;
    assert_eq!(
        (scale["kind"].as_str(), scale["spec"]["replicas"].as_i64()),
        (Some("Scale"), Some(3))
    );
    let text = client.patch(&one, "application/json", &json!({})).await?;
    assert_eq!(text.body["message"], "415: Unsupported Media Type");
    Ok(())
}

#[tokio::test]
async fn applying_conflicts_until_forced() -> Result<(), Failure> {
    let (_cluster, client) = start().await?;
    let uri = "/api/v1/namespaces/a/configmaps/ssa";
    let apply = "application/apply-patch+yaml";
    let body =
        |value: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": value } });
    assert_eq!(
        client
            .patch(&format!("{uri}?fieldManager=a"), apply, &body("a"))
            .await?
            .status,
        201
    );
    assert_eq!(
        client
            .patch(&format!("{uri}?fieldManager=a"), apply, &body("a2"))
            .await?
            .status,
        200
    );
    let conflict = client
        .patch(&format!("{uri}?fieldManager=b"), apply, &body("b"))
        .await?;
    assert_eq!(
        conflict.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Apply failed with 1 conflict: conflict with \"a\": .data.k", "reason": "Conflict",
            "details": { "causes": [{
                "reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.k",
            }] },
            "code": 409,
        })
    );
    let forced = client
        .patch(
            &format!("{uri}?fieldManager=b&force=true"),
            apply,
            &body("b"),
        )
        .await?;
    assert_eq!(forced.body["data"]["k"], "b");
    let back = client
        .patch(&format!("{uri}?fieldManager=a"), apply, &body("a"))
        .await?;
    assert_eq!(back.status, 409);
    assert_eq!(client.patch(uri, apply, &body("c")).await?.status, 422);
    let unnamed = client
        .patch(
            &format!("{uri}?fieldManager=b"),
            apply,
            &json!({ "data": {} }),
        )
        .await?;
    assert_eq!(unnamed.body["message"], "invalid object type: /, Kind=");
    Ok(())
}

#[tokio::test]
async fn a_bad_write_is_refused_in_the_servers_words() -> Result<(), Failure> {
    let (_cluster, client) = start().await?;
    let maps = "/api/v1/namespaces/a/configmaps";
    for (body, expected) in [
        (
            json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "x" } }),
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            json!({ "metadata": { "name": "x", "namespace": "other" } }),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({ "metadata": {} }),
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
    ] {
        assert_eq!(
            client.json("POST", maps, &body).await?.body["message"],
            expected
        );
    }
    let pod = json!({ "metadata": { "name": "x" }, "spec": { "containers": [] } });
    let refused = client
        .json("POST", "/api/v1/namespaces/a/pods", &pod)
        .await?;
    assert_eq!(
        refused.body["message"],
        "Pod \"x\" is invalid: spec.containers: Required value"
    );
    let nowhere = client
        .json(
            "POST",
            "/api/v1/namespaces/no/configmaps",
            &json!({ "metadata": { "name": "x" } }),
        )
        .await?;
    assert_eq!(nowhere.body["message"], "namespaces \"no\" not found");
    let named = client
        .json(
            "POST",
            maps,
            &json!({ "metadata": { "generateName": "gen-" } }),
        )
        .await?
        .body;
    assert_eq!(object::name(&named).len(), "gen-12345".len());
    let dry = client
        .json(
            "POST",
            &format!("{maps}?dryRun=All"),
            &json!({ "metadata": { "name": "dry" } }),
        )
        .await?;
    assert_eq!(
        (dry.status, dry.body["metadata"].get("resourceVersion")),
        (201, None)
    );
    assert_eq!(client.get(&format!("{maps}/dry")).await?.status, 404);
    Ok(())
}
