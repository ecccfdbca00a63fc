//! Pull secrets of all forms that docs/migration.md tells of open their images, and each namespace has its own only.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use serde_json::{Value, json};
use testbed::{
    images::Format,
    kubelet::{self, Host},
    registry::{Auth, Bearer, Registry, User},
};

use super::{check, lines, namespace, run, world};
use crate::support::{folder::Folder, kube::workload, simulated::Setup, world::World};

const HOME: &str = "once-secrets";
const THIEF: &str = "once-thief";

/// `ann:a-password`, as docker writes it.
const AUTH: &str = "YW5uOmEtcGFzc3dvcmQ=";

/// Creates a pull secret of either type.
async fn secret(world: &World, name: &str, key: &str, content: &Value) {
    let secret = json!({
        "metadata": {"name": name},
        "type": format!("kubernetes.io/{}", key.trim_start_matches('.')),
        "stringData": {key: content.to_string()},
    });
    world.kube.create::<Secret>(HOME, secret).await;
}

/// Creates a Deployment of one pod that names these secrets.
async fn deploy(world: &World, namespace: &str, name: &str, image: &str, secrets: &[&str]) {
    let named: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
    let template = json!({"spec": {"imagePullSecrets": named}});
    let spec = json!({"replicas": 1, "template": template});
    (world.kube)
        .create::<Deployment>(namespace, workload(name, image, spec))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_pull_secret_opens_and_in_its_own_namespace_only() {
    // What is Docker Hub to the cluster.
    let hub = Registry::anonymous().await.unwrap();
    let host = Host {
        url: hub.url().to_owned(),
        ca_pem: String::new(),
        user: None,
    };
    let nodes = kubelet::Options {
        hosts: [("docker.io".to_owned(), host)].into(),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let world = world(setup).await;
    for home in [HOME, THIEF] {
        namespace(&world, home).await;
    }
    let host = world.registry.host();
    let (_, port) = host.split_once(':').unwrap();
    let right = json!({"username": "ann", "password": "a-password"});
    let wrong = json!({"username": "ann", "password": "wrong"});
    let auths = |key: &str, entry: Value| json!({"auths": {key: entry}});
    let config = ".dockerconfigjson";
    for (name, key, content) in [
        ("password", config, auths(&host, right.clone())),
        ("auth", config, auths(&host, json!({"auth": AUTH}))),
        (
            "identity",
            config,
            auths(&host, json!({"identitytoken": "a-token"})),
        ),
        ("older-type", ".dockercfg", json!({&host: right.clone()})),
        (
            "path",
            config,
            auths(&format!("https://{host}/team/"), right.clone()),
        ),
        (
            "wildcard",
            config,
            auths(&format!("127.0.*.1:{port}"), right.clone()),
        ),
        ("wrong", config, auths(&host, wrong)),
        ("hub", config, auths("https://index.docker.io/v1/", right)),
    ] {
        secret(&world, name, key, &content).await;
    }
    let several: &[&str] = &["wrong", "password"];
    for (name, secrets) in [
        ("password", &["password"][..]),
        ("auth", &["auth"]),
        ("identity", &["identity"]),
        ("older-type", &["older-type"]),
        ("path", &["path"]),
        ("wildcard", &["wildcard"]),
        ("several", several),
    ] {
        let (image, _) = world.push(&format!("team/{name}"), "stable", "1");
        deploy(&world, HOME, name, &image, secrets).await;
    }
    let store = |seed| {
        hub.store(
            "team/hub",
            "stable",
            &Format::Oci.image("linux/amd64", seed),
        )
    };
    store("1");
    deploy(&world, HOME, "hub", "team/hub:stable", &["hub"]).await;
    // It names the secret that the others have, and has none of that name.
    let stolen = world.registry.reference("team/password", "stable");
    deploy(&world, THIEF, "thief", &stolen, &["password"]).await;
    world.kube.ready(HOME, 8).await;
    world.kube.ready(THIEF, 1).await;

    // From now on nobody gets in without.
    let users = || vec![User::new("ann", "a-password").identity_token("a-token")];
    world.registry.require(Auth::Bearer(Bearer::new(users())));
    hub.require(Auth::Basic(users()));
    store("2");
    for name in [
        "password",
        "auth",
        "identity",
        "older-type",
        "path",
        "wildcard",
        "several",
    ] {
        world.push(&format!("team/{name}"), "stable", "2");
    }
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("docker.io")).unwrap();
    let hosts = format!("server = \"{}\"\n", hub.url());
    folder.write("docker.io/hosts.toml", &hosts);
    let registries = format!("--registries-dir={}", folder.path().display());
    let outcome = run(&world, &["--dry-run", "-l", "app", &registries]).await;
    let expected = json!({"checked": 9, "outdated": 8, "failed": 1});
    check(&outcome, 0, &expected);
    let lines = lines(&outcome);
    let unresolved: Vec<&Value> = lines.iter().filter(|it| it["kind"] == "image").collect();
    let [stolen] = unresolved[..] else {
        panic!("one image: {outcome}")
    };
    assert_eq!(
        (&stolen["namespace"], &stolen["reason"]),
        (&json!(THIEF), &json!("unauthorized")),
        "{outcome}"
    );
}
