//! What files in PEM hold: certificates, and a key.

use rustls::{
    CertificateError, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use crate::x509::Validity;

/// How the two forms of encrypted keys say that they are: PKCS#8, and what OpenSSL had before.
const ENCRYPTED: [&[u8]; 2] = [
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
    b"Proc-Type: 4,ENCRYPTED",
];

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadPem {
    /// It cannot be read as PEM.
    #[error("it is not PEM")]
    Malformed(#[source] pem::Error),
    /// It has nothing of what it is read for.
    #[error("it holds no {0} in PEM")]
    Missing(&'static str),
    /// Its key is encrypted.
    #[error("its key is encrypted, and there is nobody to ask for the password")]
    Encrypted,
    /// No certificate is an authority's.
    #[error("it holds a certificate that is of no use")]
    Authority(#[source] rustls::Error),
}

/// What a bundle holds to be trusted.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// How many more it holds that cannot be used.
    pub(super) useless: usize,
}

/// Returns all certificates of `file`, at least one.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file).collect();
    match all {
        Ok(none) if none.is_empty() => Err(BadPem::Missing("certificate")),
        Err(_) if is_encrypted(file) => Err(BadPem::Encrypted),
        all => all.map_err(BadPem::Malformed),
    }
}

/// Returns the certificates of `file` that are fit to be trusted as authorities, at least one.
///
/// Others beside them do no harm, as in Go: bundles of whole companies tend to have some.
pub(super) fn authorities(file: &[u8]) -> Result<Authorities, BadPem> {
    let (mut certificates, mut faults) = (Vec::new(), Vec::new());
    for section in CertificateDer::pem_slice_iter(file) {
        match section.map_err(BadPem::Malformed).and_then(authority) {
            Ok(certificate) => certificates.push(certificate),
            Err(fault) => faults.push(fault),
        }
    }
    if !certificates.is_empty() {
        return Ok(Authorities {
            certificates,
            useless: faults.len(),
        });
    }
    match faults.into_iter().next() {
        Some(BadPem::Malformed(_)) if is_encrypted(file) => Err(BadPem::Encrypted),
        Some(fault) => Err(fault),
        None => Err(BadPem::Missing("certificate")),
    }
}

/// Returns `certificate`, if it can be trusted as an authority: while it is in date, as far as that can be read.
fn authority(certificate: CertificateDer<'static>) -> Result<CertificateDer<'static>, BadPem> {
    let mut store = RootCertStore::empty();
    let added = store.add(certificate.clone());
    added.map_err(BadPem::Authority)?;
    match Validity::of(&certificate) {
        Some(_) => Ok(certificate),
        None => Err(BadPem::Authority(CertificateError::BadEncoding.into())),
    }
}

/// Returns the first key of `file`: PKCS#1, SEC1 or PKCS#8.
pub(super) fn key(file: &[u8]) -> Result<PrivateKeyDer<'static>, BadPem> {
    PrivateKeyDer::from_pem_slice(file).map_err(|error| match error {
        _ if is_encrypted(file) => BadPem::Encrypted,
        pem::Error::NoItemsFound => BadPem::Missing("key"),
        error => BadPem::Malformed(error),
    })
}

fn is_encrypted(file: &[u8]) -> bool {
    let mut lines = file.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| ENCRYPTED.iter().any(|mark| line.starts_with(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a section of three bytes.
    fn section(label: &str, header: &str) -> String {
        format!("-----BEGIN {label}-----\n{header}AAEC\n-----END {label}-----\n")
    }

    #[track_caller]
    fn check<T>(read: Result<T, BadPem>, expected: &str) {
        let error = read.err().map(|error| error.to_string());
        assert_eq!(error.as_deref().unwrap_or("fine"), expected);
    }

    #[test]
    fn a_key_is_found_in_each_form_and_whatever_stands_before_it() {
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            let before = section("EC PARAMETERS", "") + &section("CERTIFICATE", "") + "Key:\r\n";
            let file = before + &section(label, "").replace('\n', "\r\n");
            assert_eq!(key(file.as_bytes()).unwrap().secret_der(), [0, 1, 2]);
        }
    }

    #[test]
    fn what_is_no_key_is_told() {
        let of = |file: &str| key(file.as_bytes());
        check(of(""), "it holds no key in PEM");
        check(of(&section("CERTIFICATE", "")), "it holds no key in PEM");
        check(
            of(&section("PRIVATE KEY", "").replace("AAEC", "A_EC")),
            "it is not PEM",
        );
        check(of("-----BEGIN PRIVATE KEY-----\nAAEC"), "it is not PEM");
        let encrypted = "its key is encrypted, and there is nobody to ask for the password";
        check(of(&section("ENCRYPTED PRIVATE KEY", "")), encrypted);
        let header = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n";
        check(of(&section("RSA PRIVATE KEY", header)), encrypted);
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        let of = |file: &str| certificates(file.as_bytes());
        check(of(&section("CERTIFICATE", "").repeat(2)), "fine");
        check(of("garbage"), "it holds no certificate in PEM");
        check(
            of(&section("PRIVATE KEY", "")),
            "it holds no certificate in PEM",
        );
        check(of("-----BEGIN CERTIFICATE-----\nAAEC"), "it is not PEM");
    }

    #[test]
    fn of_a_bundle_counts_what_can_be_used() {
        let of = |file: &str| authorities(file.as_bytes());
        let useless = section("CERTIFICATE", "");
        check(of(&useless), "it holds a certificate that is of no use");
        check(of("garbage"), "it holds no certificate in PEM");
        check(of("-----BEGIN CERTIFICATE-----\nAAEC"), "it is not PEM");
        let encrypted = "its key is encrypted, and there is nobody to ask for the password";
        let broken = useless.replace("AAEC", "A_EC");
        let key = section("ENCRYPTED PRIVATE KEY", "");
        check(of(&(broken.clone() + &key)), encrypted);
        let [one, other] = [(); 2].map(|()| self_signed());
        let file = [&*useless, &one, &broken, &key, &other, "garbage"].concat();
        let found = of(&file).unwrap();
        let good: Vec<_> = [one, other]
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .into();
        assert_eq!((found.certificates, found.useless), (good, 2));
    }

    fn self_signed() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::default();
        params.self_signed(&key).unwrap().pem()
    }
}
