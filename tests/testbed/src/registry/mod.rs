//! A registry in this process that speaks the distribution protocol and misbehaves on request.
//!
//! It serves HTTP/1.1 and h2, plain or over TLS, on a loopback address. Images come in over the wire (oci-client, skopeo,
//! [`push`](Client::push)) or directly ([`Registry::store`]); tags are moved and deleted by method calls. Each request is noted
//! ([`Registry::requests`]) and can be spoiled ([`Registry::inject`]).
//!
//! Not modelled: the catalogue, referrers, paging of tags, ranges of blobs, resuming an upload, deleting blobs, garbage
//! collection. Manifests are chosen by `Accept` as Docker's registry 2.8 does it.

mod answer;
mod auth;
mod certificate;
mod client;
mod content;
mod fault;
mod form;
mod journal;
mod protocol;
mod push;
mod server;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use self::auth::{Auth, Bearer, User};
pub use self::certificate::Certificate;
pub use self::client::{Client, ClientError, Credentials};
pub use self::fault::{Fault, FaultGuard, RetryAfter};
pub use self::journal::{Scheme, Seen};
pub use self::target::{Kind, Target};

use crate::images::Image;

/// How to start a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// The loopback address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// Plain http when `None`.
    pub certificate: Option<Certificate>,
    /// What is asked of clients.
    pub auth: Auth,
    /// Whom it is asked of: clients whose `User-Agent` begins so. Of all when `None`.
    ///
    /// For nodes that know no pull secrets: they get in, and who is under test does not.
    pub asked_agents: Option<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            certificate: None,
            auth: Auth::Anonymous,
            asked_agents: None,
        }
    }
}

struct State {
    /// Scheme and host, without a slash at the end.
    url: String,
    content: Mutex<content::Content>,
    door: Mutex<auth::Door>,
    asked_agents: Option<&'static str>,
    faults: fault::Faults,
    journal: journal::Journal,
}

/// A running registry; it stops when dropped.
pub struct Registry {
    state: Arc<State>,
    address: SocketAddr,
    ca_pem: Option<String>,
    task: JoinHandle<()>,
}

impl Registry {
    /// Starts a registry.
    ///
    /// # Errors
    /// When the address cannot be bound or no certificate can be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let address = listener.local_addr()?;
        let served = options
            .certificate
            .map(|kind| certificate::serve(kind, address.ip()))
            .transpose();
        let served = served.map_err(io::Error::other)?;
        let scheme = if served.is_some() { "https" } else { "http" };
        let state = Arc::new(State {
            url: format!("{scheme}://{address}"),
            content: Mutex::default(),
            door: Mutex::new(auth::Door::new(options.auth)),
            asked_agents: options.asked_agents,
            faults: fault::Faults::default(),
            journal: journal::Journal::default(),
        });
        let tls = served
            .as_ref()
            .map(|served| TlsAcceptor::from(Arc::clone(&served.config)));
        let task = tokio::spawn(server::run(listener, tls, Arc::clone(&state)));
        Ok(Self {
            state,
            address,
            ca_pem: served.map(|served| served.ca_pem),
            task,
        })
    }

    /// Starts a plain, anonymous registry on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn anonymous() -> io::Result<Self> {
        Self::start(Options::default()).await
    }

    /// Returns `address:port`, the first part of this registry's image references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns `http://address:port` or `https://address:port`.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// Returns the authority's certificate, where the registry speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Returns the image reference `address:port/repository:tag`.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    /// Stores `image` with all its parts, points `tag` to it, and returns its digest.
    pub fn store(&self, repository: &str, tag: &str, image: &Image) -> String {
        let mut content = lock(&self.state.content);
        content.store(repository, image);
        content.tag(repository, tag, image.digest());
        image.digest().to_owned()
    }

    /// Points `tag` to a digest, stored or not.
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        lock(&self.state.content).tag(repository, tag, digest);
    }

    /// Deletes a tag, or a manifest (by digest) with its tags. Says whether it was there.
    pub fn delete(&self, repository: &str, reference: &str) -> bool {
        lock(&self.state.content).delete_manifest(repository, reference)
    }

    /// Returns the digest a tag points to.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        lock(&self.state.content)
            .tagged(repository, tag)
            .map(str::to_owned)
    }

    /// Changes what is asked of clients; tokens given out before stay good.
    pub fn require(&self, auth: Auth) {
        lock(&self.state.door).replace(auth);
    }

    /// Makes all tokens given out invalid.
    pub fn revoke_tokens(&self) {
        lock(&self.state.door).revoke_all();
    }

    /// Lets `fault` befall every request in `target` until the guard is dropped.
    pub fn inject(&self, fault: Fault, target: Target) -> FaultGuard {
        self.state.faults.inject(fault, target, None)
    }

    /// Lets `fault` befall the next `times` requests in `target`, or fewer if the guard is dropped before.
    pub fn inject_times(&self, times: usize, fault: Fault, target: Target) -> FaultGuard {
        self.state.faults.inject(fault, target, Some(times))
    }

    /// Returns the requests in `target`, in order of arrival.
    pub fn requests(&self, target: &Target) -> Vec<Seen> {
        self.state.journal.matching(target)
    }

    /// Returns how many requests in `target` arrived.
    pub fn count(&self, target: &Target) -> usize {
        self.state.journal.count(target)
    }

    /// Returns how many requests for manifests arrived, HEAD and GET (and pushes) alike, from outside the testbed.
    pub fn manifest_requests(&self) -> usize {
        self.count(&Target::manifests().outside())
    }

    /// Returns how many tokens were asked for from outside the testbed.
    pub fn token_requests(&self) -> usize {
        self.count(&Target::tokens().outside())
    }

    /// Returns how many connections were accepted.
    pub fn connections(&self) -> usize {
        self.state.journal.connections()
    }

    /// Returns the highest number of requests that were open at once.
    pub fn peak_in_flight(&self) -> usize {
        self.state.journal.peak()
    }

    /// Forgets all requests seen so far.
    pub fn forget_requests(&self) {
        self.state.journal.clear();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Locks. No change under these locks can fail half-way, so what a panicked holder left is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
