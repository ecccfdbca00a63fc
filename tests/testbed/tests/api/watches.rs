//! Lists and watches.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::Cluster;
use testbed::api::{ApiError, Delete, object, resource};

use crate::support::{Failure, running_pod, start};

async fn config_map(cluster: &Cluster, name: &str, label: &str) -> Result<(), ApiError> {
    let map =
        json!({ "metadata": { "name": name, "labels": { "rec": label } }, "data": { "k": "v" } });
    cluster
        .api()
        .create(&resource::CONFIG_MAPS, "a", map)
        .await
        .map(drop)
}

fn told(lines: &[Value]) -> Vec<String> {
    let line = |line: &Value| {
        format!(
            "{} {}",
            line["type"].as_str().unwrap_or("?"),
            object::name(&line["object"])
        )
    };
    lines.iter().map(line).collect()
}

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

#[tokio::test]
async fn pages_show_the_first_pages_revision() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    for name in ["c0", "c1", "c2"] {
        config_map(&cluster, name, "list").await?;
    }
    let first = client.get(&format!("{MAPS}?limit=2")).await?.body;
    let token = first["metadata"]["continue"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    config_map(&cluster, "c3", "list").await?;
    let second = client
        .get(&format!("{MAPS}?limit=5&continue={token}"))
        .await?
        .body;
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    let names: Vec<&str> = object::list(&second, "/items")
        .iter()
        .map(object::name)
        .collect();
    assert_eq!(names, ["c2", "kube-root-ca.crt"]);
    assert!(second["items"][0].get("kind").is_none());
    let from_cache = client
        .get(&format!("{MAPS}?limit=2&resourceVersion=0"))
        .await?
        .body;
    assert_eq!(object::list(&from_cache, "/items").len(), 5);
    cluster.compact_history();
    let gone = client
        .get(&format!("{MAPS}?limit=2&continue={token}"))
        .await?;
    assert_eq!(
        (gone.status, gone.body["reason"].as_str()),
        (410, Some("Expired"))
    );
    let token = gone.body["metadata"]["continue"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    let rest = client.get(&format!("{MAPS}?continue={token}")).await?.body;
    assert_eq!(object::list(&rest, "/items").len(), 3);
    Ok(())
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_gone() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    config_map(&cluster, "w", "watch").await?;
    let version = client.get(MAPS).await?.body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    let uri = format!(
        "{MAPS}?watch=1&labelSelector=rec%3Dwatch&resourceVersion={version}&timeoutSeconds=1"
    );
    let relabel = |value: &'static str| move |map: &mut Value| object::set_label(map, "rec", value);
    let api = cluster.api();
    api.update(&resource::CONFIG_MAPS, "a", "w", relabel("watch"))
        .await?;
    let left = api
        .update(&resource::CONFIG_MAPS, "a", "w", relabel("other"))
        .await?;
    api.update(&resource::CONFIG_MAPS, "a", "w", relabel("watch"))
        .await?;
    api.delete(&resource::CONFIG_MAPS, "a", "w", &Delete::default())?;
    let lines = client.watch(&uri).await?.rest().await?;
    assert_eq!(told(&lines), ["DELETED w", "ADDED w", "DELETED w"]);
    assert_eq!(lines[0]["object"]["metadata"]["labels"]["rec"], "watch");
    assert_eq!(
        lines[0]["object"]["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
    Ok(())
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    config_map(&cluster, "w", "watch").await?;
    let base =
        format!("{MAPS}?watch=1&labelSelector=rec%3Dwatch&timeoutSeconds=1&sendInitialEvents=true");
    let uri = format!("{base}&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let lines = client.watch(&uri).await?.rest().await?;
    assert_eq!(told(&lines), ["ADDED w", "BOOKMARK "]);
    assert_eq!(
        lines[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let lines = client
        .watch(&format!("{base}&resourceVersionMatch=NotOlderThan"))
        .await?
        .rest()
        .await?;
    assert_eq!(told(&lines), ["ADDED w"]);
    let refused = client.get(&base).await?;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.body["message"],
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    );
    Ok(())
}

#[tokio::test]
async fn bookmarks_come_at_the_interval_as_empty_shells() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    cluster.set_bookmark_interval(Duration::from_millis(50));
    let uri = "/api/v1/pods?watch=1&resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=5";
    let mut lines = client.watch(uri).await?;
    let line = lines.next().await?.unwrap_or_default();
    assert_eq!(line["type"], "BOOKMARK");
    assert_eq!(line["object"]["spec"], json!({ "containers": null }));
    let version: u64 = object::text(&line, "/object/metadata/resourceVersion").parse()?;
    config_map(&cluster, "elsewhere", "x").await?;
    // A bookmark moves on with writes to other resources.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(4);
    loop {
        let line = tokio::time::timeout_at(deadline, lines.next())
            .await??
            .unwrap_or_default();
        if object::text(&line, "/object/metadata/resourceVersion").parse::<u64>()? > version {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_told_in_the_stream() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    config_map(&cluster, "w", "watch").await?;
    cluster.compact_history();
    let lines = client
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion=2&timeoutSeconds=2"
        ))
        .await?
        .rest()
        .await?;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["type"], "ERROR");
    assert_eq!(lines[0]["object"]["reason"], "Expired");
    assert_eq!(lines[0]["object"]["code"], 410);
    let message = lines[0]["object"]["message"].as_str().unwrap_or("");
    assert!(
        message.starts_with("too old resource version: 2 ("),
        "{message}"
    );
    let bad = client
        .get(&format!("{MAPS}?watch=1&resourceVersion=abc"))
        .await?;
    assert_eq!(bad.status, 500);
    assert_eq!(
        client
            .get(&format!("{MAPS}?resourceVersion=abc"))
            .await?
            .status,
        400
    );
    Ok(())
}

#[tokio::test]
async fn a_pods_end_is_told_in_steps() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    running_pod(&cluster, "life", "life", true).await?;
    let version = cluster
        .api()
        .get(&resource::PODS, "a", "life")
        .map(|pod| object::revision(&pod))
        .unwrap_or(0);
    let api = cluster.api();
    api.delete(&resource::PODS, "a", "life", &Delete::default())?;
    api.delete(&resource::PODS, "a", "life", &Delete::now())?;
    let uri = format!("/api/v1/pods?watch=1&resourceVersion={version}&timeoutSeconds=1");
    let lines = client.watch(&uri).await?.rest().await?;
    assert_eq!(
        told(&lines),
        ["MODIFIED life", "MODIFIED life", "DELETED life"]
    );
    let graces: Vec<&Value> = lines
        .iter()
        .map(|line| &line["object"]["metadata"]["deletionGracePeriodSeconds"])
        .collect();
    assert_eq!(graces, [&json!(2), &json!(0), &json!(0)]);
    assert!(
        lines
            .iter()
            .all(|line| line["object"]["metadata"]["generation"] == 2)
    );
    assert_eq!(
        lines[0]["object"]["metadata"]["labels"]["topology.kubernetes.io/zone"],
        "z0"
    );
    Ok(())
}

#[tokio::test]
async fn a_table_watch_sends_its_columns_once() -> Result<(), Failure> {
    let (cluster, client) = start().await?;
    config_map(&cluster, "w1", "watch").await?;
    config_map(&cluster, "w2", "watch").await?;
    let accept = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let uri = format!("{MAPS}?watch=1&labelSelector=rec%3Dwatch&timeoutSeconds=1");
    let text = client.send("GET", &uri, &accept, "").await?.text;
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["object"]["columnDefinitions"][1]["name"], "Data");
    assert_eq!(lines[1]["object"]["columnDefinitions"], Value::Null);
    assert_eq!(
        lines[1]["object"]["rows"][0]["object"]["kind"],
        "PartialObjectMetadata"
    );
    Ok(())
}
