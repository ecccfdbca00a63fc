//! Debian's docker-registry behind a password, and behind a certificate that not everybody trusts.

use std::net::SocketAddr;

use k8s_openapi::api::apps::v1::Deployment;
use podrefresh::registry::{Network, Settings};
use serde_json::json;
use testbed::{Cluster, images::Format};

use crate::support::{
    authority::Authority,
    docker_registry::{DockerRegistry, Protection},
    folder::Folder,
    kube::{Kube, annotation, eventually, workload},
    look::on_testbed,
    oci::Oci,
    program::Program,
    proxy::Proxy,
    resolver::{ask, check_refused, lookup, resolver},
    skip::need,
    world::{World, client},
};

const ANN: (&str, &str) = ("ann", "correct horse");

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_of_a_docker_config_opens() {
    let protection = Protection {
        user: Some(ANN),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Oci.image("linux/amd64", "1");
    let oci = Oci::new(&registry, Some(ANN));
    let reference = oci.push("team/app", "1", &image).await;
    assert_eq!(oci.digest(&reference).await, image.digest());
    let host = registry.host();

    let right = json!({"auths": {host: {"username": ANN.0, "password": ANN.1}}});
    let outcome = Program::new(["digest", &reference])
        .docker_config(&right)
        .run()
        .await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.stdout, format!("{}  {reference}\n", image.digest()));

    let wrong = json!({"auths": {host: {"username": ANN.0, "password": "wrong"}}});
    for config in [wrong, json!({"auths": {}})] {
        let outcome = Program::new(["digest", &reference])
            .docker_config(&config)
            .run()
            .await;
        assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
        assert!(
            outcome.stderr.contains("it accepted no credential"),
            "{outcome}"
        );
        assert!(outcome.stderr.contains(&reference), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_of_a_pull_secret_opens() {
    let protection = Protection {
        user: Some(ANN),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Docker.multi_platform("1");
    let reference = Oci::new(&registry, Some(ANN))
        .push("team/app", "1", &image)
        .await;
    let cluster = Cluster::start().await.unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);
    kube.opted_in("shop").await;
    kube.pull_secret("shop", "right", registry.host(), ANN.0, ANN.1)
        .await;
    kube.pull_secret("shop", "wrong", registry.host(), ANN.0, "wrong")
        .await;

    let resolver = resolver(Settings::default(), Some(kube.0.clone()));
    let with = |secrets: &[&str]| lookup(&reference, "shop", secrets);
    assert_eq!(
        ask(&resolver, &with(&["right"])).await.unwrap(),
        image.digest()
    );
    assert_eq!(
        ask(&resolver, &with(&["wrong", "right"])).await.unwrap(),
        image.digest()
    );
    let shown = format!("secret shop/wrong key {}", registry.host());
    check_refused(
        ask(&resolver, &with(&["wrong"])).await,
        "unauthorized",
        &[&shown],
    );
    check_refused(
        ask(&resolver, &with(&[])).await,
        "unauthorized",
        &[&"anonymous"],
    );
    // The same names in another namespace are other secrets.
    let elsewhere = lookup(&reference, "default", &["right"]);
    check_refused(
        ask(&resolver, &elsewhere).await,
        "unauthorized",
        &[&"anonymous"],
    );
    cluster.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_a_pull_secret_are_stamped_and_refreshed() {
    // The nodes of a real control plane need not know how to pull with a pull secret.
    if !on_testbed() {
        return;
    }
    let protection = Protection {
        user: Some(ANN),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let oci = Oci::new(&registry, Some(ANN));
    let [old, new] = ["1", "2"].map(|seed| Format::Oci.multi_platform(seed));
    let image = oci.push("shop/web", "stable", &old).await;
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    world
        .kube
        .pull_secret("shop", "pull", registry.host(), ANN.0, ANN.1)
        .await;
    let mut object = workload("web", &image, json!({"replicas": 2}));
    object["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    world.kube.create::<Deployment>("shop", object).await;
    for pod in world.kube.running("shop", 2, old.digest()).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), old.digest());
    }

    // A namespace that has no such secret gets no stamp from the other one's answer.
    world.kube.opted_in("thief").await;
    world.kube.deployment("thief", "web", 1, &image).await;
    let thief = eventually("the thief's pod", || async {
        world.kube.pods("thief").await.pop()
    })
    .await;
    assert_eq!(annotation(&thief, "digest.podrefresh.io/app"), "");

    oci.push("shop/web", "stable", &new).await;
    for pod in world.kube.running("shop", 2, new.digest()).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), new.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_authority_must_be_given() {
    let authority = Authority::new();
    let protection = Protection {
        tls: Some((&authority, &["registry.test"])),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Oci.multi_platform("1");
    Oci::new(&registry, None)
        .push("team/app", "1", &image)
        .await;
    // Registries on loopback are asked without TLS, so this one has a name.
    let reference = format!("registry.test:{}/team/app:1", registry.port());
    let address: SocketAddr = registry.host().parse().unwrap();
    let trusting = |pem: Option<String>| {
        let network = Network {
            extra_roots: pem.into_iter().map(String::into_bytes).collect(),
            addresses: vec![("registry.test".to_owned(), address)],
        };
        resolver(
            Settings {
                network,
                ..Settings::default()
            },
            None,
        )
    };
    let lookup = lookup(&reference, "shop", &[]);
    assert_eq!(
        ask(&trusting(Some(authority.pem())), &lookup)
            .await
            .unwrap(),
        image.digest()
    );
    for pem in [None, Some(Authority::new().pem())] {
        let answer = ask(&trusting(pem), &lookup).await;
        check_refused(answer, "tls", &[&"it cannot be trusted", &"UnknownIssuer"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_trusts_what_ssl_cert_file_names_and_goes_by_the_proxy() {
    let authority = Authority::new();
    let protection = Protection {
        user: Some(ANN),
        tls: Some((&authority, &["registry.test"])),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Docker.image("linux/amd64", "1");
    Oci::new(&registry, Some(ANN))
        .push("team/app", "1", &image)
        .await;
    let proxy = Proxy::to(registry.host().parse().unwrap()).await;
    let host = format!("registry.test:{}", registry.port());
    let reference = format!("{host}/team/app:1");
    let config = json!({"auths": {&host: {"username": ANN.0, "password": ANN.1}}});
    let folder = Folder::new();
    for (authority, trusted) in [(&Authority::new(), false), (&authority, true)] {
        let bundle = folder.write("ca.crt", &authority.pem());
        let program = Program::new(["digest", &reference]).docker_config(&config);
        let outcome = program
            .env("HTTPS_PROXY", proxy.url())
            .env("SSL_CERT_FILE", bundle)
            .run()
            .await;
        if trusted {
            assert_eq!(outcome.code, Some(0), "{outcome}");
            assert_eq!(outcome.stdout, format!("{}  {reference}\n", image.digest()));
        } else {
            assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
            assert!(outcome.stderr.contains("it cannot be trusted"), "{outcome}");
        }
    }
    let tunnel = format!("CONNECT {host} HTTP/1.1");
    assert!(
        proxy.asked().iter().all(|line| *line == tunnel),
        "{:?}",
        proxy.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_refuses_a_proxy_that_can_be_none() {
    let program = Program::new(["digest", "registry.test/app:1"]);
    let outcome = program
        .env("HTTPS_PROXY", "http://ann:hunter2@proxy.test:port")
        .run()
        .await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    let told = outcome
        .stderr
        .contains("HTTPS_PROXY must be empty or name a proxy");
    assert!(
        told && outcome.stderr.contains("invalid port number"),
        "{outcome}"
    );
    assert!(!outcome.stderr.contains("hunter2"), "{outcome}");
}
