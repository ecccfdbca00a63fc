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
    for folder in [
        "manifests",
        "manifests/base",
        "manifests/components/sidecar/native",
        "manifests/components/sidecar/plain",
        "certs/cert-manager",
        "certs/files",
    ] {
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
        "ValidatingWebhookConfiguration",
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
    for webhook in webhooks(&objects) {
        let called = &webhook["clientConfig"]["service"];
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
}

/// Returns all webhooks: for new pods, for changed ones, for wishes, for stamps.
#[track_caller]
fn webhooks(objects: &[Value]) -> [&Value; 4] {
    let of = |kind| list(the(objects, kind), "/webhooks");
    let (mutating, validating) = (
        of("MutatingWebhookConfiguration"),
        of("ValidatingWebhookConfiguration"),
    );
    let all: Vec<&Value> = mutating.iter().chain(validating).collect();
    all.try_into().expect("there must be four webhooks")
}

#[test]
fn the_webhooks_fail_open_and_know_their_place() {
    let Some(objects) = base() else { return };
    let ours = &the(&objects, "Namespace")["metadata"]["name"];
    let elsewhere = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease", ours]});
    let opted_in = json!({"key": "podrefresh.io/enabled", "operator": "In", "values": ["true"]});
    let not_out =
        json!([{"key": "podrefresh.io/enabled", "operator": "NotIn", "values": ["false"]}]);
    for (webhook, (name, path, seconds, is_about_pods)) in webhooks(&objects).into_iter().zip([
        ("mutate.podrefresh.io", "/mutate", 5, true),
        ("update.podrefresh.io", "/mutate", 5, true),
        ("validate.podrefresh.io", "/validate", 3, false),
        ("stamps.podrefresh.io", "/validate", 3, true),
    ]) {
        check(webhook, "/name", name);
        check(webhook, "/failurePolicy", "Ignore");
        check(webhook, "/timeoutSeconds", seconds);
        check(webhook, "/sideEffects", "None");
        check(webhook, "/matchPolicy", "Equivalent");
        check(webhook, "/admissionReviewVersions", json!(["v1"]));
        check(webhook, "/clientConfig/service/path", path);
        // Applying again must leave the bundle that the controller injected.
        check(webhook, "/clientConfig/caBundle", Value::Null);
        let again = match path {
            "/mutate" => json!("IfNeeded"),
            _ => Value::Null,
        };
        check(webhook, "/reinvocationPolicy", again);
        // Wishes are judged before a namespace is opted in; only pods can be opted out.
        let (namespaces, pods) = match is_about_pods {
            true => (json!([opted_in, elsewhere]), not_out.clone()),
            false => (json!([elsewhere]), Value::Null),
        };
        check(webhook, "/namespaceSelector/matchExpressions", namespaces);
        check(webhook, "/objectSelector/matchExpressions", pods);
    }
}

#[test]
fn nothing_stands_between_a_new_pod_and_its_stamps() {
    let Some(objects) = base() else { return };
    let [create, update, wishes, stamps] = webhooks(&objects);
    let rule = |operation: &str, resources: Value| {
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation],
            "resources": resources, "scope": "Namespaced"}])
    };
    check(create, "/rules", rule("CREATE", json!(["pods"])));
    check(create, "/matchConditions", Value::Null);
    let both = json!(["pods", "pods/ephemeralcontainers"]);
    check(update, "/rules", rule("UPDATE", both));
    check(stamps, "/rules", rule("UPDATE", json!(["pods"])));
    // All others are called for what concerns us only, and for nothing that is on its way out.
    for webhook in [update, wishes, stamps] {
        let conditions = list(webhook, "/matchConditions");
        assert!(2 <= conditions.len(), "{conditions:?}");
        let last = conditions.last().map(|condition| &condition["expression"]);
        assert_eq!(
            last,
            Some(&json!("!has(object.metadata.deletionTimestamp)"))
        );
    }
    // What nobody deletes through us is removed without us.
    for webhook in webhooks(&objects) {
        for rule in list(webhook, "/rules") {
            assert!(
                !list(rule, "/operations").contains(&json!("DELETE")),
                "{rule}"
            );
        }
    }
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
    // A component is rendered apart from the base.
    let places = [
        "manifests/base/kustomization.yaml",
        "manifests/components/cronjob/kustomization.yaml",
        "manifests/components/sidecar/rbac/kustomization.yaml",
    ];
    assert_eq!(naming, places.map(Path::new));
    for place in places {
        assert!(
            read(place).contains(&format!("newTag: {version}\n")),
            "{place}"
        );
    }
    assert!(read("Dockerfile").contains(&format!("ARG VERSION={version}\n")));
}
