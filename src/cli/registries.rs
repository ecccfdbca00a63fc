//! How registries are asked: the flags of all commands that ask some.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::values::positive;
use crate::app;

/// How registries are asked.
#[derive(Debug, Clone, Args)]
pub struct Registries {
    /// Time a lookup may take in all, retries included
    #[arg(long, env = "PODREFRESH_LOOKUP_TIMEOUT", value_parser = positive, default_value = "10s")]
    pub lookup_timeout: Duration,
    /// Docker config.json with credentials for images whose pod has none that work
    #[arg(long, env = "PODREFRESH_DOCKER_CONFIG", value_name = "FILE")]
    pub docker_config: Option<PathBuf>,
    /// Directory like containerd's certs.d: where and how each registry is asked
    #[arg(long, env = "PODREFRESH_REGISTRIES_DIR", value_name = "DIR")]
    pub registries_dir: Option<PathBuf>,
    /// The kubelet's CredentialProviderConfig, or a directory of them: which plugins know credentials for which images
    #[arg(
        long,
        env = "PODREFRESH_CREDENTIAL_PROVIDER_CONFIG",
        value_name = "FILE",
        requires = "credential_provider_bin_dir"
    )]
    pub credential_provider_config: Option<PathBuf>,
    /// Directory of those plugins
    #[arg(
        long,
        env = "PODREFRESH_CREDENTIAL_PROVIDER_BIN_DIR",
        value_name = "DIR",
        requires = "credential_provider_config"
    )]
    pub credential_provider_bin_dir: Option<PathBuf>,
}

impl Registries {
    /// Returns what these flags ask for.
    pub fn settings(&self) -> app::Registries {
        app::Registries {
            lookup_timeout: self.lookup_timeout,
            docker_config: self.docker_config.clone(),
            registries_dir: self.registries_dir.clone(),
            endpoint: None,
            credential_providers: self
                .credential_provider_config
                .clone()
                .zip(self.credential_provider_bin_dir.clone()),
        }
    }
}
