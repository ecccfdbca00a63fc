//! The webhook's serving certificate: made, stored, injected, reloaded.

use std::path::PathBuf;

use futures::{FutureExt, future::BoxFuture};
use kube::{Api, Client};

use crate::observe::metrics::Metrics;

pub mod api;
pub mod authority;
pub mod chain;
mod configuration;
mod folder;
pub mod inject;
mod managed;
pub mod material;
mod secret;
mod serving;
#[cfg(test)]
mod tests;

pub use api::TlsError;
pub use inject::Service;
pub use serving::{Live, Serving, Untrusted};

/// Where the serving certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// We make it ourselves, share it by this Secret in the Service's namespace, and write the caBundle.
    SelfManaged {
        /// The Secret's name.
        secret: String,
    },
    /// Someone else keeps `tls.crt` and `tls.key` in this folder, and the caBundle.
    Folder(PathBuf),
}

/// Whom the certificate is for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Service that the API server reaches us by.
    pub service: Service,
    /// The name of the webhook configuration.
    pub webhook: String,
}

/// Gets the first certificate, and returns the handle to it with the task that keeps it in order.
///
/// The task is vital: it ends only by a fault, and without it a certificate would end some day.
pub async fn start(
    source: Source,
    client: Client,
    settings: Settings,
    metrics: Metrics,
) -> Result<(Serving, BoxFuture<'static, ()>), TlsError> {
    let Settings { service, webhook } = settings;
    let names = material::Names::of(&service.name, &service.namespace)?;
    let serving = Serving::new(names.verified.clone(), metrics);
    let configuration = configuration::Configuration::new(
        client.clone(),
        webhook,
        service.clone(),
        serving.clone(),
    );
    let task = match source {
        Source::SelfManaged { secret } => {
            let store = secret::Store {
                name: secret,
                api: Api::namespaced(client, &service.namespace),
                names,
            };
            let managed = managed::Managed::start(store, configuration, serving.clone()).await?;
            managed.run().boxed()
        }
        Source::Folder(path) => {
            let folder = folder::Folder::start(path, configuration, serving.clone()).await?;
            folder.run().boxed()
        }
    };
    Ok((serving, task))
}
