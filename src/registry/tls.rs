//! How TLS is spoken to a host: whom we believe to be it, and what we show of ourselves.

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use tracing::warn;

use super::client_certificate::{ClientCertificate, FirstAccepted};
use crate::error::Chain;

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

/// Believes anybody to be the host.
#[derive(Debug)]
struct Anybody;

impl Tls {
    /// Returns how to speak TLS, trusting `extra` authorities, too.
    pub(super) fn config(&self, extra: &[CertificateDer<'static>]) -> ClientConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring must know the protocol versions");
        let builder = if self.skip_verify {
            let builder = builder.dangerous();
            builder.with_custom_certificate_verifier(Arc::new(Anybody))
        } else {
            let roots = extra.iter().chain(&self.authorities).cloned();
            match Verifier::new_with_extra_roots(roots, provider) {
                Ok(verifier) => {
                    let builder = builder.dangerous();
                    builder.with_custom_certificate_verifier(Arc::new(verifier))
                }
                Err(error) => {
                    warn!(
                        error = %Chain(&error),
                        "Found no certificate authorities, so no https registry can be trusted: {}",
                        Chain(&error)
                    );
                    // Registries on loopback need none.
                    builder.with_root_certificates(RootCertStore::empty())
                }
            }
        };
        let shown = FirstAccepted::of(&self.clients);
        let mut config = builder.with_client_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
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

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Returns all that a certificate may be of: nothing is verified, so nothing needs to be supported.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as Scheme;

        vec![
            Scheme::ED25519,
            Scheme::ED448,
            Scheme::ECDSA_NISTP256_SHA256,
            Scheme::ECDSA_NISTP384_SHA384,
            Scheme::ECDSA_NISTP521_SHA512,
            Scheme::RSA_PSS_SHA256,
            Scheme::RSA_PSS_SHA384,
            Scheme::RSA_PSS_SHA512,
            Scheme::RSA_PKCS1_SHA256,
            Scheme::RSA_PKCS1_SHA384,
            Scheme::RSA_PKCS1_SHA512,
            Scheme::RSA_PKCS1_SHA1,
            Scheme::ECDSA_SHA1_Legacy,
        ]
    }
}
