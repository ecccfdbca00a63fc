//! Client certificates, and which of several is shown to a host.

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use tracing::warn;

use super::unanswered::Shown;
use crate::x509::Fields;

/// A certificate with those that lead to its authority, and its key.
///
/// Two with the same certificates are equal: their keys are what the certificates say.
#[derive(Clone)]
pub(super) struct ClientCertificate {
    file: Arc<Path>,
    certified: Arc<CertifiedKey>,
    /// Names in DER of who issued the certificates.
    issuers: Arc<[Box<[u8]>]>,
}

/// Why certificates and a key are no client certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotClient {
    /// One of the certificates is none.
    #[error("it holds a certificate that is of no use")]
    Certificate,
    /// The key is of another kind than those we can sign with.
    #[error("its key is neither RSA of 2048 to 4096 bits, nor P-256, P-384 or Ed25519")]
    Key(#[source] rustls::Error),
    /// The key is another's.
    #[error("its key is not that of the certificate in {0}")]
    Mismatch(Box<str>),
}

/// Shows the first certificate that the host accepts, or none.
pub(super) struct FirstAccepted {
    certificates: Vec<ClientCertificate>,
    told: AtomicBool,
}

impl ClientCertificate {
    /// Returns the certificate of `chain`, whose first stands in `file`, with its `key`.
    pub(super) fn new(
        file: &Path,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, NotClient> {
        let fields: Option<Vec<Fields<'_>>> = chain.iter().map(|der| Fields::of(der)).collect();
        let fields = fields.ok_or(NotClient::Certificate)?;
        let leaf = fields.first().ok_or(NotClient::Certificate)?;
        let key = any_supported_type(key).map_err(NotClient::Key)?;
        if key.public_key().as_deref() != Some(leaf.public_key) {
            return Err(NotClient::Mismatch(file.display().to_string().into()));
        }
        Ok(Self {
            file: file.into(),
            issuers: fields.iter().map(|fields| fields.issuer.into()).collect(),
            certified: Arc::new(CertifiedKey::new(chain, key)),
        })
    }

    /// Says whether a host takes it that accepts `authorities`, all of them if there are none, and `schemes`.
    fn is_accepted(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> bool {
        let mut issuers = self.issuers.iter();
        let is_known =
            authorities.is_empty() || issuers.any(|issuer| authorities.contains(&&**issuer));
        is_known && self.certified.key.choose_scheme(schemes).is_some()
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Eq for ClientCertificate {}

impl Hash for ClientCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certified.cert.hash(state);
    }
}

impl fmt::Debug for ClientCertificate {
    /// Shows the file and nothing of its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate")
            .field(&self.file)
            .finish()
    }
}

impl FirstAccepted {
    /// Returns a choice among `certificates`, in this order.
    pub(super) fn of(certificates: &[ClientCertificate]) -> Self {
        Self {
            certificates: certificates.to_vec(),
            told: AtomicBool::new(false),
        }
    }
}

impl ResolvesClientCert for FirstAccepted {
    /// Chooses as Go's `crypto/tls`, and so container runtimes, do.
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut certificates = self.certificates.iter();
        let accepted =
            certificates.find(|certificate| certificate.is_accepted(authorities, schemes));
        Shown(accepted.map(|certificate| Arc::clone(&certificate.file))).tell();
        // The host may go on without, and what it answers need not say why. Its every connection would.
        if accepted.is_none() && self.has_certs() && !self.told.swap(true, Ordering::Relaxed) {
            warn!(
                "Showed no client certificate: the host that asked for one accepts none of {self:?}"
            );
        }
        accepted.map(|certificate| Arc::clone(&certificate.certified))
    }

    fn has_certs(&self) -> bool {
        !self.certificates.is_empty()
    }
}

impl fmt::Debug for FirstAccepted {
    /// Lists the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self
            .certificates
            .iter()
            .map(|certificate| &certificate.file);
        f.debug_list().entries(files).finish()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
        PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
    };
    use rustls::{RootCertStore, SignatureScheme as Scheme};

    use super::*;

    /// A certificate authority.
    struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        fn new(name: &str) -> Self {
            let issuer = CertifiedIssuer::self_signed(params(name), KeyPair::generate().unwrap());
            Self(issuer.unwrap())
        }

        /// Returns an authority that this one vouches for.
        fn below(&self, name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::signed_by(params(name), key, &self.0).unwrap())
        }

        fn der(&self) -> CertificateDer<'static> {
            self.0.der().clone()
        }

        /// Returns a certificate and its key.
        fn sign(
            &self,
            algorithm: &'static SignatureAlgorithm,
        ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let params = CertificateParams::new(["puller".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.0).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            (certificate.der().clone(), key)
        }

        /// Returns a client certificate, with the certificates of `above` behind it.
        fn client(
            &self,
            algorithm: &'static SignatureAlgorithm,
            above: &[&Authority],
        ) -> ClientCertificate {
            let (leaf, key) = self.sign(algorithm);
            let above = above.iter().map(|authority| authority.der());
            let chain = std::iter::once(leaf).chain(above).collect();
            ClientCertificate::new(Path::new("c.crt"), chain, &key).unwrap()
        }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Checks which of `certificates` is shown to a host that accepts `authorities` and `schemes`.
    #[track_caller]
    fn check(
        certificates: &[&ClientCertificate],
        authorities: &[&Authority],
        schemes: &[Scheme],
        expected: Option<usize>,
    ) {
        let certificates: Vec<ClientCertificate> = certificates.iter().copied().cloned().collect();
        // As a server of rustls names the authorities.
        let mut store = RootCertStore::empty();
        for authority in authorities {
            store.add(authority.der()).unwrap();
        }
        let names = store.subjects();
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_ref()).collect();
        let chosen = FirstAccepted::of(&certificates).resolve(&names, schemes);
        let mut all = certificates.iter();
        let index = chosen.map(|chosen| all.position(|one| Arc::ptr_eq(&one.certified, &chosen)));
        assert_eq!(index, expected.map(Some));
    }

    const ALL: [Scheme; 3] = [
        Scheme::ECDSA_NISTP256_SHA256,
        Scheme::ECDSA_NISTP384_SHA384,
        Scheme::ED25519,
    ];

    #[test]
    fn the_first_by_an_authority_that_is_accepted_is_shown() {
        let [a, b, c] = ["a", "b", "c"].map(Authority::new);
        let [by_a, by_b] = [&a, &b].map(|by| by.client(&PKCS_ECDSA_P256_SHA256, &[]));
        check(&[&by_a, &by_b], &[&a], &ALL, Some(0));
        check(&[&by_a, &by_b], &[&b], &ALL, Some(1));
        check(&[&by_a, &by_b], &[&b, &a], &ALL, Some(0));
        check(&[&by_b, &by_a], &[&b, &a], &ALL, Some(0));
        check(&[&by_a, &by_b], &[&c], &ALL, None);
        // Who names no authority takes all.
        check(&[&by_a, &by_b], &[], &ALL, Some(0));
        // One alone is chosen no otherwise.
        check(&[&by_b], &[&a], &ALL, None);
        check(&[], &[], &ALL, None);
        check(&[], &[&a], &ALL, None);
    }

    #[test]
    fn any_certificate_of_a_chain_may_be_by_the_authority() {
        let [root, other] = ["root", "other"].map(Authority::new);
        let below = root.below("below");
        let short = below.client(&PKCS_ECDSA_P256_SHA256, &[]);
        let long = below.client(&PKCS_ECDSA_P256_SHA256, &[&below]);
        check(&[&short, &long], &[&below], &ALL, Some(0));
        check(&[&short, &long], &[&root], &ALL, Some(1));
        check(&[&short, &long], &[&other], &ALL, None);
    }

    #[test]
    fn a_key_that_the_host_cannot_verify_is_passed_over() {
        let [a, b] = ["a", "b"].map(Authority::new);
        let p256 = a.client(&PKCS_ECDSA_P256_SHA256, &[]);
        let p384 = a.client(&PKCS_ECDSA_P384_SHA384, &[]);
        let ed25519 = a.client(&PKCS_ED25519, &[]);
        let all = [&p256, &p384, &ed25519];
        for (index, scheme) in ALL.into_iter().enumerate() {
            check(&all, &[&a], &[scheme], Some(index));
            check(&all, &[], &[scheme], Some(index));
            check(&all, &[&b], &[scheme], None);
        }
        check(&all, &[], &[Scheme::RSA_PSS_SHA256], None);
        check(&all, &[], &[], None);
    }

    #[track_caller]
    fn check_refused(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>, expected: &str) {
        let error = ClientCertificate::new(Path::new("/c.crt"), chain, key).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn what_is_no_certificate_with_its_key_is_told() {
        let authority = Authority::new("a");
        let [(one, key), (other, _)] = [(); 2].map(|()| authority.sign(&PKCS_ECDSA_P256_SHA256));
        let words = "its key is not that of the certificate in /c.crt";
        check_refused(vec![other.clone(), one.clone()], &key, words);
        let none = CertificateDer::from(vec![1, 2, 3]);
        check_refused(vec![none.clone()], &key, "a certificate that is of no use");
        check_refused(
            vec![one.clone(), none],
            &key,
            "a certificate that is of no use",
        );
        check_refused(vec![], &key, "a certificate that is of no use");
        let odd = PrivateKeyDer::Sec1(vec![1, 2, 3].into());
        check_refused(vec![one.clone()], &odd, "its key is neither RSA");
        let made = ClientCertificate::new(Path::new("/c.crt"), vec![one, other], &key).unwrap();
        assert_eq!(format!("{made:?}"), r#"ClientCertificate("/c.crt")"#);
    }
}
