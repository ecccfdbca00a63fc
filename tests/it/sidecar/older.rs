//! What the README of kubernetes-pod-reloader gives its users, run through ours: its Deployment, ServiceAccount, Role
//! and environment, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{
    images::Format,
    registry::{Registry, Target},
};

use super::restarted;
use crate::support::{
    files::read,
    kube::name,
    markdown::{code, table_of},
    program::Program,
    world::World,
    yaml::list,
};

const CHECKER: &str = "image-checker-sa";

/// Returns the README's Deployment with these images, its sidecar's being ours.
fn deployment(image: &str, ours: &str) -> Value {
    let probe = |period| {
        json!({
            "httpGet": {"path": "/", "port": 3000},
            "initialDelaySeconds": 30, "periodSeconds": period, "failureThreshold": 3,
        })
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "nginx-watched", "labels": {"app": "nginx-watched"}},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": {"app": "mnginx-watched"}},
            "template": {
                "metadata": {"labels": {"app": "nginx-watched"}},
                "spec": {
                    "serviceAccountName": CHECKER,
                    "containers": [
                        {
                            "name": "main-container", "image": image, "imagePullPolicy": "Always",
                            "ports": [{"containerPort": 80}],
                            "readinessProbe": probe(5), "livenessProbe": probe(10),
                        },
                        {
                            "name": "image-checker", "image": ours, "imagePullPolicy": "Always",
                            "args": ["sidecar"],
                            "env": [{"name": "IMAGE_CHECKER_WATCH_CONTAINER", "value": "main-container"}],
                        },
                    ],
                },
            },
        },
    })
}

/// Returns the README's ServiceAccount, Role and RoleBinding, whose subject lies in `namespace`.
fn account(namespace: &str) -> [Value; 3] {
    let rbac = "rbac.authorization.k8s.io";
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CHECKER}}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "image-checker-role"},
            "rules": [
                {
                    "apiGroups": ["apps"], "resources": ["deployments", "replicasets"],
                    "verbs": ["get", "patch", "list", "watch"],
                },
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": {"name": "image-checker-rolebinding"},
            "subjects": [{"kind": "ServiceAccount", "name": CHECKER, "namespace": namespace}],
            "roleRef": {"kind": "Role", "name": "image-checker-role", "apiGroup": rbac},
        }),
    ]
}

/// Gives a pod an address of this machine, where its sidecar runs in this test.
async fn here(world: &World, pod: &Pod) {
    if world.simulated.is_none() {
        let address = json!({"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]});
        let patch = Patch::Merge(json!({"status": address}));
        let (pods, params) = (world.kube.api::<Pod>("shop"), PatchParams::default());
        pods.patch_status(name(pod), &params, &patch).await.unwrap();
    }
}

/// Resources, as the page names them, with the verbs of a Role.
fn verbs(role: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let words = |rule: &Value, field: &str| -> Vec<String> {
        serde_json::from_value(rule[field].clone()).unwrap()
    };
    let mut verbs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for rule in list(role, "/rules") {
        for resource in words(rule, "resources") {
            let group = &words(rule, "apiGroups")[0];
            let named = match &**group {
                "" | "apps" => resource,
                group => format!("{group}/{resource}"),
            };
            let known = verbs.entry(named).or_default();
            known.extend(words(rule, "verbs"));
        }
    }
    verbs
}

#[test]
fn the_rights_that_the_page_tells_are_those_of_both_roles() {
    let path = "manifests/components/sidecar/rbac/rbac.yaml";
    let ours = testbed::manifests::parse(&read(path)).unwrap();
    let ours = ours.iter().find(|object| object["kind"] == "Role").unwrap();
    let roles = [verbs(&account("shop")[1]), verbs(ours)];
    let mut told = [BTreeMap::new(), BTreeMap::new()];
    let known = ["create", "get", "list", "patch", "watch"];
    for row in table_of(&read("docs/migration.md"), "right") {
        for resource in code(&row[0]) {
            for (told, cell) in told.iter_mut().zip(&row[1..]) {
                let words = cell.split(", ").filter(|word| known.contains(word));
                let verbs: BTreeSet<String> = words.map(str::to_owned).collect();
                if !verbs.is_empty() {
                    told.insert(resource.to_owned(), verbs);
                }
            }
        }
    }
    assert_eq!(told, roles);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_example_works_once_what_no_cluster_takes_is_mended() {
    let world = World::start().await;
    let other = Registry::anonymous().await.unwrap();
    let push = |seed| {
        let image = Format::Oci.image("linux/amd64", seed);
        other.store("library/nginx", "latest", &image);
        world.push_image("library/nginx", "latest", &image)
    };
    let (image, old) = push("1");
    let (ours, _) = world.push("podrefresh/podrefresh", "latest", "ours");
    let label = json!({"podrefresh.io/enabled": "false"});
    world.kube.namespace("shop", label, json!({})).await;
    // Its binding gives the rights to an account of another namespace.
    for object in account("manifest") {
        world.put("shop", object).await;
    }
    // Its selector misses its own pods, which no API server takes.
    let mut watched = deployment(&image, &ours);
    let deployments = world.kube.api::<Deployment>("shop");
    let as_given = serde_json::from_value(watched.clone()).unwrap();
    let refused = deployments
        .create(&PostParams::default(), &as_given)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("selector"), "{refused}");
    watched["spec"]["selector"]["matchLabels"]["app"] = json!("nginx-watched");
    world
        .kube
        .create::<Deployment>("shop", watched.clone())
        .await;
    let pods = world.kube.running("shop", 1, &old).await;
    here(&world, &pods[0]).await;

    // As its container runs: the README's variables, and the hostname that a kubelet gives.
    let process = Program::new(["sidecar"])
        .env("IMAGE_CHECKER_WATCH_CONTAINER", "main-container")
        .env(
            "IMAGE_CHECKER_REGISTRY_URL",
            format!("{}/api/v1/repository/", other.url()),
        )
        .env("PODREFRESH_CONFIRM_AFTER", "100ms")
        .env("PODREFRESH_POLL_INTERVAL", "300ms")
        .env("HOSTNAME", name(&pods[0]))
        .kubeconfig(&world.kubeconfig_of("shop", CHECKER).await)
        .start();
    process.says("cannot get resource \\\"pods\\\"").await;
    let [.., mut binding] = account("shop");
    binding["metadata"]["name"] = json!("image-checker-mended");
    world.put("shop", binding).await;
    process
        .says("Watching container main-container of pod shop/nginx-watched-")
        .await;

    let (_, new) = push("2");
    restarted(&world, "nginx-watched", "").await;
    world.kube.running("shop", 1, &new).await;
    let said = process
        .says("Restarted Deployment shop/nginx-watched")
        .await;
    // It has asked where that tool's variable leads, and nowhere else.
    let asked = |registry: &Registry| {
        let asked = registry.requests(&Target::all());
        let mut asked = asked.iter().map(|it| &it.agent);
        asked.any(|agent| agent.starts_with("podrefresh/"))
    };
    assert_eq!((asked(&other), asked(&world.registry)), (true, false));
    // The right to write Events and to read Secrets is not in its Role, and not missed.
    assert!(!said.contains("secrets"), "{said}");
}
