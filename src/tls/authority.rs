//! A certificate authority of our own, and the serving certificates it issues.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::UnixTime;
use sha2::{Digest, Sha256};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority is good for.
pub const AUTHORITY_VALIDITY: Duration = DAY.saturating_mul(5 * 365);

/// How long a serving certificate is good for.
pub const LEAF_VALIDITY: Duration = DAY.saturating_mul(365);

/// How far before its making a certificate is valid already: clocks differ between nodes.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// Signs serving certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A new certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

impl Authority {
    /// Makes a new authority that is valid from `now` on; returns it with its certificate and key.
    pub fn generate(now: UnixTime) -> Result<(Self, Issued), rcgen::Error> {
        Self::generate_for(now, AUTHORITY_VALIDITY)
    }

    /// Makes a new authority that is valid for a time of one's own choice.
    pub fn generate_for(now: UnixTime, validity: Duration) -> Result<(Self, Issued), rcgen::Error> {
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let mut params = params(&key);
        set_validity(&mut params, now, validity);
        let issued = Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key_pem,
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer }, issued))
    }

    /// Takes an authority up again that was made here, by its private key.
    pub fn restore(key_pem: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(key_pem)?;
        let issuer = Issuer::new(params(&key), key);
        Ok(Self { issuer })
    }

    /// Issues a certificate for a server that goes by the DNS names `names`.
    pub fn issue(&self, names: &[String], now: UnixTime) -> Result<Issued, rcgen::Error> {
        self.issue_for(names, now, LEAF_VALIDITY)
    }

    /// Issues a certificate that is valid for a time of one's own choice; names may be IP addresses, too.
    pub fn issue_for(
        &self,
        names: &[String],
        now: UnixTime,
        validity: Duration,
    ) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = Default::default();
        // At most 64 characters: a name of ours can be longer, and is looked for among the SANs only.
        params
            .distinguished_name
            .push(DnType::CommonName, "podrefresh");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, validity);
        Ok(Issued {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Returns what all certificates of the authority with `key` have in common.
///
/// The name follows from the key, so that an old and a new authority in one bundle are told apart, and the
/// authority can be taken up again by nothing but its key.
fn params(key: &KeyPair) -> CertificateParams {
    let id = Sha256::digest(key.public_key_raw());
    let id: String = id[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = Default::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("podrefresh CA {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn set_validity(params: &mut CertificateParams, now: UnixTime, validity: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_before = now - BACKDATED;
    params.not_after = now + validity;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::chain::{certificates, not_after, verify};

    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

    fn shifted(seconds: i64) -> UnixTime {
        let now = i64::try_from(NOW.as_secs()).unwrap();
        let at = u64::try_from(now + seconds).unwrap();
        UnixTime::since_unix_epoch(Duration::from_secs(at))
    }

    #[track_caller]
    fn check(names: &[&str], name: &str, at: i64, expected: bool) {
        let (_, ca) = Authority::generate(NOW).unwrap();
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let leaf = Authority::restore(&ca.key)
            .unwrap()
            .issue(&names, NOW)
            .unwrap();
        let roots = certificates(ca.certificate.as_bytes()).unwrap();
        let chain = certificates(leaf.certificate.as_bytes()).unwrap();
        let verified = verify(&chain, &roots, &name.try_into().unwrap(), shifted(at));
        assert_eq!(verified.is_ok(), expected, "{verified:?}");
    }

    #[test]
    fn a_leaf_of_a_restored_authority_verifies_for_its_names() {
        let names = ["podrefresh.podrefresh.svc", "podrefresh.podrefresh"];
        check(&names, "podrefresh.podrefresh.svc", 0, true);
        check(&names, "podrefresh.podrefresh", 0, true);
        check(&names, "podrefresh.other.svc", 0, false);
        let long = format!("{}.{}.svc", "s".repeat(63), "n".repeat(63));
        check(&[&long], &long, 0, true);
    }

    #[test]
    fn a_leaf_is_valid_from_an_hour_ago_for_a_year() {
        let year = 365 * 24 * 60 * 60;
        check(&["a.b.svc"], "a.b.svc", -3600, true);
        check(&["a.b.svc"], "a.b.svc", -3601, false);
        check(&["a.b.svc"], "a.b.svc", year, true);
        check(&["a.b.svc"], "a.b.svc", year + 1, false);
    }

    #[test]
    fn an_authority_outlives_its_leaves_and_is_no_other_one() {
        let (authority, ca) = Authority::generate(NOW).unwrap();
        let root = certificates(ca.certificate.as_bytes()).unwrap();
        let ends = not_after(&root[0]).unwrap();
        assert_eq!(ends.as_secs() - NOW.as_secs(), AUTHORITY_VALIDITY.as_secs());
        let (_, other) = Authority::generate(NOW).unwrap();
        let leaf = authority.issue(&["a.b.svc".to_owned()], NOW).unwrap();
        let chain = certificates(leaf.certificate.as_bytes()).unwrap();
        let others = certificates(other.certificate.as_bytes()).unwrap();
        verify(&chain, &others, &"a.b.svc".try_into().unwrap(), NOW).expect_err("another key");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(Authority::restore("").is_err());
        assert!(
            Authority::restore("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
                .is_err()
        );
    }
}
