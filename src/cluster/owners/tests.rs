use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::cluster::{
    fake::{Call, Fake},
    samples,
};

const SET: &str = "/apis/apps/v1/namespaces/rec-api/replicasets/web-7499b8c7dd";
const WEB: &str = "/apis/apps/v1/namespaces/rec-api/deployments/web";

fn start() -> (Fake, Owners) {
    let (fake, server) = Fake::start();
    (fake, Owners::new(server, Duration::from_secs(5)))
}

fn owner(kind: OwnerKind, name: &str, uid: &str) -> Arc<Owner> {
    Arc::new(Owner {
        kind,
        name: name.into(),
        uid: uid.into(),
    })
}

/// Returns the recorded ReplicaSet as a pod names it.
fn web_set() -> Arc<Owner> {
    let set = samples::workload("replicaset-healthy");
    let uid = set["metadata"]["uid"].as_str().unwrap();
    owner(OwnerKind::ReplicaSet, "web-7499b8c7dd", uid)
}

fn web() -> Value {
    samples::workload("deployment-healthy")
}

/// Runs `ask` while `answers` answers its calls.
async fn both<T>(ask: impl Future<Output = T>, answers: impl Future<Output = ()>) -> T {
    tokio::join!(ask, answers).0
}

async fn answer(fake: &mut Fake, path: &str, body: &Value) {
    fake.next().await.expect("GET", path).reply(200, body);
}

#[tokio::test]
async fn the_workload_of_a_replica_set_is_its_deployment() {
    let (mut fake, owners) = start();
    let set = web_set();
    let first = both(owners.workload("rec-api", &set), async {
        answer(&mut fake, SET, &samples::workload("replicaset-healthy")).await;
        answer(&mut fake, WEB, &web()).await;
    });
    let first = first.await.unwrap();
    assert_eq!(
        (first.kind, &*first.name, first.desired),
        (WorkloadKind::Deployment, "web", 2)
    );
    // The way is remembered, the Deployment is read fresh.
    let mut scaled = web();
    scaled["spec"]["replicas"] = json!(5);
    let second = both(
        owners.workload("rec-api", &set),
        answer(&mut fake, WEB, &scaled),
    );
    assert_eq!(second.await.unwrap().desired, 5);
}

#[tokio::test]
async fn a_replica_set_of_something_else_stands_for_itself() {
    let (mut fake, owners) = start();
    let mut set = samples::workload("replicaset-healthy");
    for owner in [
        json!(null),
        json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "name": "web", "uid": "r", "controller": true}]),
    ] {
        set["metadata"]["ownerReferences"] = owner;
        let pod_owner = web_set();
        let read = both(
            owners.workload("rec-api", &pod_owner),
            answer(&mut fake, SET, &set),
        );
        let read = read.await.unwrap();
        assert_eq!(
            (read.kind, &*read.name),
            (WorkloadKind::ReplicaSet, "web-7499b8c7dd")
        );
    }
}

#[tokio::test]
async fn gone_replaced_and_unread_are_told_apart() {
    let (mut fake, owners) = start();
    let path = "/apis/apps/v1/namespaces/rec-api/statefulsets/db";
    let recorded = samples::workload("statefulset-healthy");
    let uid = recorded["metadata"]["uid"].as_str().unwrap();
    let check = async |uid: &str, answer: &dyn Fn(Call), expected: &str, fake: &mut Fake| {
        let db = owner(OwnerKind::StatefulSet, "db", uid);
        let read = both(owners.workload("rec-api", &db), async {
            answer(fake.next().await.expect("GET", path));
        });
        assert_eq!(
            read.await.map_or_else(|error| error.label(), |_| "read"),
            expected
        );
    };
    check(uid, &|call| call.reply(200, &recorded), "read", &mut fake).await;
    check(
        "other",
        &|call| call.reply(200, &recorded),
        "owner_replaced",
        &mut fake,
    )
    .await;
    check(
        uid,
        &|call| call.refuse(404, "NotFound"),
        "owner_gone",
        &mut fake,
    )
    .await;
    check(
        uid,
        &|call| call.refuse(403, "Forbidden"),
        "owner_unread",
        &mut fake,
    )
    .await;
    check(
        uid,
        &|call| call.reply(200, &json!([])),
        "owner_replaced",
        &mut fake,
    )
    .await;
    let job = owner(OwnerKind::Other, "job", "j");
    assert_eq!(
        owners.workload("rec-api", &job).await.unwrap_err().label(),
        "owner_foreign"
    );
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn a_deployment_that_was_made_anew_is_found_by_its_replica_set() {
    let (mut fake, owners) = start();
    let (set, mut raw_set, mut anew) = (web_set(), samples::workload("replicaset-healthy"), web());
    let first = both(owners.workload("rec-api", &set), async {
        answer(&mut fake, SET, &raw_set).await;
        answer(&mut fake, WEB, &web()).await;
    });
    first.await.unwrap();
    anew["metadata"]["uid"] = json!("new");
    raw_set["metadata"]["ownerReferences"][0]["uid"] = json!("new");
    let second = both(owners.workload("rec-api", &set), async {
        answer(&mut fake, WEB, &anew).await;
        answer(&mut fake, SET, &raw_set).await;
        answer(&mut fake, WEB, &anew).await;
    });
    assert_eq!(second.await.unwrap().uid, "new");
}

#[tokio::test]
async fn siblings_are_asked_for_once_and_only_by_name() {
    let (mut fake, owners) = start();
    let body = web().to_string();
    let raw: RawWorkload<'_> = serde_json::from_str(&body).unwrap();
    let web = raw.workload(WorkloadKind::Deployment);
    let others = owner(OwnerKind::ReplicaSet, "web-admin-5f", "other");
    let cached = [
        web_set(),
        web_set(),
        others,
        owner(OwnerKind::ReplicaSet, "website-1", "website"),
        owner(OwnerKind::StatefulSet, "web-0", "stateful"),
    ];
    let mut foreign = samples::workload("replicaset-healthy");
    foreign["metadata"]["uid"] = json!("other");
    foreign["metadata"]["ownerReferences"][0]["uid"] = json!("web-admin");
    let found = both(owners.siblings(&web, &cached), async {
        answer(&mut fake, SET, &samples::workload("replicaset-healthy")).await;
        answer(
            &mut fake,
            "/apis/apps/v1/namespaces/rec-api/replicasets/web-admin-5f",
            &foreign,
        )
        .await;
    });
    assert_eq!(found.await.unwrap(), [web_set()]);
    assert_eq!(owners.siblings(&web, &cached).await.unwrap(), [web_set()]);
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn a_restart_changes_one_annotation_of_what_was_read() {
    let (mut fake, owners) = start();
    let body = web().to_string();
    let raw: RawWorkload<'_> = serde_json::from_str(&body).unwrap();
    let mut web = raw.workload(WorkloadKind::Deployment);
    let outcome = both(owners.restart(&web, "sha256-1"), async {
        let call = fake.next().await.expect("PATCH", WEB);
        assert_eq!(call.content_type, "application/merge-patch+json");
        assert_eq!(call.query["fieldManager"], "podrefresh");
        assert!(!call.query.contains_key("dryRun"));
        let expected = json!({
            "metadata": {"uid": web.uid, "resourceVersion": web.resource_version},
            "spec": {"template": {"metadata": {"annotations": {"podrefresh.io/refreshed": "sha256-1"}}}},
        });
        assert_eq!(call.body, expected);
        call.reply(200, &json!({}));
    });
    assert_eq!(outcome.await.label(), "restarted");
    for (status, expected) in [(409, "conflict"), (404, "gone"), (500, "failed")] {
        let outcome = both(owners.restart(&web, "sha256-1"), async {
            fake.next().await.refuse(status, "No");
        });
        assert_eq!(outcome.await.label(), expected);
    }
    web.refreshed = Some("sha256-1".into());
    assert_eq!(owners.restart(&web, "sha256-1").await.label(), "unchanged");
    let rehearsed = both(owners.rehearse(&web, "sha256-2"), async {
        let call = fake.next().await.expect("PATCH", WEB);
        assert_eq!(call.query["dryRun"], "All");
        call.reply(200, &json!({}));
    });
    assert_eq!(rehearsed.await.label(), "restarted");
    web.rolls = false;
    assert_eq!(
        owners.restart(&web, "sha256-2").await.label(),
        "unsupported"
    );
    assert!(fake.is_quiet());
}
