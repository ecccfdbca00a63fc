//! What can go wrong with a credential provider. None of it repeats what the provider printed.

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use crate::cluster::AccountError;

/// Why a credential provider gave no credentials for an image.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderFault {
    /// There is no process.
    #[error("it could not be started")]
    Start(#[source] Arc<io::Error>),
    /// The process, or talking to it, failed.
    #[error("talking to it failed")]
    Talk(#[source] Arc<io::Error>),
    /// The process said that it failed.
    #[error("it failed ({0})")]
    Exit(ExitStatus),
    /// The process took too long, and was ended.
    #[error("it did not end within {} s, and was ended", .after.as_secs_f64())]
    Hung {
        /// How long it had.
        after: Duration,
    },
    /// The process is still at it, and this lookup goes on without it.
    #[error("it has not answered within {} s", .after.as_secs_f64())]
    Slow {
        /// How long the lookup waited.
        after: Duration,
    },
    /// What it printed is no answer.
    #[error("its answer makes no sense: {0}")]
    Malformed(&'static str),
    /// There is no token of the pod's ServiceAccount to give it.
    #[error(transparent)]
    Account(AccountError),
    /// The task that ran it ended early: a fault of ours.
    #[error("asking it was given up")]
    Aborted,
}

impl ProviderFault {
    /// Returns the stable, documented name of the fault.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Account(error) => error.label(),
            Self::Start(_) | Self::Talk(_) | Self::Exit(_) | Self::Aborted => "provider_failed",
            Self::Hung { .. } | Self::Slow { .. } => "provider_timeout",
            Self::Malformed(_) => "provider_malformed",
        }
    }
}
