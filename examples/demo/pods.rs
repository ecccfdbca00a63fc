//! What an observer of the API sees of the pods.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// A pod, as far as the demo looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) name: String,
    /// Its label `app`: the workload that it belongs to.
    pub(crate) app: String,
    /// Whether it is Ready, and there to stay.
    pub(crate) ready: bool,
    /// Whether it is on its way out because of an eviction.
    pub(crate) evicted: bool,
    /// The digest that its container runs; empty before it is pulled.
    pub(crate) running: String,
    /// The digest that podrefresh has stamped on it, or nothing.
    pub(crate) stamp: String,
    /// How often its container was started anew.
    pub(crate) restarts: i32,
}

/// The pods that are there, by their uid.
pub(crate) type Pods = BTreeMap<String, Seen>;

impl Seen {
    /// Reads a pod; returns it with its uid.
    pub(crate) fn read(pod: &Pod) -> anyhow::Result<(String, Self)> {
        let uid = pod.uid().context("the API server sent a pod without uid")?;
        let going = pod.metadata.deletion_timestamp.is_some();
        let status = pod.status.as_ref();
        let condition = |kind: &str| {
            let mut all = status.iter().flat_map(|it| it.conditions.iter().flatten());
            all.any(|one| one.type_ == kind && one.status == "True")
        };
        let containers = status.and_then(|it| it.container_statuses.as_ref());
        let container = containers.and_then(|all| all.first());
        let image_id = container.map_or("", |it| &it.image_id);
        let seen = Self {
            name: pod.name_any(),
            app: pod.labels().get("app").cloned().unwrap_or_default(),
            ready: condition("Ready") && !going,
            evicted: condition("DisruptionTarget") && going,
            // `repository@digest`, as containerd has it.
            running: image_id.rsplit('@').next().unwrap_or_default().to_owned(),
            stamp: stamp(pod),
            restarts: container.map_or(0, |it| it.restart_count),
        };
        Ok((uid, seen))
    }

    /// Says whether it is Ready, runs `digest` and is stamped with it.
    pub(crate) fn is_on(&self, digest: &str) -> bool {
        self.ready && self.running == digest && self.stamp == digest
    }
}

/// Returns the stamp of the pod's first container.
fn stamp(pod: &Pod) -> String {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut stamps = containers.filter_map(|container| {
        let name = format!("digest.podrefresh.io/{}", container.name);
        pod.annotations().get(&name).cloned()
    });
    stamps.next().unwrap_or_default()
}

/// Returns enough of a digest to tell it from others.
pub(crate) fn short(digest: &str) -> &str {
    match digest.get(.."sha256:".len() + 12) {
        Some(short) => short,
        None if digest.is_empty() => "-",
        None => digest,
    }
}
