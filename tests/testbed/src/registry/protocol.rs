//! The distribution protocol: what a well-behaved registry answers to each request.

use std::time::Instant;

use bytes::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, LOCATION, RANGE, USER_AGENT,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use serde_json::json;

use super::answer::{Body, answer, empty, json_answer, put, put_digest, refusal};
use super::auth::{Claim, Denied};
use super::content::Refusal;
use super::fault::Fault;
use super::form::{pairs, value};
use super::target::{Kind, Route};
use super::{State, lock};

/// A request with its body read.
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) route: Route,
    pub(super) claim: Claim,
    pub(super) body: Bytes,
    pub(super) faults: Vec<Fault>,
}

impl Asked {
    fn query(&self) -> Vec<(String, String)> {
        pairs(self.parts.uri.query().unwrap_or_default())
    }

    fn reads(&self) -> bool {
        self.parts.method == Method::GET || self.parts.method == Method::HEAD
    }

    fn agent(&self) -> &str {
        let agent = self.parts.headers.get(USER_AGENT);
        agent
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn realm(&self) -> Option<&str> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::Realm(realm) => Some(realm.as_str()),
            _ => None,
        })
    }
}

/// Joins all values of a header that may be given several times.
pub(super) fn accept(parts: &Parts) -> String {
    let values = parts
        .headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(", ")
}

pub(super) fn claim(parts: &Parts) -> Claim {
    Claim::of(
        parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()),
    )
}

impl State {
    /// Answers a request, and says who it came from.
    pub(super) fn answer(&self, asked: &Asked) -> (Response<Body>, Option<String>) {
        if asked.route.kind == Kind::Token {
            return self.token(asked);
        }
        let is_asked = |agents| asked.agent().starts_with(agents);
        let admitted = match self.asked_agents.is_none_or(is_asked) {
            true => lock(&self.door).admit(
                &asked.claim,
                &asked.parts.method,
                &asked.route.repository,
                Instant::now(),
            ),
            false => Ok(None),
        };
        match admitted {
            Ok(user) => (
                self.serve(asked).unwrap_or_else(|error| refusal(&error)),
                user,
            ),
            Err(denied) => (self.challenge(asked, denied), None),
        }
    }

    fn serve(&self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        let route = &asked.route;
        match route.kind {
            Kind::Base => Ok(json_answer(200, &json!({}))),
            Kind::Manifest if asked.reads() => self.manifest(asked),
            Kind::Manifest if asked.parts.method == Method::PUT => self.put_manifest(asked),
            Kind::Manifest if asked.parts.method == Method::DELETE => {
                let deleted =
                    lock(&self.content).delete_manifest(&route.repository, &route.reference);
                let unknown = || Refusal::new(404, "MANIFEST_UNKNOWN", "manifest unknown");
                deleted.then(|| empty(202)).ok_or_else(unknown)
            }
            Kind::Blob if asked.reads() => {
                let blob = lock(&self.content).blob(&route.repository, &route.reference);
                let blob = blob
                    .ok_or_else(|| Refusal::new(404, "BLOB_UNKNOWN", "blob unknown to registry"))?;
                let mut response = answer(200, "application/octet-stream", blob);
                put_digest(response.headers_mut(), &route.reference);
                Ok(response)
            }
            Kind::Upload => self.upload(asked),
            Kind::Tags if asked.reads() => {
                let content = lock(&self.content);
                let tags = content.tags(&route.repository);
                let tags = tags.ok_or_else(|| {
                    Refusal::new(404, "NAME_UNKNOWN", "repository name not known to registry")
                })?;
                Ok(json_answer(
                    200,
                    &json!({ "name": route.repository, "tags": tags }),
                ))
            }
            Kind::Other | Kind::Token => Ok(answer(
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            )),
            _ => Err(Refusal::new(
                405,
                "UNSUPPORTED",
                "the operation is unsupported",
            )),
        }
    }

    fn manifest(&self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        let accept = accept(&asked.parts);
        let found = lock(&self.content).manifest(
            &asked.route.repository,
            &asked.route.reference,
            &accept,
        )?;
        let mut response = answer(200, &found.media_type, found.bytes);
        put_digest(response.headers_mut(), &found.digest);
        put(
            response.headers_mut(),
            ETAG,
            &format!("\"{}\"", found.digest),
        );
        Ok(response)
    }

    fn put_manifest(&self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        let route = &asked.route;
        let media_type = asked
            .parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let bytes = asked.body.clone();
        let digest = lock(&self.content).put_manifest(
            &route.repository,
            &route.reference,
            media_type,
            bytes,
        )?;
        Ok(self.created(
            &format!("/v2/{}/manifests/{digest}", route.repository),
            &digest,
        ))
    }

    fn upload(&self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        let (repository, id) = (&asked.route.repository, &asked.route.reference);
        let query = asked.query();
        let digest = value(&query, "digest");
        let mut content = lock(&self.content);
        match (asked.parts.method.as_str(), digest) {
            ("POST", Some(digest)) => {
                content.put_blob(repository, digest, asked.body.clone())?;
                Ok(self.created(&format!("/v2/{repository}/blobs/{digest}"), digest))
            }
            ("POST", None) => {
                let mounted = value(&query, "mount").zip(value(&query, "from"));
                let mounted =
                    mounted.and_then(|(digest, from)| Some((digest, content.blob(from, digest)?)));
                if let Some((digest, blob)) = mounted {
                    content.put_blob(repository, digest, blob)?;
                    return Ok(self.created(&format!("/v2/{repository}/blobs/{digest}"), digest));
                }
                let id = content.start_upload(repository);
                Ok(self.accepted(repository, &id, 0))
            }
            ("PATCH", _) => {
                let size = content.append_upload(repository, id, &asked.body)?;
                Ok(self.accepted(repository, id, size))
            }
            ("PUT", Some(digest)) => {
                content.append_upload(repository, id, &asked.body)?;
                content.finish_upload(repository, id, digest)?;
                Ok(self.created(&format!("/v2/{repository}/blobs/{digest}"), digest))
            }
            ("PUT", None) => Err(Refusal::new(
                400,
                "DIGEST_INVALID",
                "digest parameter missing",
            )),
            _ => Err(Refusal::new(
                405,
                "UNSUPPORTED",
                "the operation is unsupported",
            )),
        }
    }

    fn created(&self, path: &str, digest: &str) -> Response<Body> {
        let mut response = empty(201);
        put(
            response.headers_mut(),
            LOCATION,
            &format!("{}{path}", self.url),
        );
        put_digest(response.headers_mut(), digest);
        response
    }

    fn accepted(&self, repository: &str, id: &str, size: usize) -> Response<Body> {
        let mut response = empty(202);
        let headers = response.headers_mut();
        put(
            headers,
            LOCATION,
            &format!("{}/v2/{repository}/blobs/uploads/{id}", self.url),
        );
        put(headers, RANGE, &format!("0-{}", size.saturating_sub(1)));
        put(headers, HeaderName::from_static("docker-upload-uuid"), id);
        response
    }

    fn challenge(&self, asked: &Asked, denied: Denied) -> Response<Body> {
        let challenge = match denied {
            Denied::Forbidden => {
                return refusal(&Refusal::new(
                    403,
                    "DENIED",
                    "requested access to the resource is denied",
                ));
            }
            Denied::WantsBasic => "Basic realm=\"testbed\"".to_owned(),
            Denied::WantsBearer { scope, error } => {
                let own = format!("{}/token", self.url);
                let mut text = format!(
                    "Bearer realm=\"{}\",service=\"testbed\"",
                    asked.realm().unwrap_or(&own)
                );
                if !scope.is_empty() {
                    text.push_str(&format!(",scope=\"{scope}\""));
                }
                if let Some(error) = error {
                    text.push_str(&format!(",error=\"{error}\""));
                }
                text
            }
        };
        let mut response = refusal(&Refusal::new(
            401,
            "UNAUTHORIZED",
            "authentication required",
        ));
        put(response.headers_mut(), WWW_AUTHENTICATE, &challenge);
        response
    }

    /// Gives out a token: GET with a query (and Basic) as Docker does, POST with a form as OAuth 2 does.
    fn token(&self, asked: &Asked) -> (Response<Body>, Option<String>) {
        let form = match asked.parts.method {
            Method::GET => asked.query(),
            Method::POST => pairs(&String::from_utf8_lossy(&asked.body)),
            _ => return (empty(405), None),
        };
        let scopes = form.iter().filter(|(key, _)| key == "scope");
        let scopes: Vec<String> = scopes
            .flat_map(|(_, value)| value.split(' '))
            .map(str::to_owned)
            .collect();
        let claim = match value(&form, "username").zip(value(&form, "password")) {
            Some((name, password)) => Claim::Basic {
                name: name.into(),
                password: password.into(),
            },
            None => asked.claim.clone(),
        };
        let refresh = value(&form, "refresh_token");
        let Some(issued) = lock(&self.door).issue(&claim, refresh, &scopes, Instant::now()) else {
            let body = json!({ "details": "incorrect username or password" });
            return (json_answer(401, &body), None);
        };
        let broken = asked.faults.contains(&Fault::NewlineToken);
        let token = if broken {
            format!("{}\nX-Injected: yes", issued.token)
        } else {
            issued.token
        };
        let body =
            json!({ "token": token, "access_token": token, "expires_in": issued.expires_in });
        (json_answer(200, &body), issued.user)
    }
}
