//! A real Prometheus scrapes two replicas: everything told of is there, and the component's rules make sense of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};
use testbed::faults::Effect;

use super::{alerts, queries, rules};
use crate::{
    readme::metrics,
    support::{
        files::read,
        folder::Folder,
        kube::{eventually, workload},
        look::on_testbed,
        markdown::{code, table},
        prometheus::{Prometheus, Scraped},
        skip::need,
        world::{World, get},
    },
};

/// Alerts that say that something is wrong with a replica.
const QUIET: [&str; 8] = [
    "PodrefreshAbsent",
    "PodrefreshNotScraped",
    "PodrefreshNotReady",
    "PodrefreshNoLeader",
    "PodrefreshNotLooking",
    "PodrefreshCertificateEnds",
    "PodrefreshReviewsFailing",
    "PodrefreshHalted",
];

/// Returns two replicas to whom everything has happened that there is a metric of: reviews, lookups, an eviction, a
/// restart, a notification, and a pull secret, a registry's folder and an Event that were of no use.
async fn busy() -> (World, Folder) {
    let registries = Folder::new();
    let broken = registries.path().join("broken.example");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("hosts.toml"), "server = [").unwrap();
    let flag = format!("--registries-dir={}", registries.path().display());
    let mut world = World::start().await;
    let flags = [&*flag, "--notify-addr=127.0.0.1:0"];
    world.controller(&flags).await;
    world.controller(&flags).await;

    let kube = &world.kube;
    let (image, old) = world.push("shop/web", "stable", "1");
    kube.opted_in("shop").await;
    kube.deployment("shop", "evicted", 1, &image).await;
    let template = json!({
        "metadata": {"annotations": {"podrefresh.io/strategy": "restart"}},
        "spec": {"imagePullSecrets": [{"name": "nowhere"}]},
    });
    let restarted = workload("restarted", &image, json!({"template": template}));
    kube.create::<k8s_openapi::api::apps::v1::Deployment>("shop", restarted)
        .await;
    kube.running("shop", 2, &old).await;
    let unknown = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unknown"},
        "spec": {"containers": [{"name": "app", "image": "broken.example/app:1"}]},
    });
    let path = "/api/v1/namespaces/shop/pods?dryRun=All";
    assert_eq!(world.send("POST", path, &unknown).await.0, 201);

    let events = (world.testbed().cluster.faults()).inject(Effect::InternalError, |seen| {
        (seen.verb, seen.resource) == ("create", "events") && seen.user.ends_with(":podrefresh")
    });
    let (_, new) = world.push("shop/web", "stable", "2");
    kube.running("shop", 2, &new).await;
    world.controllers()[0].told(&image).await;
    let lost = async || {
        let mut pages = String::new();
        for running in world.controllers() {
            pages += &get(running.admin, "/metrics").await.1;
        }
        let counted = ["events_lost", "notify_lookups"];
        let counted = counted.map(|it| pages.contains(&format!("podrefresh_{it}_total{{")));
        (counted == [true, true]).then_some(())
    };
    eventually("an Event to be lost and a question asked", lost).await;
    drop(events);
    (world, registries)
}

/// Returns the families that docs/operations.md tells of, as OpenMetrics names them, with their types.
fn told() -> BTreeMap<String, String> {
    let types = metrics();
    let page = read("docs/operations.md");
    let rows = table(&page, "## Metrics");
    let names = rows
        .iter()
        .map(|row| code(&row[0])[0].split('{').next().unwrap());
    let family = |name: &str| {
        let kind = &types[name];
        let suffix = match &**kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (name.strip_suffix(suffix).unwrap().to_owned(), kind.clone())
    };
    names.map(family).collect()
}

/// Waits until Prometheus scrapes with success whoever is to be scraped.
async fn scraped(prometheus: &Prometheus, count: usize) {
    let up = async || {
        let targets = prometheus.get("targets").await?;
        let targets = targets["activeTargets"].as_array().unwrap().clone();
        let is_up = |it: &&Value| it["health"] == "up" && it["lastError"] == "";
        (targets.iter().filter(is_up).count() == count).then_some(())
    };
    eventually("the targets to be up", up).await;
}

/// Waits until all rules have been evaluated, none in vain, and returns which alerts are not inactive.
async fn evaluated(prometheus: &Prometheus) -> BTreeSet<String> {
    let evaluated = async || {
        let found = prometheus.get("rules?type=alert").await?;
        let groups = found["groups"].as_array().unwrap().iter();
        let rules: Vec<Value> =
            (groups.flat_map(|group| group["rules"].as_array().unwrap().clone())).collect();
        for rule in &rules {
            assert_ne!(rule["health"], "err", "{rule:#}");
        }
        let all = rules.iter().all(|rule| rule["health"] == "ok");
        (all && rules.len() == alerts().len()).then_some(rules)
    };
    let rules = eventually("all rules to be evaluated", evaluated).await;
    (rules.iter())
        .filter(|rule| rule["state"] != "inactive")
        .map(|rule| rule["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_all_that_is_told_of_and_the_rules_make_sense_of_it() {
    if !on_testbed() {
        return;
    }
    let (mut world, _registries) = busy().await;
    let admin: Vec<_> = world.controllers().iter().map(|it| it.admin).collect();
    let replicas = [("one", admin[0]), ("two", admin[1])];
    let replicas = replicas.map(|(pod, admin)| Scraped { admin, pod });
    let started = Prometheus::start(&replicas, &rules()).await;
    let Some(prometheus) = need(started) else {
        return;
    };
    scraped(&prometheus, 2).await;

    let seen = async || {
        let metadata = prometheus.get("metadata").await?;
        let families = metadata.as_object().unwrap().iter();
        let ours = families.filter(|(name, _)| name.starts_with("podrefresh_"));
        let seen: BTreeMap<String, String> = ours
            .map(|(name, all)| (name.clone(), all[0]["type"].as_str().unwrap().to_owned()))
            .collect();
        (!seen.is_empty()).then_some(seen)
    };
    let seen = eventually("metadata", seen).await;
    assert_eq!(
        seen,
        told(),
        "Prometheus on the left, docs/operations.md on the right"
    );

    // Nothing is wrong with these two replicas, once they have been seen.
    let well = async || {
        let active = evaluated(&prometheus).await;
        let is_well = QUIET.iter().all(|alert| !active.contains(*alert));
        is_well.then_some(())
    };
    eventually("quiet alerts", well).await;
    for query in queries() {
        let result = prometheus.query(&query).await;
        result.unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    for (query, expected) in [
        ("sum(podrefresh_leader{namespace=\"podrefresh\"})", "1"),
        ("sum(podrefresh_ready{namespace=\"podrefresh\"})", "2"),
        (
            "sum(podrefresh_refresh_containers{namespace=\"podrefresh\",verdict=\"current\"})",
            "2",
        ),
        (
            "sum(podrefresh_refresh_evictions_total{outcome=\"evicted\"})",
            "1",
        ),
        (
            "sum(podrefresh_refresh_restarts_total{outcome=\"restarted\"})",
            "1",
        ),
    ] {
        let value = async || {
            let found = prometheus.query(query).await.unwrap();
            let value = found.first()?["value"][1].as_str()?.to_owned();
            (value == expected).then_some(())
        };
        eventually(&format!("{query} {expected}"), value).await;
    }

    // Now there is.
    world.kill_first();
    let missed = async || {
        let active = evaluated(&prometheus).await;
        active.contains("PodrefreshNotScraped").then_some(())
    };
    eventually("the alert for a replica that is away", missed).await;
}
