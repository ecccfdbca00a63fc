//! The component as kubectl renders it: alone, and beside the controller.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    files::read,
    kubectl::Kubectl,
    overlay::overlay,
    skip::need,
    yaml::{list, render, title, unknown_fields},
};

/// Returns the one object of `kind` with this name.
#[track_caller]
fn the<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    let mut found = objects.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(object), None) => object,
        _ => panic!("there must be one {kind} {name}"),
    }
}

#[test]
fn it_stands_alone_and_beside_the_controller_in_any_namespace() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let alone = render(&kubectl, "manifests/cronjob");
    let titles: Vec<String> = alone.iter().map(title).collect();
    let expected = [
        "Namespace podrefresh",
        "ServiceAccount podrefresh-once",
        "ClusterRole podrefresh-once",
        "ClusterRoleBinding podrefresh-once",
        "CronJob podrefresh-once",
    ];
    assert_eq!(titles, expected);
    // Kustomize reads no file above its folder, so there are two.
    let namespace = |folder: &str| read(Path::new("manifests").join(folder).join("namespace.yaml"));
    assert_eq!(namespace("cronjob"), namespace("base"));

    let beside = "resources: ['@/base']\ncomponents: ['@/components/cronjob']\n";
    let count = render(&kubectl, "manifests/base").len();
    let objects = overlay(&kubectl, beside);
    assert_eq!(objects.len(), count + alone.len() - 1);
    for object in &objects {
        let unknown = unknown_fields(object).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", title(object));
    }
    for object in &alone[1..] {
        assert!(objects.contains(object), "{}", title(object));
    }

    let elsewhere = overlay(&kubectl, &format!("namespace: elsewhere\n{beside}"));
    let job = the(&elsewhere, "CronJob", "podrefresh-once");
    assert_eq!(job["metadata"]["namespace"], "elsewhere");
    for (kind, name) in [
        ("ClusterRoleBinding", "podrefresh-once"),
        ("ClusterRoleBinding", "podrefresh"),
        ("RoleBinding", "podrefresh"),
    ] {
        let binding = the(&elsewhere, kind, name);
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": "elsewhere"});
        assert_eq!(binding["subjects"], json!([subject]), "{kind}");
        assert_eq!(binding["roleRef"]["name"], name);
    }
}

#[test]
fn the_job_is_hardened_and_ends() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let objects = render(&kubectl, "manifests/cronjob");
    let job = the(&objects, "CronJob", "podrefresh-once");
    let check = |pointer: &str, expected: Value| {
        let found = job.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, &expected, "{pointer}");
    };
    check("/spec/concurrencyPolicy", json!("Forbid"));
    check("/spec/jobTemplate/spec/backoffLimit", json!(0));
    for limit in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        check(&format!("/spec/{limit}"), json!(3));
    }
    let seconds = |pointer: &str| job.pointer(pointer).and_then(Value::as_u64).unwrap();
    // The CronJob controller looks every 10 s, and forgets runs that are due more often than they may be late.
    assert!(10 < seconds("/spec/startingDeadlineSeconds"));
    let pod = "/spec/jobTemplate/spec/template/spec";
    let container = format!("{pod}/containers/0");
    let args = list(job, &format!("{container}/args"));
    assert!(args.contains(&json!("--timeout=1h")), "{args:?}");
    // An hour, the answers still awaited then, and the start of the pod.
    let deadline = seconds("/spec/jobTemplate/spec/activeDeadlineSeconds");
    assert!(3600 + 60 < deadline, "{deadline}");

    check(&format!("{pod}/restartPolicy"), json!("Never"));
    check(
        &format!("{pod}/serviceAccountName"),
        json!("podrefresh-once"),
    );
    let security = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    check(&format!("{pod}/securityContext"), security);
    let security = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    check(&format!("{container}/securityContext"), security);
    for forbidden in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "volumes",
        "priorityClassName",
    ] {
        check(&format!("{pod}/{forbidden}"), Value::Null);
    }
    for resource in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
        let found = job.pointer(&format!("{container}/resources{resource}"));
        assert!(found.is_some_and(Value::is_string), "resources{resource}");
    }
    let account = the(&objects, "ServiceAccount", "podrefresh-once");
    assert_eq!(account["automountServiceAccountToken"], false);
    // It is not to replace itself with what a tag comes to mean.
    check(
        &format!("{container}/imagePullPolicy"),
        json!("IfNotPresent"),
    );
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("ghcr.io/podrefresh/podrefresh:{version}");
    check(&format!("{container}/image"), json!(image));
}

#[test]
fn the_role_may_end_no_pod_but_by_eviction_and_rollout() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let objects = render(&kubectl, "manifests/cronjob");
    let role = the(&objects, "ClusterRole", "podrefresh-once");
    for rule in list(role, "/rules") {
        let verbs = list(rule, "/verbs");
        let harmless = |verb: &Value| {
            ["get", "list", "watch", "create", "patch"].contains(&verb.as_str().unwrap())
        };
        assert!(verbs.iter().all(harmless), "{rule}");
        if verbs.contains(&json!("patch")) {
            let owners = json!(["deployments", "statefulsets", "daemonsets"]);
            assert_eq!(rule["resources"], owners, "{rule}");
        }
        if verbs.contains(&json!("create")) {
            let resources = list(rule, "/resources");
            let known = [json!(["pods/eviction"]), json!(["events"])];
            assert!(known.contains(&json!(resources)), "{rule}");
        }
        if list(rule, "/resources").contains(&json!("secrets")) {
            assert_eq!(verbs, &[json!("get")]);
        }
    }
}
