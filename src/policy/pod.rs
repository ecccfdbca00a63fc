//! The pod and the namespace as the rules see them: small, shared, without Kubernetes types.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Digest, ImageRef, InvalidImage, PullIdentity, Stamp};

/// The wishes on an object: its `podrefresh.io/…` annotations by their name without the prefix, sorted.
pub type Annotations = [(Box<str>, Box<str>)];

/// A namespace: whether its pods are ours to keep fresh, and the defaults for their wishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it carries the label `podrefresh.io/enabled=true`.
    pub enabled: bool,
    /// Whether it carries the label `podrefresh.io/enabled=false`.
    pub opted_out: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The defaults for its pods' wishes.
    pub annotations: Arc<Annotations>,
}

/// A pod, as much of it as the rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub name: Box<str>,
    /// The pod's uid, the precondition of its eviction.
    pub uid: Box<str>,
    /// Its resourceVersion while it is not ready, a precondition of its eviction, too: it may have become ready
    /// meanwhile. Nobody asks for that of others, so it is not kept.
    pub version: Option<Box<str>>,
    /// The controller that will replace it, if any.
    pub owner: Option<Arc<Owner>>,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether its condition `Ready` is `True`.
    pub ready: bool,
    /// Since when it is or is not.
    pub ready_since: Timestamp,
    /// Whether it has a deletionTimestamp.
    pub terminating: bool,
    /// Whether it is the mirror of a static pod (annotation `kubernetes.io/config.mirror`).
    pub mirror: bool,
    /// Whether its label `podrefresh.io/enabled` is `false`.
    pub opted_out: bool,
    /// When it was created.
    pub created: Timestamp,
    /// What its images are pulled with.
    pub identity: Arc<PullIdentity>,
    /// Its wishes, without its namespace's defaults.
    pub annotations: Arc<Annotations>,
    /// Its init, native sidecar and ordinary containers, in that order of the spec.
    pub containers: Box<[Container]>,
}

impl Pod {
    /// Returns the number behind the last dash of a StatefulSet's pod: 3 for `db-3`.
    pub fn ordinal(&self) -> Option<u32> {
        self.owner
            .as_ref()
            .filter(|owner| owner.kind == OwnerKind::StatefulSet)?;
        self.name.rsplit_once('-')?.1.parse().ok()
    }

    /// Says whether it can serve: ready, and not on its way out.
    pub const fn is_available(&self) -> bool {
        self.ready && !self.terminating
    }
}

/// The object that controls a pod: its owner reference with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The kind, as far as we act on it.
    pub kind: OwnerKind,
    /// Its name.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
}

/// The kinds of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    /// apps/v1 ReplicaSet, on its own or a Deployment's.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// v1 ReplicationController.
    ReplicationController,
    /// Anything else (Job, Node, a custom resource): never touched.
    Other,
}

impl Owner {
    /// Says whether this is an object whose pods we may evict, because it replaces each with a like one.
    pub const fn replaces(&self) -> bool {
        !matches!(self.kind, OwnerKind::Other)
    }
}

/// A pod's phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not all containers have started once.
    Pending,
    /// Bound, all containers created.
    Running,
    /// Succeeded, Failed or Unknown.
    Over,
}

/// One container of a pod, its declared and its running image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Arc<str>,
    /// Which list of the spec it stands in.
    pub kind: ContainerKind,
    /// The reference in the spec, parsed.
    pub image: Result<Arc<ImageRef>, Arc<InvalidImage>>,
    /// Its imagePullPolicy.
    pub pull: PullPolicy,
    /// What the webhook wrote down at admission; ask [`Container::valid_stamp`] whether it still holds.
    pub stamp: Option<Stamp>,
    /// What its status says of the image it runs.
    pub running: Running,
}

/// Which list of the spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// Runs to its end before the others start.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    /// One of `spec.containers`.
    Ordinary,
}

/// An imagePullPolicy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// The kubelet asks the registry at every start.
    Always,
    /// The kubelet takes what its node has.
    IfNotPresent,
    /// The kubelet never pulls.
    Never,
}

/// What a container's `status…imageID` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Running {
    /// There is no imageID yet: the image has not been pulled.
    NotStarted,
    /// The digest of a manifest or an index, its repository stripped.
    Manifest(Digest),
    /// A bare config digest or another shape that cannot be compared.
    Unusable,
}

impl Running {
    /// Returns what an imageID says, in any of the shapes that kubelets and runtimes write.
    ///
    /// The repository before the `@` is dropped: containerd and CRI-O may name another one that holds the same image.
    /// A bare `sha256:…` and a `docker://sha256:…` are the digest of the image's *configuration*, which no registry
    /// gives for a tag.
    pub fn from_image_id(image_id: &str) -> Self {
        if image_id.is_empty() {
            return Self::NotStarted;
        }
        image_id
            .rsplit_once('@')
            .and_then(|(_, digest)| digest.parse().ok())
            .map_or(Self::Unusable, Self::Manifest)
    }

    /// Returns the digest, if it says one that can be compared.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Manifest(digest) => Some(digest),
            Self::NotStarted | Self::Unusable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(image_id: &str, expected: Running) {
        assert_eq!(Running::from_image_id(image_id), expected, "{image_id}");
    }

    #[test]
    fn an_image_id_gives_the_digest_behind_its_repository() {
        let sum = "ab".repeat(32);
        let manifest = Running::Manifest(Digest::of_sha256([0xab; 32]));
        for name in [
            "docker.io/library/nginx",
            "host:5000/app",
            "[::1]:5000/app",
            "docker-pullable://nginx",
            "docker-pullable://host:5000/app",
            "nginx:1.27",
        ] {
            check(&format!("{name}@sha256:{sum}"), manifest.clone());
        }
        let long = Running::Manifest(Digest::Sha512(Box::new([0xab; 64])));
        check(&format!("nginx@sha512:{sum}{sum}"), long);
    }

    #[test]
    fn a_bare_digest_is_the_configurations() {
        let sum = "ab".repeat(32);
        for image_id in [
            format!("sha256:{sum}"),
            format!("docker://sha256:{sum}"),
            format!("sha512:{sum}{sum}"),
            sum.clone(),
        ] {
            check(&image_id, Running::Unusable);
        }
    }

    #[test]
    fn what_cannot_be_read_is_unusable_and_nothing_is_not_started() {
        for image_id in [
            "nginx:1.27",
            "nginx@",
            "nginx@sha256:12",
            "nginx@md5:12",
            "@",
            " ",
        ] {
            check(image_id, Running::Unusable);
        }
        check("", Running::NotStarted);
    }

    #[test]
    fn only_a_stateful_sets_pods_have_ordinals() {
        let pod = |kind, name: &str| crate::policy::fixture::pod(name).owned_by(kind).build();
        assert_eq!(pod(OwnerKind::StatefulSet, "db-0").ordinal(), Some(0));
        assert_eq!(pod(OwnerKind::StatefulSet, "my-db-12").ordinal(), Some(12));
        assert_eq!(pod(OwnerKind::StatefulSet, "db-x").ordinal(), None);
        assert_eq!(pod(OwnerKind::StatefulSet, "db").ordinal(), None);
        assert_eq!(pod(OwnerKind::ReplicaSet, "web-7").ordinal(), None);
    }

    #[test]
    fn a_pod_of_three_containers_is_far_below_a_kibibyte() {
        let own = size_of::<Pod>() + 3 * size_of::<Container>();
        assert!(own <= 768, "{own} bytes");
    }
}
