//! The webhook's serving certificate: made, stored, injected, reloaded.
//!
//! # How replicas rotate together
//!
//! The API server must trust what any replica serves, at each moment. No replica knows what the others serve, and none
//! has to: the order of the steps makes each of them safe, however slow a replica is and whoever takes them.
//!
//! 1. *At rest* the Secret holds the authority A, its key, and a certificate by A. All replicas serve it; the caBundle
//!    is A.
//! 2. *Renewed.* Four months before its end, whichever replica sees it first writes a new certificate by A: a
//!    compare-and-swap on the Secret's resourceVersion, so the others take what the first one wrote. The caBundle
//!    stays; old and new certificate are both trusted by it.
//! 3. *Announced.* When A would end before a new certificate, a new authority B goes into the Secret beside A, with its
//!    key, and from there into the caBundle. The certificate stays the one by A.
//! 4. *Taken over.* A day later, and only while the live caBundle holds B, a replica writes a certificate by B; each
//!    replica serves it once it has seen, in its own view, that the caBundle verifies it. The day is for API servers
//!    that lag behind, as each has a copy of its own of the webhook configuration.
//! 5. *Retired.* A stays in the caBundle while it is in date. A certificate never outlives its authority, so a replica
//!    that has not heard of anything since step 2 is trusted as long as its certificate is good at all.
//!
//! What is lost skips steps: a Secret that was deleted is written anew from what a replica remembers; a certificate or
//! key that is garbled is signed anew by A, else by B, else by a new authority that is served as soon as it is in the
//! caBundle, since nothing better is left. *Clocks* matter little: certificates begin an hour before they are made, what is
//! renewed has four months left, and a replica whose clock runs ahead only acts early, in the same order. Every replica
//! follows the Secret by a watch and reads it again each hour; TLS picks the certificate anew for each handshake; and
//! readiness fails while what is served does not verify against the live caBundle.
//!
//! # Certificates of someone else
//!
//! With `--cert-dir` the files in a folder are served, and neither Secret nor caBundle are written. A new certificate
//! that the live caBundle does not verify waits while it verifies the old one. Where an annotation gives the caBundle
//! to cert-manager, it is never written either way.

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
pub mod rotation;
mod secret;
mod serving;
#[cfg(test)]
mod tests;
mod unwatched;

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
    /// The name of both webhook configurations.
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
                serving: serving.clone(),
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
