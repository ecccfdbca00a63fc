//! Whom we believe to be a host: who an authority vouches for, who was given to us himself, or anybody.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use tracing::warn;

use crate::{
    error::Chain,
    x509::{self, Validity},
};

/// Believes whom Go, and so a node, would believe that was given the same certificates to trust.
///
/// That is, besides whom the system's authorities vouch for: who a given authority vouches for, while that is in date
/// itself; and who shows one of the given certificates itself, whoever signed it.
pub(super) struct Trusted {
    given: Box<[Given]>,
    provider: Arc<CryptoProvider>,
    /// Who judges by the authorities. It is made anew when one of those that are given begins or ends.
    judge: Mutex<Option<Judge>>,
}

/// A certificate that is to be trusted.
struct Given {
    certificate: CertificateDer<'static>,
    validity: Validity,
}

/// Judges by the system's authorities and by some of those that are given.
struct Judge {
    /// Which of them are in date.
    in_date: Box<[bool]>,
    /// None where nobody is trusted.
    verifier: Option<Arc<Verifier>>,
}

/// Believes anybody to be the host.
#[derive(Debug)]
pub(super) struct Anybody;

/// Nobody who is trusted vouches for a host, but might have done so in time. It is rustls that prints it, by its name.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown issuer; of the certificates that are given to trust, {given_out_of_date} are out of date"
)]
struct UnknownIssuer {
    given_out_of_date: usize,
}

impl Trusted {
    /// Trusts `given` besides the system's authorities. One whose dates cannot be read is not trusted.
    pub(super) fn new(
        given: impl Iterator<Item = CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let given = given.filter_map(|certificate| {
            Some(Given {
                validity: Validity::of(&certificate)?,
                certificate,
            })
        });
        let trusted = Self {
            given: given.collect(),
            provider,
            judge: Mutex::default(),
        };
        // The system's are read before they are needed, and told if there are none.
        trusted.judge(UnixTime::now());
        trusted
    }

    /// Returns who judges at the time `at`, if anybody is trusted, and how many of the given are out of date.
    fn judge(&self, at: UnixTime) -> (Option<Arc<Verifier>>, usize) {
        let in_date = self.given.iter().map(|given| given.validity.includes(at));
        let in_date: Box<[bool]> = in_date.collect();
        let ended = in_date.iter().filter(|in_date| !**in_date).count();
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(judge) = &*judge
            && judge.in_date == in_date
        {
            return (judge.verifier.clone(), ended);
        }
        let trusted = self.given.iter().zip(&in_date);
        let trusted = trusted.filter_map(|(given, in_date)| in_date.then_some(&given.certificate));
        let verifier = Verifier::new_with_extra_roots(trusted.cloned(), Arc::clone(&self.provider));
        let verifier = verifier.inspect_err(|error| {
            warn!(
                error = %Chain(error),
                "Found no certificate authorities, so no https registry can be trusted: {}",
                Chain(error)
            );
        });
        let verifier = verifier.ok().map(Arc::new);
        *judge = Some(Judge {
            in_date,
            verifier: verifier.clone(),
        });
        (verifier, ended)
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trusted").field(&self.given.len()).finish()
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if (self.given.iter()).any(|given| given.certificate == *end_entity) {
            x509::verify_given(end_entity, server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        let (verifier, ended) = self.judge(now);
        let verdict = match verifier {
            Some(verifier) => verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        verdict.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) if ended > 0 => {
                let unknown = UnknownIssuer {
                    given_out_of_date: ended,
                };
                CertificateError::Other(OtherError(Arc::new(unknown))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::crypto::ring;

    use super::*;

    const NAME: &str = "registry.test";

    /// Returns an authority that is in date from the year 2020 until 2021, and the certificate of a server by it.
    fn authority() -> (CertificateDer<'static>, CertificateDer<'static>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let server = CertificateParams::new([NAME.to_owned()]).unwrap();
        let server = server.signed_by(&KeyPair::generate().unwrap(), &issuer);
        (issuer.der().clone(), server.unwrap().der().clone())
    }

    #[test]
    fn an_authority_is_trusted_while_it_is_in_date() {
        let (authority, server) = authority();
        let provider = Arc::new(ring::default_provider());
        let trusted = Trusted::new([authority].into_iter(), provider);
        let (begin, end) = (1_577_836_800, 1_609_459_200);
        for (second, expected) in [
            (begin, Ok(())),
            (end, Ok(())),
            (end + 1, Err("given_out_of_date: 1")),
            (begin - 1, Err("given_out_of_date: 1")),
            (begin, Ok(())),
        ] {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(second));
            let name = ServerName::try_from(NAME).unwrap();
            let verdict = trusted.verify_server_cert(&server, &[], &name, &[], at);
            match (verdict, expected) {
                (Ok(_), Ok(())) => {}
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (verdict, _) => panic!("{verdict:?} at {second}"),
            }
        }
    }

    #[test]
    fn one_that_has_ended_takes_no_other_with_it() {
        let ((ended, _), mut params) = (authority(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let server = CertificateParams::new([NAME.to_owned()]).unwrap();
        let server = server
            .signed_by(&KeyPair::generate().unwrap(), &issuer)
            .unwrap();
        let given = [ended, issuer.der().clone()].into_iter();
        let trusted = Trusted::new(given, Arc::new(ring::default_provider()));
        let name = ServerName::try_from(NAME).unwrap();
        let verdict = trusted.verify_server_cert(server.der(), &[], &name, &[], UnixTime::now());
        verdict.unwrap();
    }
}
