//! Whom we believe to be a registry.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{Acceptor, WebPkiClientVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::net::TcpListener;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::*;
use crate::error::Chain;

pub(super) const NAME: &str = "registry.test";

/// A certificate authority of our own.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::until(2999)
    }

    /// Makes one that is valid until the first day of `year`.
    fn until(year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, 1, 1);
        // Each authority has a name of its own, as real ones do.
        let name = format!("authority {}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// Returns what a server called `name` needs, valid until the first day of `year`.
    pub(super) fn server(&self, name: &str, year: i32) -> TlsAcceptor {
        self.server_for(name, year, None)
    }

    /// Returns what such a server needs that talks only to clients with a certificate by `clients`.
    pub(super) fn server_for(
        &self,
        name: &str,
        year: i32,
        clients: Option<&Authority>,
    ) -> TlsAcceptor {
        let (certificate, key) = self.sign(name, year);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap())
                    .unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// Returns a certificate for `name` and its key, valid until the first day of `year`.
    pub(super) fn sign(&self, name: &str, year: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A certificate that signs itself, and is an authority's for that: as `openssl req -x509` makes them.
pub(super) struct OwnRoot {
    certificate: Certificate,
    key: KeyPair,
}

impl OwnRoot {
    /// Makes one for `name`, valid until the first day of `year`.
    pub(super) fn new(name: &str, year: i32) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Returns what a server needs that shows it.
    pub(super) fn server(&self) -> TlsAcceptor {
        self.server_with(&self.key)
    }

    /// Returns what a server needs that shows it and has `key`.
    fn server_with(&self, key: &KeyPair) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![self.certificate.der().clone()];
        let shown = CertifiedKey::new(chain, any_supported_type(&key).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Asks a server with the certificate `tls` as `registry.test`, trusting `roots`.
async fn check(tls: TlsAcceptor, roots: &[&Authority], expected: Result<Digest, (&str, &str)>) {
    let roots: Vec<String> = roots.iter().map(|root| root.pem.clone()).collect();
    check_trust(tls, &roots, expected).await;
}

/// Asks such a server, trusting `roots` in PEM.
async fn check_trust(tls: TlsAcceptor, roots: &[String], expected: Result<Digest, (&str, &str)>) {
    let server = Server::start_with(Some(tls), manifest).await;
    let network = Network {
        extra_roots: roots.iter().map(|root| root.clone().into()).collect(),
        addresses: vec![(NAME.to_owned(), server.address())],
    };
    let mut lookup = lookup(&server, "app:1", "shop", &[]);
    let image = format!("{NAME}:{}/app:1", server.address().port());
    lookup.image = Arc::new(image.parse().unwrap());
    let answer = resolver_over(network, None)
        .digest(&lookup, Duration::ZERO)
        .await;
    match (answer, expected) {
        (Ok(answer), Ok(digest)) => assert_eq!(answer.digest, digest),
        (Err(error), Err((label, words))) => {
            let text = Chain(&error).to_string();
            assert_eq!((error.label(), server.count("")), (label, 0), "{text}");
            assert!(text.contains(words), "{text}");
        }
        (answer, _) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_given() {
    let ours = Authority::new();
    check(ours.server(NAME, 2999), &[&ours], Ok(digest())).await;
    let unknown = || Err(("tls", "UnknownIssuer"));
    check(ours.server(NAME, 2999), &[&Authority::new()], unknown()).await;
    check(ours.server(NAME, 2999), &[], unknown()).await;
}

#[tokio::test]
async fn another_name_or_an_old_certificate_is_refused() {
    let ours = Authority::new();
    let other = ours.server("other.test", 2999);
    check(other, &[&ours], Err(("tls", NAME))).await;
    check(ours.server(NAME, 2001), &[&ours], Err(("tls", "expired"))).await;
}

#[tokio::test]
async fn a_certificate_that_is_given_itself_is_trusted_whoever_signed_it() {
    let own = OwnRoot::new(NAME, 2999);
    check_trust(own.server(), &[own.pem()], Ok(digest())).await;
    let other = OwnRoot::new(NAME, 2999);
    let both = [other.pem(), own.pem()];
    check_trust(own.server(), &both, Ok(digest())).await;
    // Only that very one is, and all else is looked at as ever.
    let refused = |words| Err(("tls", words));
    check_trust(own.server(), &[other.pem()], refused("certificate")).await;
    check_trust(
        own.server(),
        &[Authority::new().pem],
        refused("certificate"),
    )
    .await;
    let elsewhere = OwnRoot::new("other.test", 2999);
    let given = [elsewhere.pem()];
    check_trust(elsewhere.server(), &given, refused(NAME)).await;
    let old = OwnRoot::new(NAME, 2001);
    check_trust(old.server(), &[old.pem()], refused("expired")).await;
    // Who shows it must have its key.
    let stolen = own.server_with(&other.key);
    check_trust(stolen, &[own.pem()], refused("BadSignature")).await;
}

#[tokio::test]
async fn an_authority_that_is_out_of_date_vouches_for_nobody() {
    let ended = Authority::until(2001);
    let server = || ended.server(NAME, 2999);
    check(server(), &[&ended], Err(("tls", "given_out_of_date: 1"))).await;
    let ours = Authority::new();
    check(ours.server(NAME, 2999), &[&ended, &ours], Ok(digest())).await;
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to() {
    let server = Server::start(manifest).await;
    let network = Network {
        extra_roots: vec![Authority::new().pem.into()],
        addresses: vec![(NAME.to_owned(), server.address())],
    };
    let mut lookup = lookup(&server, "app:1", "shop", &[]);
    let image = format!("{NAME}:{}/app:1", server.address().port());
    lookup.image = Arc::new(image.parse().unwrap());
    let error = resolver_over(network, None)
        .digest(&lookup, Duration::ZERO)
        .await;
    assert_eq!(error.unwrap_err().label(), "unreachable");
    assert_eq!(server.count("GET"), 0);
}

#[tokio::test]
async fn the_name_and_both_versions_of_http_are_offered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hello = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        let start = start.unwrap();
        let hello = start.client_hello();
        let versions: Vec<Vec<u8>> = hello.alpn().unwrap().map(<[u8]>::to_vec).collect();
        (hello.server_name().unwrap().to_owned(), versions)
    });
    let network = Network {
        extra_roots: vec![Authority::new().pem.into()],
        addresses: vec![(NAME.to_owned(), address)],
    };
    let server = Server::start(manifest).await;
    let mut lookup = lookup(&server, "app:1", "shop", &[]);
    lookup.image = Arc::new(format!("{NAME}:{}/app:1", address.port()).parse().unwrap());
    let resolver = resolver_over(network, None);
    let answer = resolver.digest(&lookup, Duration::ZERO).await;
    assert_eq!(answer.unwrap_err().label(), "unreachable");
    let versions = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    assert_eq!(hello.await.unwrap(), (NAME.to_owned(), versions));
}
