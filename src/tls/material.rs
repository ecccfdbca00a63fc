//! What the Secret holds: certificate, key and authorities.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::ByteString;
use rustls::{
    pki_types::{ServerName, UnixTime},
    sign::CertifiedKey,
};

use super::chain::{self, Unusable};

/// A serving certificate with all that belongs to it, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The authorities a client should trust, the one that signs first.
    pub authorities: String,
    /// The serving certificate, and what leads from it to an authority.
    pub chain: String,
    /// The serving certificate's private key.
    pub key: String,
    /// The private key of the first authority; absent where the Secret was made by someone else.
    pub authority_key: Option<String>,
    /// The private key of the second authority, while that one is announced and does not sign yet.
    pub next_key: Option<String>,
}

/// The key of a Secret's data under which [`Material::next_key`] lies.
pub(super) const NEXT_KEY: &str = "next-ca.key";

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// For whom certificates are made.
#[derive(Debug, Clone)]
pub struct Names {
    /// The name the API server asks for: `<service>.<namespace>.svc`.
    pub verified: ServerName<'static>,
    /// All names that lead to the Service.
    pub all: Vec<String>,
}

/// A Service's or a namespace's name is no DNS label.
#[derive(Debug, thiserror::Error)]
#[error("{service:?} in namespace {namespace:?} is no name that a Service can have")]
pub struct InvalidNames {
    service: String,
    namespace: String,
}

impl Names {
    /// Returns the names of a Service.
    pub fn of(service: &str, namespace: &str) -> Result<Self, InvalidNames> {
        let svc = format!("{service}.{namespace}.svc");
        let verified = ServerName::try_from(svc.clone())
            .ok()
            .filter(|_| !service.contains('.') && !namespace.contains('.'))
            .ok_or_else(|| InvalidNames {
                service: service.to_owned(),
                namespace: namespace.to_owned(),
            })?;
        let all = vec![
            svc.clone(),
            format!("{svc}.cluster.local"),
            format!("{service}.{namespace}"),
        ];
        Ok(Self { verified, all })
    }
}

impl Material {
    /// Reads a Secret's data: `ca.crt`, `tls.crt`, `tls.key` as in every `kubernetes.io/tls`, and the authorities'
    /// keys, `ca.key` and `next-ca.key`.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, Unusable> {
        let text = |key: &str, missing| {
            let bytes = data.get(key).ok_or(Unusable::Missing(missing))?;
            let text = std::str::from_utf8(&bytes.0);
            text.map(str::to_owned)
                .map_err(|_| Unusable::Missing(missing))
        };
        Ok(Self {
            authorities: text("ca.crt", "authority (ca.crt)")?,
            chain: text("tls.crt", "certificate (tls.crt)")?,
            key: text("tls.key", "key (tls.key)")?,
            authority_key: text("ca.key", "").ok().filter(|key| !key.is_empty()),
            next_key: text(NEXT_KEY, "").ok().filter(|key| !key.is_empty()),
        })
    }

    /// Returns a Secret's data.
    pub fn write(&self) -> BTreeMap<String, ByteString> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let mut data = BTreeMap::from([
            ("ca.crt".to_owned(), bytes(&self.authorities)),
            ("tls.crt".to_owned(), bytes(&self.chain)),
            ("tls.key".to_owned(), bytes(&self.key)),
        ]);
        if let Some(key) = &self.authority_key {
            data.insert("ca.key".to_owned(), bytes(key));
        }
        if let Some(key) = &self.next_key {
            data.insert(NEXT_KEY.to_owned(), bytes(key));
        }
        data
    }

    /// Returns what rustls serves.
    pub fn certified_key(&self) -> Result<CertifiedKey, Unusable> {
        chain::certified_key(self.chain.as_bytes(), self.key.as_bytes())
    }

    /// Checks that a client who trusts the authorities accepts the certificate at the time `at`.
    pub fn verify(&self, names: &Names, at: UnixTime) -> Result<(), Unusable> {
        let chain = chain::certificates(self.chain.as_bytes())?;
        let roots = chain::certificates(self.authorities.as_bytes())?;
        chain::verify(&chain, &roots, &names.verified, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Material {
        let names = Names::of("podrefresh", "podrefresh").unwrap();
        Material::renewed(None, &names, UnixTime::now()).unwrap()
    }

    #[test]
    fn a_secret_is_written_and_read_back_and_a_partial_one_is_named() {
        let mut material = fresh();
        assert_eq!(Material::read(&material.write()).unwrap(), material);
        material.next_key = Some(fresh().key);
        assert_eq!(Material::read(&material.write()).unwrap(), material);
        for (key, expected) in [
            ("ca.crt", "there is no authority (ca.crt)"),
            ("tls.crt", "there is no certificate (tls.crt)"),
            ("tls.key", "there is no key (tls.key)"),
        ] {
            let mut data = material.write();
            data.remove(key);
            assert_eq!(Material::read(&data).unwrap_err().to_string(), expected);
            data.insert(key.to_owned(), ByteString(vec![0xff]));
            assert_eq!(Material::read(&data).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?}", fresh());
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }

    #[test]
    fn only_names_of_services_are_taken() {
        assert_eq!(
            Names::of("a", "b").unwrap().all,
            ["a.b.svc", "a.b.svc.cluster.local", "a.b"]
        );
        for (service, namespace) in [("", "b"), ("a", ""), ("a.c", "b"), ("a b", "c"), ("ä", "b")]
        {
            assert!(
                Names::of(service, namespace).is_err(),
                "{service}.{namespace}"
            );
        }
    }
}
