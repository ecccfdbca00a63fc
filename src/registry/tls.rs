//! How TLS is spoken to a host: whom we believe to be it, and what we show of ourselves.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::CertificateDer,
};

use super::{
    client_certificate::{ClientCertificate, FirstAccepted},
    trust::{Anybody, Trusted},
};

/// How one host is connected to, as its `hosts.toml` says.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    /// Certificate authorities to be trusted besides the system's.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Whom we may be to the host; the first that it accepts counts.
    pub(super) clients: Vec<ClientCertificate>,
    /// Whether anybody is believed to be the host.
    pub(super) skip_verify: bool,
    /// How long a connection may take to stand, if that is to be less than it may anyhow.
    pub(super) dial_timeout: Option<Duration>,
}

impl Tls {
    /// Returns how to speak TLS, trusting `extra` authorities, too.
    pub(super) fn config(&self, extra: &[CertificateDer<'static>]) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.skip_verify {
            true => Arc::new(Anybody),
            false => {
                let given = extra.iter().chain(&self.authorities).cloned();
                Arc::new(Trusted::new(given, Arc::clone(&provider)))
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring must know the protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let shown = FirstAccepted::of(&self.clients);
        let mut config = builder.with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Who is known from before is not verified again, and dates end. Nodes resume nothing either.
        config.resumption = Resumption::disabled();
        config
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.len())
            .field("clients", &self.clients)
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}
