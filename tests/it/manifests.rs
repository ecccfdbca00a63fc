//! What `kubectl apply -k` would install: rendered by real kubectl, then read as an operator reads it.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use crate::support::{
    files::{below, read},
    kubectl::Kubectl,
    skip::need,
    yaml::{kustomizations, list, render, title, unknown_fields},
};

/// Returns the base as rendered; `None` skips the test.
#[track_caller]
fn base() -> Option<Vec<Value>> {
    Some(render(&need(Kubectl::find())?, "manifests"))
}

/// Returns the one object of `kind`.
#[track_caller]
fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    match (found.next(), found.next()) {
        (Some(object), None) => object,
        _ => panic!("there must be one {kind}"),
    }
}

/// Checks that `object` has `expected` at `pointer`.
#[track_caller]
fn check(object: &Value, pointer: &str, expected: impl Into<Value>) {
    let found = object.pointer(pointer).unwrap_or(&Value::Null);
    assert_eq!(found, &expected.into(), "{} {pointer}", title(object));
}

#[test]
fn every_kustomization_renders_and_every_field_is_known() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let folders = kustomizations();
    for folder in ["manifests", "manifests/base", "certs/cert-manager"] {
        assert!(
            folders.contains(&folder.to_owned()),
            "{folder} of {folders:?}"
        );
    }
    for folder in folders {
        let objects = render(&kubectl, &folder);
        let titles: BTreeSet<String> = objects.iter().map(title).collect();
        assert_eq!(
            titles.len(),
            objects.len(),
            "{folder} has one of each: {titles:?}"
        );
        for object in &objects {
            let unknown = unknown_fields(object).unwrap();
            assert!(
                unknown.is_empty(),
                "{folder}: {}: {unknown:?}",
                title(object)
            );
        }
    }
}

#[test]
fn manifests_and_its_base_are_the_same() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    assert_eq!(
        render(&kubectl, "manifests"),
        render(&kubectl, "manifests/base")
    );
}

#[test]
fn the_controller_is_hardened() {
    let Some(objects) = base() else { return };
    let deployment = the(&objects, "Deployment");
    check(deployment, "/spec/replicas", 2);
    let pod = &deployment["spec"]["template"];
    check(pod, "/spec/securityContext/runAsNonRoot", true);
    check(pod, "/spec/securityContext/runAsUser", 65532);
    check(
        pod,
        "/spec/securityContext/seccompProfile/type",
        "RuntimeDefault",
    );
    check(pod, "/spec/automountServiceAccountToken", true);
    for forbidden in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "priorityClassName",
        "volumes",
    ] {
        check(pod, &format!("/spec/{forbidden}"), Value::Null);
    }
    let [container] = &list(pod, "/spec/containers")[..] else {
        panic!("one container");
    };
    check(
        container,
        "/securityContext/allowPrivilegeEscalation",
        false,
    );
    check(container, "/securityContext/readOnlyRootFilesystem", true);
    check(
        container,
        "/securityContext/capabilities",
        json!({"drop": ["ALL"]}),
    );
    for resource in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
        let found = container["resources"].pointer(resource);
        assert!(found.is_some_and(Value::is_string), "resources{resource}");
    }
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        check(
            container,
            &format!("/{probe}/httpGet"),
            json!({"path": path, "port": "admin"}),
        );
    }
    check(
        the(&objects, "ServiceAccount"),
        "/automountServiceAccountToken",
        false,
    );
    let level = "/metadata/labels/pod-security.kubernetes.io~1enforce";
    check(the(&objects, "Namespace"), level, "restricted");
}

#[test]
fn a_node_or_a_rollout_takes_one_replica_at_a_time() {
    let Some(objects) = base() else { return };
    check(
        the(&objects, "PodDisruptionBudget"),
        "/spec/maxUnavailable",
        1,
    );
    let deployment = the(&objects, "Deployment");
    check(deployment, "/spec/strategy/rollingUpdate/maxUnavailable", 0);
    for spread in list(deployment, "/spec/template/spec/topologySpreadConstraints") {
        // A cluster of one node must be able to run both.
        check(spread, "/whenUnsatisfiable", "ScheduleAnyway");
    }
}

#[test]
fn every_selector_selects_the_controller() {
    let Some(objects) = base() else { return };
    let deployment = the(&objects, "Deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let mut selectors = vec![
        &deployment["spec"]["selector"]["matchLabels"],
        &the(&objects, "Service")["spec"]["selector"],
        &the(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &the(&objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ];
    for spread in list(deployment, "/spec/template/spec/topologySpreadConstraints") {
        selectors.push(&spread["labelSelector"]["matchLabels"]);
    }
    for selector in selectors {
        let selector = selector.as_object().expect("a selector must have labels");
        assert!(!selector.is_empty());
        for (key, value) in selector {
            assert_eq!(&labels[key], value, "{key}");
        }
    }
}

#[test]
fn names_and_ports_lead_to_each_other() {
    let Some(objects) = base() else { return };
    let namespace = &the(&objects, "Namespace")["metadata"]["name"];
    let cluster_wide = [
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "MutatingWebhookConfiguration",
    ];
    for object in &objects {
        if !cluster_wide.contains(&object["kind"].as_str().unwrap()) {
            assert_eq!(
                &object["metadata"]["namespace"],
                namespace,
                "{}",
                title(object)
            );
        }
    }
    let account = &the(&objects, "ServiceAccount")["metadata"]["name"];
    let pod = &the(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(&pod["serviceAccountName"], account);
    for (binding, role) in [
        ("ClusterRoleBinding", "ClusterRole"),
        ("RoleBinding", "Role"),
    ] {
        let binding = the(&objects, binding);
        check(binding, "/roleRef/kind", role);
        check(
            binding,
            "/roleRef/name",
            the(&objects, role)["metadata"]["name"].clone(),
        );
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
        check(binding, "/subjects", json!([subject]));
    }

    let ports: Vec<&Value> = list(pod, "/containers/0/ports")
        .iter()
        .map(|port| &port["name"])
        .collect();
    let service = the(&objects, "Service");
    for port in list(service, "/spec/ports") {
        assert!(ports.contains(&&port["targetPort"]), "{port}");
    }
    for rule in list(the(&objects, "NetworkPolicy"), "/spec/ingress") {
        assert!(ports.contains(&&rule["ports"][0]["port"]), "{rule}");
    }
    let called =
        &the(&objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["service"];
    assert_eq!(called["name"], service["metadata"]["name"]);
    assert_eq!(&called["namespace"], namespace);
    let port = list(service, "/spec/ports")
        .iter()
        .find(|port| port["port"] == called["port"]);
    assert_eq!(
        port.expect("the Service must have the webhook's port")["targetPort"],
        "admission"
    );
}

#[test]
fn the_webhook_fails_open_and_knows_its_place() {
    let Some(objects) = base() else { return };
    let configuration = the(&objects, "MutatingWebhookConfiguration");
    let [webhook] = &list(configuration, "/webhooks")[..] else {
        panic!("one webhook");
    };
    check(webhook, "/name", "mutate.podrefresh.io");
    check(webhook, "/failurePolicy", "Ignore");
    check(webhook, "/timeoutSeconds", 5);
    check(webhook, "/reinvocationPolicy", "IfNeeded");
    check(webhook, "/sideEffects", "None");
    check(webhook, "/matchPolicy", "Equivalent");
    check(webhook, "/admissionReviewVersions", json!(["v1"]));
    check(webhook, "/clientConfig/service/path", "/mutate");
    // Applying again must leave the bundle that the controller injected.
    check(webhook, "/clientConfig/caBundle", Value::Null);
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["pods"], "scope": "Namespaced"
    });
    check(webhook, "/rules", json!([rule]));
    let ours = &the(&objects, "Namespace")["metadata"]["name"];
    let namespaces = json!([
        {"key": "podrefresh.io/enabled", "operator": "In", "values": ["true"]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn",
         "values": ["kube-system", "kube-public", "kube-node-lease", ours]},
    ]);
    check(webhook, "/namespaceSelector/matchExpressions", namespaces);
    let pods = json!([{"key": "podrefresh.io/enabled", "operator": "NotIn", "values": ["false"]}]);
    check(webhook, "/objectSelector/matchExpressions", pods);
}

#[test]
fn rights_name_what_they_are_for_and_no_more() {
    let Some(objects) = base() else { return };
    for kind in ["ClusterRole", "Role"] {
        for rule in list(the(&objects, kind), "/rules") {
            for key in ["apiGroups", "resources", "verbs"] {
                assert!(
                    !list(rule, &format!("/{key}")).contains(&json!("*")),
                    "{kind}: {rule}"
                );
            }
            for verb in [
                "delete",
                "deletecollection",
                "escalate",
                "bind",
                "impersonate",
            ] {
                assert!(
                    !list(rule, "/verbs").contains(&json!(verb)),
                    "{kind}: {rule}"
                );
            }
        }
    }
    // Each rule says above itself who needs it.
    let text = read("manifests/base/rbac.yaml");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (n, pair) in lines.windows(2).enumerate() {
        let commented = !pair[1].starts_with("- apiGroups:") || pair[0].starts_with('#');
        assert!(
            commented,
            "manifests/base/rbac.yaml:{}: no comment above",
            n + 2
        );
    }
}

#[test]
fn the_image_is_of_this_version_and_named_once() {
    let Some(objects) = base() else { return };
    let image = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        image,
        &json!(format!("ghcr.io/podrefresh/podrefresh:{version}"))
    );
    let naming: Vec<_> = below("manifests", |_| true)
        .into_iter()
        .filter(|path| read(path).contains("ghcr.io/"))
        .collect();
    assert_eq!(naming, [Path::new("manifests/base/kustomization.yaml")]);
    assert!(read("Dockerfile").contains(&format!("ARG VERSION={version}\n")));
}
