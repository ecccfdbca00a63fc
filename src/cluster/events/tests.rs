use std::sync::Arc;

use super::*;
use crate::cluster::{fake::Fake, samples};

fn notice(name: &str, once_for: &str) -> Notice {
    let mut pod = Arc::unwrap_or_clone(samples::pod("web-7499b8c7dd-ldb28"));
    pod.name = name.into();
    pod.uid = format!("uid-{name}").into();
    Notice {
        about: About::pod(&pod),
        related: pod
            .owner
            .as_ref()
            .and_then(|owner| About::owner("rec-api", owner)),
        reason: EventReason::Evicted,
        once_for: once_for.into(),
        note: "nginx:1.27 has moved on".into(),
    }
}

fn start() -> (Fake, Recorder, Family<Reason, Counter>) {
    let (fake, server) = Fake::start();
    let lost = Family::default();
    let (recorder, task) = Recorder::start(server, "podrefresh-0", lost.clone());
    tokio::spawn(task);
    (fake, recorder, lost)
}

fn count(lost: &Family<Reason, Counter>, reason: &'static str) -> u64 {
    lost.get_or_create(&Reason { reason }).get()
}

#[test]
fn an_event_has_what_the_api_demands() {
    let now = "2026-11-21T22:00:08.715383Z".parse().unwrap();
    let event = event(&notice("web-1", "d"), "podrefresh-0", now, 7);
    let expected = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "web-1.0000000000000007", "namespace": "rec-api"},
        "eventTime": "2026-11-21T22:00:08.715383Z",
        "reportingController": "podrefresh.io/controller", "reportingInstance": "podrefresh-0",
        "action": "Evict", "reason": "Evicted", "type": "Normal",
        "note": "nginx:1.27 has moved on",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "rec-api", "name": "web-1",
            "uid": "uid-web-1"},
        "related": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "namespace": "rec-api",
            "name": "web-7499b8c7dd", "uid": "01febfaa-2177-49e5-aa07-be575461b413"},
    });
    assert_eq!(event, expected);
}

#[test]
fn an_event_on_a_namespace_lies_elsewhere() {
    let about = About::namespace("shop", "");
    let bad = Notice {
        about,
        related: None,
        reason: EventReason::BadWishes,
        ..notice("a", "d")
    };
    let event = event(&bad, "i", Timestamp::UNIX_EPOCH, 0);
    assert_eq!(event["metadata"]["namespace"], "default");
    let regarding = json!({"apiVersion": "v1", "kind": "Namespace", "name": "shop"});
    assert_eq!(event["regarding"], regarding);
    assert_eq!(event["type"], "Warning");
}

#[test]
fn a_name_that_is_cut_stays_a_name() {
    let name = |about: &str| {
        let event = event(&notice(about, "d"), "i", Timestamp::UNIX_EPOCH, 7);
        event["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let suffix = ".0000000000000007";
    let room = NAME_LIMIT - suffix.len();
    let beginning = "n".repeat(room - 2);
    for (rest, kept) in [
        ("-aaa", "-a"),
        (".aaa", ".a"),
        ("a-aa", "a"),
        ("a.aa", "a"),
        ("--aa", ""),
    ] {
        let expected = format!("{beginning}{kept}{suffix}");
        assert_eq!(name(&format!("{beginning}{rest}")), expected, "{rest}");
    }
    assert_eq!(name(&"n".repeat(room)), "n".repeat(room) + suffix);
}

#[test]
fn texts_are_cut_to_their_limits() {
    let check = |note: String, expected: usize| {
        let long = Notice {
            note,
            ..notice(&"n".repeat(253), "d")
        };
        let event = event(&long, "i", Timestamp::UNIX_EPOCH, 0);
        assert_eq!(event["note"].as_str().unwrap().len(), expected);
        assert_eq!(event["metadata"]["name"].as_str().unwrap().len(), 253);
    };
    check("n".repeat(1024), 1024);
    check("n".repeat(1025), 1024);
    check("ü".repeat(600), 1024);
    check(format!("n{}", "ü".repeat(600)), 1023);
}

#[tokio::test(start_paused = true)]
async fn the_same_is_told_once() {
    let (mut fake, recorder, _) = start();
    for (name, digest) in [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a", "2")] {
        recorder.record(notice(name, digest));
    }
    for expected in ["a", "a", "b"] {
        let path = "/apis/events.k8s.io/v1/namespaces/rec-api/events";
        let call = fake.next().await.expect("POST", path);
        assert_eq!(call.body["regarding"]["name"], expected);
        call.reply(201, &json!({}));
    }
    recorder.record(notice("last", "1"));
    assert_eq!(fake.next().await.body["regarding"]["name"], "last");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_blocks_nobody_and_is_counted() {
    let (mut fake, recorder, lost) = start();
    for n in 0..QUEUE + 3 {
        recorder.record(notice(&n.to_string(), "1"));
    }
    assert_eq!(count(&lost, "queue_full"), 3);
    // What was lost may be told again when there is room.
    fake.next().await.reply(201, &json!({}));
    let second = fake.next().await;
    recorder.record(notice(&QUEUE.to_string(), "1"));
    assert_eq!(count(&lost, "queue_full"), 3);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_three_times_under_new_names() {
    let (mut fake, recorder, lost) = start();
    recorder.record(notice("a", "1"));
    recorder.record(notice("b", "1"));
    let mut names = Vec::new();
    for _ in 0..3 {
        let call = fake.next().await;
        names.push(call.body["metadata"]["name"].as_str().unwrap().to_owned());
        call.refuse(503, "ServiceUnavailable");
    }
    names.dedup();
    assert_eq!(names.len(), 3);
    let second = fake.next().await;
    assert_eq!(second.body["regarding"]["name"], "b");
    assert_eq!(count(&lost, "refused"), 1);
    // What was lost may be told again when the server is back.
    second.reply(201, &json!({}));
    recorder.record(notice("b", "1"));
    recorder.record(notice("a", "1"));
    assert_eq!(fake.next().await.body["regarding"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_heal_is_not_tried_again() {
    let (mut fake, recorder, lost) = start();
    for name in ["a", "b", "c"] {
        recorder.record(notice(name, "1"));
    }
    fake.next().await.refuse(404, "NotFound");
    fake.next().await.refuse(403, "Forbidden");
    let third = fake.next().await;
    assert_eq!(third.body["regarding"]["name"], "c");
    assert_eq!(count(&lost, "namespace_gone"), 1);
    assert_eq!(count(&lost, "forbidden"), 1);
    third.reply(201, &json!({}));
    for name in ["a", "b", "d"] {
        recorder.record(notice(name, "1"));
    }
    assert_eq!(fake.next().await.body["regarding"]["name"], "d");
}
