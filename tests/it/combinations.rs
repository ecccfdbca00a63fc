//! Every combination of the base with components, rendered by real kubectl: whatever somebody picks fits together.
//!
//! The components are those in the folder: a new one is part of all of this from its first day.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use serde_json::{Value, json};

use crate::{
    flags::check_command_line,
    namespaced_secrets::rules_over,
    support::{
        files::{below, read},
        hardened::{check_hardened, containers, is_ours, template},
        kubectl::Kubectl,
        markdown::{code, table},
        overlay::{Overlay, components},
        skip::need,
        yaml::{list, render, title, unknown_fields},
    },
};

/// Kinds of objects that are in no namespace.
const CLUSTER_WIDE: [&str; 5] = [
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// A combination as rendered, with its name for messages.
struct Rendered {
    components: Vec<String>,
    objects: Vec<Value>,
}

/// Renders every combination of components.
fn combinations(kubectl: &Kubectl) -> Vec<Rendered> {
    let all = components();
    let chosen = |bits: usize| -> Vec<String> {
        let chosen = all.iter().enumerate();
        let chosen = chosen.filter(|(n, _)| bits & (1 << n) != 0);
        chosen.map(|(_, name)| name.clone()).collect()
    };
    let sets: Vec<Vec<String>> = (0..1 << all.len()).map(chosen).collect();
    let render = |components: &Vec<String>| {
        let names: Vec<&str> = components.iter().map(String::as_str).collect();
        Rendered {
            components: components.clone(),
            objects: Overlay::with(&names).render(kubectl),
        }
    };
    // kubectl takes its time to start.
    thread::scope(|scope| {
        let parts = sets.chunks(sets.len().div_ceil(4));
        let parts: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(render).collect::<Vec<_>>()))
            .collect();
        let parts = parts.into_iter().flat_map(|part| part.join().unwrap());
        parts.collect()
    })
}

impl Rendered {
    fn has(&self, component: &str) -> bool {
        self.components.iter().any(|it| it == component)
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |it| it["kind"] == kind)
    }

    /// Says whether there is an object of this kind and name in the namespace of another.
    fn has_beside(&self, other: &Value, kind: &str, name: &Value) -> bool {
        self.of(kind).any(|it| {
            &it["metadata"]["name"] == name
                && it["metadata"]["namespace"] == other["metadata"]["namespace"]
        })
    }
}

#[test]
fn all_combinations_fit_together() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let all = combinations(&kubectl);
    assert!(32 <= all.len(), "{} combinations", all.len());
    for rendered in &all {
        let names = rendered.components.join(", ");
        let told = |what: &str, object: &Value| format!("base, {names}: {}: {what}", title(object));
        let mut seen = BTreeSet::new();
        for object in &rendered.objects {
            let unknown = unknown_fields(object).unwrap();
            assert!(
                unknown.is_empty(),
                "{}",
                told(&format!("{unknown:?}"), object)
            );
            let metadata = &object["metadata"];
            let is_new = seen.insert((title(object), metadata["namespace"].to_string()));
            assert!(is_new, "{}", told("it is there twice", object));
            let namespace = match CLUSTER_WIDE.contains(&object["kind"].as_str().unwrap()) {
                true => Value::Null,
                false => json!("podrefresh"),
            };
            assert_eq!(
                metadata["namespace"],
                namespace,
                "{}",
                told("namespace", object)
            );
            let part_of = &metadata["labels"]["app.kubernetes.io/name"];
            assert_eq!(part_of, "podrefresh", "{}", told("its label", object));
            if let Some(template) = template(object) {
                check_hardened(&template["spec"], &told("its pods", object));
                check_wired(rendered, object, template, &told("its pods", object));
            }
        }
        check_references(rendered, &names);
        check_rights(rendered, &names);
    }
    check_effects(&all);
}

/// Checks that what pods refer to is there: flags, ports, volumes, accounts.
#[track_caller]
fn check_wired(rendered: &Rendered, object: &Value, template: &Value, told: &str) {
    let pod = &template["spec"];
    let account = &pod["serviceAccountName"];
    let has_account = rendered.has_beside(object, "ServiceAccount", account);
    assert!(has_account, "{told}: there is no ServiceAccount {account}");
    let volumes: Vec<&Value> = pod["volumes"].as_array().into_iter().flatten().collect();
    for volume in &volumes {
        let (config, secret) = (
            &volume["configMap"]["name"],
            &volume["secret"]["secretName"],
        );
        let is_made = |it: &Value| it["spec"]["secretName"] == *secret;
        assert!(
            (config.is_null() || rendered.has_beside(object, "ConfigMap", config))
                && (secret.is_null()
                    || rendered.has_beside(object, "Secret", secret)
                    || volume["secret"]["optional"] == true
                    || rendered.of("Certificate").any(is_made)),
            "{told}: nobody makes what is in {volume}"
        );
    }
    for container in containers(pod) {
        assert!(is_ours(container), "{told}: {}", container["image"]);
        check_command_line(container, told);
        let mut numbers = BTreeSet::new();
        for port in container["ports"].as_array().into_iter().flatten() {
            assert!(
                numbers.insert(port["containerPort"].as_u64()),
                "{told}: {port}"
            );
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let port = &container[probe]["httpGet"]["port"];
            assert!(
                port.is_null() || has_port(template, port),
                "{told}: {probe}"
            );
        }
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let is_there = volumes.iter().any(|it| it["name"] == mount["name"]);
            assert!(is_there, "{told}: {mount}");
        }
    }
}

/// Says whether a port, by its name or number, is one of the pods.
fn has_port(template: &Value, port: &Value) -> bool {
    containers(&template["spec"])
        .filter_map(|it| it["ports"].as_array())
        .flatten()
        .any(|it| &it["name"] == port || &it["containerPort"] == port)
}

/// Returns the templates of the pods that a selector selects.
fn selected<'a>(rendered: &'a Rendered, selector: &Value) -> Vec<&'a Value> {
    let wanted = selector.as_object().expect("a selector must have labels");
    assert!(!wanted.is_empty(), "it would select everything");
    let templates = rendered.objects.iter().filter_map(template);
    let matches = |it: &&Value| {
        let labels = &it["metadata"]["labels"];
        wanted.iter().all(|(key, value)| &labels[key] == value)
    };
    templates.filter(matches).collect()
}

/// Checks that bindings, Services, monitors, budgets, policies and webhooks lead somewhere.
#[track_caller]
fn check_references(rendered: &Rendered, names: &str) {
    for binding in ["RoleBinding", "ClusterRoleBinding"] {
        for object in rendered.of(binding) {
            let told = format!("base, {names}: {}", title(object));
            let role = &object["roleRef"];
            let found = (rendered.of(role["kind"].as_str().unwrap()))
                .any(|it| it["metadata"]["name"] == role["name"]);
            assert!(found, "{told}: there is no {role}");
            for subject in list(object, "/subjects") {
                let beside = json!({"metadata": {"namespace": subject["namespace"]}});
                let found = rendered.has_beside(&beside, "ServiceAccount", &subject["name"]);
                assert!(found, "{told}: there is no {subject}");
            }
        }
    }
    let at = |object: &Value, pointer: &str| object.pointer(pointer).cloned().unwrap_or_default();
    let mut leads = 0;
    for (kind, selector, ports, port) in [
        ("Service", "/spec/selector", "/spec/ports", "targetPort"),
        (
            "PodMonitor",
            "/spec/selector/matchLabels",
            "/spec/podMetricsEndpoints",
            "port",
        ),
        ("PodDisruptionBudget", "/spec/selector/matchLabels", "", ""),
        ("NetworkPolicy", "/spec/podSelector/matchLabels", "", ""),
    ] {
        for object in rendered.of(kind) {
            let told = format!("base, {names}: {}", title(object));
            let templates = selected(rendered, &at(object, selector));
            assert_eq!(templates.len(), 1, "{told}: whom it selects");
            for wanted in at(object, ports).as_array().into_iter().flatten() {
                assert!(has_port(templates[0], &wanted[port]), "{told}: {wanted}");
            }
            let ingress = at(object, "/spec/ingress");
            for rule in ingress.as_array().into_iter().flatten() {
                for wanted in list(rule, "/ports") {
                    assert!(has_port(templates[0], &wanted["port"]), "{told}: {wanted}");
                }
            }
            leads += 1;
        }
    }
    assert!(3 <= leads, "base, {names}");
    // What may be called from outside the pod is let in.
    let policy = rendered.of("NetworkPolicy").next().unwrap();
    let open: BTreeSet<String> = (list(policy, "/spec/ingress").iter())
        .flat_map(|rule| list(rule, "/ports"))
        .map(|port| port["port"].to_string())
        .collect();
    for service in rendered.of("Service") {
        for port in list(service, "/spec/ports") {
            let target = port["targetPort"].to_string();
            assert!(
                open.contains(&target),
                "base, {names}: the policy bars {port}"
            );
        }
    }
    for kind in [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ] {
        for webhook in rendered.of(kind).flat_map(|it| list(it, "/webhooks")) {
            let called = &webhook["clientConfig"]["service"];
            let found = rendered.of("Service").any(|service| {
                let metadata = &service["metadata"];
                let ports = list(service, "/spec/ports");
                (&metadata["name"], &metadata["namespace"])
                    == (&called["name"], &called["namespace"])
                    && ports.iter().any(|port| port["port"] == called["port"])
            });
            assert!(found, "base, {names}: there is no {called}");
        }
    }
}

/// Checks that no role says more than what it is for, and none but one cluster-wide for Secrets each.
#[track_caller]
fn check_rights(rendered: &Rendered, names: &str) {
    for role in rendered.of("ClusterRole").chain(rendered.of("Role")) {
        for rule in list(role, "/rules") {
            let told = format!("base, {names}: {}: {rule}", title(role));
            for key in ["/apiGroups", "/resources", "/verbs"] {
                assert!(!list(rule, key).contains(&json!("*")), "{told}");
            }
            for verb in [
                "delete",
                "deletecollection",
                "escalate",
                "bind",
                "impersonate",
            ] {
                assert!(!list(rule, "/verbs").contains(&json!(verb)), "{told}");
            }
        }
    }
    let readers = match rendered.has("namespaced-secrets") {
        true => 0,
        false => 1 + usize::from(rendered.has("cronjob")),
    };
    assert_eq!(
        rules_over(&rendered.objects, "secrets"),
        readers,
        "base, {names}"
    );
}

/// Checks that each component does something wherever it is added.
fn check_effects(all: &[Rendered]) {
    let by_names: BTreeMap<&[String], &Vec<Value>> = (all.iter())
        .map(|rendered| (&rendered.components[..], &rendered.objects))
        .collect();
    for rendered in all {
        for left_out in &rendered.components {
            let others = rendered.components.iter().filter(|it| *it != left_out);
            let others: Vec<String> = others.cloned().collect();
            let without = by_names[&others[..]];
            assert_ne!(without, &rendered.objects, "{left_out} beside {others:?}");
        }
    }
}

#[test]
fn pods_of_other_kustomizations_are_hardened_as_well() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let mut checked = 0;
    for folder in crate::support::yaml::kustomizations() {
        for object in render(&kubectl, &folder) {
            let Some(template) = template(&object) else {
                continue;
            };
            // Examples have containers of other programs, which are their owners' matter.
            let mut pod = template["spec"].clone();
            for key in ["initContainers", "containers"] {
                if let Some(all) = pod[key].as_array_mut() {
                    all.retain(is_ours);
                }
            }
            assert_ne!(containers(&pod).count(), 0, "{folder}: {}", title(&object));
            check_hardened(&pod, &format!("{folder}: {}", title(&object)));
            checked += 1;
        }
    }
    assert!(6 < checked, "only {checked}");
}

#[test]
fn every_component_is_told_of() {
    let page = read("docs/operations.md");
    let told: BTreeSet<String> = (table(&page, "## Components").iter())
        .map(|row| code(&row[0])[0].to_owned())
        .collect();
    let folders = below("manifests/components", |path| {
        path.ends_with("kustomization.yaml")
    });
    let there: BTreeSet<String> = (folders.iter())
        .map(|path| path.iter().nth(2).unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        told, there,
        "docs/operations.md on the left, the folder on the right"
    );
}
