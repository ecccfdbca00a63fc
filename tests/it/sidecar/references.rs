//! Every reference is asked for at the registry that it names, and one that cannot change is not asked for.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use testbed::{
    images::Format,
    kubelet::{self, Host},
    registry::{Registry, Target},
};

use crate::support::{
    folder::Folder,
    kube::{eventually, workload},
    simulated::Setup,
    world::World,
};

/// A registry that the cluster knows by a name.
struct Named {
    name: &'static str,
    registry: Registry,
}

/// Returns how often podrefresh has asked for a tag.
fn asked(registry: &Registry, repository: &str, tag: &str) -> usize {
    let target = Target::manifests().repository(repository).reference(tag);
    let asked = registry.requests(&target);
    let ours = asked
        .iter()
        .filter(|it| it.agent.starts_with("podrefresh/"));
    ours.count()
}

/// Starts registries of these names, and a world whose nodes know them.
async fn world(names: [&'static str; 3]) -> (World, Vec<Named>) {
    let mut known = Vec::new();
    let mut nodes = kubelet::Options::default();
    for name in names {
        let registry = Registry::anonymous().await.unwrap();
        let host = Host {
            url: registry.url().to_owned(),
            ca_pem: String::new(),
            user: None,
        };
        nodes.hosts.insert(name.to_owned(), host);
        known.push(Named { name, registry });
    }
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    (World::with(setup).await, known)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_asked_for_where_it_leads_and_a_fixed_one_nowhere() {
    let (world, known) = world(["docker.io", "ghcr.io", "registry.example"]).await;
    let [hub, github, example] = &known[..] else {
        unreachable!("there must be three")
    };
    let folder = Folder::new();
    for Named { name, registry } in &known {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let hosts = format!("server = \"{}\"\n", registry.url());
        folder.write(&format!("{name}/hosts.toml"), &hosts);
    }
    world.sidecar_namespace("shop").await;
    let with_port = world.registry.reference("app", "1");
    let followed = [
        ("nginx", &hub.registry, "library/nginx", "latest"),
        ("nginx:1.27", &hub.registry, "library/nginx", "1.27"),
        ("team/app:stable", &hub.registry, "team/app", "stable"),
        ("ghcr.io/team/app:1", &github.registry, "team/app", "1"),
        ("registry.example/app:1", &example.registry, "app", "1"),
        (&with_port, &world.registry, "app", "1"),
    ];
    let image = Format::Oci.image("linux/amd64", "1");
    let fixed = world.registry.host() + "/fixed";
    let (digest, mut images) = (image.digest(), Vec::new());
    for (image_ref, registry, repository, tag) in followed {
        registry.store(repository, tag, &image);
        images.push(image_ref.to_owned());
    }
    world.registry.store("fixed", "1", &image);
    images.extend([format!("{fixed}@{digest}"), format!("{fixed}:1@{digest}")]);
    for (n, image) in images.iter().enumerate() {
        let mut object = workload(&format!("web-{n}"), image, json!({"replicas": 1}));
        object["spec"]["template"]["spec"]["serviceAccountName"] = json!("podrefresh-sidecar");
        world.kube.create::<Deployment>("shop", object).await;
    }
    world.kube.ready("shop", images.len()).await;

    let registries = format!("--registries-dir={}", folder.path().display());
    // Nodes may have other registries of these names.
    let crew = world.crew("shop", &[&registries, "--dry-run"]).await;
    crew.begun(images.len()).await;
    for (image, registry, repository, tag) in followed {
        eventually(&format!("questions for {image}"), async || {
            (3 <= asked(registry, repository, tag)).then_some(())
        })
        .await;
    }
    for reference in ["1", digest] {
        assert_eq!(asked(&world.registry, "fixed", reference), 0);
    }
    crew.assert_well();
}
