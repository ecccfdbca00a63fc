//! The connections that API servers keep to a webhook.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    net::TcpStream,
    sync::{OnceCell, Semaphore, oneshot},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What the API server calls the webhook.
pub(crate) const NAME: &str = "podrefresh.podrefresh.svc";

/// HTTP/2 connections: as many as a control plane of three API servers has, and one to spare.
const STREAMS: usize = 4;

/// Idle HTTP/1.1 connections that three API servers keep: 25 each, as client-go's transports do.
pub(crate) const IDLE: usize = 3 * 25;

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// Requests that three API servers take in at once by default, 600 each: no more reviews are under way.
const UNDER_WAY: usize = 3 * 600;

/// How an API server speaks to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// To one behind a Service: each review has a connection for itself while it is under way, the newest idle one or
    /// a new one.
    Http1,
    /// To one at a URL: all reviews share few connections.
    Http2,
}

impl Protocol {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// The connections to one webhook.
pub(crate) struct Connections {
    address: SocketAddr,
    tls: TlsConnector,
    kind: Kind,
    under_way: Semaphore,
}

enum Kind {
    Http1(Arc<Pool>),
    Http2 {
        connections: Vec<OnceCell<Http2>>,
        turn: AtomicUsize,
    },
}

impl Connections {
    /// Makes none yet; they will trust `bundle` (PEM) as the API server does.
    pub(crate) fn new(address: SocketAddr, bundle: &[u8], protocol: Protocol) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle) {
            roots.add(root.unwrap()).unwrap();
        }
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Go does not resume sessions unless told to.
        tls.resumption = Resumption::disabled();
        let (alpn, kind) = match protocol {
            Protocol::Http1 => (&b"http/1.1"[..], Kind::Http1(Arc::default())),
            Protocol::Http2 => (
                &b"h2"[..],
                Kind::Http2 {
                    connections: (0..STREAMS).map(|_| OnceCell::new()).collect(),
                    turn: AtomicUsize::new(0),
                },
            ),
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        Self {
            address,
            tls: TlsConnector::from(Arc::new(tls)),
            kind,
            under_way: Semaphore::new(UNDER_WAY),
        }
    }

    /// Sends a review, and returns the answer's status and body.
    pub(crate) async fn review(&self, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let _turn = self.under_way.acquire().await?;
        let request = Request::post("/mutate?timeout=5s")
            .header("content-type", "application/json")
            .header("content-length", body.len());
        match &self.kind {
            Kind::Http1(pool) => {
                let request = request.header("host", NAME).body(Full::new(body))?;
                let mut connection = match pool.find() {
                    Found::Idle(connection) => connection,
                    Found::Wait(next) => {
                        let (pool, tls, address) = (pool.clone(), self.tls.clone(), self.address);
                        tokio::spawn(async move {
                            match open_http1(&tls, address).await {
                                Ok(connection) => pool.give(connection),
                                Err(_) => pool.fail(),
                            }
                        });
                        next.await.context("no connection")?
                    }
                };
                let answer = whole(connection.send_request(request).await?).await?;
                if connection.ready().await.is_ok() {
                    pool.give(connection);
                }
                Ok(answer)
            }
            Kind::Http2 { connections, turn } => {
                let request = request.uri(format!("https://{NAME}/mutate?timeout=5s"));
                let request = request.body(Full::new(body))?;
                let nth = turn.fetch_add(1, Ordering::Relaxed) % STREAMS;
                let connection =
                    connections[nth].get_or_try_init(|| open_http2(&self.tls, self.address));
                let mut connection = connection.await?.clone();
                connection.ready().await?;
                Ok(whole(connection.send_request(request).await?).await?)
            }
        }
    }
}

/// HTTP/1.1 connections as Go's transport keeps them: who finds none idle has one made, and takes whichever is free first.
#[derive(Default)]
struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    idle: Vec<Http1>,
    waiting: VecDeque<oneshot::Sender<Http1>>,
}

enum Found {
    Idle(Http1),
    /// A connection is to be made, for whoever waits longest.
    Wait(oneshot::Receiver<Http1>),
}

impl Pool {
    fn find(&self) -> Found {
        let mut state = self.0.lock().unwrap();
        while let Some(connection) = state.idle.pop() {
            // Go takes those out as soon as they are closed.
            if !connection.is_closed() {
                return Found::Idle(connection);
            }
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Found::Wait(receiver)
    }

    fn give(&self, connection: Http1) {
        let mut state = self.0.lock().unwrap();
        if let Some(waiter) = state.waiting.pop_front() {
            // Who waits does not go away.
            let _ = waiter.send(connection);
        } else if state.idle.len() < IDLE {
            state.idle.push(connection);
        }
    }

    /// Fails whoever waits longest.
    fn fail(&self) {
        self.0.lock().unwrap().waiting.pop_front();
    }
}

async fn open_http1(tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<Http1> {
    let stream = TokioIo::new(open(tls, address).await?);
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn open_http2(tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<Http2> {
    let stream = TokioIo::new(open(tls, address).await?);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn open(tls: &TlsConnector, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(NAME)?;
    Ok(tls.connect(name, stream).await?)
}

async fn whole(answer: Response<Incoming>) -> hyper::Result<(StatusCode, Bytes)> {
    let status = answer.status();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}
