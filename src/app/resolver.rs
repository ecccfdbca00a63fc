//! The resolver of all commands, and how registries are asked.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;

use crate::{
    cluster::{Secrets, Server},
    credentials::{DockerConfigFile, Keychain, Patience, Providers},
    observe::metrics::Metrics,
    registry::{self, HostsDir, Proxies, RegistryUrl, Resolver},
};

/// How long a credential provider may run, as the kubelet has it.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(60);

/// How registries are asked.
#[derive(Debug, Clone)]
pub struct Registries {
    /// How long a lookup may take in all.
    pub lookup_timeout: Duration,
    /// A docker config with credentials for images whose pod has none that work.
    pub docker_config: Option<PathBuf>,
    /// A directory like containerd's `certs.d`.
    pub registries_dir: Option<PathBuf>,
    /// The one address that all registries are asked at, if they are not asked at their own.
    pub endpoint: Option<RegistryUrl>,
    /// The kubelet's configuration of credential providers, and the directory of their programs.
    pub credential_providers: Option<(PathBuf, PathBuf)>,
}

/// Returns the resolver that asks as `registries` says; without `server` no pull secret is read.
pub fn resolver(
    registries: &Registries,
    server: Option<Server>,
    metrics: &Metrics,
) -> anyhow::Result<Resolver> {
    let file = registries
        .docker_config
        .as_deref()
        .map(DockerConfigFile::open)
        .transpose()?;
    let patience = Patience {
        run: PROVIDER_TIMEOUT,
        wait: registries.lookup_timeout,
    };
    let providers = (registries.credential_providers.as_ref())
        .map(|(config, folder)| Providers::open(config, folder, patience, metrics))
        .transpose()?
        .map(|providers| providers.with_accounts(server.clone()));
    let keychain =
        Keychain::new(server.map(Secrets::new), file, metrics.clone()).with_providers(providers);
    let settings = registry::Settings {
        lookup_timeout: registries.lookup_timeout,
        hosts: (registries.registries_dir.as_deref())
            .map(HostsDir::open)
            .transpose()?,
        endpoint: registries.endpoint.clone(),
        proxies: Proxies::of(variable)?,
        ..registry::Settings::default()
    };
    Resolver::new(settings, keychain, metrics.clone()).context("cannot set up TLS for registries")
}

/// Returns a variable of the environment; what of it is no text is no address of a proxy either.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned())
}
