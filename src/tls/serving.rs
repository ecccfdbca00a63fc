//! The certificate that is served now, and whether the API server trusts it.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    api::TlsError,
    chain::{self, Unusable},
};
use crate::observe::metrics::Metrics;

/// The serving certificate; a clone follows the same one.
#[derive(Debug, Clone)]
pub struct Serving(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Picked anew for each handshake.
    certificate: ArcSwapOption<CertifiedKey>,
    live: ArcSwap<Live>,
    name: ServerName<'static>,
    metrics: Metrics,
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate.load_full()
    }
}

/// What the API server trusts us by, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// Not read yet.
    Unknown,
    /// We may not read it; that is our administrator's wish.
    Hidden,
    /// There is no such webhook configuration.
    Absent,
    /// The authorities of each webhook that leads to us.
    Webhooks(Vec<Vec<CertificateDer<'static>>>),
}

/// Why the API server could not call us.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// There is no certificate to serve.
    #[error("there is no serving certificate")]
    NoCertificate,
    /// The certificate is not in date.
    #[error("the serving certificate is out of date")]
    OutOfDate,
    /// We have not seen the webhook configuration yet.
    #[error("the webhook configuration has not been read yet")]
    Unknown,
    /// There is no webhook configuration.
    #[error("there is no webhook configuration that calls podrefresh")]
    Absent,
    /// A webhook's caBundle is not that of the certificate.
    #[error("the caBundle of the webhook configuration does not verify the serving certificate")]
    Mismatch(#[source] Unusable),
}

impl Untrusted {
    /// Returns the stable, documented name of the reason.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::OutOfDate => "certificate_out_of_date",
            Self::Unknown => "webhook_unknown",
            Self::Absent => "webhook_absent",
            Self::Mismatch(_) => "ca_bundle_mismatch",
        }
    }
}

impl Serving {
    /// Returns a handle without a certificate yet, for a server that is asked for as `name`.
    pub(super) fn new(name: ServerName<'static>, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            certificate: ArcSwapOption::empty(),
            live: ArcSwap::from_pointee(Live::Unknown),
            name,
            metrics,
        }))
    }

    /// Serves `key` from the next handshake on.
    pub(super) fn serve(&self, key: CertifiedKey) {
        let end = key.cert.first().and_then(chain::not_after);
        if let Some(end) = end {
            // Exact up to the year 285 million.
            #[expect(clippy::cast_precision_loss, reason = "f64 holds such seconds exactly")]
            let seconds = end.as_secs() as f64;
            self.0.metrics.tls_certificate_expiry.set(seconds);
        }
        self.0.certificate.store(Some(Arc::new(key)));
    }

    /// Returns the chain that is served.
    pub fn certificate(&self) -> Option<Vec<CertificateDer<'static>>> {
        Some(self.0.certificate.load().as_ref()?.cert.clone())
    }

    /// Notes what the API server trusts.
    pub(super) fn observe(&self, live: Live) {
        self.0.live.store(Arc::new(live));
    }

    /// Returns whether every webhook that leads to us trusts `authority` already, as far as we know.
    ///
    /// Where there is none, nobody has to.
    pub(super) fn is_published(&self, authority: &CertificateDer<'_>) -> bool {
        match &**self.0.live.load() {
            Live::Unknown => false,
            Live::Hidden | Live::Absent => true,
            Live::Webhooks(webhooks) => webhooks.iter().all(|roots| roots.contains(authority)),
        }
    }

    /// Returns a configuration for servers: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, always the newest certificate.
    pub fn server_config(&self) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Checks that the API server would accept the certificate at `now` in each of its calls to us.
    pub fn check(&self, now: UnixTime) -> Result<(), Untrusted> {
        let served = self.0.certificate.load();
        let served = served.as_ref().ok_or(Untrusted::NoCertificate)?;
        self.check_chain(&served.cert, now)
    }

    /// Checks the same of `chain`, if it were served.
    pub(super) fn check_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let verify = |roots: &[CertificateDer<'_>]| {
            chain::verify(chain, roots, &self.0.name, now).map_err(Untrusted::Mismatch)
        };
        match &**self.0.live.load() {
            Live::Unknown => Err(Untrusted::Unknown),
            Live::Absent => Err(Untrusted::Absent),
            Live::Webhooks(webhooks) if webhooks.is_empty() => Err(Untrusted::Absent),
            Live::Webhooks(webhooks) => webhooks.iter().try_for_each(|roots| verify(roots)),
            Live::Hidden => {
                let end = chain.first().and_then(chain::not_after);
                end.filter(|end| now <= *end)
                    .map(drop)
                    .ok_or(Untrusted::OutOfDate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::{ClientConfig, ProtocolVersion, RootCertStore};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::tls::material::{Material, Names};

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
    }

    fn days(days: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs() + days * 24 * 60 * 60))
    }

    fn names() -> Names {
        Names::of("podrefresh", "podrefresh").unwrap()
    }

    fn material(at: UnixTime) -> Material {
        Material::renewed(None, &names(), at).unwrap()
    }

    fn roots(material: &Material) -> Vec<CertificateDer<'static>> {
        chain::certificates(material.authorities.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(serving: &Serving, live: Live, at: UnixTime, expected: &str) {
        serving.observe(live);
        let label = serving.check(at).err().map_or("trusted", |e| e.label());
        assert_eq!(label, expected);
    }

    #[test]
    fn readiness_says_why_the_api_server_could_not_call() {
        let serving = Serving::new(names().verified, Metrics::new());
        let (good, other) = (material(now()), material(now()));
        let both = |a: &Material, b: &Material| Live::Webhooks(vec![roots(a), roots(b)]);
        check(&serving, both(&good, &good), now(), "no_certificate");
        serving.serve(good.certified_key().unwrap());
        check(&serving, Live::Unknown, now(), "webhook_unknown");
        check(&serving, Live::Absent, now(), "webhook_absent");
        check(
            &serving,
            Live::Webhooks(Vec::new()),
            now(),
            "webhook_absent",
        );
        check(&serving, both(&good, &good), now(), "trusted");
        check(&serving, both(&good, &other), now(), "ca_bundle_mismatch");
        let none = Live::Webhooks(vec![roots(&good), Vec::new()]);
        check(&serving, none, now(), "ca_bundle_mismatch");
        check(
            &serving,
            both(&good, &good),
            days(366),
            "ca_bundle_mismatch",
        );
        check(&serving, Live::Hidden, days(365), "trusted");
        check(&serving, Live::Hidden, days(366), "certificate_out_of_date");
    }

    #[test]
    fn an_authority_is_published_once_every_webhook_trusts_it() {
        let serving = Serving::new(names().verified, Metrics::new());
        let (old, new) = (material(now()), material(now()));
        let both = || [roots(&old), roots(&new)].concat();
        for (live, expected) in [
            (Live::Unknown, false),
            (Live::Absent, true),
            (Live::Hidden, true),
            (Live::Webhooks(vec![both(), roots(&old)]), false),
            (Live::Webhooks(vec![both(), both()]), true),
        ] {
            serving.observe(live.clone());
            assert_eq!(serving.is_published(&roots(&new)[0]), expected, "{live:?}");
        }
    }

    #[test]
    fn the_end_of_the_certificate_is_shown() {
        let metrics = Metrics::new();
        let serving = Serving::new(names().verified, metrics.clone());
        serving.serve(material(now()).certified_key().unwrap());
        let end = metrics.tls_certificate_expiry.get();
        assert!((end - 1_831_536_000.0).abs() < 0.5, "{end}");
    }

    /// Returns what client and server agree on, if the client trusts `authorities`.
    async fn connect(
        serving: &Serving,
        authorities: &Material,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Option<(ProtocolVersion, Vec<u8>)> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots(authorities));
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let (near, far) = tokio::io::duplex(16 * 1024);
        let acceptor = TlsAcceptor::from(Arc::new(serving.server_config().unwrap()));
        let connector = TlsConnector::from(Arc::new(client));
        let (accepted, connected) = tokio::join!(
            acceptor.accept(far),
            connector.connect(names().verified, near)
        );
        let (connected, _) = (connected.ok()?, accepted.ok()?);
        let (_, session) = connected.get_ref();
        Some((
            session.protocol_version()?,
            session.alpn_protocol()?.to_vec(),
        ))
    }

    #[tokio::test]
    async fn every_handshake_gets_the_newest_certificate() {
        let (old, new) = (material(UnixTime::now()), material(UnixTime::now()));
        let serving = Serving::new(names().verified, Metrics::new());
        let all = rustls::ALL_VERSIONS;
        assert_eq!(connect(&serving, &old, all).await, None);
        serving.serve(old.certified_key().unwrap());
        assert!(connect(&serving, &old, all).await.is_some());
        serving.serve(new.certified_key().unwrap());
        assert_eq!(connect(&serving, &old, all).await, None);
        assert!(connect(&serving, &new, all).await.is_some());
    }

    #[tokio::test]
    async fn both_versions_of_tls_speak_http_2() {
        let serving = Serving::new(names().verified, Metrics::new());
        let material = material(UnixTime::now());
        serving.serve(material.certified_key().unwrap());
        for (version, name) in [
            (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
            (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
        ] {
            let agreed = connect(&serving, &material, &[version]).await;
            assert_eq!(agreed, Some((name, b"h2".to_vec())));
        }
    }
}
