//! What becomes of a certificate and its authority as time goes by: renewed, announced, succeeded, retired.
//!
//! All of it is data in, data out; [`super`] tells how replicas act on it together.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::{
    authority::{Authority, Issued, LEAF_VALIDITY},
    chain::{self, Unusable},
    material::{Material, Names},
};

/// A serving certificate is renewed this long before its end.
///
/// Replicas follow within seconds; four months are for a controller that is not running.
const RENEW_BEFORE: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// How long a new authority stands beside the old one before it signs what is served.
///
/// Every API server keeps its own copy of the webhook configuration, and the one that calls next may be behind.
const ANNOUNCED: Duration = Duration::from_secs(24 * 60 * 60);

/// The most authorities in a bundle, however often they are replaced: it must not grow for ever.
const AUTHORITIES: usize = 4;

/// Whether what a Secret holds will do.
#[derive(Debug)]
pub enum State {
    /// It can be served.
    Good,
    /// It can be served, and is to be replaced in good time.
    Ageing,
    /// It cannot be served, and why.
    Bad(Unusable),
}

impl Material {
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

    /// Returns what is to follow on this while it ages; `None` while there is nothing to do but wait.
    ///
    /// The authority signs again if it will outlive the new certificate. Else a new authority is announced; a day
    /// later, if `published` says that the API server trusts it, it takes over.
    pub fn advanced(
        &self,
        names: &Names,
        now: UnixTime,
        published: impl FnOnce(&CertificateDer<'_>) -> bool,
    ) -> Result<Option<Self>, rcgen::Error> {
        if let Some(renewed) = self.reissued(names, now) {
            return Ok(Some(renewed));
        }
        let Some(next) = self.successor(names, now) else {
            return self.announced(now).map(Some);
        };
        let since = chain::not_before(&next.authority).unwrap_or(now);
        let is_due = after(since, ANNOUNCED) <= now && published(&next.authority);
        Ok(is_due.then_some(next.material))
    }

    /// Makes new material that is good from `now` on, where `old` is not.
    ///
    /// The authority of `old` signs again if it will outlive the new certificate, else the one it has announced; else a
    /// new one does. Clients go on trusting the old ones as long as they are in date.
    pub fn renewed(old: Option<&Self>, names: &Names, now: UnixTime) -> Result<Self, rcgen::Error> {
        if let Some(renewed) = old.and_then(|old| old.reissued(names, now)) {
            return Ok(renewed);
        }
        if let Some(next) = old.and_then(|old| old.successor(names, now)) {
            return Ok(next.material);
        }
        let (authority, ca) = Authority::generate(now)?;
        let leaf = authority.issue(&names.all, now)?;
        let trusted = old.map(|old| old.trusted()).unwrap_or_default();
        Ok(Self {
            authorities: bundle(ca.certificate, &trusted, now),
            authority_key: Some(ca.key),
            next_key: None,
            chain: leaf.certificate,
            key: leaf.key,
        })
    }

    /// Returns this with a new certificate by the same authority, if that will do.
    fn reissued(&self, names: &Names, now: UnixTime) -> Option<Self> {
        let authority = Authority::restore(self.authority_key.as_deref()?).ok()?;
        let leaf = authority.issue(&names.all, now).ok()?;
        self.with(leaf).lasting(names, now)
    }

    /// Returns this with a second authority that signs nothing yet.
    fn announced(&self, now: UnixTime) -> Result<Self, rcgen::Error> {
        let (_, ca) = Authority::generate(now)?;
        let trusted = self.trusted();
        let (first, rest) = trusted
            .split_first()
            .map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        let announced = bundle(ca.certificate, rest, now);
        Ok(Self {
            authorities: first.map(to_pem).unwrap_or_default() + &announced,
            next_key: Some(ca.key),
            ..self.clone()
        })
    }

    /// Returns what the announced authority would make of this, if there is one that can.
    fn successor(&self, names: &Names, now: UnixTime) -> Option<Successor> {
        let key = self.next_key.as_deref()?;
        let mut trusted = self.trusted();
        if trusted.len() < 2 {
            return None;
        }
        let authority = trusted.remove(1);
        let leaf = Authority::restore(key).ok()?;
        let leaf = leaf.issue(&names.all, now).ok()?;
        let alone = Self {
            authorities: to_pem(&authority),
            authority_key: Some(key.to_owned()),
            next_key: None,
            ..self.with(leaf)
        };
        let material = alone.lasting(names, now)?;
        Some(Successor {
            material: Self {
                authorities: bundle(material.authorities.clone(), &trusted, now),
                ..material
            },
            authority,
        })
    }

    fn with(&self, leaf: Issued) -> Self {
        Self {
            chain: leaf.certificate,
            key: leaf.key,
            ..self.clone()
        }
    }

    /// Returns this if it is good from `now` on for as long as a new certificate should be.
    fn lasting(self, names: &Names, now: UnixTime) -> Option<Self> {
        let last_day = after(now, LEAF_VALIDITY - Duration::from_secs(60));
        self.verify(names, now).ok()?;
        self.verify(names, last_day).ok()?;
        Some(self)
    }

    fn trusted(&self) -> Vec<CertificateDer<'static>> {
        chain::certificates(self.authorities.as_bytes()).unwrap_or_default()
    }
}

/// What an announced authority makes of a certificate.
struct Successor {
    authority: CertificateDer<'static>,
    material: Material,
}

/// Returns a bundle of the authority `first`, PEM, and of those of `others` that can still have signed what someone
/// serves: the ones that are in date.
fn bundle(first: String, others: &[CertificateDer<'_>], now: UnixTime) -> String {
    let others = others.iter();
    let others = others.filter(|other| chain::not_after(other).is_some_and(|end| now < end));
    others
        .take(AUTHORITIES - 1)
        .fold(first, |bundle, other| bundle + &to_pem(other))
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
mod tests;
