//! A cluster with podrefresh installed and not running, and pods to fill it with.

use std::path::Path;

use serde_json::{Value, json};
use testbed::{
    Cluster,
    api::{object, resource},
    images::Format,
    registry::Registry,
};

const PER_NAMESPACE: usize = 1000;

/// How much there is in a cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Pods, each of two containers.
    pub(crate) pods: usize,
    /// Pods of one owner.
    pub(crate) per_owner: usize,
    /// Images that they run, all told: one of it is a sidecar in every pod.
    pub(crate) images: usize,
}

/// Running pods as an API server lists them.
const RECORDED: &str = include_str!("../tests/data/api/pods.json");

/// The cluster and the registry that its pods' images are in.
pub(crate) struct Population {
    /// The cluster; nothing in it moves.
    pub(crate) cluster: Cluster,
    /// Counts what it is asked.
    pub(crate) registry: Registry,
    /// How much [`Population::fill`] puts into it.
    pub(crate) size: Size,
}

/// An image in the registry.
struct Image {
    reference: String,
    repository: String,
    digest: String,
}

impl Population {
    /// Starts the cluster, without pods.
    pub(crate) async fn start(size: Size) -> Self {
        let cluster = Cluster::start().await.unwrap();
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        let manifests = testbed::manifests::load(&manifests).unwrap();
        cluster.install(manifests).await.unwrap();
        Self {
            cluster,
            registry: Registry::anonymous().await.unwrap(),
            size,
        }
    }

    /// Returns a kubeconfig of the controller's ServiceAccount.
    pub(crate) fn kubeconfig(&self) -> String {
        self.cluster
            .kubeconfig_for("podrefresh", "podrefresh")
            .unwrap()
    }

    /// Creates the pods, all of them current and stamped, in namespaces that are opted in.
    pub(crate) async fn fill(&self) {
        let api = self.cluster.api();
        let recorded: Value = serde_json::from_str(RECORDED).unwrap();
        let recorded = &recorded["items"][0];
        let Size {
            pods,
            per_owner,
            images,
        } = self.size;
        let sidecar = self.image("rec/sidecar");
        let apps: Vec<_> = (1..images).map(|n| self.image(&app(n))).collect();
        for first in (0..pods).step_by(PER_NAMESPACE) {
            let name = format!("team-{}", first / PER_NAMESPACE);
            let namespace = json!({"metadata": {"name": name}});
            api.create(&resource::NAMESPACES, "", namespace)
                .await
                .unwrap();
            for n in first..first + PER_NAMESPACE {
                let owner = n / per_owner;
                // As many images as there are, however few owners.
                let app = n * apps.len() / pods;
                let pod = pod(recorded, n, owner, [&apps[app], &sidecar]);
                self.create(&name, pod).await;
            }
            // The webhook is registered and nobody serves it: nobody must be called for the pods.
            let opt_in = |namespace: &mut Value| {
                object::set_label(namespace, "podrefresh.io/enabled", "true")
            };
            api.update(&resource::NAMESPACES, "", &name, opt_in)
                .await
                .unwrap();
        }
        // The past of all these pods is of no use.
        self.cluster.compact_history();
    }

    /// Installs more of the manifests.
    pub(crate) async fn install(&self, folder: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let manifests = testbed::manifests::load(&folder).unwrap();
        self.cluster.install(manifests).await.unwrap();
    }

    /// Creates `pods`, all of them current, that no webhook has seen, with `images` all told, in one
    /// namespace that has not opted in.
    pub(crate) async fn fill_unstamped(&self, pods: usize, images: usize) {
        let recorded: Value = serde_json::from_str(RECORDED).unwrap();
        let recorded = &recorded["items"][0];
        let sidecar = self.image("rec/sidecar");
        let apps: Vec<_> = (1..images).map(|n| self.image(&app(n))).collect();
        for n in 0..pods {
            let owner = n / self.size.per_owner;
            let mut pod = pod(recorded, n, owner, [&apps[owner % apps.len()], &sidecar]);
            let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.retain(|name, _| !name.contains("podrefresh.io/"));
            self.create("default", pod).await;
        }
        self.cluster.compact_history();
    }

    /// Creates a pod that has got as far as its status says.
    async fn create(&self, namespace: &str, pod: Value) {
        let api = self.cluster.api();
        let (name, status) = (object::name(&pod).to_owned(), pod["status"].clone());
        api.create(&resource::PODS, namespace, pod).await.unwrap();
        let report = |current: &mut Value| *current = status.clone();
        api.update_status(&resource::PODS, namespace, &name, report)
            .unwrap();
    }

    fn image(&self, repository: &str) -> Image {
        let image = Format::Oci.multi_platform(repository);
        Image {
            digest: self.registry.store(repository, "stable", &image),
            reference: self.registry.reference(repository, "stable"),
            repository: format!("{}/{repository}", self.registry.host()),
        }
    }
}

/// Returns the repository of an application's image, from 1 on.
pub(crate) fn app(n: usize) -> String {
    format!("rec/app-{n}")
}

/// Returns the recorded pod as another one, of two containers.
fn pod(recorded: &Value, n: usize, owner: usize, images: [&Image; 2]) -> Value {
    let mut pod = recorded.clone();
    let set = format!("web-{owner}-7499b8c7dd");
    let metadata = &mut pod["metadata"];
    metadata["name"] = json!(format!("{set}-{n:05}"));
    metadata["generateName"] = json!(format!("{set}-"));
    metadata["ownerReferences"][0]["name"] = json!(set);
    metadata["ownerReferences"][0]["uid"] = json!(format!("2f80c693-18f7-4f3b-9118-{owner:012}"));
    for field in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata.as_object_mut().unwrap().remove(field);
    }
    let (mut containers, mut statuses) = (Vec::new(), Vec::new());
    for (name, image) in ["app", "proxy"].into_iter().zip(images) {
        let mut container = recorded["spec"]["containers"][0].clone();
        container["name"] = json!(name);
        container["image"] = json!(image.reference);
        containers.push(container);
        let mut status = recorded["status"]["containerStatuses"][0].clone();
        status["name"] = json!(name);
        status["image"] = json!(image.reference);
        status["imageID"] = json!(format!("{}@{}", image.repository, image.digest));
        statuses.push(status);
        metadata["annotations"][format!("digest.podrefresh.io/{name}")] = json!(image.digest);
        metadata["annotations"][format!("image.podrefresh.io/{name}")] = json!(image.reference);
    }
    pod["spec"]["containers"] = json!(containers);
    pod["spec"]["nodeName"] = json!(format!("node-{}", n % 200));
    pod["status"]["containerStatuses"] = json!(statuses);
    pod
}
