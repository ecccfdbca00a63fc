//! A bare HTTPS client for the API server: what goes over the wire, without a library's opinion.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends single requests as one user, each on a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
    tls: Arc<ClientConfig>,
}

/// An answer read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, `null` if it is none.
    pub body: Value,
}

/// Lines of JSON as they arrive.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Client {
    /// A client for a server with this authority; without a token it is anonymous.
    pub fn new(address: SocketAddr, ca_pem: &str, token: Option<&str>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            token: token.map(str::to_owned),
            tls: Arc::new(tls),
        })
    }

    /// Sends a request with extra headers and returns the answer.
    pub async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let response = self.open(method, uri, headers, body.into()).await?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
            body,
        })
    }

    /// Sends a GET.
    pub async fn get(&self, uri: &str) -> Result<Answer, Failure> {
        self.send("GET", uri, &[], "").await
    }

    /// Sends JSON.
    pub async fn json(&self, method: &str, uri: &str, body: &Value) -> Result<Answer, Failure> {
        self.send(
            method,
            uri,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// Sends a PATCH of a content type.
    pub async fn patch(
        &self,
        uri: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Answer, Failure> {
        self.send(
            "PATCH",
            uri,
            &[("content-type", content_type)],
            body.to_string(),
        )
        .await
    }

    /// Opens a watch.
    pub async fn watch(&self, uri: &str) -> Result<Lines, Failure> {
        let response = self.open("GET", uri, &[], Bytes::new()).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    async fn open(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<hyper::Response<Incoming>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(sender.send_request(request.body(Full::new(body))?).await?)
    }
}

impl Lines {
    /// Returns the next line, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Some(data) = frame?.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                None => return Ok(None),
            }
        }
    }

    /// Returns all lines up to the end.
    pub async fn rest(mut self) -> Result<Vec<Value>, Failure> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await? {
            lines.push(line);
        }
        Ok(lines)
    }
}
