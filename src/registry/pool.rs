//! Connection pools: one for each way of telling friend from foe, so that no host is trusted by another's rules.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, ClientBuilder, redirect};
use rustls::pki_types::CertificateDer;
use tracing::warn;

use super::{
    pem::{self, Authorities, BadPem},
    proxy::Proxies,
    tls::Tls,
};

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

/// Connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// An extra bundle holds no certificate authorities.
    #[error("an extra bundle of certificate authorities is of no use")]
    Roots(#[source] BadPem),
    /// There can be no client.
    #[error("there can be no HTTP client")]
    Client(#[source] reqwest::Error),
}

/// Builds pools, each once.
#[derive(Debug)]
pub(super) struct Pools {
    roots: Vec<CertificateDer<'static>>,
    addresses: Vec<(String, SocketAddr)>,
    proxies: Proxies,
    connect_timeout: Duration,
    built: Mutex<HashMap<Tls, Client>>,
}

impl Pools {
    /// Returns the pools of `network`, whose connections lead through `proxies` and must stand within `connect_timeout`.
    pub(super) fn new(
        network: &Network,
        proxies: Proxies,
        connect_timeout: Duration,
    ) -> Result<Self, NetworkError> {
        let mut roots = Vec::new();
        for bundle in &network.extra_roots {
            let found = pem::authorities(bundle).map_err(NetworkError::Roots)?;
            if found.useless > 0 {
                let Authorities { useless, .. } = found;
                warn!("Passed over {useless} certificates of an extra bundle that are of no use");
            }
            roots.extend(found.certificates);
        }
        Ok(Self {
            roots,
            addresses: network.addresses.clone(),
            proxies,
            connect_timeout,
            built: Mutex::default(),
        })
    }

    /// Returns the pool for `tls`.
    pub(super) fn of(&self, tls: &Tls) -> Result<Client, reqwest::Error> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = built.get(tls) {
            return Ok(client.clone());
        }
        let config = tls.config(&self.roots);
        let builder = self.builder(tls).tls_backend_preconfigured(config);
        let client = builder.build()?;
        // Those in use live on with whoever uses them.
        if built.len() >= MAX_POOLS {
            built.clear();
        }
        built.insert(tls.clone(), client.clone());
        Ok(client)
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
            // Not those that the client would find in the environment, by other rules.
            .no_proxy();
        let builder = match self.proxies.for_clients() {
            Some(proxy) => builder.proxy(proxy),
            None => builder,
        };
        let known = self.addresses.iter();
        known.fold(builder, |builder, (name, address)| {
            builder.resolve(name, *address)
        })
    }
}
