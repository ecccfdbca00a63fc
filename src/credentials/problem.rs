//! Why credentials that a pod or the command line names are of no use.

use std::{io, sync::Arc};

use super::{BrokenEntry, NotAConfig, Origin, ProviderFault};
use crate::cluster::secrets::SecretError;

/// One thing that is wrong with one place credentials are kept in. It never stops a lookup.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{origin} cannot be used")]
pub struct Problem {
    /// The place.
    pub origin: Origin,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

/// What can be wrong with a place credentials are kept in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The secret cannot be had.
    #[error(transparent)]
    Secret(SecretError),
    /// The file cannot be had.
    #[error("it could not be read")]
    File(#[source] Arc<io::Error>),
    /// The content is no docker config.
    #[error(transparent)]
    Content(#[from] NotAConfig),
    /// One entry is broken; the others serve.
    #[error(transparent)]
    Entry(#[from] BrokenEntry),
    /// As many more entries are broken.
    #[error("{0} more of its entries are of no use")]
    Untold(usize),
    /// The credential provider gave none.
    #[error(transparent)]
    Provider(#[from] ProviderFault),
}

impl Problem {
    /// Says whether it keeps the kubelet from pulling at all, as a pull secret does that it cannot decode.
    pub(super) const fn stops_nodes(&self) -> bool {
        let Origin::Secret { .. } = self.origin else {
            return false;
        };
        match &self.fault {
            Fault::Content(_) => true,
            Fault::Entry(entry) => entry.source.stops_nodes(),
            Fault::Secret(_) | Fault::File(_) | Fault::Untold(_) | Fault::Provider(_) => false,
        }
    }

    /// Returns the stable, documented name of what is wrong.
    pub const fn label(&self) -> &'static str {
        match &self.fault {
            Fault::Secret(error) => error.label(),
            Fault::File(_) => "file_unreadable",
            Fault::Content(_) => "config_malformed",
            Fault::Entry(_) | Fault::Untold(_) => "entry_malformed",
            Fault::Provider(fault) => fault.label(),
        }
    }
}
