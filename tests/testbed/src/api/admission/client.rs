//! The connections to webhooks: one over h2 for each place and CA, shared by all reviews.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

// An answer may be large: one of 4 MiB has been seen to be taken.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://name.namespace.svc:port/path`.
    pub(super) url: String,
    /// Host of the URL and name in the certificate.
    host: String,
    port: u16,
    /// Namespace and name of the Service; none for a plain URL.
    service: Option<(String, String)>,
    exists: bool,
    ca: Vec<u8>,
}

impl Endpoint {
    pub(super) fn at_service(
        ns: &str,
        name: &str,
        port: u16,
        path: &str,
        ca: Vec<u8>,
        exists: bool,
    ) -> Self {
        let host = format!("{name}.{ns}.svc");
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        let url = format!("https://{host}:{port}{path}");
        Self {
            url,
            host,
            port,
            service: Some((ns.to_owned(), name.to_owned())),
            exists,
            ca,
        }
    }

    pub(super) fn at_url(url: &str, ca: Vec<u8>) -> Self {
        let rest = url.strip_prefix("https://").unwrap_or(url);
        let authority = rest.split('/').next().unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let (host, port) = (
            host.trim_matches(['[', ']']).to_owned(),
            port.parse().unwrap_or(443),
        );
        Self {
            url: url.to_owned(),
            host,
            port,
            service: None,
            exists: true,
            ca,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("service {0:?} not found")]
    NoService(String),
    #[error("dial tcp {0}: connect: connection refused")]
    Refused(String),
    #[error("tls: failed to verify certificate: x509: {0}")]
    Tls(String),
    #[error("{0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CallError {
    /// Returns the error with the request it befell.
    pub(super) fn told(&self, url: &str) -> String {
        format!("Post {url:?}: {self}")
    }
}

/// An answer of a webhook.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

type Sender = http2::SendRequest<Full<Bytes>>;
/// Host, port and CA: what webhooks must share to share a connection.
type Place = (String, u16, Vec<u8>);
type Slot = Arc<tokio::sync::Mutex<Option<Sender>>>;

#[derive(Debug, Default)]
struct Routes {
    addresses: HashMap<(String, String, u16), Vec<SocketAddr>>,
    next: usize,
}

/// The connections and the Services' addresses: a cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients {
    routes: Arc<Mutex<Routes>>,
    slots: Arc<Mutex<HashMap<Place, Slot>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock must panic")
}

/// Says whether a server has closed the connection in good order and left a request alone, which Go's client repeats.
fn is_unanswered(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<h2::Error>());
    let is_goodbye = |it: &h2::Error| it.is_go_away() && it.reason() == Some(h2::Reason::NO_ERROR);
    error.is_canceled() || error.is_closed() || cause.is_some_and(is_goodbye)
}

impl Clients {
    pub(super) fn route(&self, namespace: &str, name: &str, port: u16, addresses: &[SocketAddr]) {
        let key = (namespace.to_owned(), name.to_owned(), port);
        locked(&self.routes)
            .addresses
            .insert(key, addresses.to_vec());
    }

    /// Sends a review and returns the answer.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        url: &str,
        body: Vec<u8>,
    ) -> Result<Answer, CallError> {
        let body = Bytes::from(body);
        let key = (endpoint.host.clone(), endpoint.port, endpoint.ca.clone());
        let slot = locked(&self.slots).entry(key).or_default().clone();
        // A connection that has died since the last review is no reason to fail this one.
        for is_last in [false, true] {
            let (mut sender, is_new) = {
                let mut open = slot.lock().await;
                match open.as_ref().filter(|sender| !sender.is_closed()) {
                    Some(sender) => (sender.clone(), false),
                    None => match self.connect(endpoint).await? {
                        Connection::H1(sender) => {
                            drop(open);
                            return send_h1(sender, request(endpoint, url, body.clone(), true)?)
                                .await;
                        }
                        Connection::H2(sender) => {
                            *open = Some(sender.clone());
                            (sender, true)
                        }
                    },
                }
            };
            let sent = match sender.ready().await {
                Ok(()) => {
                    sender
                        .send_request(request(endpoint, url, body.clone(), false)?)
                        .await
                }
                Err(error) => Err(error),
            };
            match sent {
                Ok(response) => return read(response).await,
                Err(error) if !is_new && !is_last && is_unanswered(&error) => {
                    // Whoever comes next needs another connection, too.
                    *slot.lock().await = None;
                }
                Err(error) => return Err(CallError::Broken(Box::new(error))),
            }
        }
        unreachable!("the second attempt must have returned")
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, CallError> {
        let address = self.address(endpoint)?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|_| CallError::Refused(address.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| CallError::Broken(Box::new(error)))?;
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| CallError::Tls(error.to_string()))?;
        let connector = TlsConnector::from(Arc::new(tls(&endpoint.ca)?));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| CallError::Tls(worded(&error)))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let broken = |error: hyper::Error| CallError::Broken(Box::new(error));
        if is_h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                .await
                .map_err(broken)?;
            tokio::spawn(connection);
            return Ok(Connection::H2(sender));
        }
        let (sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Connection::H1(sender))
    }

    fn address(&self, endpoint: &Endpoint) -> Result<SocketAddr, CallError> {
        let Some((namespace, name)) = &endpoint.service else {
            let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
            let found = found
                .map_err(|error| CallError::Broken(Box::new(error)))?
                .next();
            return found.ok_or_else(|| CallError::Refused(endpoint.host.clone()));
        };
        if !endpoint.exists {
            return Err(CallError::NoService(name.clone()));
        }
        let mut routes = locked(&self.routes);
        routes.next += 1;
        let next = routes.next;
        let addresses = routes
            .addresses
            .get(&(namespace.clone(), name.clone(), endpoint.port));
        let addresses = addresses.map_or(&[][..], Vec::as_slice);
        match addresses.len() {
            0 => Err(CallError::Refused(format!("10.96.0.10:{}", endpoint.port))),
            count => Ok(addresses[next % count]),
        }
    }
}

enum Connection {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(Sender),
}

fn request(
    endpoint: &Endpoint,
    url: &str,
    body: Bytes,
    is_h1: bool,
) -> Result<Request<Full<Bytes>>, CallError> {
    let path = url
        .strip_prefix("https://")
        .and_then(|rest| rest.find('/').map(|at| &rest[at..]))
        .unwrap_or("/");
    let mut request = Request::post(if is_h1 { path } else { url });
    if is_h1 {
        request = request.header("host", format!("{}:{}", endpoint.host, endpoint.port));
    }
    request
        .header("user-agent", "kube-apiserver-admission")
        .header("content-length", body.len())
        .header("accept", "application/json, */*")
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip")
        .body(Full::new(body))
        .map_err(|error| CallError::Broken(Box::new(error)))
}

async fn send_h1(
    mut sender: http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, CallError> {
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| CallError::Broken(Box::new(error)))?;
    read(response).await
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Answer, CallError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(CallError::Broken)?
        .to_bytes();
    let is_gzip = head
        .headers
        .get("content-encoding")
        .is_some_and(|encoding| encoding == "gzip");
    let body = if is_gzip { unzip(&body)? } else { body };
    let content_type = head
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    Ok(Answer {
        status: head.status.as_u16(),
        content_type: content_type.to_owned(),
        body,
    })
}

fn unzip(body: &[u8]) -> Result<Bytes, CallError> {
    let mut plain = Vec::new();
    let reader = flate2::read::GzDecoder::new(body);
    let mut reader = std::io::Read::take(reader, MAX_ANSWER as u64);
    std::io::Read::read_to_end(&mut reader, &mut plain)
        .map_err(|error| CallError::Broken(Box::new(error)))?;
    Ok(plain.into())
}

// Without a bundle the system's authorities would count; here there are none.
fn tls(ca: &[u8]) -> Result<ClientConfig, CallError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| CallError::Tls(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| CallError::Tls(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CallError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn worded(error: &std::io::Error) -> String {
    use rustls::{CertificateError as Bad, Error};
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature)) => {
            "certificate signed by unknown authority".to_owned()
        }
        Some(Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. })) => {
            "certificate has expired or is not yet valid".to_owned()
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}
