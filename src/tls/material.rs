//! What the Secret holds: certificate, key and authority, and whether they are still good.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::ByteString;
use rustls::{
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use super::{
    authority::{Authority, LEAF_VALIDITY},
    chain::{self, Unusable},
};

/// A serving certificate is renewed this long before its end.
///
/// Replicas follow within seconds; four months are for a controller that is not running.
const RENEW_BEFORE: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// How many authorities a bundle holds: the one that signs, and the one before it.
///
/// A replica that still serves the older one's certificate must be trusted until it has heard of the new one.
const AUTHORITIES: usize = 2;

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
}

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

/// Whether what a Secret holds will do.
#[derive(Debug)]
pub enum State {
    /// It can be served.
    Good,
    /// It can be served, and should be renewed.
    Ageing,
    /// It cannot be served, and why.
    Bad(Unusable),
}

impl Material {
    /// Reads a Secret's data: `ca.crt`, `tls.crt`, `tls.key` as in every `kubernetes.io/tls`, and `ca.key`.
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
        data
    }

    /// Returns what rustls serves.
    pub fn certified_key(&self) -> Result<CertifiedKey, Unusable> {
        chain::certified_key(self.chain.as_bytes(), self.key.as_bytes())
    }

    /// Returns whether this will do at `now` for the name the API server asks for.
    ///
    /// What cannot be renewed, because its authority's key is not here, is good until it is bad.
    pub fn state(&self, names: &Names, now: UnixTime) -> State {
        let check = || {
            self.certified_key()?;
            self.verify(names, now)
        };
        if let Err(reason) = check() {
            return State::Bad(reason);
        }
        if self.authority_key.is_some() && self.verify(names, after(now, RENEW_BEFORE)).is_err() {
            return State::Ageing;
        }
        State::Good
    }

    fn verify(&self, names: &Names, at: UnixTime) -> Result<(), Unusable> {
        let chain = chain::certificates(self.chain.as_bytes())?;
        let roots = chain::certificates(self.authorities.as_bytes())?;
        chain::verify(&chain, &roots, &names.verified, at)
    }

    /// Makes new material that is good from `now` on.
    ///
    /// The authority of `old` signs again if it will outlive the new certificate; else a new one does, and clients
    /// go on trusting the old one as long as it is in date.
    pub fn renewed(old: Option<&Self>, names: &Names, now: UnixTime) -> Result<Self, rcgen::Error> {
        if let Some(renewed) = old.and_then(|old| old.reissued(names, now)) {
            return Ok(renewed);
        }
        let (authority, ca) = Authority::generate(now)?;
        let leaf = authority.issue(&names.all, now)?;
        let mut authorities = ca.certificate;
        for old in old.map(|old| old.trusted(now)).unwrap_or_default() {
            authorities.push_str(&old);
        }
        Ok(Self {
            authorities,
            chain: leaf.certificate,
            key: leaf.key,
            authority_key: Some(ca.key),
        })
    }

    /// Returns this with a new certificate by the same authority, if that will do.
    fn reissued(&self, names: &Names, now: UnixTime) -> Option<Self> {
        let authority = Authority::restore(self.authority_key.as_deref()?).ok()?;
        let leaf = authority.issue(&names.all, now).ok()?;
        let renewed = Self {
            chain: leaf.certificate,
            key: leaf.key,
            ..self.clone()
        };
        let last_day = after(now, LEAF_VALIDITY - Duration::from_secs(60));
        renewed.verify(names, now).ok()?;
        renewed.verify(names, last_day).ok()?;
        Some(renewed)
    }

    /// Returns the authorities, PEM, that clients should go on trusting beside a new one.
    fn trusted(&self, now: UnixTime) -> Vec<String> {
        let Ok(all) = chain::certificates(self.authorities.as_bytes()) else {
            return Vec::new();
        };
        all.iter()
            .filter(|authority| chain::not_after(authority).is_some_and(|end| now < end))
            .take(AUTHORITIES - 1)
            .map(to_pem)
            .collect()
    }
}

fn after(now: UnixTime, time: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(time))
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let body = BASE64_STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 60 * 60;

    fn day(day: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(START + day * DAY))
    }

    fn names() -> Names {
        Names::of("podrefresh", "podrefresh").unwrap()
    }

    fn fresh() -> Material {
        Material::renewed(None, &names(), day(0)).unwrap()
    }

    #[track_caller]
    fn check(material: &Material, names: &Names, at: u64, expected: &str) {
        let state = match material.state(names, day(at)) {
            State::Good => "good".to_owned(),
            State::Ageing => "ageing".to_owned(),
            State::Bad(reason) => reason.to_string(),
        };
        assert_eq!(state, expected);
    }

    #[test]
    fn a_certificate_is_renewed_four_months_before_its_end() {
        let refused = "a client would not accept the certificate";
        check(&fresh(), &names(), 0, "good");
        check(&fresh(), &names(), 245, "good");
        check(&fresh(), &names(), 246, "ageing");
        check(&fresh(), &names(), 365, "ageing");
        check(&fresh(), &names(), 366, refused);
        let other = Names::of("podrefresh", "elsewhere").unwrap();
        check(&fresh(), &other, 0, refused);
    }

    #[test]
    fn a_certificate_that_cannot_be_renewed_is_good_to_its_end() {
        let mut foreign = fresh();
        foreign.authority_key = None;
        check(&foreign, &names(), 365, "good");
    }

    #[test]
    fn renewal_keeps_an_authority_that_outlives_the_certificate() {
        let old = fresh();
        let renewed = Material::renewed(Some(&old), &names(), day(250)).unwrap();
        assert_eq!(renewed.authorities, old.authorities);
        assert_ne!(renewed.chain, old.chain);
        check(&renewed, &names(), 250 + 245, "good");
        // Four years on, a certificate still fits in; a day later none does.
        let late = Material::renewed(Some(&old), &names(), day(4 * 365)).unwrap();
        assert_eq!(late.authorities, old.authorities);
        let later = Material::renewed(Some(&old), &names(), day(4 * 365 + 1)).unwrap();
        assert_ne!(later.authorities, old.authorities);
    }

    #[test]
    fn a_new_authority_leaves_the_old_one_trusted_while_it_is_in_date() {
        let old = fresh();
        let rotated = Material::renewed(Some(&old), &names(), day(1600)).unwrap();
        check(&rotated, &names(), 1600, "good");
        assert!(
            rotated
                .authorities
                .ends_with(&old.authorities.replace('\r', ""))
        );
        let mixed = Material {
            chain: old.chain.clone(),
            key: old.key.clone(),
            ..rotated.clone()
        };
        check(&mixed, &names(), 100, "good");
        // The next one drops it.
        let count = |m: &Material| m.authorities.matches("BEGIN").count();
        let next = Material::renewed(Some(&rotated), &names(), day(3200)).unwrap();
        assert_eq!((count(&rotated), count(&next)), (2, 2));
        let alone = Material::renewed(Some(&old), &names(), day(5 * 365 + 1)).unwrap();
        assert_eq!(count(&alone), 1);
    }

    #[test]
    fn what_is_garbled_is_bad_and_is_made_anew() {
        let good = fresh();
        let garble = |change: fn(&mut Material)| {
            let mut garbled = good.clone();
            change(&mut garbled);
            garbled
        };
        for garbled in [
            garble(|m| m.authorities = "?".to_owned()),
            garble(|m| m.chain = String::new()),
            garble(|m| m.key.truncate(60)),
            garble(|m| m.authorities = fresh().authorities),
        ] {
            assert!(matches!(garbled.state(&names(), day(0)), State::Bad(_)));
            let healed = Material::renewed(Some(&garbled), &names(), day(0)).unwrap();
            check(&healed, &names(), 0, "good");
        }
        let garbled = garble(|m| m.authority_key = Some("?".to_owned()));
        let healed = Material::renewed(Some(&garbled), &names(), day(300)).unwrap();
        check(&healed, &names(), 300, "good");
    }

    #[test]
    fn a_secret_is_written_and_read_back_and_a_partial_one_is_named() {
        let material = fresh();
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
