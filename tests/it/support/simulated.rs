//! The testbed, as a world runs on it.

use testbed::{
    Cluster,
    controllers::{self, Controllers},
    kubelet::{self, Kubelet},
    registry::Auth,
};

/// The testbed's parts.
pub(crate) struct Simulated {
    /// The API server.
    pub(crate) cluster: Cluster,
    /// The nodes.
    pub(crate) kubelet: Kubelet,
    /// The controllers.
    pub(crate) controllers: Controllers,
}

/// What a test wants of its world besides the usual.
pub(crate) struct Setup {
    /// What the registry asks of those who pull.
    pub(crate) auth: Auth,
    /// How the testbed's nodes behave; a real cluster's are as they are.
    pub(crate) nodes: kubelet::Options,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            auth: Auth::Anonymous,
            nodes: kubelet::Options::default(),
        }
    }
}

impl Simulated {
    /// Starts the testbed with `nodes`.
    pub(crate) async fn start(nodes: kubelet::Options) -> Self {
        let cluster = Cluster::start().await.unwrap();
        let controllers = controllers::start(cluster.api());
        let kubelet = kubelet::start(cluster.api(), nodes).await.unwrap();
        Self {
            cluster,
            kubelet,
            controllers,
        }
    }
}
