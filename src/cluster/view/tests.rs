use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::samples,
    policy::{Digest, Wishes},
};

fn view(pod: &Value) -> Option<Pod> {
    let body = pod.to_string();
    let raw: RawPod<'_> = serde_json::from_str(&body).unwrap();
    View::default().pod(&raw)
}

/// Returns the recorded pod of a Deployment, changed by a merge patch.
#[track_caller]
fn patched(patch: Value) -> Pod {
    let all: Value = serde_json::from_str(samples::PODS).unwrap();
    let mut pod = all["items"][0].clone();
    json_patch::merge(&mut pod, &patch);
    view(&pod).unwrap()
}

#[test]
fn a_real_pod_is_read() {
    let pod = samples::pod("web-7499b8c7dd-ldb28");
    assert_eq!(&*pod.namespace, "rec-api");
    assert_eq!(pod.node.as_deref(), Some("fake-2"));
    let owner = pod.owner.as_ref().unwrap();
    assert_eq!(owner.kind, OwnerKind::ReplicaSet);
    assert_eq!(&*owner.name, "web-7499b8c7dd");
    assert_eq!(&*owner.uid, "01febfaa-2177-49e5-aa07-be575461b413");
    assert_eq!((pod.phase, pod.ready), (Phase::Running, true));
    assert_eq!(pod.version, None);
    assert_eq!(
        (pod.terminating, pod.mirror, pod.opted_out),
        (false, false, false)
    );
    assert_eq!(pod.created.to_string(), "2026-11-21T21:56:02Z");
    assert_eq!(&*pod.identity.service_account, "default");
    let [container] = &*pod.containers else {
        panic!("{:?}", pod.containers);
    };
    assert_eq!(&*container.name, "app");
    assert_eq!(container.kind, ContainerKind::Ordinary);
    assert_eq!(container.pull, PullPolicy::Always);
    let image = container.image.as_ref().unwrap();
    assert_eq!(image.to_string(), "127.0.0.1:5000/rec/app:latest");
    assert!(
        matches!(container.running, Running::Manifest(_)),
        "{container:?}"
    );
}

#[test]
fn a_real_life_is_followed() {
    let mut view = View::default();
    let lives: Vec<_> = samples::POD_LIFE
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["object"].to_string())
        .map(|object| view.pod(&serde_json::from_str(&object).unwrap()))
        .map(|pod| pod.map(|pod| (pod.node.is_some(), pod.phase, pod.ready, pod.terminating)))
        .collect();
    use Phase::{Pending, Running};
    assert_eq!(
        lives,
        [
            Some((false, Pending, false, false)),
            Some((true, Pending, false, false)),
            Some((true, Running, true, false)),
            Some((true, Running, true, false)),
            Some((true, Running, true, true)),
            Some((true, Running, true, true)),
            Some((true, Running, true, true)),
            None,
        ]
    );
}

#[test]
fn the_shell_of_a_bookmark_is_nothing() {
    for line in samples::BOOKMARKS.lines() {
        let object = serde_json::from_str::<Value>(line).unwrap()["object"].to_string();
        assert_eq!(
            View::default().pod(&serde_json::from_str(&object).unwrap()),
            None
        );
        assert_eq!(
            View::default().namespace(&serde_json::from_str(&object).unwrap()),
            None
        );
    }
}

#[test]
fn containers_stand_in_the_order_in_which_they_start() {
    let container = |name: &str| json!({"name": name, "image": "a", "imagePullPolicy": "Always"});
    let mut sidecar = container("proxy");
    sidecar["restartPolicy"] = json!("Always");
    let status = |name: &str, sum: &str| json!({"name": name, "imageID": format!("docker.io/library/a@sha256:{}", sum.repeat(32))});
    let pod = patched(json!({
        "spec": {
            "initContainers": [container("migrate"), sidecar],
            "containers": [container("app")],
        },
        "status": {
            "initContainerStatuses": [status("proxy", "02"), status("migrate", "01")],
            "containerStatuses": [status("app", "03")],
        },
    }));
    let read: Vec<_> = (pod.containers.iter())
        .map(|it| (&*it.name, it.kind, it.running.clone()))
        .collect();
    let manifest = |byte| Running::Manifest(Digest::of_sha256([byte; 32]));
    assert_eq!(
        read,
        [
            ("migrate", ContainerKind::Init, manifest(1)),
            ("proxy", ContainerKind::Sidecar, manifest(2)),
            ("app", ContainerKind::Ordinary, manifest(3)),
        ]
    );
}

#[test]
fn stamps_belong_to_their_containers() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let pod = patched(json!({"metadata": {"annotations": {
        "digest.podrefresh.io/app": digest,
        "image.podrefresh.io/app": "docker.io/library/nginx:1.27",
        "digest.podrefresh.io/ap": digest,
        "podrefresh.io/mode": "pin",
        "podrefresh.io/containers": "app",
        "example.com/podrefresh.io": "not ours",
        "kubectl.kubernetes.io/default-container": "app",
    }}}));
    let stamp = pod.containers[0].stamp.as_ref().unwrap();
    assert_eq!(stamp.digest.to_string(), digest);
    assert_eq!(&*stamp.image, "docker.io/library/nginx:1.27");
    let wishes: Vec<_> = pod
        .annotations
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    assert_eq!(wishes, [("containers", "app"), ("mode", "pin")]);
    let half = patched(json!({"metadata": {"annotations": {"digest.podrefresh.io/app": digest}}}));
    assert_eq!(half.containers[0].stamp, None);
}

#[test]
fn what_keeps_a_pod_from_us_is_read() {
    assert!(patched(json!({"metadata": {"labels": {"podrefresh.io/enabled": "false"}}})).opted_out);
    assert!(!patched(json!({"metadata": {"labels": {"podrefresh.io/enabled": "true"}}})).opted_out);
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    assert!(patched(mirror).mirror);
    let dying = json!({"metadata": {"deletionTimestamp": "2026-11-21T22:00:00Z"}});
    assert!(patched(dying).terminating);
    assert_eq!(
        patched(json!({"metadata": {"ownerReferences": null}})).owner,
        None
    );
    assert_eq!(
        patched(json!({"status": {"phase": "Strange"}})).phase,
        Phase::Over
    );
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let unready = patched(unready);
    assert!(!unready.ready);
    assert_eq!(unready.version.as_deref(), Some("1020"));
}

/// Checks for how long a pod had run that its node took up at second 0 and that became unready at second `fell`, by what
/// its containers' statuses say.
#[track_caller]
fn check_ran(fell: i64, statuses: &[Value], expected: u64) {
    let pod = patched(json!({"status": {
        "startTime": second(0),
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": second(fell)}],
        "containerStatuses": statuses,
    }}));
    assert_eq!(pod.ready_since.to_string(), second(fell));
    assert_eq!(pod.ran, Duration::from_secs(expected));
}

fn second(second: i64) -> String {
    Timestamp::from_second(second).unwrap().to_string()
}

#[test]
fn what_a_pod_had_run_before_it_became_unready_is_told_by_its_containers() {
    let runs = |start| json!({"state": {"running": {"startedAt": second(start)}}});
    let ended = |start| json!({"terminated": {"startedAt": second(start), "finishedAt": null}});
    let waits = |start| json!({"state": {"waiting": {}}, "lastState": ended(start)});
    let again = |start, last| {
        let state = json!({"running": {"startedAt": second(start)}});
        json!({"state": state, "lastState": ended(last)})
    };
    // Never ready.
    check_ran(0, &[runs(5)], 0);
    check_ran(1, &[waits(0)], 0);
    // A probe fails.
    check_ran(900, &[runs(5)], 895);
    // It ended, and will start or has started again.
    check_ran(900, &[waits(5)], 895);
    check_ran(900, &[json!({"state": ended(5)})], 895);
    check_ran(900, &[again(901, 5)], 895);
    check_ran(900, &[again(890, 5)], 10);
    // One of two.
    check_ran(900, &[runs(5), waits(880)], 20);
    // It has ended more than once since, or nobody knows when it began.
    check_ran(900, &[again(940, 920)], 900);
    check_ran(
        900,
        &[json!({"lastState": {"terminated": {"startedAt": null}}})],
        900,
    );
    check_ran(900, &[], 900);
}

#[test]
fn only_known_controllers_are_told_apart() {
    use OwnerKind::*;
    #[track_caller]
    fn check(api_version: &str, kind: &str, expected: OwnerKind) {
        assert_eq!(
            owner_kind(api_version, kind),
            expected,
            "{api_version} {kind}"
        );
    }
    check("apps/v1", "ReplicaSet", ReplicaSet);
    check("apps/v1", "StatefulSet", StatefulSet);
    check("apps/v1", "DaemonSet", DaemonSet);
    check("v1", "ReplicationController", ReplicationController);
    check("batch/v1", "Job", Other);
    check("v1", "Node", Other);
    // Kruise has kinds of the same names, which answer to other URLs.
    check("apps.kruise.io/v1beta1", "StatefulSet", Other);
}

#[test]
fn an_unknown_pull_policy_does_not_make_a_container_count() {
    let check = |policy: Value, expected| {
        let container = json!({"name": "app", "image": "a", "imagePullPolicy": policy});
        let pod = patched(json!({"spec": {"containers": [container]}}));
        assert_eq!(pod.containers[0].pull, expected);
    };
    check(json!("Always"), PullPolicy::Always);
    check(json!("IfNotPresent"), PullPolicy::IfNotPresent);
    check(json!("Never"), PullPolicy::Never);
    check(json!("Sometimes"), PullPolicy::Never);
    check(json!(null), PullPolicy::Never);
}

#[test]
fn a_bad_image_is_kept_with_its_fault() {
    let pod =
        patched(json!({"spec": {"containers": [{"name": "app"}, {"name": "b", "image": "Bad"}]}}));
    assert!(pod.containers[0].image.is_err());
    assert_eq!(pod.containers[1].image.as_ref().unwrap_err().text, "Bad");
}

#[test]
fn what_the_cache_keeps_of_annotations_is_bounded() {
    let annotated = |annotations: &Value| {
        let pod = patched(json!({"metadata": {"annotations": annotations}}));
        let wishes = Wishes::parse(&pod.annotations, &[]);
        (pod.annotations, wishes.is_ok())
    };
    let containers =
        |length: usize| json!({"podrefresh.io/containers": "a,".repeat(length / 2 - 1) + "bb"});
    let (kept, is_wish) = annotated(&containers(4096));
    assert_eq!((kept[0].1.len(), is_wish), (4096, true));
    // Its start would be a wish, and another one.
    let (kept, is_wish) = annotated(&containers(4098));
    assert!(kept[0].1.len() < 300 && !is_wish, "{kept:?}");
    let mut many: BTreeMap<String, &str> = (0..1000)
        .map(|n| (format!("podrefresh.io/{n}"), "x"))
        .collect();
    many.insert("podrefresh.io/refreshed".to_owned(), "x");
    many.insert("podrefresh.io/window".to_owned(), "00:00-24:00");
    let (kept, is_wish) = annotated(&json!(many));
    let others = kept.iter().filter(|(name, _)| name.parse::<u32>().is_ok());
    assert_eq!((others.count(), is_wish), (8, true));
    for wanted in ["refreshed", "window"] {
        assert!(kept.iter().any(|(name, _)| **name == *wanted), "{kept:?}");
    }
}

#[test]
fn a_stamp_longer_than_a_reference_is_none() {
    let stamp = |length: usize| {
        let name = "a".repeat(length);
        let annotations = json!({
            "digest.podrefresh.io/app": format!("sha256:{}", "ab".repeat(32)),
            "image.podrefresh.io/app": name,
        });
        let container = json!({"name": "app", "image": "a"});
        let pod = patched(json!({
            "metadata": {"annotations": annotations}, "spec": {"containers": [container]},
        }));
        pod.containers[0].stamp.is_some()
    };
    assert!(stamp(1024));
    assert!(!stamp(1025));
}

#[test]
fn secrets_stay_in_the_pods_order() {
    let pod = patched(json!({"spec": {
        "imagePullSecrets": [{"name": "b"}, {"name": "a"}, {}],
        "serviceAccountName": "builder",
    }}));
    assert_eq!(pod.identity.secrets, ["b".into(), "a".into()].into());
    assert_eq!(&*pod.identity.service_account, "builder");
    assert_eq!(&*pod.identity.namespace, "rec-api");
    let many: Vec<Value> = (0..100).map(|n| json!({"name": format!("s{n}")})).collect();
    let pod = patched(json!({"spec": {"imagePullSecrets": many}}));
    assert_eq!(pod.identity.secrets.len(), 32);
}

#[test]
fn pods_share_what_they_have_in_common() {
    let (body, mut view) = (samples::PODS, View::default());
    let all: Value = serde_json::from_str(body).unwrap();
    let mut read = |index: usize| {
        let item = all["items"][index].to_string();
        view.pod(&serde_json::from_str(&item).unwrap()).unwrap()
    };
    let (a, b) = (read(0), read(1));
    assert_ne!(a.uid, b.uid);
    assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
    assert!(Arc::ptr_eq(
        a.owner.as_ref().unwrap(),
        b.owner.as_ref().unwrap()
    ));
    assert!(Arc::ptr_eq(&a.identity, &b.identity));
    assert!(Arc::ptr_eq(&a.annotations, &b.annotations));
    let image = |pod: &Pod| pod.containers[0].image.clone().unwrap();
    assert!(Arc::ptr_eq(&image(&a), &image(&b)));
}

#[test]
fn a_namespace_is_read() {
    let read = |object: Value| {
        let body = object.to_string();
        View::default()
            .namespace(&serde_json::from_str(&body).unwrap())
            .unwrap()
    };
    let shop = read(json!({"metadata": {"name": "shop",
        "labels": {"podrefresh.io/enabled": "true"}, "annotations": {"podrefresh.io/mode": "pin"}}}));
    assert_eq!((shop.enabled, shop.terminating), (true, false));
    assert_eq!(*shop.annotations, [("mode".into(), "pin".into())]);
    let plain =
        read(json!({"metadata": {"name": "a", "labels": {"podrefresh.io/enabled": "yes"}}}));
    assert!(!plain.enabled);
    let dying = json!({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}});
    assert!(read(dying).terminating);
}

#[test]
fn a_pod_with_two_containers_takes_less_than_a_kibibyte() {
    let container = |name: &str| json!({"name": name, "image": "a", "imagePullPolicy": "Always"});
    let pod = patched(json!({"spec": {"containers": [container("app"), container("proxy")]}}));
    // What is not shared with other pods; an allocation costs two words, a tree's entry five.
    let words = size_of::<usize>() * (4 * 2 + 5);
    let own = size_of::<Pod>() + pod.name.len() + pod.uid.len() + size_of_val(&*pod.containers);
    assert!(own + words < 1024, "{own}");
}

#[test]
fn namespaces_that_come_and_go_leave_nothing_behind() {
    let mut view = View::default();
    for nth in 0..5_000 {
        let body = json!({"metadata": {
            "name": format!("preview-{nth}"), "annotations": {"podrefresh.io/window": nth.to_string()},
        }})
        .to_string();
        assert!(
            view.namespace(&serde_json::from_str(&body).unwrap())
                .is_some()
        );
    }
    assert!(view.interner.len() < 3_000, "{}", view.interner.len());
}
