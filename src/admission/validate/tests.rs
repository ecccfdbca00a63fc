use serde_json::{Value, json};

use super::*;

const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Returns a review of an object that becomes `object` and was `old`; `null` for one that is new.
fn review(group: &str, kind: &str, old: &Value, object: &Value) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "u", "operation": operation, "namespace": "shop",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": plural},
        "object": object, "oldObject": old,
    }})
    .to_string()
}

/// Returns what is said of the object in an opted-in namespace, or in another one.
fn said(body: &str, opted_in: bool) -> Option<Objections> {
    let request = Request::decode(body.as_bytes()).unwrap();
    objections(&request, |namespace| opted_in && namespace == "shop").unwrap()
}

/// Checks how many faults and warnings there are; `None` for an object that is none of our business.
#[track_caller]
fn check(body: &str, expected: Option<(usize, usize)>) {
    let said = said(body, true);
    let counts = said
        .as_ref()
        .map(|said| (said.faults.len(), said.warnings.len()));
    assert_eq!(counts, expected, "{said:#?}");
}

fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

fn template(annotations: &Value) -> Value {
    json!({"spec": {"template": annotated(annotations)}})
}

#[test]
fn every_kind_is_refused_for_a_wish_that_makes_no_sense() {
    let bad = json!({"podrefresh.io/mode": "pn", "podrefresh.io/min-age": "10"});
    for kind in ["Pod", "Namespace"] {
        check(
            &review("", kind, &Value::Null, &annotated(&bad)),
            Some((2, 0)),
        );
    }
    for (group, kind) in [
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("", "ReplicationController"),
    ] {
        check(
            &review(group, kind, &Value::Null, &template(&bad)),
            Some((2, 0)),
        );
    }
    let jobs = json!({"spec": {"jobTemplate": template(&bad)}});
    check(
        &review("batch", "CronJob", &Value::Null, &jobs),
        Some((2, 0)),
    );
    check(&review("", "Service", &Value::Null, &annotated(&bad)), None);
    check(&review("", "Pod", &Value::Null, &json!(null)), Some((0, 0)));
}

#[test]
fn only_a_wish_that_is_new_is_refused() {
    let bad = annotated(&json!({"podrefresh.io/mode": "pn"}));
    let mut labelled = bad.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    check(&review("", "Pod", &bad, &labelled), Some((0, 0)));
    let worse = annotated(&json!({"podrefresh.io/mode": "pn", "podrefresh.io/strategy": "x"}));
    check(&review("", "Pod", &bad, &worse), Some((1, 0)));
    let moved = template(&json!({"podrefresh.io/mode": "pn"}));
    check(&review("apps", "Deployment", &bad, &moved), Some((1, 0)));
}

#[test]
fn what_a_controller_makes_is_warned_of_and_comes_into_being() {
    let mut pod = annotated(&json!({"podrefresh.io/mode": "pn"}));
    check(&review("", "Pod", &Value::Null, &pod), Some((1, 0)));
    pod["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "controller": true}]);
    check(&review("", "Pod", &Value::Null, &pod), Some((0, 1)));
    // Once it is there, whoever puts a wish on it can mend it.
    let mut before = pod.clone();
    before["metadata"]["annotations"] = json!({});
    check(&review("", "Pod", &before, &pod), Some((1, 0)));
    check(&review("apps", "ReplicaSet", &before, &pod), Some((0, 2)));
    pod["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet"}]);
    check(&review("", "Pod", &Value::Null, &pod), Some((1, 0)));
    let mirror = json!({"podrefresh.io/mode": "pn", "kubernetes.io/config.mirror": "x"});
    check(
        &review("", "Pod", &Value::Null, &annotated(&mirror)),
        Some((0, 1)),
    );
}

#[test]
fn a_pod_that_is_left_alone_may_wish_what_it_likes() {
    let mut pod = annotated(&json!({"podrefresh.io/mode": "pn"}));
    pod["metadata"]["labels"] = json!({"podrefresh.io/enabled": "false"});
    check(&review("", "Pod", &Value::Null, &pod), None);
    pod["metadata"]["labels"] = json!({"podrefresh.io/enabled": "no"});
    check(&review("", "Pod", &Value::Null, &pod), Some((1, 1)));
}

#[test]
fn a_namespaces_new_label_that_means_nothing_is_warned_of() {
    let labelled = |value: &str| json!({"metadata": {"labels": {"podrefresh.io/enabled": value}}});
    let check = |kind: &str, old: &Value, value: &str, warnings| {
        let review = review("", kind, old, &labelled(value));
        check(&review, Some((0, warnings)));
    };
    for value in ["yes", "True", "1", ""] {
        check("Namespace", &Value::Null, value, 1);
        check("Namespace", &labelled("true"), value, 1);
        check("Namespace", &labelled(value), value, 0);
    }
    for value in ["true", "false"] {
        check("Namespace", &labelled("yes"), value, 0);
    }
}

#[test]
fn a_label_that_opts_no_pod_out_is_warned_of_where_somebody_reads_it() {
    let metadata = |value: &str| json!({"metadata": {"labels": {"podrefresh.io/enabled": value}}});
    let none = Value::Null;
    let check = |group: &str, kind: &str, old: &Value, object: &Value, warnings| {
        check(&review(group, kind, old, object), Some((0, warnings)));
    };
    for value in ["False", "no", "0"] {
        let labelled = metadata(value);
        let of_pods = json!({"spec": {"template": labelled}});
        check("", "Pod", &none, &labelled, 1);
        check("", "Pod", &metadata("true"), &labelled, 1);
        check("", "Pod", &labelled, &labelled, 0);
        check("apps", "Deployment", &none, &labelled, 1);
        check("apps", "Deployment", &none, &of_pods, 1);
        check("apps", "Deployment", &of_pods, &of_pods, 0);
        let jobs = json!({"spec": {"jobTemplate": of_pods}});
        check("batch", "CronJob", &none, &jobs, 1);
        let mut made = labelled.clone();
        made["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "controller": true}]);
        check("", "Pod", &none, &made, 0);
        // Once it is there, it is somebody's own hand.
        let mut before = made.clone();
        before["metadata"]["labels"] = json!({});
        check("", "Pod", &before, &made, 1);
        let mut made = of_pods;
        made["metadata"] = json!({"ownerReferences": [{"kind": "Deployment", "controller": true}]});
        check("apps", "ReplicaSet", &none, &made, 0);
    }
    let of_pods = json!({"spec": {"template": metadata("false")}});
    check("apps", "Deployment", &none, &of_pods, 0);
    check("apps", "Deployment", &none, &metadata("false"), 1);
    check("apps", "Deployment", &none, &metadata("true"), 0);
    check("", "Pod", &none, &metadata("true"), 0);
}

/// Returns a pod of one container `app` that runs `image`, with these stamps and other metadata.
fn pod(image: &str, stamp: Option<(&str, &str)>, metadata: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "annotations": {"other": "x"}},
        "spec": {"containers": [{"name": "app", "image": image}]}});
    if let Some((digest, image)) = stamp {
        pod["metadata"]["annotations"]["digest.podrefresh.io/app"] = json!(digest);
        pod["metadata"]["annotations"]["image.podrefresh.io/app"] = json!(image);
    }
    json_patch::merge(&mut pod["metadata"], metadata);
    pod
}

const STAMP: Option<(&str, &str)> = Some((OLD, "docker.io/library/a:1"));

/// Checks the number of faults of a stamped pod that becomes `after`.
#[track_caller]
fn check_stamped(after: &Value, expected: Option<usize>) {
    let before = pod("a:1", STAMP, &json!({}));
    let said = said(&review("", "Pod", &before, after), true);
    assert_eq!(said.map(|said| said.faults.len()), expected);
}

#[test]
fn a_hand_on_stamps_is_told_from_the_webhooks() {
    check_stamped(&pod("a:1", STAMP, &json!({"labels": {"a": "b"}})), Some(0));
    check_stamped(
        &pod("a:1", Some((NEW, "docker.io/library/a:1")), &json!({})),
        Some(1),
    );
    check_stamped(&pod("a:1", None, &json!({})), Some(2));
    // With a new image they are new.
    check_stamped(
        &pod("a:2", Some((NEW, "docker.io/library/a:2")), &json!({})),
        Some(0),
    );
    check_stamped(
        &pod(
            &format!("a:2@{NEW}"),
            Some((NEW, "docker.io/library/a:2")),
            &json!({}),
        ),
        Some(0),
    );
    check_stamped(&pod("a:2", None, &json!({})), Some(0));
    check_stamped(&pod("a:2", STAMP, &json!({})), Some(0));
    check_stamped(
        &pod("a:2", Some((NEW, "docker.io/library/b:2")), &json!({})),
        Some(2),
    );
}

#[test]
fn stamps_that_nobody_believes_may_be_cleared_away() {
    let (before, after) = (pod("a:1", STAMP, &json!({})), pod("a:1", None, &json!({})));
    let body = review("", "Pod", &before, &after);
    assert_eq!(said(&body, true).unwrap().faults.len(), 2);
    assert_eq!(said(&body, false).unwrap().faults.len(), 0);
    let opted_out = json!({"labels": {"podrefresh.io/enabled": "false"}});
    check_stamped(&pod("a:1", None, &opted_out), None);
    let mut template = after;
    template["metadata"]["annotations"] = json!({"digest.podrefresh.io/app": "forged"});
    check(&review("", "Pod", &Value::Null, &template), Some((0, 0)));
}

#[test]
fn what_is_being_deleted_is_never_held_up() {
    let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a"]});
    let before = pod("a:1", STAMP, &gone);
    let after = pod(
        "a:1",
        None,
        &json!({"deletionTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {"podrefresh.io/mode": "x"}}),
    );
    check(&review("", "Pod", &before, &after), None);
}

#[test]
fn a_subresource_and_another_operation_are_none_of_our_business() {
    let bad = annotated(&json!({"podrefresh.io/mode": "pn"}));
    let body = review("", "Pod", &Value::Null, &bad);
    check(&body, Some((1, 0)));
    check(&body.replace("CREATE", "DELETE"), None);
    check(
        &body.replace(r#""uid":"u""#, r#""uid":"u","subResource":"status""#),
        None,
    );
}

/// Returns the answer to a review where no namespace is known.
async fn answered(body: &str) -> (Outcome, Value) {
    let server = crate::cluster::Server::plain("http://127.0.0.1:1");
    let (namespaces, _) = Namespaces::start(server);
    let reply = Validator { namespaces }
        .review(body.as_bytes())
        .await
        .unwrap();
    let mut answer: Value = serde_json::from_slice(&reply.json).unwrap();
    (reply.outcome, answer["response"].take())
}

#[tokio::test]
async fn a_refusal_tells_all_faults_and_what_is_only_strange_besides() {
    let wishes = json!({"podrefresh.io/mode": "pni", "podrefresh.io/max-unavailable": "0", "podrefresh.io/windo": "x"});
    let (outcome, answer) = answered(&review("", "Pod", &Value::Null, &annotated(&wishes))).await;
    assert_eq!(outcome, Outcome::Denied);
    let faults = "podrefresh.io/mode=\"pni\" must be one of stamp, pin (did you mean \"pin\"?); \
        podrefresh.io/max-unavailable=\"0\" must be a number of pods from 1, such as 1, or a percentage from 1% to \
        100%, such as 25% (did you mean \"1\"?)";
    let warning = "podrefresh: podrefresh.io/windo=\"x\" must be named one of mode, strategy, containers, window, \
        min-age, max-unavailable, on-unresolved (did you mean \"podrefresh.io/window\"?)";
    assert_eq!(
        answer,
        json!({"uid": "u", "allowed": false, "warnings": [warning], "auditAnnotations": {"faults": faults},
            "status": {"code": 403, "reason": "Forbidden", "message": format!("podrefresh: {faults}")}})
    );
}

#[tokio::test]
async fn what_makes_sense_is_not_talked_about() {
    let wishes = json!({"podrefresh.io/mode": "pin", "podrefresh.io/window": "Mon 1:00-2:00"});
    let answer = answered(&review(
        "apps",
        "Deployment",
        &Value::Null,
        &template(&wishes),
    ))
    .await;
    assert_eq!(
        answer,
        (Outcome::Valid, json!({"uid": "u", "allowed": true}))
    );
    let (outcome, answer) = answered(&review(
        "apps",
        "Deployment",
        &Value::Null,
        &annotated(&wishes),
    ))
    .await;
    assert_eq!(
        (outcome, &answer["allowed"]),
        (Outcome::Warned, &json!(true))
    );
    let (outcome, _) = answered(&review("", "Service", &Value::Null, &annotated(&wishes))).await;
    assert_eq!(outcome, Outcome::Ignored);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_passes_with_a_warning() {
    let (outcome, answer) =
        answered(&review("", "Pod", &Value::Null, &json!({"metadata": 7}))).await;
    assert_eq!(
        (outcome, &answer["allowed"]),
        (Outcome::Invalid, &json!(true))
    );
    assert!(
        answer["warnings"][0]
            .as_str()
            .unwrap()
            .contains("could not be read")
    );
}

#[test]
fn what_is_larger_than_any_sound_object_is_not_judged() {
    let read = |object: &Value| {
        let body = review("", "Pod", &Value::Null, object);
        let request = Request::decode(body.as_bytes()).unwrap();
        objections(&request, |_| true).map_err(|error| error.to_string())
    };
    let annotated = |count: usize| {
        let all = (0..count).map(|nth| (format!("podrefresh.io/{nth}"), json!("x")));
        annotated(&Value::Object(all.collect()))
    };
    let said = read(&annotated(10_000)).unwrap().unwrap();
    assert_eq!((said.faults.len(), said.warnings.len()), (0, 10_000));
    let error = read(&annotated(10_001)).unwrap_err();
    assert!(error.contains("more than 10000 entries"), "{error}");
    let owned = |count: usize| json!({"metadata": {"ownerReferences": vec![json!({}); count]}});
    assert_eq!(read(&owned(1000)), Ok(Some(Objections::default())));
    let error = read(&owned(1001)).unwrap_err();
    assert!(error.contains("more than 1000 entries"), "{error}");
}
