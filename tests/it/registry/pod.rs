//! `podrefresh digest --pod`: what a pod of the cluster would get, by its own credentials.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use testbed::{
    Cluster,
    images::Format,
    registry::{Auth, Options, Registry, User},
};

use crate::support::{
    kube::Kube,
    program::{Outcome, Program},
    world::client,
};

/// A cluster with one pod, whose images lie in a registry that lets in only whom its secret names.
struct Scene {
    cluster: Cluster,
    registry: Registry,
    digest: String,
}

impl Scene {
    async fn new() -> Self {
        let registry = Registry::start(Options {
            auth: Auth::Basic(vec![User::new("ann", "hunter2")]),
            ..Options::default()
        })
        .await
        .unwrap();
        let image = Format::Oci.multi_platform("1");
        for repository in ["shop/web", "shop/proxy", "shop/other"] {
            registry.store(repository, "stable", &image);
        }
        let cluster = Cluster::start().await.unwrap();
        let kube = Kube(client(&cluster.kubeconfig()).await);
        kube.opted_in("shop").await;
        kube.pull_secret("shop", "pull", &registry.host(), "ann", "hunter2")
            .await;
        let container = |name: &str, repository: &str| json!({"name": name, "image": registry.reference(repository, "stable")});
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [container("setup", "shop/web")],
                "containers": [container("app", "shop/web"), container("proxy", "shop/proxy")],
            },
        });
        kube.create::<Pod>("shop", pod).await;
        Self {
            cluster,
            registry,
            digest: image.digest().to_owned(),
        }
    }

    fn reference(&self, repository: &str) -> String {
        self.registry.reference(repository, "stable")
    }

    async fn run(&self, kubeconfig: &str, arguments: &[&str]) -> Outcome {
        let arguments = ["digest"].into_iter().chain(arguments.iter().copied());
        let outcome = Program::new(arguments).kubeconfig(kubeconfig).run().await;
        assert!(!outcome.to_string().contains("hunter2"), "{outcome}");
        outcome
    }

    /// Runs it as the administrator.
    async fn digest(&self, arguments: &[&str]) -> Outcome {
        self.run(&self.cluster.kubeconfig(), arguments).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_image_those_of_the_pod_are_resolved_by_its_own_secret() {
    let scene = Scene::new().await;
    let [web, proxy] = ["shop/web", "shop/proxy"].map(|name| scene.reference(name));
    let outcome = scene.digest(&["-n", "shop", "--pod", "web"]).await;
    let digest = &scene.digest;
    assert_eq!(
        outcome.stdout,
        format!("{digest}  {web}\n{digest}  {proxy}\n"),
        "{outcome}"
    );
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");

    let outcome = scene.digest(&["-n", "shop", "--pod", "web", "-v"]).await;
    let lines: Vec<String> = (outcome.stdout.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let key = format!("credential secret shop/pull key {}", scene.registry.host());
    assert_eq!(
        lines[1..3],
        ["container setup", "container app"],
        "{outcome}"
    );
    assert_eq!(lines[4], key, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_secret_opens_other_images_and_nobody_elses() {
    let scene = Scene::new().await;
    let other = scene.reference("shop/other");
    let outcome = scene
        .digest(&["--namespace=shop", "--pod=web", &other])
        .await;
    let found = format!("{}  {other}\n", scene.digest);
    assert_eq!((outcome.code, outcome.stdout), (Some(0), found));
    let outcome = scene.digest(&[&other]).await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    assert!(outcome.stderr.contains("(tried anonymous)"), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_there_and_a_cluster_that_is_not_are_told() {
    let scene = Scene::new().await;
    // The kubeconfig's namespace is another one.
    for (arguments, place) in [
        (&["--pod", "web"][..], "default/web"),
        (&["--pod", "nobody", "-n", "shop"], "shop/nobody"),
    ] {
        let outcome = scene.digest(arguments).await;
        assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
        let expected = format!("error: there is no pod {place}\n");
        assert_eq!(outcome.stderr, expected, "{outcome}");
    }
    let outcome = Program::new(["digest", "--pod", "web"]).run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("error: no cluster"), "{outcome}");
    for arguments in [
        &["digest"][..],
        &["digest", "-n", "shop"],
        &["digest", "--pod="],
    ] {
        let outcome = Program::new(arguments.iter().copied()).run().await;
        assert_eq!(outcome.code, Some(2), "{outcome}");
    }
}

/// Returns the objects that let the ServiceAccount `viewer` of `shop` do these things.
fn viewer(rules: Value) -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let named = json!({"name": "viewer", "namespace": "shop"});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named}),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": named, "rules": rules,
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": named,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "viewer"},
            "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": "shop"}],
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_not_read_is_told_by_its_name() {
    let pods = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    for (rules, expected) in [
        (json!([]), "error: pod shop/web could not be read: "),
        (
            json!([pods]),
            "secret shop/pull cannot be used: podrefresh may not read it: ",
        ),
    ] {
        let scene = Scene::new().await;
        scene.cluster.install(viewer(rules)).await.unwrap();
        let kubeconfig = scene.cluster.kubeconfig_for("shop", "viewer").unwrap();
        let outcome = scene
            .run(&kubeconfig, &["-n", "shop", "--pod", "web"])
            .await;
        assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
        assert!(outcome.stderr.contains(expected), "{outcome}");
        assert!(
            outcome.stderr.contains("system:serviceaccount:shop:viewer"),
            "{outcome}"
        );
    }
}
