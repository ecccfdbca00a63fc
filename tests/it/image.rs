//! What `make image` would build, run as a kubelet would: the static program in an otherwise empty root, as its own
//! user, with a resolver, an authority and an account of its pod.

use std::net::Ipv4Addr;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use testbed::{images::Format, kubelet};

use crate::support::{
    authority::Authority,
    dns::Dns,
    docker_registry::{DockerRegistry, Protection},
    image::{Image, Recipe},
    kube::{annotation, workload},
    look::on_testbed,
    oci::Oci,
    program::Outcome,
    simulated::Setup,
    skip::need,
    world::{HOME, World},
};

const NAME: &str = "registry.example";
const USER: (&str, &str) = ("ann", "a-password");

#[test]
fn the_image_holds_the_program_and_the_authorities_and_is_nobodys() {
    let recipe = Recipe::read();
    let places: Vec<&str> = recipe.copied.iter().map(|(_, to)| &**to).collect();
    assert_eq!(
        places,
        ["/etc/ssl/certs/ca-certificates.crt", "/podrefresh"]
    );
    assert_eq!(recipe.entrypoint, ["/podrefresh"]);
    assert_eq!(recipe.command, ["controller"]);
    // The manifests say `runAsUser: 65532`.
    assert_eq!(recipe.user, "65532:65532");
}

/// An image with a pod's resolver, which leads to a registry behind a private authority that asks for a password.
struct Scene {
    image: Image,
    dns: Dns,
    registry: DockerRegistry,
    reference: String,
    digest: String,
}

impl Scene {
    async fn new() -> Option<Self> {
        let image = need(Image::lay_out())?;
        let dns = need(Dns::start(&[(NAME, Ipv4Addr::LOCALHOST)]).await)?;
        let authority = Authority::new();
        let protection = Protection {
            user: Some(USER),
            tls: Some((&authority, &[NAME])),
            ..Protection::default()
        };
        let registry = need(DockerRegistry::start(protection).await)?;
        // As a kubelet writes it for a pod with `dnsPolicy: ClusterFirst`.
        let resolver = format!(
            "search podrefresh.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            dns.address()
        );
        image.mount("/etc/resolv.conf", &resolver);
        image.mount("/etc/hosts", "127.0.0.1\tlocalhost\n");
        let host = format!("{NAME}:{}", registry.port());
        let hosts = format!("server = \"https://{host}\"\nca = \"ca.pem\"\n");
        let folder = format!("/etc/registries/{NAME}_{}_", registry.port());
        image.mount(&format!("{folder}/hosts.toml"), &hosts);
        image.mount(&format!("{folder}/ca.pem"), registry.ca().unwrap());
        let mut scene = Self {
            image,
            dns,
            registry,
            reference: format!("{host}/shop/web:stable"),
            digest: String::new(),
        };
        scene.digest = scene.push("1").await;
        Some(scene)
    }

    /// Pushes an image, and returns its digest.
    async fn push(&self, seed: &str) -> String {
        let image = Format::Oci.image("linux/amd64", seed);
        let oci = Oci::new(&self.registry, Some(USER));
        oci.push("shop/web", "stable", &image).await;
        image.digest().to_owned()
    }

    /// Runs `podrefresh digest` in the image.
    async fn digest(&self, arguments: &[&str]) -> Outcome {
        let host = format!("{NAME}:{}", self.registry.port());
        let config = json!({"auths": {host: {"username": USER.0, "password": USER.1}}});
        self.image
            .mount("/etc/docker/config.json", &config.to_string());
        let words = [
            &["digest", "--docker-config=/etc/docker/config.json"],
            arguments,
        ]
        .concat();
        self.image.run(&words).run().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_registries_by_name_and_trusts_whom_it_is_told_to() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let version = scene.image.run(&["--version"]).run().await;
    assert_eq!(version.code, Some(0), "{version}");
    assert!(version.stdout.starts_with("podrefresh "), "{version}");

    // Without its authority nobody is believed, and so the name was found.
    let stranger = scene.digest(&[&scene.reference]).await;
    assert_eq!(stranger.code, Some(1), "{stranger}");
    assert!(stranger.stderr.contains("certificate"), "{stranger}");
    let known = scene
        .digest(&["--registries-dir=/etc/registries", &scene.reference])
        .await;
    assert_eq!(known.code, Some(0), "{known}");
    assert!(known.stdout.contains(&scene.digest), "{known}");

    let nowhere = scene.digest(&["nowhere.example/shop/web:stable"]).await;
    assert_eq!(nowhere.code, Some(1), "{nowhere}");
    let asked = scene.dns.asked();
    for name in [
        NAME,
        "registry.example.podrefresh.svc.cluster.local",
        "nowhere.example",
    ] {
        assert!(asked.iter().any(|it| it == name), "{name} of {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_looks_after_a_cluster_with_nothing_but_its_files_and_its_account() {
    if !on_testbed() {
        return;
    }
    let Some(scene) = Scene::new().await else {
        return;
    };
    let host = format!("{NAME}:{}", scene.registry.port());
    let place = kubelet::Host {
        url: format!("https://{}", scene.registry.host()),
        ca_pem: scene.registry.ca().unwrap().to_owned(),
        user: None,
    };
    let nodes = kubelet::Options {
        hosts: [(host.clone(), place)].into(),
        ..kubelet::Options::default()
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let world = World::with(setup).await;
    let cluster = &world.testbed().cluster;
    let account = world.account_kubeconfig("podrefresh").await;
    let mut program = scene
        .image
        .run(&[])
        .env("PODREFRESH_NAMESPACE", HOME)
        .env("POD_NAME", "podrefresh-0");
    let variables = scene.image.account(&account, &cluster.url());
    let variables = variables.iter().map(|(name, value)| (*name, &**value));
    for (name, value) in variables.chain([
        ("PODREFRESH_ADMISSION_ADDR", "127.0.0.1:0"),
        ("PODREFRESH_ADMIN_ADDR", "127.0.0.1:0"),
        ("PODREFRESH_POLL_INTERVAL", "300ms"),
        ("PODREFRESH_CONFIRM_AFTER", "100ms"),
        ("PODREFRESH_REGISTRIES_DIR", "/etc/registries"),
    ]) {
        program = program.env(name, value);
    }
    let process = program.start();
    let serving = process.serving().await;
    cluster.route_service(HOME, "podrefresh", 443, &[serving.admission]);
    crate::support::kube::eventually("a ready controller", async || {
        let (status, _) = crate::support::world::get(serving.admin, "/readyz").await;
        (status == 200).then_some(())
    })
    .await;

    let kube = &world.kube;
    kube.opted_in("shop").await;
    kube.pull_secret("shop", "pull", &host, USER.0, USER.1)
        .await;
    let pull = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let web = workload(
        "web",
        &scene.reference,
        json!({"replicas": 2, "template": pull}),
    );
    kube.create::<Deployment>("shop", web).await;
    for pod in kube.running("shop", 2, &scene.digest).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), scene.digest);
    }
    let new = scene.push("2").await;
    for pod in kube.running("shop", 2, &new).await {
        assert_eq!(annotation(&pod, "digest.podrefresh.io/app"), new);
    }
    process.signal("TERM").await;
    let outcome = process.ended().await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    cluster.assert_clean();
}
