//! What a tag means now: one reference in, one digest out.

mod accounts;
mod allowance;
mod challenge;
mod client_certificate;
mod compare;
mod content;
mod endpoint;
mod fault;
#[doc(hidden)]
pub mod fuzz;
mod get_only;
mod host;
mod hosts;
mod known;
mod manifest;
mod pem;
mod place;
mod platform;
mod pool;
mod proxy;
mod resolver;
mod retry_after;
mod session;
mod silence;
mod spared;
mod tls;
mod token;
mod transport;
mod trust;
mod unanswered;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    credentials::{Candidates, Problem, Source},
    policy::{Container, Digest, ImageRef, Pod, PullIdentity},
};

pub use allowance::Allowance;
pub use compare::{Compared, Read};
pub use content::Manifest;
pub use fault::{Fault, LookupError};
pub use hosts::{BadEndpoint, RegistryUrl};
pub use hosts::{HostsDir, HostsDirError, HostsFault, NotHosts};
pub use manifest::Deciding;
pub use pem::BadPem;
pub use platform::BuiltFor;
pub use pool::{Network, NetworkError};
pub use proxy::{BadProxy, Proxies};
pub use resolver::{Resolver, Settings};
pub use unanswered::Unanswered;

/// A failure is not asked about again for so long. Long enough to spare a registry a crowd of
/// equal pods, short enough not to be noticed by a person who has just mended something.
const KEEP_FAILURE: Duration = Duration::from_millis(1500);

/// What to look up: a reference, and whose credentials to ask with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// The reference; its tag decides, a digest in it is ignored.
    pub image: Arc<ImageRef>,
    /// Whose pull secrets may be used.
    pub identity: Arc<PullIdentity>,
}

impl Lookup {
    /// Returns what to ask for a container of `pod`, if its reference has a tag that it follows.
    pub fn of(pod: &Pod, container: &Container) -> Option<Self> {
        let image = container.image.as_ref().ok()?;
        let image = match image.digest() {
            None => Arc::clone(image),
            Some(_) if container.is_pinned() => Arc::new(image.tagged()?),
            Some(_) => return None,
        };
        Some(Self {
            image,
            identity: Arc::clone(&pod.identity),
        })
    }
}

/// What the registry said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The digest of the manifest, or of the index where there is one.
    pub digest: Digest,
    /// When the registry was asked: the digest is known to be right at no earlier moment.
    pub at: Instant,
    /// How the answer came about.
    pub trail: Trail,
}

/// How an answer came about, for people who ask.
#[derive(Debug, Clone)]
pub struct Trail {
    host: Arc<str>,
    found: Arc<session::Found>,
    candidates: Arc<Candidates>,
}

impl Trail {
    /// Returns the host that answered.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the request that decided.
    pub fn deciding(&self) -> Deciding {
        self.found.deciding
    }

    /// Returns where the credential that was accepted comes from.
    pub fn source(&self) -> &Source {
        let candidate = self.candidates.get(self.found.candidate);
        candidate.map_or(&Source::Anonymous, |candidate| &candidate.source)
    }

    /// Returns what kept other credentials from being tried: the first problems of any number.
    pub fn problems(&self) -> &[Problem] {
        self.candidates.problems()
    }

    /// Returns how many more problems there are.
    pub fn untold_problems(&self) -> usize {
        self.candidates.untold_problems()
    }
}

#[cfg(test)]
mod tests;
