//! What can be wrong with a configuration of credential providers.

use std::io;

use super::attributes::AttributesFault;
use crate::credentials::InvalidScope;

/// Versions of the file that the kubelet reads; they have one form.
pub(super) const VERSIONS: &[&str] = &[
    "kubelet.config.k8s.io/v1",
    "kubelet.config.k8s.io/v1beta1",
    "kubelet.config.k8s.io/v1alpha1",
];

/// Versions of the plugins' protocol.
pub(super) const PROTOCOLS: &[&str] = &[
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];

/// A configuration of credential providers is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// The file cannot be read.
    #[error("credential provider config {path} could not be read")]
    Unreadable {
        /// Its path.
        path: Box<str>,
        /// Why.
        source: io::Error,
    },
    /// The file is not such a configuration.
    #[error("credential provider config {path} is of no use")]
    Malformed {
        /// Its path.
        path: Box<str>,
        /// What is wrong.
        source: ConfigFault,
    },
    /// A plugin's program cannot be run.
    #[error("credential provider {path} cannot be run")]
    Binary {
        /// The program's path.
        path: Box<str>,
        /// Why.
        source: io::Error,
    },
}

/// What can be wrong with a configuration of credential providers.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// It is no YAML, or has a field too many or too few.
    #[error("{0}")]
    Yaml(Box<str>),
    /// It is something else.
    #[error("it is {kind:?} of {version:?}, not a CredentialProviderConfig of {}", VERSIONS.join(", "))]
    Kind {
        /// Its kind.
        kind: Box<str>,
        /// Its apiVersion.
        version: Box<str>,
    },
    /// It names no provider.
    #[error("`providers` must not be empty")]
    Empty,
    /// One provider is wrong.
    #[error("provider {name:?}")]
    Provider {
        /// Its name as it is written.
        name: Box<str>,
        /// What is wrong.
        source: PluginFault,
    },
}

/// What can be wrong with one provider of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginFault {
    /// The name is no file's.
    #[error("`name` must be a file name without spaces")]
    Name,
    /// The name was there before.
    #[error("`name` must be there only once")]
    Double,
    /// The protocol.
    #[error("`apiVersion` is {0:?}, allowed are {list}", list = PROTOCOLS.join(", "))]
    Protocol(Box<str>),
    /// No images.
    #[error("`matchImages` must not be empty")]
    NoImages,
    /// A pattern of images.
    #[error("`matchImages` has {pattern:?}")]
    Images {
        /// The pattern.
        pattern: Box<str>,
        /// What is wrong with it.
        source: InvalidScope,
    },
    /// The duration.
    #[error("`defaultCacheDuration` must be a time such as 12h or 0s")]
    Duration,
    /// What it wants to know of service accounts.
    #[error("`tokenAttributes`")]
    Tokens(#[from] AttributesFault),
}
