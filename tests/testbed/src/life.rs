//! What makes a cluster live: its controllers and its nodes.

use crate::api::{Api, ApiError};
use crate::controllers::{self, Controllers};
use crate::kubelet::{self, Kubelet};

/// Running controllers and nodes; all of them stop when this is dropped.
///
/// ```text
/// let cluster = Cluster::start().await?;
/// let life = Life::start(cluster.api(), kubelet::Options::default()).await?;
/// life.controllers.pause(Controller::ReplicaSet);
/// ```
#[derive(Debug)]
pub struct Life {
    /// The controllers, each of which can be paused.
    pub controllers: Controllers,
    /// The nodes, and the ways in which they can misbehave.
    pub kubelet: Kubelet,
}

impl Life {
    /// Starts everything that works on the objects of an API server.
    ///
    /// # Errors
    /// When a Node cannot be created.
    pub async fn start(api: &Api, options: kubelet::Options) -> Result<Self, ApiError> {
        let kubelet = kubelet::start(api, options).await?;
        Ok(Self {
            controllers: controllers::start(api),
            kubelet,
        })
    }
}
