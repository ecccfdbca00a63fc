use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    cluster::{
        Namespaces, Pods, Scope, WatchError,
        fake::{Call, Fake, soon},
        samples,
    },
    error::Chain,
};

type Task = JoinHandle<Result<std::convert::Infallible, WatchError>>;

fn start(scope: Scope) -> (Fake, Pods, Task) {
    let (fake, server) = Fake::start();
    let (pods, task) = Pods::start(server, scope);
    (fake, pods, tokio::spawn(task))
}

fn pod(name: &str, version: u32, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"),
            "resourceVersion": version.to_string()},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    })
}

fn page(items: &[Value], version: u32, next: &str) -> Value {
    json!({"kind": "PodList", "metadata": {"resourceVersion": version.to_string(), "continue": next},
        "items": items})
}

fn names(pods: &Pods) -> Vec<String> {
    pods.snapshot()
        .iter()
        .map(|pod| pod.name.to_string())
        .collect()
}

/// Answers a list with pods `a` and `b` and returns the watch that follows.
async fn synced(fake: &mut Fake, pods: &Pods) -> Call {
    let items = [pod("a", 1, true), pod("b", 2, true)];
    fake.next().await.reply(200, &page(&items, 9, ""));
    soon(pods.wait_synced()).await;
    fake.next().await
}

#[tokio::test(start_paused = true)]
async fn all_pages_are_listed_before_anything_is_seen() {
    let (mut fake, pods, _task) = start(Scope::default());
    let first = fake.next().await.expect("GET", "/api/v1/pods");
    assert_eq!(first.query, [("limit".into(), "500".into())].into());
    first.reply(200, &page(&[pod("a", 1, true)], 9, "more"));
    let second = fake.next().await;
    assert_eq!(second.query["continue"], "more");
    assert!(!pods.synced());
    assert_eq!(names(&pods), [""; 0]);
    second.reply(200, &page(&[pod("b", 2, true)], 9, ""));
    let watch = fake.next().await.expect("GET", "/api/v1/pods");
    assert_eq!(watch.query["watch"], "1");
    assert_eq!(watch.query["allowWatchBookmarks"], "true");
    assert_eq!(watch.query["resourceVersion"], "9");
    assert!(pods.synced());
    assert_eq!(names(&pods), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_scope_is_asked_for() {
    let (mut fake, _pods, _task) = start(Scope {
        namespace: Some("shop".into()),
        selector: Some("app in (a,b)".into()),
        page: 7,
    });
    let list = fake
        .next()
        .await
        .expect("GET", "/api/v1/namespaces/shop/pods");
    assert_eq!(list.query["labelSelector"], "app in (a,b)");
    assert_eq!(list.query["limit"], "7");
    list.reply(200, &page(&[], 9, ""));
    assert_eq!(fake.next().await.query["labelSelector"], "app in (a,b)");
}

#[tokio::test(start_paused = true)]
async fn events_change_the_cache() {
    let (mut fake, pods, _task) = start(Scope::default());
    let stream = synced(&mut fake, &pods).await.stream();
    let mut changed = pods.changed();
    changed.mark_unchanged();
    stream.event("ADDED", &pod("c", 10, false));
    soon(changed.changed()).await.unwrap();
    assert_eq!(names(&pods), ["a", "b", "c"]);
    assert!(!pods.snapshot()[2].ready);
    stream.event("MODIFIED", &pod("c", 11, true));
    soon(changed.changed()).await.unwrap();
    assert!(pods.snapshot()[2].ready);
    stream.event("DELETED", &pod("a", 12, true));
    soon(changed.changed()).await.unwrap();
    assert_eq!(names(&pods), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_real_stream_is_followed_to_its_end() {
    let (mut fake, pods, _task) = start(Scope::default());
    let stream = synced(&mut fake, &pods).await.stream();
    // Frames need not end where lines do.
    let (head, tail) = samples::POD_LIFE.split_at(samples::POD_LIFE.len() / 2);
    stream.send(head);
    stream.send(tail);
    drop(stream);
    assert_eq!(fake.next().await.query["resourceVersion"], "1772");
    assert_eq!(names(&pods), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn what_we_do_not_look_at_wakes_nobody() {
    let (mut fake, pods, _task) = start(Scope::default());
    let stream = synced(&mut fake, &pods).await.stream();
    let mut changed = pods.changed();
    changed.mark_unchanged();
    let before = pods.snapshot();
    stream.event("MODIFIED", &pod("a", 20, true));
    stream.event("BOOKMARK", &json!({"metadata": {"resourceVersion": "30"}}));
    drop(stream);
    assert_eq!(fake.next().await.query["resourceVersion"], "30");
    assert!(!changed.has_changed().unwrap());
    assert!(std::sync::Arc::ptr_eq(&before[0], &pods.snapshot()[0]));
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_means_a_new_list_without_a_gap() {
    let (mut fake, pods, _task) = start(Scope::default());
    let stream = synced(&mut fake, &pods).await.stream();
    let (before, mut changed) = (pods.snapshot(), pods.changed());
    let expired = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410,
        "message": "too old resource version: 2 (2291)"});
    stream.event("ERROR", &expired);
    fake.next()
        .await
        .reply(200, &page(&[pod("b", 2, true)], 50, "more"));
    let last = fake.next().await;
    assert_eq!(names(&pods), ["a", "b"]);
    changed.mark_unchanged();
    last.reply(200, &page(&[pod("c", 40, true)], 50, ""));
    soon(changed.changed()).await.unwrap();
    assert_eq!(names(&pods), ["b", "c"]);
    // What has not changed is the same copy.
    assert!(std::sync::Arc::ptr_eq(&before[1], &pods.snapshot()[0]));
    assert_eq!(fake.next().await.query["resourceVersion"], "50");
}

#[tokio::test(start_paused = true)]
async fn a_410_for_the_watch_itself_means_a_new_list() {
    let (mut fake, pods, _task) = start(Scope::default());
    synced(&mut fake, &pods).await.refuse(410, "Expired");
    assert!(!fake.next().await.query.contains_key("watch"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_expires_half_way_begins_anew() {
    let (mut fake, pods, _task) = start(Scope::default());
    fake.next()
        .await
        .reply(200, &page(&[pod("a", 1, true)], 9, "more"));
    fake.next().await.refuse(410, "Expired");
    let again = fake.next().await;
    assert!(!again.query.contains_key("continue"), "{again:?}");
    again.reply(200, &page(&[pod("b", 2, true)], 10, ""));
    soon(pods.wait_synced()).await;
    assert_eq!(names(&pods), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_goes_on_where_it_was() {
    let (mut fake, pods, _task) = start(Scope::default());
    let stream = synced(&mut fake, &pods).await.stream();
    stream.event("ADDED", &pod("c", 15, true));
    stream.send(r#"{"type":"ADDED","object":{"metadata":{"na"#);
    stream.cut();
    let watch = fake.next().await;
    assert_eq!(watch.query["resourceVersion"], "15");
    assert_eq!(names(&pods), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_has_died_silently_is_opened_again() {
    let (mut fake, pods, _task) = start(Scope::default());
    let watch = synced(&mut fake, &pods).await;
    let (_stream, opened) = (watch.stream(), Instant::now());
    let again = fake.next().await;
    assert_eq!(opened.elapsed().as_secs(), 90);
    assert_eq!(again.query["resourceVersion"], "9");
    // Nobody knows what has become of the pods until somebody answers.
    assert!(!pods.in_sight());
    let _stream = again.stream();
    soon(async {
        while !pods.in_sight() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_with_bookmarks_lasts_for_its_time() {
    let (mut fake, pods, _task) = start(Scope::default());
    let watch = synced(&mut fake, &pods).await;
    let asked = Duration::from_secs(watch.query["timeoutSeconds"].parse().unwrap());
    let (stream, opened) = (watch.stream(), Instant::now());
    tokio::spawn(async move {
        for version in 10.. {
            sleep(Duration::from_secs(60)).await;
            stream.event(
                "BOOKMARK",
                &json!({"metadata": {"resourceVersion": version.to_string()}}),
            );
        }
    });
    let again = fake.next().await;
    let waited = opened.elapsed();
    assert!(
        asked < waited && waited < asked + Duration::from_secs(15),
        "{waited:?}"
    );
    assert!(["11", "12"].contains(&&*again.query["resourceVersion"]));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_with_growing_pauses() {
    let (mut fake, pods, _task) = start(Scope::default());
    let mut last = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        fake.next().await.refuse(503, "ServiceUnavailable");
        pauses.push(last.elapsed());
        last = Instant::now();
    }
    assert!(pauses[1] >= Duration::from_millis(500), "{pauses:?}");
    assert!(pauses[11] >= Duration::from_secs(30), "{pauses:?}");
    assert!(pauses[11] <= Duration::from_secs(60), "{pauses:?}");
    drop(synced(&mut fake, &pods).await);
    // A lost backend is no reason to list again.
    assert_eq!(fake.next().await.query["resourceVersion"], "9");
}

#[tokio::test(start_paused = true)]
async fn missing_rights_end_the_first_list() {
    let (mut fake, _pods, task) = start(Scope::default());
    fake.next().await.refuse(403, "Forbidden");
    let error = soon(task).await.unwrap().unwrap_err();
    assert_eq!(
        Chain(&error).to_string(),
        "cannot list pods: the API server answered 403: refused as Forbidden"
    );
}

#[tokio::test(start_paused = true)]
async fn rights_lost_later_are_waited_for() {
    let (mut fake, pods, task) = start(Scope::default());
    synced(&mut fake, &pods).await.refuse(403, "Forbidden");
    fake.next().await.refuse(401, "Unauthorized");
    assert_eq!(fake.next().await.query["resourceVersion"], "9");
    assert!(!task.is_finished());
    assert_eq!(names(&pods), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_odd_pod_does_not_hide_the_others() {
    let (mut fake, pods, _task) = start(Scope::default());
    let mut odd = pod("odd", 1, true);
    odd["spec"] = json!({"containers": "none", "nodeName": 7});
    odd["status"]["containerStatuses"] = json!({"a": []});
    let items = [
        json!(null),
        json!({"metadata": null}),
        odd,
        pod("z", 1, true),
    ];
    fake.next().await.reply(200, &page(&items, 9, ""));
    soon(pods.wait_synced()).await;
    assert_eq!(names(&pods), ["odd", "z"]);
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_kept_by_name() {
    let (mut fake, server) = Fake::start();
    let (namespaces, task) = Namespaces::start(server);
    let _task = tokio::spawn(task);
    let shop = |enabled: &str| {
        json!({"metadata": {"name": "shop", "resourceVersion": "7",
            "labels": {"podrefresh.io/enabled": enabled}}})
    };
    let list = fake.next().await.expect("GET", "/api/v1/namespaces");
    list.reply(200, &page(&[shop("true")], 9, ""));
    soon(namespaces.wait_synced()).await;
    assert!(namespaces.get("shop").unwrap().enabled);
    assert_eq!(namespaces.get("other"), None);
    let stream = fake.next().await.stream();
    let mut changed = namespaces.changed();
    changed.mark_unchanged();
    stream.event("MODIFIED", &shop("false"));
    soon(changed.changed()).await.unwrap();
    assert!(!namespaces.get("shop").unwrap().enabled);
    stream.event("DELETED", &shop("false"));
    soon(changed.changed()).await.unwrap();
    assert_eq!(namespaces.get("shop"), None);
}
