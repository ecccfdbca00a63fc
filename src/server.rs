//! Serves HTTP to clients that may be slow, many or hostile: HTTP/1.1 and HTTP/2 over TLS, or HTTP/1.1 in plain.
//!
//! The API server sends all its reviews over one HTTP/2 connection, so the streams of a connection never wait for
//! each other: hyper gives each one its own task.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
    response::IntoResponse,
};
use futures::FutureExt;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, error, info, warn};

pub mod body;
mod slots;
mod stall;

use slots::{Slot, Slots};
use stall::Stall;

/// What a client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once. One more takes the place of one that does nothing, or is closed at once.
    pub connections: usize,
    /// From the connection to the end of the handshake, and from there to the first request.
    pub greeting: Duration,
    /// From one HTTP/1.1 answer to the end of the next request's head.
    pub idle: Duration,
    /// Requests open at once on one HTTP/2 connection.
    pub streams: u32,
    /// How long a client may leave what we write unread.
    pub stall: Duration,
    /// A silent HTTP/2 connection is pinged this often, and closed when no answer comes for as long.
    pub ping: Duration,
    /// What requests under way get to finish once the server is to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server without HTTP/2 opens one for each review at once.
            connections: 1024,
            greeting: Duration::from_secs(10),
            // The API server closes its idle connections after 90 s. It should be the first to do so: a request
            // may be on its way into a connection that we close.
            idle: Duration::from_secs(100),
            streams: 1024,
            stall: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            // More than the longest deadline that a webhook may have by its default of 10 s.
            drain: Duration::from_secs(15),
        }
    }
}

/// How long a connection that has lost its place gets to say goodbye, and one that has just come, once the server is to
/// stop, to say what it came for: its client would take the end for an answer, and try no other replica.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many connections the kernel may hold ready for us: as many as it does for others.
const BACKLOG: u32 = 1024;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Binds `address`; `[::]` also takes IPv4, and falls back to it where the kernel has no IPv6.
#[expect(
    clippy::unused_async,
    reason = "listening needs the runtime it is awaited in"
)]
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |source| BindError { address, source };
    match listen(address) {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            let ipv4 = (Ipv4Addr::UNSPECIFIED, address.port());
            listen(ipv4.into()).map_err(|_| failed(error))
        }
        bound => bound.map_err(failed),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() && address.ip().is_unspecified() {
        // A node's sysctl net.ipv6.bindv6only may say otherwise.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers connections to `listener` with `router` until `shutdown` is done, then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let server = Server {
        tls: Some(TlsAcceptor::from(tls)),
        http: http(&limits),
        router,
        limits,
    };
    accept(Arc::new(server), listener, shutdown).await;
}

/// Does the same in plain HTTP/1.1, for who has no certificate of ours to trust.
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let server = Server {
        tls: None,
        http: http(&limits).http1_only(),
        router,
        limits,
    };
    accept(Arc::new(server), listener, shutdown).await;
}

/// Accepts connections until `shutdown` is done.
async fn accept(server: Arc<Server>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let slots = Slots::new(server.limits.connections);
    let (stop, stopped) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    let begin = |stream| match slots.take(Instant::now()) {
        Some(slot) => drop(tokio::spawn(server.clone().client(
            stream,
            slot,
            stopped.clone(),
        ))),
        None => debug!("A connection was closed at once: all others are busy"),
    };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => begin(stream),
                Err(error) => pause_after(&error).await,
            },
        }
    }
    // The kernel has let others in that we have not seen yet.
    if let Ok(listener) = listener.into_std() {
        let rest = std::iter::from_fn(|| listener.accept().ok());
        let rest = rest.filter_map(|(stream, _)| {
            stream.set_nonblocking(true).ok()?;
            TcpStream::from_std(stream).ok()
        });
        rest.for_each(begin);
    }
    drop(stopped);
    stop.send_replace(true);
    // Each connection holds a receiver until it ends.
    if timeout(server.limits.drain, stop.closed()).await.is_err() {
        warn!("Stopped with requests under way, they took too long to finish");
    } else {
        info!("Finished all requests under way");
    }
}

/// Waits after a failed accept, unless only that one connection is lost.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    // Most likely the process is out of files. A moment later it may have some again.
    error!(error = %error, "Could not accept a connection: {error}");
    sleep(Duration::from_secs(1)).await;
}

fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(64 * 1024);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(16 * 1024)
        // The window bounds what one connection can make us hold; a stream's takes most reviews in one go.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping);
    http
}

struct Server {
    /// Plain without.
    tls: Option<TlsAcceptor>,
    http: auto::Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
}

impl Server {
    /// Serves one client until it leaves, or until it is to go: at the latest when the server has stopped.
    async fn client(
        self: Arc<Self>,
        stream: TcpStream,
        slot: Slot,
        mut stopped: watch::Receiver<bool>,
    ) {
        // Answers are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %error, "Could not set TCP_NODELAY: {error}");
        }
        let stream = Stall::new(stream, self.limits.stall);
        let Some(tls) = &self.tls else {
            return self.connection(stream, slot, stopped).await;
        };
        let stream = tokio::select! {
            stream = self.handshake(tls, stream) => stream,
            () = async {
                until(&mut stopped).await;
                sleep(GOODBYE).await;
            } => None,
            () = slot.lost() => None,
        };
        if let Some(stream) = stream {
            self.connection(stream, slot, stopped).await;
        }
    }

    /// Returns the encrypted stream, if the client gets that far in time.
    async fn handshake<S>(&self, tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match timeout(self.limits.greeting, tls.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                debug!(error = %error, "A TLS handshake failed: {error}");
                None
            }
            Err(_) => {
                debug!("A TLS handshake took too long");
                None
            }
        }
    }

    /// Answers one client until it leaves, breaks the rules, loses its slot, or `stopped` holds and all is answered.
    async fn connection<S>(&self, stream: S, slot: Slot, mut stopped: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (greeted, mut greeting) = watch::channel(false);
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|request| {
            greeted.send_if_modified(|greeted| !std::mem::replace(greeted, true));
            let open = slot.request();
            let answer = isolated(router.clone(), request);
            async move {
                let answer = answer.await;
                drop(open);
                answer
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        // hyper's own timeout for heads must be as long as a connection may idle; who has never asked for
        // anything gets no such patience.
        let mut patience = pin!(sleep(self.limits.greeting));
        let (mut is_greeted, mut is_stopping) = (false, false);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break Some(ended),
                () = until(&mut greeting), if !is_greeted => {
                    is_greeted = true;
                    if is_stopping {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = &mut patience, if !is_greeted => {
                    return debug!("A connection was closed, it asked for nothing");
                }
                () = until(&mut stopped), if !is_stopping => {
                    is_stopping = true;
                    if is_greeted {
                        connection.as_mut().graceful_shutdown();
                    } else {
                        let last_call = tokio::time::Instant::now() + GOODBYE;
                        let end = patience.deadline().min(last_call);
                        patience.as_mut().reset(end);
                    }
                }
                () = slot.lost() => break None,
            }
        };
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => debug!(error = %error, "A connection broke: {error}"),
            None => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GOODBYE, connection).await;
                debug!("A connection was closed, others needed its place");
            }
        }
    }
}

/// Waits until it holds, or nobody is left to say so.
async fn until(claim: &mut watch::Receiver<bool>) {
    let _ = claim.wait_for(|holds| *holds).await;
}

/// Answers `request`, with a 500 if that panics; the connection and its other requests never notice.
async fn isolated(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answering = AssertUnwindSafe(async move { router.call(request).await }).catch_unwind();
    answering.await.unwrap_or_else(|_| {
        error!("Answered a request with 500: its handler panicked");
        Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
    })
}

#[cfg(test)]
mod tests;
