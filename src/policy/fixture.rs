//! Pods for the tests of the rules: sound and eligible, until a test takes that away.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    Container, ContainerKind, Digest, Owner, OwnerKind, Phase, Pod, PullIdentity, PullPolicy,
    Running,
};

/// Returns the digest whose bytes are all `byte`.
pub(crate) fn digest(byte: u8) -> Digest {
    Digest::of_sha256([byte; 32])
}

/// Returns a container called `app` of `image`, pulled always, not started and without a stamp.
pub(crate) fn container(image: &str) -> Container {
    Container {
        name: "app".into(),
        kind: ContainerKind::Ordinary,
        image: image.parse().map(Arc::new).map_err(Arc::new),
        pull: PullPolicy::Always,
        stamp: None,
        running: Running::NotStarted,
    }
}

/// Returns a ready pod of a ReplicaSet, created at the epoch, with one container of `nginx:1.27`.
pub(crate) fn pod(name: &str) -> Fixture {
    let namespace: Arc<str> = "shop".into();
    Fixture(Pod {
        namespace: Arc::clone(&namespace),
        name: name.into(),
        uid: format!("uid-{name}").into(),
        version: None,
        owner: None,
        node: Some("node-1".into()),
        phase: Phase::Running,
        ready: true,
        ready_since: Timestamp::UNIX_EPOCH,
        ran: Duration::ZERO,
        terminating: false,
        mirror: false,
        opted_out: false,
        created: Timestamp::UNIX_EPOCH,
        identity: Arc::new(PullIdentity {
            namespace,
            secrets: Box::new([]),
            service_account: "default".into(),
        }),
        annotations: Arc::new([]),
        containers: Box::new([container("nginx:1.27")]),
    })
    .owned_by(OwnerKind::ReplicaSet)
}

/// A pod that is being put together.
pub(crate) struct Fixture(Pod);

impl Fixture {
    /// Gives the pod an owner of `kind`.
    pub(crate) fn owned_by(self, kind: OwnerKind) -> Self {
        self.with(|pod| {
            pod.owner = Some(Arc::new(Owner {
                kind,
                name: "owner".into(),
                uid: "uid-owner".into(),
            }));
        })
    }

    /// Changes the pod.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self.0);
        self
    }

    /// Returns the pod.
    pub(crate) fn build(self) -> Pod {
        self.0
    }
}
