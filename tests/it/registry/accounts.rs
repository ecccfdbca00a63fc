//! Pods whose images are pulled by tokens of their ServiceAccounts, end to end, and the rights that this takes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::{Value, json};
use testbed::{
    images::Format,
    kubelet::{self, Host},
    manifests,
};

use crate::support::{
    docker_registry::{DockerRegistry, Protection},
    files::root,
    folder::Folder,
    kube::{annotation, eventually, name},
    kubectl::Kubectl,
    look::on_testbed,
    oci::Oci,
    plugin::{self, Plugin},
    program::Program,
    simulated::Setup,
    skip::need,
    world::World,
    yaml::{render, title},
};

const ANN: (&str, &str) = ("ann", "correct horse");
const COMPONENT: &str = "manifests/components/service-account-tokens";
const ACCOUNT: &str = "system:serviceaccount:podrefresh:podrefresh";

/// Returns a plugin for `registry` whose password is what the annotation `a.test/password` of the account says, and
/// that answers only where it was given a token.
fn plugin(registry: &str) -> Plugin {
    let answer = plugin::answer(registry, ANN.0, "$PASSWORD");
    let script = format!(
        r#"read -r REQUEST
        case $REQUEST in *'"serviceAccountToken":"testbed-'*) ;; *) exit 1;; esac
        PASSWORD=${{REQUEST#*'"a.test/password":"'}}; PASSWORD=${{PASSWORD%%'"'*}}
        {answer}"#
    );
    let attributes = json!({
        "serviceAccountTokenAudience": "registry", "cacheType": "ServiceAccount", "requireServiceAccount": true,
        "requiredServiceAccountAnnotationKeys": ["a.test/password"],
    });
    Plugin::new(registry, &script, json!({"tokenAttributes": attributes}))
}

/// The objects of the component.
fn component() -> Vec<Value> {
    manifests::read(&root().join(COMPONENT).join("rbac.yaml")).unwrap()
}

/// A world whose nodes pull from `registry` by its password, and whose controller has `plugin`.
async fn world(registry: &DockerRegistry, plugin: &Plugin, objects: Vec<Value>) -> World {
    let host = Host {
        url: format!("http://{}", registry.host()),
        ca_pem: String::new(),
        user: Some((ANN.0.to_owned(), ANN.1.to_owned())),
    };
    let nodes = kubelet::Options {
        hosts: [(registry.host().to_owned(), host)].into(),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let mut world = World::with(setup).await;
    let cluster = &world.testbed().cluster;
    cluster.install(objects).await.unwrap();
    let flags = plugin.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    world.controller(&flags).await;
    world
}

/// Opts a namespace in whose default account has this password.
async fn namespace(world: &World, name: &str, password: &str) {
    world.kube.opted_in(name).await;
    let metadata = json!({"annotations": {"a.test/password": password}});
    let patch = json!({ "metadata": metadata });
    world
        .kube
        .patch::<ServiceAccount>(name, "default", patch)
        .await;
}

async fn registry() -> Option<DockerRegistry> {
    let protection = Protection {
        user: Some(ANN),
        ..Protection::default()
    };
    need(DockerRegistry::start(protection).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_stamped_and_refreshed_by_tokens_of_their_own_accounts() {
    if !on_testbed() {
        return;
    }
    let Some(registry) = registry().await else {
        return;
    };
    let plugin = plugin(registry.host());
    let world = world(&registry, &plugin, component()).await;
    let oci = Oci::new(&registry, Some(ANN));
    let [old, new] = ["1", "2"].map(|seed| Format::Oci.multi_platform(seed));
    let image = oci.push("shop/web", "stable", &old).await;
    namespace(&world, "rich", ANN.1).await;
    namespace(&world, "poor", "wrong").await;
    for namespace in ["rich", "poor"] {
        world.kube.deployment(namespace, "web", 1, &image).await;
        let pods = world.kube.running(namespace, 1, old.digest()).await;
        let expected = match namespace {
            "rich" => old.digest(),
            _ => "",
        };
        assert_eq!(annotation(&pods[0], "digest.podrefresh.io/app"), expected);
    }
    // As a person sees it.
    let pod = name(&world.kube.pods("rich").await[0]).to_owned();
    let [config, folder] = plugin.flags();
    let arguments = [
        "digest", "-v", "-n", "rich", "--pod", &pod, &config, &folder,
    ];
    let kubeconfig = world.testbed().cluster.kubeconfig();
    let outcome = Program::new(arguments).kubeconfig(&kubeconfig).run().await;
    let shown = format!("credential provider shell key {}", registry.host());
    assert!(outcome.stdout.contains(&shown), "{outcome}");
    assert!(!outcome.to_string().contains(ANN.1), "{outcome}");

    oci.push("shop/web", "stable", &new).await;
    let pods = world.kube.running("rich", 1, new.digest()).await;
    assert_eq!(
        annotation(&pods[0], "digest.podrefresh.io/app"),
        new.digest()
    );
    // Whose account opens nothing keeps what runs.
    world.kube.running("poor", 1, old.digest()).await;

    // The rights of the component are those that this took.
    let journal = world.testbed().cluster.journal().clone();
    let calls = journal.find(|call| call.user == ACCOUNT && call.resource == "serviceaccounts");
    let made: BTreeSet<String> = calls
        .iter()
        .map(|call| format!("{} {}/{}", call.verb, call.resource, call.subresource))
        .collect();
    assert!(calls.iter().all(|call| call.status < 300), "{calls:?}");
    let component = component();
    let role = component.iter().find(|it| it["kind"] == "ClusterRole");
    let rules = role.unwrap()["rules"].as_array().unwrap().iter();
    let granted: BTreeSet<String> = rules
        .map(|rule| {
            let word = |key: &str| rule[key][0].as_str().unwrap().to_owned();
            let resource = word("resources");
            let slash = if resource.contains('/') { "" } else { "/" };
            format!("{} {resource}{slash}", word("verbs"))
        })
        .collect();
    assert_eq!(granted, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_component_it_is_told_that_the_right_is_missing() {
    if !on_testbed() {
        return;
    }
    let Some(registry) = registry().await else {
        return;
    };
    let plugin = plugin(registry.host());
    let world = world(&registry, &plugin, Vec::new()).await;
    let image = Format::Oci.multi_platform("1");
    let oci = Oci::new(&registry, Some(ANN));
    let reference = oci.push("shop/web", "stable", &image).await;
    namespace(&world, "rich", ANN.1).await;
    world.kube.deployment("rich", "web", 1, &reference).await;
    let pods = world.kube.running("rich", 1, image.digest()).await;
    assert_eq!(annotation(&pods[0], "digest.podrefresh.io/app"), "");
    let forbidden = "podrefresh_credentials_problems_total{reason=\"account_forbidden\"}";
    let running = &world.controllers()[0];
    eventually("the missing right to be told", || async {
        (running.metric(forbidden).await > 0.0).then_some(())
    })
    .await;
    let words = "podrefresh may not read service account rich/default";
    world.kube.told("rich", "Unresolved", words).await;
}

#[test]
fn the_component_adds_its_rights_to_the_base_and_nothing_else() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let folder = Folder::new();
    let overlay = folder.path().join("overlay");
    std::fs::create_dir(&overlay).unwrap();
    std::os::unix::fs::symlink(root().join("manifests"), folder.path().join("manifests")).unwrap();
    let text = "resources: [../manifests/base]\ncomponents: [../manifests/components/service-account-tokens]\n";
    folder.write("overlay/kustomization.yaml", text);
    let base = render(&kubectl, "manifests/base");
    let all = render(&kubectl, overlay.to_str().unwrap());
    let added: BTreeSet<String> = all
        .iter()
        .filter(|object| !base.contains(object))
        .map(title)
        .collect();
    let name = "podrefresh-service-account-tokens";
    let expected = ["ClusterRole", "ClusterRoleBinding"].map(|kind| format!("{kind} {name}"));
    assert_eq!(added, BTreeSet::from(expected));
}
