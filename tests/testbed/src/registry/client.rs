//! A small registry client: what the kubelet pulls with, and how a demo or test pushes without other tools.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::target::OWN_AGENT;
use crate::images::{MANIFEST_TYPES, digest};

// As long as containerd waits for response headers by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Why a registry was of no use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer, or none that is HTTP.
    #[error("no answer from {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry said no.
    #[error("{method} {url} was answered {status}: {body}")]
    Refused {
        /// The method.
        method: Method,
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The start of the answer's body.
        body: String,
    },
    /// An answer lacked what its status promises.
    #[error("the answer of {url} has no {what}")]
    Incomplete {
        /// What was asked.
        url: String,
        /// What is missing.
        what: &'static str,
    },
}

/// The client. It pulls, pushes, and keeps neither connections nor tokens.
#[derive(Clone)]
pub struct Client {
    ca_pem: String,
    credentials: Option<Credentials>,
}

/// One request.
pub(super) struct Call<'a> {
    method: Method,
    url: String,
    content_type: &'a str,
    body: Bytes,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            content_type: "",
            body: Bytes::new(),
        }
    }

    pub(super) fn with(self, content_type: &'a str, body: Bytes) -> Self {
        Self {
            content_type,
            body,
            ..self
        }
    }
}

impl Client {
    /// Returns a client that trusts the authorities in `ca_pem` (none when empty) and uses `credentials` where asked to.
    pub fn new(ca_pem: &str, credentials: Option<Credentials>) -> Self {
        Self {
            ca_pem: ca_pem.into(),
            credentials,
        }
    }

    /// Returns the settings of a TLS connection; plain ones, the rule here, do without their cost.
    fn tls(&self) -> Result<TlsConnector, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(self.ca_pem.as_bytes());
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Returns the digest that `reference` (a tag or a digest) stands for, by HEAD.
    ///
    /// # Errors
    /// When the registry cannot be reached, refuses, or names no digest.
    pub async fn resolve(
        &self,
        base_url: &str,
        repository: &str,
        reference: &str,
    ) -> Result<String, ClientError> {
        let url = format!("{base_url}/v2/{repository}/manifests/{reference}");
        let response = self.call(Call::new(Method::HEAD, &url)).await?;
        let named = response
            .headers()
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok());
        if let Some(named) = named {
            return Ok(named.to_owned());
        }
        let response = self.call(Call::new(Method::GET, &url)).await?;
        Ok(digest(response.body()))
    }

    /// Returns the bytes of a manifest, by GET.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    pub async fn manifest(
        &self,
        base_url: &str,
        repository: &str,
        reference: &str,
    ) -> Result<Bytes, ClientError> {
        let url = format!("{base_url}/v2/{repository}/manifests/{reference}");
        Ok(self.call(Call::new(Method::GET, url)).await?.into_body())
    }

    /// Sends a request, a second time with credentials or a token when the first one asks for them.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Response<Bytes>, ClientError> {
        let first = self.send(&call, None).await?;
        let response = match self
            .authorization(first.status().as_u16(), first.headers())
            .await?
        {
            Some(authorization) => self.send(&call, Some(authorization)).await?,
            None => first,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let body = String::from_utf8_lossy(response.body())
            .chars()
            .take(200)
            .collect();
        Err(ClientError::Refused {
            method: call.method,
            url: call.url,
            status: response.status().as_u16(),
            body,
        })
    }

    async fn authorization(
        &self,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<Option<String>, ClientError> {
        let challenge = headers
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if status != 401 {
            return Ok(None);
        }
        if !challenge.starts_with("Bearer ") {
            return Ok(self.basic());
        }
        let part = |key: &str| {
            challenge
                .split_once(&format!("{key}=\""))
                .and_then(|(_, rest)| rest.split('"').next())
        };
        let Some(realm) = part("realm") else {
            return Ok(None);
        };
        let (service, scope) = (
            part("service").unwrap_or_default(),
            part("scope").unwrap_or_default(),
        );
        let url = format!("{realm}?service={service}&scope={scope}");
        let answer = self
            .send(&Call::new(Method::GET, &url), self.basic())
            .await?;
        let token: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let token = token["token"].as_str().or(token["access_token"].as_str());
        let token = token.ok_or(ClientError::Incomplete { url, what: "token" })?;
        Ok(Some(format!("Bearer {token}")))
    }

    fn basic(&self) -> Option<String> {
        let Credentials { username, password } = self.credentials.as_ref()?;
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        ))
    }

    async fn send(
        &self,
        call: &Call<'_>,
        authorization: Option<String>,
    ) -> Result<Response<Bytes>, ClientError> {
        let exchanged = tokio::time::timeout(TIMEOUT, self.exchange(call, authorization)).await;
        let exchanged = exchanged.unwrap_or_else(|elapsed| Err(elapsed.into()));
        exchanged.map_err(|source| ClientError::Unreachable {
            url: call.url.clone(),
            source,
        })
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        authorization: Option<String>,
    ) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let uri: Uri = call.url.parse()?;
        let host = uri.host().ok_or("the address has no host")?.to_owned();
        let secure = uri.scheme_str() == Some("https");
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(HOST, authority);
        request = request
            .header(ACCEPT, MANIFEST_TYPES.join(", "))
            .header(USER_AGENT, OWN_AGENT);
        if !call.content_type.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::from_str(&authorization)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(call.body.clone()))?;
        let tcp = TcpStream::connect((
            host.as_str(),
            uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        ))
        .await?;
        if secure {
            let name = ServerName::try_from(host)?;
            let stream = self.tls()?.connect(name, tcp).await?;
            over(stream, request).await
        } else {
            over(tcp, request).await
        }
    }
}

async fn over<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(
            parts,
            body.collect().await?.to_bytes(),
        ))
    };
    tokio::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        // The connection may end right after the last byte of the answer: the answer counts.
        ended = connection => match exchange.await {
            Ok(response) => Ok(response),
            Err(error) => Err(ended.err().map_or(error, Into::into)),
        },
    }
}
