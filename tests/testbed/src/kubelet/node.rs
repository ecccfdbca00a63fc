//! The nodes: what they are called and what they say about themselves.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, object, resource};

/// A node to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, also its host name.
    pub name: String,
    /// `linux` or `windows`.
    pub os: String,
    /// `amd64`, `arm64`, ….
    pub architecture: String,
    /// The label `topology.kubernetes.io/zone`, which pods on it get, too.
    pub zone: String,
}

impl Node {
    /// Returns a linux/amd64 node.
    pub fn new(name: &str, zone: &str) -> Self {
        Self {
            name: name.into(),
            os: "linux".into(),
            architecture: "amd64".into(),
            zone: zone.into(),
        }
    }

    /// Changes the architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.into();
        self
    }

    /// Returns `os/architecture`.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }

    fn object(&self, address: &str) -> Value {
        let now = object::time(Timestamp::now());
        let capacity =
            json!({ "cpu": "1k", "memory": "4Ti", "pods": "10000", "ephemeral-storage": "100Ti" });
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": self.name, "labels": {
                "kubernetes.io/hostname": self.name, "kubernetes.io/os": self.os, "kubernetes.io/arch": self.architecture,
                "beta.kubernetes.io/os": self.os, "beta.kubernetes.io/arch": self.architecture,
                "topology.kubernetes.io/zone": self.zone,
            } },
            "spec": {},
            "status": {
                "capacity": capacity, "allocatable": capacity,
                "conditions": [{
                    "type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now,
                    "reason": "KubeletReady", "message": "kubelet is posting ready status",
                }],
                "addresses": [
                    { "type": "InternalIP", "address": address }, { "type": "Hostname", "address": self.name },
                ],
                "nodeInfo": {
                    "architecture": self.architecture, "operatingSystem": self.os, "kubeletVersion": "v1.36.2",
                    "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.1.0", "osImage": "testbed",
                    "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": "",
                },
            },
        })
    }

    /// Makes the Node object unless there is one.
    pub(super) async fn register(&self, api: &Api, address: &str) -> Result<(), ApiError> {
        match api.create(&resource::NODES, "", self.object(address)).await {
            Err(error) if error.code != 409 => Err(error),
            _ => Ok(()),
        }
    }
}
