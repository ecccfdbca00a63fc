//! The cluster as a test's administrator sees it: objects in, observations out.

use std::{fmt::Debug, future::Future, time::Duration};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::{Namespace, Pod, Secret},
    events::v1::Event,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// How long anything may take to come about before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What tells the namespaces of tests from all others.
pub(crate) const OURS: (&str, &str) = ("app.kubernetes.io/part-of", "podrefresh-tests");

/// The namespace that every cluster has and that is none of ours.
pub(crate) const SYSTEM: &str = "kube-system";

/// An administrator's client.
#[derive(Clone)]
pub(crate) struct Kube(pub(crate) Client);

impl Kube {
    /// Creates a namespace with labels and annotations.
    pub(crate) async fn namespace(&self, name: &str, labels: Value, annotations: Value) {
        let mut namespace =
            json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}});
        let (label, value) = OURS;
        namespace["metadata"]["labels"][label] = value.into();
        let namespaces = Api::<Namespace>::all(self.0.clone());
        namespaces
            .create(&PostParams::default(), &parse(namespace))
            .await
            .unwrap();
        // A pod cannot be created before its namespace's ServiceAccount is there.
        let accounts = self.api::<k8s_openapi::api::core::v1::ServiceAccount>(name);
        eventually("the default ServiceAccount", || async {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
    }

    /// Creates an opted-in namespace.
    pub(crate) async fn opted_in(&self, name: &str) {
        self.namespace(name, json!({"podrefresh.io/enabled": "true"}), json!({}))
            .await;
    }

    /// Changes a namespace by a merge patch.
    pub(crate) async fn patch_namespace(&self, name: &str, patch: Value) {
        let namespaces = Api::<Namespace>::all(self.0.clone());
        namespaces
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Creates an object of a namespaced kind.
    pub(crate) async fn create<K>(&self, namespace: &str, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        self.api::<K>(namespace)
            .create(&PostParams::default(), &parse(object))
            .await
            .unwrap()
    }

    /// Creates a Deployment of one container `app` that runs `image`.
    pub(crate) async fn deployment(&self, namespace: &str, name: &str, replicas: i32, image: &str) {
        self.create::<Deployment>(
            namespace,
            workload(name, image, json!({"replicas": replicas})),
        )
        .await;
    }

    /// Creates a StatefulSet of one container `app` that runs `image`.
    pub(crate) async fn stateful_set(
        &self,
        namespace: &str,
        name: &str,
        replicas: i32,
        image: &str,
    ) {
        let spec = json!({"replicas": replicas, "serviceName": name});
        self.create::<StatefulSet>(namespace, workload(name, image, spec))
            .await;
    }

    /// Creates a DaemonSet of one container `app` that runs `image`.
    pub(crate) async fn daemon_set(&self, namespace: &str, name: &str, image: &str) {
        self.create::<DaemonSet>(namespace, workload(name, image, json!({})))
            .await;
    }

    /// Creates a PodDisruptionBudget over the pods labelled `app: <app>`.
    pub(crate) async fn budget(&self, namespace: &str, name: &str, app: &str, min_available: i32) {
        let budget = json!({
            "metadata": {"name": name},
            "spec": {"minAvailable": min_available, "selector": {"matchLabels": {"app": app}}},
        });
        self.create::<PodDisruptionBudget>(namespace, budget).await;
    }

    /// Creates a pull secret for `host`.
    pub(crate) async fn pull_secret(
        &self,
        namespace: &str,
        name: &str,
        host: &str,
        user: &str,
        password: &str,
    ) {
        let config = json!({"auths": {host: {"username": user, "password": password}}}).to_string();
        let secret = json!({
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        });
        self.create::<Secret>(namespace, secret).await;
    }

    /// Changes an object of a namespaced kind by a merge patch.
    pub(crate) async fn patch<K>(&self, namespace: &str, name: &str, patch: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + Debug,
    {
        self.api::<K>(namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Creates a bare pod.
    pub(crate) async fn pod(&self, namespace: &str, pod: Value) -> Pod {
        self.create::<Pod>(namespace, pod).await
    }

    /// Returns the notes of the namespace's Events told for `reason`.
    pub(crate) async fn notes(&self, namespace: &str, reason: &str) -> Vec<String> {
        let events = self
            .api::<Event>(namespace)
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        let told = events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason));
        told.map(|event| event.note.unwrap_or_default()).collect()
    }

    /// Waits until an Event told for `reason` says `words`, and returns its whole note.
    pub(crate) async fn told(&self, namespace: &str, reason: &str, words: &str) -> String {
        eventually(
            &format!("an Event {reason} with {words:?} in {namespace}"),
            || async {
                self.notes(namespace, reason)
                    .await
                    .into_iter()
                    .find(|note| note.contains(words))
            },
        )
        .await
    }

    /// Deletes a namespace; does not wait until it is gone.
    pub(crate) async fn delete_namespace(&self, name: &str) {
        let namespaces = Api::<Namespace>::all(self.0.clone());
        namespaces
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Returns the namespace's pods that are not being deleted, sorted by name.
    pub(crate) async fn pods(&self, namespace: &str) -> Vec<Pod> {
        let list = self
            .api::<Pod>(namespace)
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut pods: Vec<Pod> = list
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        pods
    }

    /// Waits until the namespace has `count` pods, all Ready, and returns them.
    pub(crate) async fn ready(&self, namespace: &str, count: usize) -> Vec<Pod> {
        eventually(&format!("{count} Ready pods in {namespace}"), || async {
            let pods = self.pods(namespace).await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
    }

    /// Waits until the namespace has `count` pods, all Ready and all running `digest`, and returns them.
    pub(crate) async fn running(&self, namespace: &str, count: usize, digest: &str) -> Vec<Pod> {
        eventually(
            &format!("{count} Ready pods in {namespace} on {digest}"),
            || async {
                let pods = self.pods(namespace).await;
                let done = |pod: &Pod| is_ready(pod) && image_id(pod).ends_with(digest);
                (pods.len() == count && pods.iter().all(done)).then_some(pods)
            },
        )
        .await
    }

    /// Returns the API of a namespaced kind.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.0.clone(), namespace)
    }
}

/// Returns a workload of pods labelled `app: <name>` whose one container `app` runs `image`; `spec` adds to its spec.
pub(crate) fn workload(name: &str, image: &str, spec: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "app", "image": image, "imagePullPolicy": "Always"}],
                },
            },
        },
    });
    json_patch::merge(&mut object["spec"], &spec);
    object
}

/// Says whether the pod's condition Ready is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    })
}

/// Returns the imageID of the pod's first container, or nothing.
pub(crate) fn image_id(pod: &Pod) -> &str {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .and_then(|all| all.first())
        .map_or("", |one| one.image_id.as_str())
}

/// Returns the pod's annotation `name`, or nothing.
pub(crate) fn annotation<'a>(pod: &'a Pod, name: &str) -> &'a str {
    pod.metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(name))
        .map_or("", String::as_str)
}

/// Returns the pod's name.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap()
}

/// Asks `look` again and again until it sees something; fails the test when that takes too long.
#[track_caller]
pub(crate) fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let place = std::panic::Location::caller();
    async move {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(
                tokio::time::Instant::now() < patience,
                "waited in vain for {what} at {place}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn parse<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}
