//! What an image may be pulled with: pull secrets, docker configs and credential providers, matched as the
//! kubelet matches them.

mod candidates;
mod config;
mod credential;
mod file;
mod keychain;
mod keyring;
mod problem;
mod provider;
mod scope;

pub use candidates::{Candidate, Candidates, Obstacle, Origin, Source};
pub use config::{BrokenEntry, Config, Entry, EntryFault, NotAConfig};
pub use credential::{Credential, Fingerprint};
pub use file::{DockerConfigFile, OpenError};
pub use keychain::Keychain;
pub use problem::{Fault, Problem};
pub use provider::{
    AttributesFault, ConfigFault, Patience, PluginFault, ProviderFault, Providers, ProvidersError,
};
pub use scope::{InvalidScope, Scope};
