use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::api::Delete;
use crate::controllers::pods::is_ready;
use crate::images::{Format, attestation};
use crate::registry::{self, Auth, Certificate, Fault, Registry, Target};

struct Nodes {
    api: Api,
    kubelet: Kubelet,
    registry: Registry,
}

impl Nodes {
    async fn start(
        registry: registry::Options,
        change: impl FnOnce(&mut Options, &Registry),
    ) -> Self {
        let api = Api::new();
        api.seed_namespace("default");
        let registry = Registry::start(registry).await.unwrap();
        let mut options = Options {
            pull_backoff: Duration::from_millis(1),
            ..Options::default()
        };
        change(&mut options, &registry);
        Self {
            kubelet: start(&api, options).await.unwrap(),
            api,
            registry,
        }
    }

    async fn plain() -> Self {
        let nodes = Self::start(registry::Options::default(), |_, _| {}).await;
        nodes.store("one");
        nodes
    }

    fn store(&self, seed: &str) -> String {
        self.registry
            .store("app", "latest", &Format::Oci.multi_platform(seed))
    }

    /// Creates a pod of one container with this pull policy, on node-1.
    async fn run(&self, name: &str, policy: &str) {
        let image = self.registry.reference("app", "latest");
        self.run_spec(
            name,
            json!({ "containers": [{ "name": "app", "image": image, "imagePullPolicy": policy }] }),
        )
        .await;
    }

    async fn run_spec(&self, name: &str, spec: Value) {
        let pod = json!({ "metadata": { "name": name }, "spec": spec });
        self.api
            .create(&resource::PODS, "default", pod)
            .await
            .unwrap();
        self.api.bind("default", name, "node-1").unwrap();
    }

    fn pod(&self, name: &str) -> Arc<Value> {
        self.api.get(&resource::PODS, "default", name).unwrap()
    }

    fn container(&self, name: &str) -> Value {
        self.pod(name)["status"]["containerStatuses"][0].clone()
    }

    fn digest(&self, name: &str) -> String {
        let container = self.container(name);
        container["imageID"]
            .as_str()
            .unwrap_or_default()
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until `holds`, looking again after each change.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let mut changes = self.api.subscribe();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !holds() {
            let change = tokio::time::timeout_at(deadline, changes.next()).await;
            assert!(
                change.is_ok(),
                "not in time: {what}; {:#?}",
                self.api.list(&resource::PODS, None)
            );
        }
    }

    async fn until_ready(&self, name: &str) {
        self.until("the pod is ready", || is_ready(&self.pod(name)))
            .await;
    }
}

#[tokio::test]
async fn the_pull_policy_decides_who_is_asked() {
    let nodes = Nodes::plain().await;
    let old = nodes.registry.digest("app", "latest").unwrap();
    nodes.run("first", "IfNotPresent").await;
    nodes.until_ready("first").await;
    let new = nodes.store("two");
    for name in ["IfNotPresent", "Never"] {
        let pod = name.to_lowercase();
        nodes.run(&pod, name).await;
        nodes.until_ready(&pod).await;
        assert_eq!(nodes.digest(&pod), old);
    }
    nodes.run("always", "Always").await;
    nodes.until_ready("always").await;
    assert_eq!(nodes.digest("always"), new);
    nodes.run("after", "IfNotPresent").await;
    nodes.until_ready("after").await;
    assert_eq!(nodes.digest("after"), new);
    nodes.kubelet.forget_images("node-1");
    nodes.run("empty", "Never").await;
    let waits = || nodes.container("empty")["state"]["waiting"]["reason"] == "ErrImageNeverPull";
    nodes.until("nothing may be pulled", waits).await;
}

#[tokio::test]
async fn a_failed_pull_backs_off_and_tries_again() {
    let nodes = Nodes::plain().await;
    let fault = nodes
        .registry
        .inject(Fault::Status(503), Target::manifests());
    nodes.run("app", "Always").await;
    let waits = || nodes.container("app")["state"]["waiting"]["reason"] == "ImagePullBackOff";
    nodes.until("the pull failed", waits).await;
    assert_eq!(nodes.pod("app")["status"]["phase"], "Pending");
    assert_eq!(nodes.container("app")["imageID"], "");
    drop(fault);
    nodes.until_ready("app").await;
}

#[tokio::test]
async fn pull_secrets_open_private_registries() {
    let options = registry::Options {
        auth: Auth::Basic(vec![registry::User::new("alice", "secret")]),
        certificate: Some(Certificate::Valid),
        ..registry::Options::default()
    };
    let nodes = Nodes::start(options, |options, registry| {
        let host = Host {
            user: None,
            url: registry.url().into(),
            ca_pem: registry.ca_pem().unwrap().into(),
        };
        options.hosts.insert(registry.host(), host);
    })
    .await;
    nodes.store("one");
    let image = nodes.registry.reference("app", "latest");
    let containers = json!([{ "name": "app", "image": image, "imagePullPolicy": "Always" }]);
    nodes
        .run_spec("without", json!({ "containers": containers }))
        .await;
    let config = json!({ "auths": { nodes.registry.host(): { "username": "alice", "password": "secret" } } });
    let secret = json!({
        "metadata": { "name": "pull" }, "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": STANDARD.encode(config.to_string()) },
    });
    nodes
        .api
        .create(&resource::SECRETS, "default", secret)
        .await
        .unwrap();
    nodes
        .run_spec(
            "with",
            json!({ "containers": containers, "imagePullSecrets": [{ "name": "pull" }] }),
        )
        .await;
    nodes.until_ready("with").await;
    assert!(!is_ready(&nodes.pod("without")));
}

#[tokio::test]
async fn bad_digests_are_never_ready_until_they_are_good() {
    let nodes = Nodes::plain().await;
    nodes
        .kubelet
        .set_bad_digests([nodes.registry.digest("app", "latest").unwrap()]);
    nodes.run("app", "Always").await;
    nodes
        .until("it runs", || {
            nodes.pod("app")["status"]["phase"] == "Running"
        })
        .await;
    assert!(!is_ready(&nodes.pod("app")));
    nodes.kubelet.set_bad_digests(Vec::<String>::new());
    nodes.until_ready("app").await;
}

#[tokio::test]
async fn a_restarted_container_gets_what_its_tag_means_now() {
    let nodes = Nodes::plain().await;
    nodes.run("app", "Always").await;
    nodes.until_ready("app").await;
    let (uid, first) = (
        nodes.pod("app")["metadata"]["uid"].clone(),
        nodes.container("app"),
    );
    let new = nodes.store("two");
    assert!(nodes.kubelet.restart("default", "app", "app"));
    nodes
        .until("it was restarted", || {
            nodes.container("app")["restartCount"] == 1 && is_ready(&nodes.pod("app"))
        })
        .await;
    let second = nodes.container("app");
    assert_eq!(
        (nodes.digest("app"), &nodes.pod("app")["metadata"]["uid"]),
        (new, &uid)
    );
    assert_ne!(first["containerID"], second["containerID"]);
    assert_eq!(
        second["lastState"]["terminated"]["containerID"],
        first["containerID"]
    );
    assert!(!nodes.kubelet.restart("default", "other", "app"));
}

#[tokio::test]
async fn a_stale_mirror_serves_old_tags_but_not_pins() {
    let nodes = Nodes::plain().await;
    let old = nodes.registry.digest("app", "latest").unwrap();
    let new = nodes.store("two");
    let image = nodes.registry.reference("app", "latest");
    nodes.kubelet.mirror(&image, Some(&old));
    nodes.run("tag", "Always").await;
    let pinned =
        json!([{ "name": "app", "image": format!("{image}@{new}"), "imagePullPolicy": "Always" }]);
    nodes.run_spec("pin", json!({ "containers": pinned })).await;
    nodes.until_ready("tag").await;
    nodes.until_ready("pin").await;
    assert_eq!(
        (nodes.digest("tag"), nodes.digest("pin")),
        (old, new.clone())
    );
    nodes.kubelet.mirror(&image, None);
    nodes.run("later", "Always").await;
    nodes.until_ready("later").await;
    assert_eq!(nodes.digest("later"), new);
}

#[tokio::test]
async fn image_ids_can_be_bare_or_merged() {
    let nodes = Nodes::plain().await;
    let image = Format::Oci.image("linux/amd64", "same");
    let builds =
        ["a", "b"].map(|build| Format::Oci.index([image.clone(), attestation(&image, build)]));
    nodes.kubelet.merge_image_ids(true);
    for (at, build) in builds.iter().enumerate() {
        nodes.registry.store("app", "latest", build);
        let name = format!("merged-{at}");
        nodes.run(&name, "Always").await;
        nodes.until_ready(&name).await;
    }
    let first = builds.iter().map(|build| build.digest()).min().unwrap();
    assert_eq!(nodes.digest("merged-1"), first);
    nodes.kubelet.report_bare_image_ids(true);
    nodes.run("bare", "Always").await;
    nodes.until_ready("bare").await;
    assert_eq!(nodes.container("bare")["imageID"], image.config_digest());
}

#[tokio::test]
async fn init_containers_and_sidecars_have_their_own_statuses() {
    let nodes = Nodes::plain().await;
    let image = nodes.registry.reference("app", "latest");
    let container =
        |name: &str| json!({ "name": name, "image": image, "imagePullPolicy": "Always" });
    let mut sidecar = container("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    let spec =
        json!({ "initContainers": [container("init"), sidecar], "containers": [container("app")] });
    nodes.run_spec("app", spec).await;
    nodes.until_ready("app").await;
    let init = nodes.pod("app")["status"]["initContainerStatuses"].clone();
    assert_eq!(init[0]["state"]["terminated"]["exitCode"], 0);
    assert!(init[1]["state"]["running"].is_object() && init[1]["started"] == true);
    assert!(
        init[0]["imageID"]
            .as_str()
            .unwrap()
            .contains("/app@sha256:")
    );
}

#[tokio::test]
async fn a_deleted_pod_ends_within_its_grace() {
    let nodes = Nodes::start(registry::Options::default(), |options, _| {
        options.termination_delay = Duration::from_millis(20);
    })
    .await;
    nodes.store("one");
    nodes.run("app", "Always").await;
    nodes.until_ready("app").await;
    nodes
        .api
        .delete(&resource::PODS, "default", "app", &Delete::default())
        .unwrap();
    assert!(object::is_terminating(&nodes.pod("app")));
    let gone = || nodes.api.get(&resource::PODS, "default", "app").is_none();
    nodes.until("it is gone", gone).await;
}

#[tokio::test]
async fn other_machines_are_never_called() {
    let nodes = Nodes::plain().await;
    nodes.run_spec("app", json!({ "containers": [{ "name": "app", "image": "nginx", "imagePullPolicy": "Always" }] })).await;
    let told = || {
        let waiting = nodes.container("app")["state"]["waiting"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        waiting.contains("no way to the registry docker.io")
    };
    nodes.until("it says so", told).await;
}

#[tokio::test]
async fn another_image_in_a_running_pod_restarts_its_container() {
    let nodes = Nodes::plain().await;
    nodes.run("app", "Always").await;
    nodes.until_ready("app").await;
    let other = nodes
        .registry
        .store("app", "v2", &Format::Oci.multi_platform("two"));
    let image = nodes.registry.reference("app", "v2");
    let change = |pod: &mut Value| pod["spec"]["containers"][0]["image"] = json!(image);
    nodes
        .api
        .update(&resource::PODS, "default", "app", change)
        .await
        .unwrap();
    nodes
        .until("it runs the other image", || {
            nodes.digest("app") == other && is_ready(&nodes.pod("app"))
        })
        .await;
    assert_eq!(nodes.container("app")["restartCount"], 1);
    assert_eq!(nodes.pod("app")["status"]["observedGeneration"], 2);
}
