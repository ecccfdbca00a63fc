//! Which requests the manifests' matchConditions let through, judged by requests as a real 1.36 API server made them.

use std::collections::BTreeMap;

use serde_json::Value;
use testbed::{api::match_condition_holds, manifests};

use crate::support::{files::root, yaml::list};

mod labels;

/// Returns the webhooks of `manifests/` by their names.
fn webhooks() -> BTreeMap<String, Value> {
    let objects = manifests::load(&root().join("manifests")).unwrap();
    let configurations = objects
        .iter()
        .filter(|object| object["webhooks"].is_array());
    configurations
        .flat_map(|object| list(object, "/webhooks").clone())
        .map(|webhook| (webhook["name"].as_str().unwrap().to_owned(), webhook))
        .collect()
}

/// Says whether one of the webhook's rules is about the request.
fn is_about(webhook: &Value, request: &Value) -> bool {
    let (group, resource) = (
        &request["resource"]["group"],
        request["resource"]["resource"].as_str().unwrap(),
    );
    let resource = match request["subResource"].as_str() {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    list(webhook, "/rules").iter().any(|rule| {
        list(rule, "/apiGroups").contains(group)
            && list(rule, "/operations").contains(&request["operation"])
            && list(rule, "/resources").contains(&Value::from(&*resource))
    })
}

/// Returns the numbers of the recorded requests that `name` would be called for, leaving selectors aside.
fn called_for(name: &str) -> Vec<String> {
    let webhook = &webhooks()[name];
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/data/admission"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 40, "the recorded requests must be there");
    let mut called = Vec::new();
    for file in files {
        let review: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let request = &review["request"];
        if !is_about(webhook, request) {
            continue;
        }
        let conditions = webhook["matchConditions"].as_array();
        // None of them may fail, either: that would count as no in silence.
        let held = conditions.into_iter().flatten().map(|condition| {
            let expression = condition["expression"].as_str().unwrap();
            match_condition_holds(expression, request)
                .unwrap_or_else(|why| panic!("{}: {expression}: {why}", file.display()))
        });
        if held.collect::<Vec<_>>().into_iter().all(|held| held) {
            let file = file.file_name().unwrap().to_str().unwrap();
            called.push(file.split('-').next().unwrap().to_owned());
        }
    }
    called
}

#[test]
fn of_all_updates_of_pods_new_images_alone_cost_a_call() {
    assert_eq!(called_for("update.podrefresh.io"), ["44", "45", "46"]);
}

#[test]
fn wishes_are_judged_where_there_are_any_and_they_are_new() {
    let expected = [
        "01", "02", "05", "06", "07", "08", "09", "13", "27", "28", "50",
    ];
    assert_eq!(called_for("validate.podrefresh.io"), expected);
}

#[test]
fn pods_without_stamps_are_nobodys_business() {
    assert_eq!(called_for("stamps.podrefresh.io"), [] as [&str; 0]);
}

/// Says whether `name` is called for `request`.
#[track_caller]
fn check_request(name: &str, request: &Value, expected: bool) {
    let conditions = list(&webhooks()[name], "/matchConditions").clone();
    let held = conditions.iter().all(|condition| {
        match_condition_holds(condition["expression"].as_str().unwrap(), request).unwrap()
    });
    assert_eq!(held, expected, "{request}");
}

/// Says whether `name` would be called for an update of a pod's annotations from `old` to `new`.
#[track_caller]
fn check(name: &str, old: Value, new: Value, expected: bool) {
    let mut request = serde_json::json!({
        "operation": "UPDATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "object": {"metadata": {"annotations": new}, "spec": {}},
        "oldObject": {"metadata": {"annotations": old}, "spec": {}},
    });
    for object in ["object", "oldObject"] {
        if request[object]["metadata"]["annotations"].is_null() {
            request[object]["metadata"] = serde_json::json!({"name": "p"});
        }
    }
    check_request(name, &request, expected);
}

#[test]
fn pods_that_opt_out_are_not_judged_and_other_kinds_are_whatever_their_labels() {
    let request = |kind: &str, value: &str| {
        let metadata = serde_json::json!({
            "annotations": {"podrefresh.io/mode": "x"}, "labels": {"podrefresh.io/enabled": value},
        });
        serde_json::json!({
            "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": kind},
            "object": {"metadata": metadata, "spec": {}},
        })
    };
    let check = |kind, value, expected| {
        check_request("validate.podrefresh.io", &request(kind, value), expected);
    };
    check("Pod", "false", false);
    check("Pod", "true", true);
    check("Namespace", "false", true);
}

#[test]
fn a_stamp_that_comes_changes_or_goes_is_looked_at() {
    use serde_json::json;
    let stamp = |value: &str| json!({"digest.podrefresh.io/app": value, "a": "b"});
    let check = |old, new, expected| check("stamps.podrefresh.io", old, new, expected);
    check(stamp("x"), stamp("x"), false);
    check(stamp("x"), stamp("y"), true);
    check(stamp("x"), json!({"a": "b"}), true);
    check(stamp("x"), Value::Null, true);
    check(Value::Null, json!({"image.podrefresh.io/app": "x"}), true);
    check(Value::Null, Value::Null, false);
    check(json!({"a": "b"}), json!({"a": "c"}), false);
    // What else is on a stamped pod is anybody's.
    let stamp = |other: &str| json!({"image.podrefresh.io/app": "x", "a": other});
    check(stamp("b"), stamp("c"), false);
    check(stamp("b"), json!({"image.podrefresh.io/app": "x"}), false);
    check(json!({"image.podrefresh.io/app": "x"}), stamp("b"), false);
    check(
        json!({"podrefresh.io/mode": "x"}),
        json!({"podrefresh.io/mode": "y"}),
        false,
    );
}

#[test]
fn a_running_pods_wishes_are_judged_when_its_annotations_change() {
    use serde_json::json;
    let check = |old, new, expected| check("validate.podrefresh.io", old, new, expected);
    check(Value::Null, json!({"podrefresh.io/mode": "pin"}), true);
    check(
        json!({"podrefresh.io/mode": "pin"}),
        json!({"podrefresh.io/mode": "pin"}),
        false,
    );
    check(json!({"podrefresh.io/mode": "pin"}), Value::Null, false);
    check(json!({"a": "b"}), json!({"a": "c"}), false);
    let wish = |mode: &str, other: &str| json!({"podrefresh.io/mode": mode, "a": other});
    check(wish("pin", "b"), wish("pin", "c"), false);
    check(wish("pin", "b"), wish("stamp", "b"), true);
    check(json!({"a": "b"}), wish("pin", "b"), true);
}

#[test]
fn of_a_workload_its_wishes_and_its_template_are_looked_at() {
    use serde_json::json;
    let wishes = |other: &str| json!({"podrefresh.io/mode": "pin", "a": other});
    let template = |annotations: Value, image: &str| {
        json!({"metadata": {"labels": {"app": "a"}, "annotations": annotations},
            "spec": {"containers": [{"name": "app", "image": image}]}})
    };
    let containers = json!({"containers": [{"name": "app", "image": "a:1"}]});
    let bare = json!({"spec": containers});
    let labelled = json!({"metadata": {"labels": {"app": "a"}}, "spec": containers});
    let check = |kind: &str, old: &Value, new: &Value, expected| {
        let object = |annotations: &Value, n: u32, template: &Value| {
            let spec = match kind {
                "CronJob" => {
                    json!({"schedule": n, "jobTemplate": {"spec": {"template": template}}})
                }
                _ => json!({"replicas": n, "template": template}),
            };
            match annotations {
                Value::Null => json!({"metadata": {"name": "a"}, "spec": spec}),
                _ => json!({"metadata": {"annotations": annotations}, "spec": spec}),
            }
        };
        let of = |it: &Value, n| object(&it["own"], n, &it["template"]);
        let request = json!({
            "operation": "UPDATE", "kind": {"group": "apps", "version": "v1", "kind": kind},
            "object": of(new, 2), "oldObject": of(old, 1),
        });
        check_request("validate.podrefresh.io", &request, expected);
    };
    for kind in ["ReplicaSet", "Deployment", "Job", "CronJob"] {
        let whole = json!({"own": {"a": "b"}, "template": template(wishes("b"), "a:1")});
        // Another number, and what the controllers note beside it.
        check(kind, &whole, &whole, false);
        let noted = json!({"own": {"a": "c", "d": "e"}, "template": template(wishes("b"), "a:1")});
        check(kind, &whole, &noted, false);
        check(kind, &noted, &whole, false);
        let own = json!({"own": wishes("b"), "template": whole["template"]});
        check(kind, &whole, &own, true);
        check(kind, &own, &own, false);
        check(kind, &own, &whole, false);
        let other = json!({"own": {"a": "b"}, "template": template(json!({"podrefresh.io/mode": "x"}), "a:1")});
        check(kind, &whole, &other, true);
        // Where there were no annotations, or are none.
        for template in [&bare, &labelled] {
            let without = json!({"own": null, "template": template});
            check(kind, &without, &whole, true);
            check(kind, &without, &own, true);
            check(kind, &whole, &without, false);
            check(kind, &without, &without, false);
        }
    }
    // A new image alone brings no wish.
    let image = |image: &str| json!({"own": null, "template": template(wishes("b"), image)});
    check("Deployment", &image("a:1"), &image("a:2"), false);
}
