//! The sidecar's manifests: rights that are those that are used, and examples that would work.

use clap::Parser as _;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use podrefresh::cli::{Cli, Command};
use serde_json::{Value, json};
use testbed::registry::{Auth, User};

use super::deploy;
use crate::{
    rbac::{compare, rights},
    support::{
        crew::ACCOUNT,
        files::read,
        kube::workload,
        kubectl::Kubectl,
        look::on_testbed,
        simulated::Setup,
        skip::need,
        world::World,
        yaml::{list, render},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_sidecars_are_those_that_they_use() {
    // A real API server keeps no journal of who has asked for what.
    if !on_testbed() {
        return;
    }
    let setup = Setup {
        auth: Auth::Basic(vec![User::new("ann", "password")]),
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.sidecar_namespace("shop").await;
    let host = world.registry.host();
    world
        .kube
        .pull_secret("shop", "pull", &host, "ann", "password")
        .await;
    let spec = |extra: Value| {
        let mut spec = json!({"template": {"spec": {"imagePullSecrets": [{"name": "pull"}]}}});
        json_patch::merge(&mut spec, &extra);
        spec
    };
    deploy(&world, "web", &image, spec(json!({"replicas": 1}))).await;
    let set = workload(
        "db",
        &image,
        spec(json!({"replicas": 1, "serviceName": "db"})),
    );
    world.kube.create::<StatefulSet>("shop", set).await;
    let daemons = workload("agent", &image, spec(json!({})));
    world.kube.create::<DaemonSet>("shop", daemons).await;
    world.kube.running("shop", 5, &old).await;
    let crew = world.crew("shop", &[]).await;
    crew.begun(5).await;
    let (_, new) = world.push("shop/web", "stable", "2");
    world.kube.running("shop", 5, &new).await;
    world.kube.told("shop", "Restarted", &new).await;
    crew.assert_well();
    drop(crew);
    let folder = "manifests/components/sidecar/rbac";
    let account = format!("system:serviceaccount:shop:{ACCOUNT}");
    compare(&world, &account, &rights(folder), folder);
}

/// Returns the containers of an example: the sidecar, and all.
fn containers(pod: &Value) -> (Value, Vec<Value>) {
    let lists = ["/initContainers", "/containers"];
    let all: Vec<Value> = (lists.iter())
        .filter_map(|pointer| pod.pointer(pointer)?.as_array())
        .flatten()
        .cloned()
        .collect();
    let ours = all
        .iter()
        .find(|it| it["image"].as_str().unwrap().contains("/podrefresh:"));
    (ours.expect("one must be ours").clone(), all)
}

#[test]
fn the_examples_watch_a_container_that_is_there_and_pulls_always() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    for (kind, restart) in [("native", json!("Always")), ("plain", Value::Null)] {
        let objects = render(&kubectl, &format!("manifests/components/sidecar/{kind}"));
        let deployment = objects
            .iter()
            .find(|it| it["kind"] == "Deployment")
            .unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let (sidecar, all) = containers(pod);
        assert_eq!(sidecar["restartPolicy"], restart, "{kind}");
        assert_eq!(sidecar["env"][0]["name"], "POD_NAME", "{kind}");
        assert_eq!(
            sidecar["env"][0]["valueFrom"]["fieldRef"]["fieldPath"],
            "metadata.name"
        );
        let context = &sidecar["securityContext"];
        assert_eq!(context["runAsNonRoot"], true, "{kind}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{kind}");
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{kind}");
        let args = list(&sidecar, "/args").iter().filter_map(Value::as_str);
        let line: Vec<&str> = ["podrefresh"].into_iter().chain(args).collect();
        let Command::Sidecar(flags) = Cli::try_parse_from(line).unwrap().command else {
            panic!("{kind}: the command must be the sidecar's")
        };
        let watched = all
            .iter()
            .find(|it| it["name"] == flags.container.as_deref().unwrap());
        assert_eq!(watched.unwrap()["imagePullPolicy"], "Always", "{kind}");
        let resources = |pointer: &str| sidecar["resources"].pointer(pointer).unwrap().as_str();
        let [cpu, memory, most] = ["/requests/cpu", "/requests/memory", "/limits/memory"]
            .map(|it| resources(it).unwrap());
        let told = format!("| {memory} and {cpu} requested, {most} at most |");
        assert!(read("docs/migration.md").contains(&told), "{kind}: {told}");
        // Its account is the one that has the rights, in the same namespace.
        let account = &pod["serviceAccountName"];
        let binding = objects
            .iter()
            .find(|it| it["kind"] == "RoleBinding")
            .unwrap();
        assert_eq!(&binding["subjects"][0]["name"], account, "{kind}");
        assert_eq!(
            binding["subjects"][0]["namespace"],
            deployment["metadata"]["namespace"]
        );
        let one = objects
            .iter()
            .find(|it| it["kind"] == "ServiceAccount")
            .unwrap();
        assert_eq!(&one["metadata"]["name"], account, "{kind}");
        // It may do nothing outside its namespace.
        assert!(
            !objects
                .iter()
                .any(|it| it["kind"].as_str().unwrap().starts_with("Cluster"))
        );
    }
}
