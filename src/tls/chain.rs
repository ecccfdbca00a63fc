//! Certificates as the API server will judge them: parsed, verified, their ends known.

use std::sync::Arc;

use rustls::{
    Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};

use crate::x509::{self, Validity};

/// Why PEM files are no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file is not PEM.
    #[error("{what} is not PEM")]
    Pem {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is nothing in it.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// The key is of no kind we can use, or not the certificate's.
    #[error("the key does not fit the certificate")]
    Key(#[source] Error),
    /// A client would refuse it.
    #[error("a client would not accept the certificate")]
    Refused(#[source] Error),
}

/// Returns all certificates in `pem`, at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|source| Unusable::Pem {
        what: "the certificate",
        source,
    })?;
    if all.is_empty() {
        return Err(Unusable::Missing("certificate"));
    }
    Ok(all)
}

/// Returns what to serve, once the key is found to be the certificate's.
pub fn certified_key(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, Unusable> {
    let chain = certificates(chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|source| match source {
        pem::Error::NoItemsFound => Unusable::Missing("key"),
        source => Unusable::Pem {
            what: "the key",
            source,
        },
    })?;
    let key = CertifiedKey::from_der(chain, key, &ring::default_provider());
    key.map_err(Unusable::Key)
}

/// Checks that a client who trusts `roots` accepts `chain` for `name` at the time `at`.
///
/// As the API server does, and unlike rustls alone, it does not trust a root that is out of date, and trusts a
/// certificate that is itself one of the roots: one signed by itself is.
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    at: UnixTime,
) -> Result<(), Unusable> {
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or(Unusable::Missing("certificate"))?;
    if roots.contains(leaf) {
        return x509::verify_given(leaf, name, at).map_err(Unusable::Refused);
    }
    let mut store = RootCertStore::empty();
    for root in roots.iter().filter(|root| in_date(root, at)) {
        // Something among the roots that is no root may stand beside one that is.
        let _ = store.add(root.clone().into_owned());
    }
    if store.is_empty() {
        return Err(Unusable::Missing("authority that is in date"));
    }
    verifier(store)
        .verify_server_cert(leaf, intermediates, name, &[], at)
        .map(drop)
        .map_err(Unusable::Refused)
}

/// Returns when `certificate` ends, if it is one.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    Some(Validity::of(certificate)?.end)
}

/// Returns when `certificate` begins, if it is one.
pub fn not_before(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    Some(Validity::of(certificate)?.begin)
}

fn in_date(certificate: &CertificateDer<'_>, at: UnixTime) -> bool {
    Validity::of(certificate).is_some_and(|validity| validity.includes(at))
}

fn verifier(roots: RootCertStore) -> Arc<WebPkiServerVerifier> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("a store with roots and without CRLs must make a verifier")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::authority::Authority;

    #[track_caller]
    fn check(chain: &str, key: &str, expected: &str) {
        let error = certified_key(chain.as_bytes(), key.as_bytes()).expect_err("must be refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        let now = UnixTime::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let names = ["a.b.svc".to_owned()];
        let a = authority.issue(&names, now).unwrap();
        let b = authority.issue(&names, now).unwrap();
        certified_key(a.certificate.as_bytes(), a.key.as_bytes()).unwrap();
        check("", &a.key, "there is no certificate");
        check("garbage", &a.key, "there is no certificate");
        check(&a.key, &a.key, "there is no certificate");
        let cut = &a.certificate[..a.certificate.len() / 2];
        check(cut, &a.key, "the certificate is not PEM");
        check(&a.certificate, "", "there is no key");
        check(&a.certificate, &a.certificate, "there is no key");
        check(
            &a.certificate,
            &b.key,
            "the key does not fit the certificate",
        );
        check(
            &ca.certificate,
            &a.key,
            "the key does not fit the certificate",
        );
    }

    #[test]
    fn a_root_out_of_date_is_no_root() {
        let then = UnixTime::since_unix_epoch(Duration::from_secs(1_000_000_000));
        let now = UnixTime::now();
        let (old, old_ca) = Authority::generate(then).unwrap();
        let leaf = old.issue(&["a.b.svc".to_owned()], now).unwrap();
        let chain = certificates(leaf.certificate.as_bytes()).unwrap();
        let roots = certificates(old_ca.certificate.as_bytes()).unwrap();
        let error = verify(&chain, &roots, &"a.b.svc".try_into().unwrap(), now);
        assert_eq!(
            error.expect_err("must be refused").to_string(),
            "there is no authority that is in date"
        );
    }

    #[test]
    fn a_certificate_that_is_its_own_root_is_trusted_as_go_does() {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

        let sign = || {
            let mut params = CertificateParams::new(["a.b.svc".to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().der().clone()
        };
        let (own, other) = (sign(), sign());
        let name = |text| ServerName::try_from(text).unwrap();
        let ours = [own.clone()];
        let now = UnixTime::now();
        verify(&ours, &ours, &name("a.b.svc"), now).unwrap();
        verify(&ours, &[other.clone(), own.clone()], &name("a.b.svc"), now).unwrap();
        for (roots, asked, at) in [
            (&[other], "a.b.svc", now),
            (&ours, "c.b.svc", now),
            // The maker's dates are from 1975 until 4096.
            (&ours, "a.b.svc", UnixTime::since_unix_epoch(Duration::ZERO)),
        ] {
            let error = verify(&ours, roots, &name(asked), at).expect_err("must be refused");
            assert!(matches!(error, Unusable::Refused(_)), "{error}");
        }
    }

    #[test]
    fn one_good_root_among_noise_is_enough() {
        let now = UnixTime::now();
        let (authority, ca) = Authority::generate(now).unwrap();
        let leaf = authority.issue(&["a.b.svc".to_owned()], now).unwrap();
        let chain = certificates(leaf.certificate.as_bytes()).unwrap();
        let mut roots = vec![CertificateDer::from(vec![1, 2, 3])];
        roots.extend(certificates(ca.certificate.as_bytes()).unwrap());
        verify(&chain, &roots, &"a.b.svc".try_into().unwrap(), now).unwrap();
        assert!(not_after(&roots[0]).is_none() && not_before(&roots[0]).is_none());
        assert_eq!(
            not_before(&chain[0]).unwrap().as_secs() + 3600,
            now.as_secs()
        );
    }
}
