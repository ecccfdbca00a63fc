//! Connection pools: one for each way of telling friend from foe, so that no host is trusted by another's rules.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect};
use tracing::warn;

use crate::error::Chain;

/// As many headers, and as many bytes of them over HTTP/2, as any registry sends and some.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Pools kept. Each change of a certificate leaves one behind.
const MAX_POOLS: usize = 256;

/// What connections depend on.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// PEM bundles of certificate authorities to be trusted besides the system's.
    pub extra_roots: Vec<Vec<u8>>,
    /// Names whose addresses are known without DNS, as curl's `--resolve`; the port is the URL's.
    pub addresses: Vec<(String, SocketAddr)>,
}

/// How one host is connected to, as its `hosts.toml` says.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    /// PEM bundles of certificate authorities to be trusted besides the system's.
    pub(super) authorities: Vec<Vec<u8>>,
    /// A certificate and its key in PEM.
    pub(super) client: Option<Vec<u8>>,
    /// Whether anybody is believed to be the host.
    pub(super) skip_verify: bool,
    /// How long a connection may take to stand, if that is to be less than it may anyhow.
    pub(super) dial_timeout: Option<Duration>,
}

/// The connections of one pool, by whether a proxy may be between.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) direct: Client,
    pub(super) proxied: Client,
}

/// Builds pools, each once.
#[derive(Debug)]
pub(super) struct Pools {
    roots: Vec<Certificate>,
    addresses: Vec<(String, SocketAddr)>,
    connect_timeout: Duration,
    built: Mutex<HashMap<Tls, Clients>>,
}

impl Pools {
    /// Returns the pools of `network`, whose connections must stand within `connect_timeout`.
    pub(super) fn new(
        network: &Network,
        connect_timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            roots: certificates(&network.extra_roots)?,
            addresses: network.addresses.clone(),
            connect_timeout,
            built: Mutex::default(),
        })
    }

    /// Returns the pool for `tls`; an error when its certificates are of no use.
    ///
    /// The proxies of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are used; never for this machine, as
    /// container runtimes have it.
    pub(super) fn of(&self, tls: &Tls) -> Result<Clients, reqwest::Error> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = built.get(tls) {
            return Ok(clients.clone());
        }
        let mut roots = self.roots.clone();
        roots.extend(certificates(&tls.authorities)?);
        let client = tls.client.as_deref().map(Identity::from_pem).transpose()?;
        let builder = || {
            let builder = self.builder(tls);
            match &client {
                Some(client) => builder.identity(client.clone()),
                None => builder,
            }
        };
        let clients = Clients {
            direct: build(|| builder().no_proxy(), &roots)?,
            proxied: build(builder, &roots)?,
        };
        // Those in use live on with whoever uses them.
        if built.len() >= MAX_POOLS {
            built.clear();
        }
        built.insert(tls.clone(), clients.clone());
        Ok(clients)
    }

    fn builder(&self, tls: &Tls) -> ClientBuilder {
        let dial_timeout = tls.dial_timeout.unwrap_or(self.connect_timeout);
        let builder = Client::builder()
            .user_agent(concat!("podrefresh/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(dial_timeout.min(self.connect_timeout))
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_adaptive_window(false)
            .tls_danger_accept_invalid_certs(tls.skip_verify);
        let known = self.addresses.iter();
        known.fold(builder, |builder, (name, address)| {
            builder.resolve(name, *address)
        })
    }
}

impl fmt::Debug for Tls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

fn certificates(bundles: &[Vec<u8>]) -> Result<Vec<Certificate>, reqwest::Error> {
    let mut certificates = Vec::new();
    for bundle in bundles {
        certificates.extend(Certificate::from_pem_bundle(bundle)?);
    }
    Ok(certificates)
}

/// Builds a client, if need be one that trusts nobody: loopback registries need no authorities.
fn build(
    builder: impl Fn() -> ClientBuilder,
    roots: &[Certificate],
) -> Result<Client, reqwest::Error> {
    match builder().tls_certs_merge(roots.iter().cloned()).build() {
        Err(error) if roots.is_empty() => {
            let client = builder().tls_certs_only([]).build()?;
            warn!(
                error = %Chain(&error),
                "Found no certificate authorities, so no https registry can be trusted: {}",
                Chain(&error)
            );
            Ok(client)
        }
        built => built,
    }
}
