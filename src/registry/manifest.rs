//! One question to a registry: which digest does this manifest have, seen by this caller?

use std::fmt;

use reqwest::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};
use url::Url;

use super::{
    Fault, Manifest,
    accounts::Account,
    endpoint::is_loopback,
    host::Host,
    retry_after,
    transport::{Transport, read_body},
};
use crate::{credentials::Source, policy::Digest};

/// All that container runtimes accept: indexes and manifests, OCI's and docker's.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The largest manifest that registries must take, says the OCI distribution specification ("Pushing Manifests").
const MAX_MANIFEST: usize = 4 << 20;

/// Public registries redirect once, from a name to a region.
const MAX_REDIRECTS: usize = 3;

const DIGEST_HEADER: &str = "docker-content-digest";

/// What the registry answered, where that is no fault.
#[derive(Debug)]
pub(super) enum Reply<T> {
    /// What was asked for.
    Answer(T),
    /// 401, with the headers that say how to log in, if it came from the registry itself.
    LogIn(HeaderMap),
}

/// The request that a digest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deciding {
    /// The registry told the digest in a header.
    Head,
    /// The digest was computed from the manifest's bytes.
    Get,
}

async fn refusal<T>(response: Response) -> Result<Reply<T>, Fault> {
    match response.status() {
        StatusCode::UNAUTHORIZED => Ok(Reply::LogIn(response.headers().clone())),
        _ => Err(retry_after::fault_of(response).await),
    }
}

/// Returns the digest that `headers` name. What is not a digest counts as not there.
fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Returns the digest of a manifest's bytes, which must be the one that was named, if one was.
fn digest_of_manifest(body: &[u8], named: Option<Digest>) -> Result<Digest, Fault> {
    // A proxy's login page comes with status 200, too.
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(rename = "schemaVersion")]
        schema_version: u32,
    }
    match serde_json::from_slice(body) {
        Ok(Versioned { schema_version: 2 }) => {}
        _ => return Err(Fault::Malformed("its body is not an image manifest")),
    }
    let Some(named) = named else {
        return Ok(Digest::Sha256(Sha256::digest(body).into()));
    };
    match computed(body, &named) == named {
        true => Ok(named),
        false => Err(Fault::Malformed(
            "its body does not have the digest its header names",
        )),
    }
}

/// Returns the digest of `body` by the algorithm of `like`.
fn computed(body: &[u8], like: &Digest) -> Digest {
    match like {
        Digest::Sha256(_) => Digest::Sha256(Sha256::digest(body).into()),
        Digest::Sha512(_) => Digest::Sha512(Box::new(Sha512::digest(body).into())),
    }
}

/// A question about the manifest at one URL.
pub(super) struct Errand<'a> {
    pub(super) transport: &'a Transport,
    pub(super) host: &'a Host,
    pub(super) url: &'a Url,
    pub(super) repository: &'a str,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// Who asks so, and where the credential is from.
    pub(super) account: Account,
    pub(super) source: &'a Source,
}

impl Errand<'_> {
    /// Asks for the digest.
    ///
    /// HEAD costs no rate limit at Docker Hub. Registries that answer it without a digest, or not at all,
    /// are asked by GET, and the bytes decide.
    pub(super) async fn ask(&self) -> Result<Reply<(Digest, Deciding)>, Fault> {
        if !self.host.get_only.covers(self.repository) {
            let response = self.send(Method::HEAD).await?;
            match response.status() {
                StatusCode::OK => {
                    if let Some(digest) = digest_of(response.headers()) {
                        return Ok(Reply::Answer((digest, Deciding::Head)));
                    }
                }
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
                _ => return refusal(response).await,
            }
        }
        self.host.accounts.check_allowance(self.account)?;
        let response = self.send(Method::GET).await?;
        if response.status() != StatusCode::OK {
            return refusal(response).await;
        }
        let named = digest_of(response.headers());
        let body = read_body(response, MAX_MANIFEST).await?;
        let digest = digest_of_manifest(&body, named)?;
        self.host.get_only.note(self.repository);
        Ok(Reply::Answer((digest, Deciding::Get)))
    }

    /// Reads the manifest, whose bytes must have `digest`.
    ///
    /// Where the rate limit is nearly used up nothing is asked: what is left is the nodes'.
    pub(super) async fn fetch(&self, digest: &Digest) -> Result<Reply<Manifest>, Fault> {
        self.host.accounts.check_allowance(self.account)?;
        let response = self.send(Method::GET).await?;
        if response.status() != StatusCode::OK {
            return refusal(response).await;
        }
        let body = read_body(response, MAX_MANIFEST).await?;
        if computed(&body, digest) != *digest {
            return Err(Fault::Malformed(
                "its body does not have the digest that was asked for",
            ));
        }
        Manifest::decode(digest.clone(), &body).map(Reply::Answer)
    }

    /// Sends a request and follows where it is redirected, as far as that is safe.
    async fn send(&self, method: Method) -> Result<Response, Fault> {
        let (home, mut url) = (self.url.origin(), self.url.clone());
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(method.clone(), url.clone());
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
            let at_home = url.origin() == home;
            if let Some(authorization) = self.authorization.filter(|_| at_home) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let response = self.transport.send(request).await?;
            if at_home {
                let (host, headers) = (url.authority(), response.headers());
                let accounts = &self.host.accounts;
                accounts.note_allowance(self.account, self.source, host, headers);
            }
            match response.status() {
                status if is_redirect(status) => url = redirected(&url, response.headers())?,
                // Another host's way to log in is none of ours.
                StatusCode::UNAUTHORIZED if !at_home => return Err(Fault::Unauthorized),
                _ => return Ok(response),
            }
        }
        Err(Fault::Malformed("it redirects too often"))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns where a redirect leads: to the same manifest, perhaps on another host, never to less safety.
fn redirected(from: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.and_then(|text| from.join(text).ok());
    let target = target.ok_or(Fault::Malformed("it redirects to no URL"))?;
    let reference = from.path().rsplit('/').next();
    let mut parts = target.path().rsplit('/');
    if (parts.next(), parts.next()) != (reference, Some("manifests")) {
        return Err(Fault::Malformed(
            "it redirects to something that is not the manifest",
        ));
    }
    let safe = target.scheme() == "https"
        || target.scheme() == "http" && from.scheme() == "http" && is_loopback(&target);
    match safe && target.username().is_empty() && target.password().is_none() {
        true => Ok(target),
        false => Err(Fault::Malformed(
            "it redirects to an address that is not https",
        )),
    }
}

impl Deciding {
    /// Returns the request's method.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Get => "GET",
        }
    }
}

impl fmt::Display for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = br#"{"schemaVersion": 2, "mediaType": "x"}"#;

    fn sha256(bytes: &[u8]) -> Digest {
        Digest::Sha256(Sha256::digest(bytes).into())
    }

    #[track_caller]
    fn check_body(body: &[u8], named: Option<Digest>, expected: Result<Digest, &str>) {
        let found = digest_of_manifest(body, named);
        assert_eq!(found.map_err(|fault| fault.label()), expected);
    }

    #[test]
    fn the_bytes_must_have_the_named_digest() {
        let other = sha256(b"other");
        let sha512 = Digest::Sha512(Box::new(Sha512::digest(MANIFEST).into()));
        check_body(MANIFEST, None, Ok(sha256(MANIFEST)));
        check_body(MANIFEST, Some(sha256(MANIFEST)), Ok(sha256(MANIFEST)));
        check_body(MANIFEST, Some(other), Err("malformed"));
        check_body(MANIFEST, Some(sha512.clone()), Ok(sha512));
        check_body(
            MANIFEST,
            Some(Digest::Sha512(Box::new([0; 64]))),
            Err("malformed"),
        );
    }

    #[test]
    fn only_manifests_have_digests() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"schemaVersion": 1}"#,
            r#"{"schemaVersion": "2"}"#,
        ] {
            check_body(body.as_bytes(), None, Err("malformed"));
        }
    }

    #[test]
    fn a_header_that_is_no_digest_is_not_there() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(DIGEST_HEADER, HeaderValue::from_static(text));
            digest_of(&headers).is_some()
        };
        let hex = "ab".repeat(32);
        assert!(of(format!("sha256:{hex}").leak()));
        for text in ["", "sha256:", "latest", "md5:00"] {
            assert!(!of(text), "{text}");
        }
        assert!(!of(format!("sha256:{}", hex.to_uppercase()).leak()));
        assert!(!of(format!("sha256:{hex}, sha256:{hex}").leak()));
        assert!(digest_of(&HeaderMap::new()).is_none());
    }

    #[track_caller]
    fn check_redirect(from: &str, location: &'static str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static(location));
        let found = redirected(&Url::parse(from).unwrap(), &headers);
        assert_eq!(found.ok().as_ref().map(Url::as_str), expected);
    }

    #[test]
    fn redirects_lead_to_the_manifest_and_stay_safe() {
        let from = "https://a.io/v2/app/manifests/1";
        for to in [
            "https://a.io/v2/x/app/manifests/1",
            "https://b.io/v2/app/manifests/1",
        ] {
            check_redirect(from, to, Some(to));
        }
        check_redirect(
            from,
            "/v2/x/manifests/1",
            Some("https://a.io/v2/x/manifests/1"),
        );
        for to in [
            "http://a.io/v2/app/manifests/1",
            "http://127.0.0.1/v2/app/manifests/1",
            "https://b.io/login?to=/v2/app/manifests/1",
            "https://b.io/v2/app/manifests/2",
            "https://b.io/v2/app/blobs/1",
            "https://ann:pw@b.io/v2/app/manifests/1",
            "https://",
        ] {
            check_redirect(from, to, None);
        }
        let plain = "http://127.0.0.1:5000/v2/app/manifests/1";
        let other = "http://127.0.0.1:5001/v2/app/manifests/1";
        check_redirect(plain, other, Some(other));
        check_redirect(plain, "http://b.io/v2/app/manifests/1", None);
    }
}
