//! What a certificate says of itself, and what a server's is worth to whoever was given just that one.

mod fields;
mod validity;

use rustls::{
    CertificateError, Error,
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

pub use fields::Fields;
pub use validity::Validity;

/// Checks the certificate of the server `name` at the time `at`, for a client that was given this very certificate to
/// trust.
///
/// As Go does (`Certificate.Verify`), and unlike rustls: whoever signed it, and be it an authority's, as those are that
/// `openssl req -x509` makes. It must be in date, be for this name, and not be meant for something else. That the
/// server has its key is for the handshake to show.
pub fn verify_given(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    at: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let fields = Fields::of(certificate).ok_or_else(bad)?;
    fields.validity().ok_or_else(bad)?.check(at)?;
    if !fields.may_serve() {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&parsed, name)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// Who signs certificates.
    pub(super) struct Signer(CertifiedIssuer<'static, KeyPair>);

    impl Signer {
        pub(super) fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(params, key).unwrap())
        }

        pub(super) fn der(&self) -> CertificateDer<'static> {
            self.0.der().clone()
        }

        pub(super) fn sign(&self, params: CertificateParams) -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.0).unwrap().der().clone()
        }
    }

    /// Returns a certificate for `a.test` that is good in the year 2020, changed by `change`.
    fn signed_by_itself(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    /// The second in which 2020 began, and that in which it ended.
    const YEAR: [u64; 2] = [1_577_836_800, 1_609_459_200];

    #[track_caller]
    fn check(
        certificate: &CertificateDer<'_>,
        name: &str,
        second: u64,
        expected: Result<(), &str>,
    ) {
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(second));
        let name = ServerName::try_from(name).unwrap();
        let error = verify_given(certificate, &name, at).map_err(|error| error.to_string());
        match (&error, expected) {
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            _ => assert_eq!(error, expected.map_err(str::to_owned)),
        }
    }

    #[test]
    fn one_that_is_given_counts_though_it_is_an_authoritys() {
        let certificate = signed_by_itself(|_| ());
        check(&certificate, "a.test", YEAR[0], Ok(()));
        check(&certificate, "a.test", YEAR[1], Ok(()));
        let server = signed_by_itself(|params| params.is_ca = IsCa::NoCa);
        check(&server, "a.test", YEAR[0], Ok(()));
        let other = CertificateParams::new(["a.test".to_owned()]).unwrap();
        check(&Signer::new("ours").sign(other), "a.test", YEAR[0], Ok(()));
    }

    #[test]
    fn its_dates_its_name_and_its_purpose_count() {
        let certificate = signed_by_itself(|_| ());
        check(&certificate, "a.test", YEAR[0] - 1, Err("not valid yet"));
        check(&certificate, "a.test", YEAR[1] + 1, Err("expired"));
        check(&certificate, "b.test", YEAR[0], Err("not valid for name"));
        check(
            &certificate,
            "127.0.0.1",
            YEAR[0],
            Err("not valid for name"),
        );
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let client = signed_by_itself(|params| params.extended_key_usages = vec![client]);
        check(&client, "a.test", YEAR[0], Err("InvalidPurpose"));
        let none = CertificateDer::from(vec![1, 2, 3]);
        check(&none, "a.test", YEAR[0], Err("BadEncoding"));
    }
}
