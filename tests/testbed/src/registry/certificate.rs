//! The registry's own certificate authority and its good and bad serving certificates.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Which certificate the registry serves; each is signed by the authority whose PEM the registry gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// For the registry's address and `localhost`, valid for a year.
    Valid,
    /// For the right names, but it ended in the year 2021.
    Expired,
    /// Valid, but for `elsewhere.example` only.
    WrongName,
}

/// A server configuration and the authority's certificate as PEM.
pub(super) struct Served {
    pub(super) config: Arc<ServerConfig>,
    pub(super) ca_pem: String,
}

/// Makes a new authority and a serving certificate for `address`.
pub(super) fn serve(
    kind: Certificate,
    address: IpAddr,
) -> Result<Served, Box<dyn std::error::Error + Send + Sync>> {
    let (ca_key, leaf_key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = named("testbed registry authority", Certificate::Valid)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let mut leaf = named("testbed registry", kind)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.subject_alt_names = match kind {
        Certificate::WrongName => vec![SanType::DnsName("elsewhere.example".try_into()?)],
        _ => vec![
            SanType::IpAddress(address),
            SanType::DnsName("localhost".try_into()?),
        ],
    };
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Served {
        config: Arc::new(config),
        ca_pem,
    })
}

fn named(name: &str, kind: Certificate) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let (from, until) = match kind {
        Certificate::Expired => (jiff::civil::date(2020, 1, 1), jiff::civil::date(2021, 1, 1)),
        _ => (
            today.saturating_sub(1.day()),
            today.saturating_add(365.days()),
        ),
    };
    let at = |date: jiff::civil::Date| {
        date_time_ymd(
            date.year().into(),
            date.month().cast_unsigned(),
            date.day().cast_unsigned(),
        )
    };
    (params.not_before, params.not_after) = (at(from), at(until));
    Ok(params)
}
