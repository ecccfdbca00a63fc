//! The component `namespaced-secrets`: Secrets are read where podrefresh is bound, and nowhere else.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use testbed::registry::{Auth, User};

use crate::support::{
    files::read,
    hands::Hands,
    kube::{annotation, eventually, workload},
    kubectl::Kubectl,
    look::on_testbed,
    markdown::{blocks, section},
    overlay::{Overlay, overlay},
    program::Program,
    simulated::Setup,
    skip::need,
    world::World,
    yaml::list,
};

const ACCOUNT: &str = "system:serviceaccount:podrefresh:podrefresh";
const STAMP: &str = "digest.podrefresh.io/app";

/// Returns the blocks of one language in the section that tells of it.
fn told(language: &str) -> Vec<String> {
    let page = read("docs/private-registries.md");
    blocks(section(&page, "## Namespaces one by one"), language)
}

/// Makes an opted-in namespace with a pull secret, and a Deployment of two pods that pulls with it.
async fn shop(world: &World, name: &str, image: &str) {
    let kube = &world.kube;
    kube.opted_in(name).await;
    let host = world.registry.host();
    kube.pull_secret(name, "pull", &host, "ann", "a-password")
        .await;
    let pull = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let web = workload("web", image, json!({"replicas": 2, "template": pull}));
    kube.create::<Deployment>(name, web).await;
}

/// Checks how the nightly run over one namespace, as its own account, ends.
async fn check_run(world: &World, namespace: &str, code: i32) {
    let words = [
        "once",
        "--confirm-after=100ms",
        "--timeout=50s",
        "--namespace",
    ];
    let account = world.account_kubeconfig("podrefresh-once").await;
    let outcome = Program::new(words.into_iter().chain([namespace]))
        .kubeconfig(&account)
        .run()
        .await;
    assert_eq!(outcome.code, Some(code), "{outcome}");
    let complaint = "error: 1 image could not be looked up";
    assert_eq!(outcome.complaint() == complaint, code == 1, "{outcome}");
}

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.uid()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_namespace_is_refreshed_and_another_is_left_as_it_is() {
    // Nodes of a real cluster need not know how to pull with a pull secret.
    if !on_testbed() {
        return;
    }
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let auth = Auth::Basic(vec![User::new("ann", "a-password")]);
    let setup = Setup {
        auth,
        ..Setup::default()
    };
    // The base is installed already, as on a cluster where somebody thinks better of it.
    let mut world = World::with(setup).await;
    let components = Overlay::with(&["cronjob", "namespaced-secrets"]);
    world.install(components.render(&kubectl)).await;
    let hands = Hands::new(kubectl, &world);
    let [bind, ask, unbind] = &told("sh")[..] else {
        panic!("three commands");
    };
    let (image, old) = world.push("shop/web", "stable", "1");
    shop(&world, "shop", &image).await;
    let says_no = hands.shell(ask).await;
    assert_eq!(String::from_utf8_lossy(&says_no.stdout).trim(), "no");
    let bound = hands.run(bind).await;
    assert!(
        bound.contains("rolebinding.rbac.authorization.k8s.io/podrefresh-secrets created"),
        "{bound}"
    );
    assert_eq!(hands.run(ask).await.trim(), "yes");

    world.controller(&[]).await;
    let kube = &world.kube;
    kube.running("shop", 2, &old).await;
    hands
        .run("kubectl -n shop rollout restart deployment/web && kubectl -n shop rollout status deployment/web")
        .await;
    for pod in kube.running("shop", 2, &old).await {
        assert_eq!(annotation(&pod, STAMP), old);
    }
    shop(&world, "attic", &image).await;
    let before = kube.running("attic", 2, &old).await;
    for pod in &before {
        assert_eq!(annotation(pod, STAMP), "");
    }
    let pull = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let try_in_attic =
        format!("kubectl -n attic run try --image={image} --dry-run=server --overrides='{pull}'");
    let warned = hands.shell(&try_in_attic).await;
    let warned = String::from_utf8_lossy(&warned.stderr);
    assert!(
        warned.contains("Warning: ") && warned.contains("attic/pull"),
        "{warned}"
    );

    let (_, new) = world.push("shop/web", "stable", "2");
    for pod in kube.running("shop", 2, &new).await {
        assert_eq!(annotation(&pod, STAMP), new);
    }
    let note = kube.told("attic", "Unresolved", &image).await;
    assert!(
        note.contains("attic/pull") && note.contains("may not read it"),
        "{note}"
    );
    let problems = "podrefresh_credentials_problems_total{reason=\"secret_forbidden\"}";
    world.controllers()[0].reaches(problems, 1.0).await;
    world.looks(4).await;
    assert_eq!(uids(&kube.pods("attic").await), uids(&before));
    world.controllers()[0].readiness(200).await;
    check_run(&world, "shop", 0).await;
    check_run(&world, "attic", 1).await;
    hands
        .run("kubectl annotate namespace attic podrefresh.io/on-unresolved=deny")
        .await;
    // The controller has to hear of it first.
    let refused = async || {
        let tried = hands.shell(&try_in_attic).await;
        let said = String::from_utf8_lossy(&tried.stderr).into_owned();
        (!tried.status.success()).then_some(said)
    };
    let refused = eventually("a pod that is refused", refused).await;
    assert!(
        refused.contains("denied the request") && refused.contains("attic/pull"),
        "{refused}"
    );

    // Nothing else was refused, and no other Secret read.
    let journal = world.testbed().cluster.journal();
    for call in journal.find(|call| call.user == ACCOUNT) {
        let is_there = (call.resource == "secrets") && call.namespace == "attic";
        assert_eq!(call.status == 403, is_there, "{call:?}");
    }

    // Once it is bound it is like the other.
    hands.run(&bind.replace("-n shop", "-n attic")).await;
    kube.running("attic", 2, &new).await;
    let gone = hands.run(unbind).await;
    assert_eq!(gone.lines().count(), 2, "{gone}");
    assert_eq!(
        String::from_utf8_lossy(&hands.shell(ask).await.stdout).trim(),
        "no"
    );
    world.testbed().cluster.assert_clean();
}

/// Returns the rules of the ClusterRoles that a ClusterRoleBinding gives to whom it may concern.
fn cluster_wide(objects: &[Value]) -> Vec<&Value> {
    let of = |kind: &'static str| objects.iter().filter(move |it| it["kind"] == kind);
    let bound: BTreeSet<&str> = of("ClusterRoleBinding")
        .map(|it| it["roleRef"]["name"].as_str().unwrap())
        .collect();
    of("ClusterRole")
        .filter(|it| bound.contains(it["metadata"]["name"].as_str().unwrap()))
        .flat_map(|role| list(role, "/rules"))
        .collect()
}

/// Says how many of the rules name a resource, by itself or by `*`.
pub(crate) fn rules_over(objects: &[Value], resource: &str) -> usize {
    let names = |rule: &&&Value| {
        let resources = list(rule, "/resources");
        resources.contains(&json!(resource)) || resources.contains(&json!("*"))
    };
    cluster_wide(objects).iter().filter(names).count()
}

#[test]
fn no_right_over_secrets_is_left_that_is_cluster_wide() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let secrets =
        |components: &[&str]| rules_over(&Overlay::with(components).render(&kubectl), "secrets");
    assert_eq!(secrets(&["cronjob"]), 2);
    assert_eq!(secrets(&["cronjob", "namespaced-secrets"]), 0);
    assert_eq!(secrets(&["namespaced-secrets"]), 0);

    // What else is told of renders, and takes away what it says.
    let overlays = told("yaml");
    assert_eq!(overlays.len(), 3);
    let rendered = |text: &str| overlay(&kubectl, &text.replace("../", "@/"));
    let [both, binding, strict] = [0, 1, 2].map(|n| rendered(&overlays[n]));
    assert_eq!(rules_over(&both, "secrets"), 0);
    assert_eq!(binding[0]["metadata"]["namespace"], "shop");
    for subject in list(&binding[0], "/subjects") {
        assert_eq!(subject["namespace"], "podrefresh", "{subject}");
    }
    let patches = |objects: &[Value]| {
        let rules = cluster_wide(objects).into_iter();
        let apps = rules.filter(|rule| list(rule, "/apiGroups").contains(&json!("apps")));
        apps.filter(|rule| list(rule, "/verbs").contains(&json!("patch")))
            .count()
    };
    assert_eq!((patches(&both), patches(&strict)), (2, 0));
    assert_eq!(rules_over(&strict, "deployments"), 1, "they are still read");
}

#[test]
fn its_own_secret_is_still_its_own() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let role = |objects: &[Value]| {
        let mut roles = objects.iter().filter(|it| it["kind"] == "Role");
        roles.next().unwrap().clone()
    };
    let base = Overlay::with(&[]).render(&kubectl);
    let component = Overlay::with(&["namespaced-secrets"]).render(&kubectl);
    assert_eq!(role(&component), role(&base));
    let ours = json!(["podrefresh-tls"]);
    let rules = role(&component);
    assert!(
        list(&rules, "/rules")
            .iter()
            .any(|it| it["resourceNames"] == ours)
    );
    // Nothing else of the base is touched.
    let changed: Vec<&Value> = base.iter().filter(|it| !component.contains(it)).collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0]["kind"], "ClusterRole");
    assert_eq!(component.len(), base.len() + 1);
}
