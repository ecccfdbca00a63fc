//! What keeps a sidecar from its work.

use std::time::Duration;

use crate::{
    cluster::{CallError, OwnPodError, OwnerError, WorkloadKind},
    registry::LookupError,
};

/// What keeps a sidecar from its work.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Our own pod is not known.
    #[error(transparent)]
    Pod(#[from] OwnPodError),
    /// The pod has no container of that name.
    #[error("pod {pod} has no container {container:?}; it has {others}")]
    NoContainer {
        /// The pod.
        pod: String,
        /// The name that was asked for.
        container: String,
        /// The names of the pod's containers.
        others: String,
    },
    /// The pod's owner is not known.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The registry does not say what the tag means, or whether that is another image.
    #[error(transparent)]
    Lookup(#[from] Box<LookupError>),
    /// The owner could not be restarted.
    #[error("cannot restart {kind} {namespace}/{name}")]
    Restart {
        /// The owner's kind.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why not.
        source: CallError,
    },
}

impl Trouble {
    /// Returns the stable, documented name of the trouble.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pod(error) => error.label(),
            Self::NoContainer { .. } => "no_container",
            Self::Owner(error) => error.label(),
            Self::Lookup(error) => error.label(),
            Self::Restart { .. } => "restart_failed",
        }
    }

    /// Says whether a setting must be wrong: nothing but another setting mends that.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::NoContainer { .. }
                | Self::Pod(OwnPodError::Missing { .. } | OwnPodError::Other { .. })
        )
    }

    /// Returns how long a server asks to be left alone, if it does.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let source = match self {
            Self::Lookup(error) => return error.retry_after(),
            Self::Pod(OwnPodError::Unread { source, .. })
            | Self::Owner(OwnerError::Unread { source, .. })
            | Self::Restart { source, .. } => source,
            Self::Pod(_) | Self::Owner(_) | Self::NoContainer { .. } => return None,
        };
        source.refusal()?.retry_after
    }
}
