//! Which labels `podrefresh.io/enabled` are looked at.

use serde_json::{Value, json};

use super::check_request;

#[test]
fn a_namespaces_label_is_looked_at_when_it_comes_to_mean_nothing() {
    let namespace = |labels: Value| {
        let mut object =
            json!({"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}});
        if !labels.is_null() {
            object["metadata"]["labels"] = labels;
        }
        object
    };
    let labelled = |value: &str| namespace(json!({"podrefresh.io/enabled": value, "a": "b"}));
    let check = |old: Option<Value>, new: Value, expected| {
        let mut request = json!({
            "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
            "kind": {"group": "", "version": "v1", "kind": "Namespace"}, "object": new,
        });
        if let Some(old) = old {
            request["oldObject"] = old;
        }
        check_request("validate.podrefresh.io", &request, expected);
    };
    for value in ["yes", "True", ""] {
        check(None, labelled(value), true);
        check(Some(namespace(Value::Null)), labelled(value), true);
        check(Some(labelled("true")), labelled(value), true);
        check(Some(labelled(value)), labelled(value), false);
    }
    for value in ["true", "false"] {
        check(None, labelled(value), false);
        check(Some(labelled("yes")), labelled(value), false);
    }
    let other = namespace(json!({"podrefresh.io/enabled": "yes", "a": "c"}));
    check(Some(labelled("yes")), other, false);
    check(None, namespace(Value::Null), false);
    check(Some(labelled("yes")), namespace(json!({"a": "b"})), false);
}

/// Checks whether the webhook is called for an object of a kind that becomes `new` and was `old`.
#[track_caller]
fn check(kind: &str, old: &Value, new: &Value, expected: bool) {
    let mut request = json!({
        "operation": if old.is_null() { "CREATE" } else { "UPDATE" },
        "kind": {"group": "", "version": "v1", "kind": kind}, "object": new,
    });
    if !old.is_null() {
        request["oldObject"] = old.clone();
    }
    check_request("validate.podrefresh.io", &request, expected);
}

fn metadata(value: &str) -> Value {
    json!({"name": "a", "labels": {"podrefresh.io/enabled": value}})
}

#[test]
fn a_pods_label_is_looked_at_when_it_comes_to_mean_nothing() {
    let pod = |value: &str| json!({"metadata": metadata(value), "spec": {"containers": []}});
    let bare = json!({"metadata": {"name": "a"}, "spec": {"containers": []}});
    for value in ["no", "False", "0", ""] {
        check("Pod", &Value::Null, &pod(value), true);
        check("Pod", &bare, &pod(value), true);
        check("Pod", &pod("true"), &pod(value), true);
        check("Pod", &pod(value), &pod(value), false);
        check("Pod", &pod(value), &bare, false);
        let mut made = pod(value);
        made["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "controller": true}]);
        check("Pod", &Value::Null, &made, false);
        check("Pod", &bare, &made, true);
    }
    for value in ["true", "false"] {
        check("Pod", &Value::Null, &pod(value), false);
        check("Pod", &pod("no"), &pod(value), false);
    }
}

#[test]
fn a_workloads_labels_are_looked_at_on_its_template_and_in_the_place_of_those() {
    let bare = json!({"metadata": {"name": "a"}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    let mut labelled = bare.clone();
    let on_template = |value: &str| {
        let template = json!({"metadata": metadata(value), "spec": {}});
        json!({"metadata": {"name": "a"}, "spec": {"template": template}})
    };
    let check = |old: &Value, new: &Value, expected| check("Deployment", old, new, expected);
    for value in ["no", "False", "0"] {
        check(&Value::Null, &on_template(value), true);
        check(&bare, &on_template(value), true);
        check(&on_template(value), &on_template(value), false);
        let mut made = on_template(value);
        made["metadata"]["ownerReferences"] = json!([{"kind": "Rollout"}]);
        check(&Value::Null, &made, false);
    }
    for value in ["true", "false"] {
        check(&Value::Null, &on_template(value), false);
    }
    for (value, expected) in [("false", true), ("no", true), ("true", false)] {
        labelled["metadata"] = metadata(value);
        check(&Value::Null, &labelled, expected);
        check(&bare, &labelled, expected);
        check(&labelled, &labelled, false);
    }
    for odd in [
        json!({"metadata": {}}),
        json!({"metadata": {}, "spec": {}}),
        json!({"metadata": {}, "spec": {"template": {}}}),
    ] {
        check(&Value::Null, &odd, false);
        check(&odd, &odd, false);
    }
}

#[test]
fn a_cron_jobs_labels_are_looked_at_in_all_three_places() {
    let check = |new: Value, expected| check("CronJob", &Value::Null, &new, expected);
    let pods = |value: &str| {
        let template = json!({"metadata": metadata(value)});
        json!({"metadata": {}, "spec": {"jobTemplate": {"spec": {"template": template}}}})
    };
    let jobs = |value: &str| json!({"metadata": {}, "spec": {"jobTemplate": {"metadata": metadata(value)}}});
    let own = |value: &str| json!({"metadata": metadata(value), "spec": {}});
    check(pods("no"), true);
    check(pods("false"), false);
    check(pods("true"), false);
    for place in [jobs, own] {
        check(place("no"), true);
        check(place("false"), true);
        check(place("true"), false);
    }
    for odd in [
        json!({}),
        json!({"spec": {}}),
        json!({"spec": {"template": {}}}),
    ] {
        check(json!({"metadata": {}, "spec": {"jobTemplate": odd}}), false);
    }
}
