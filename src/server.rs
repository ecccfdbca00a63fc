//! Serves HTTP to clients that may be slow, many or hostile: HTTP/1.1 and HTTP/2 over TLS, or HTTP/1.1 in plain.
//!
//! An API server sends its reviews over HTTP/1.1 to a webhook behind a Service, one at a time on each of several
//! connections that it keeps, and over one HTTP/2 connection to a webhook at a URL. So the streams of a connection never
//! wait for each other: hyper gives each one its own task.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use futures::FutureExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

pub mod body;
mod client;
pub mod files;
mod slots;
mod stall;

use client::{Phase, Server};
use slots::Slots;

/// What a client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once. One more takes the place of one that does nothing, or is closed at once.
    pub connections: usize,
    /// Sockets open at once: those of the connections, and of others that have lost their place and say goodbye. Who comes
    /// on top waits for one of these to end.
    pub sockets: usize,
    /// From the connection to the end of the handshake.
    pub greeting: Duration,
    /// From the handshake to the first request, and from one HTTP/1.1 answer to the end of the next request's head.
    pub idle: Duration,
    /// Requests open at once on one HTTP/2 connection.
    pub streams: u32,
    /// How long a client may leave what we write unread.
    pub stall: Duration,
    /// A silent HTTP/2 connection is pinged this often, and closed when no answer comes for as long.
    pub ping: Duration,
    /// How long connections are still taken once the server is to stop: clients learn only then to go elsewhere.
    pub linger: Duration,
    /// What requests under way then get to finish.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An API server has one for each review under way to a webhook behind a Service: at most 600, as many
            // requests as it takes in at once by default. There may be three of them, and when they are in a hurry
            // they make more connections than they need in the end.
            connections: 4096,
            sockets: usize::MAX,
            greeting: Duration::from_secs(10),
            // The API server closes its idle connections after 90 s, also those that it has never used as another one was
            // free first. It should be the first to do so: a request may be on its way into a connection that we close.
            idle: Duration::from_secs(100),
            streams: 1024,
            stall: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            linger: Duration::ZERO,
            // More than the longest deadline that a webhook may have by its default of 10 s.
            drain: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// Returns the same with at most as many sockets: half of them for connections, and half for who must make room.
    #[must_use]
    pub fn within(self, sockets: usize) -> Self {
        Self {
            connections: self.connections.min(sockets / 2),
            sockets: self.sockets.min(sockets),
            ..self
        }
    }
}

/// How many connections the kernel may hold ready for us, if its `net.core.somaxconn` is no lower. Who comes on top tries
/// again after a second.
const BACKLOG: u32 = 4096;

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

/// Answers connections to `listener` with `router` until `shutdown` is done and for [`Limits::linger`] after that, then
/// finishes what is under way.
///
/// From `shutdown` on each answer over HTTP/1.1 is the last of its connection, and says so (RFC 9112, section 9.6). A
/// connection closed between two answers could have the next request on its way, and Go repeats no POST.
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

/// Accepts connections until `shutdown` is done, and a little longer.
async fn accept(server: Arc<Server>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let slots = Slots::new(server.limits.connections);
    let sockets = server.limits.sockets.clamp(1, Semaphore::MAX_PERMITS);
    let sockets = Arc::new(Semaphore::new(sockets));
    let (phase, phases) = watch::channel(Phase::Serving);
    let mut lingered = pin!(async {
        shutdown.await;
        phase.send_replace(Phase::Lingering);
        sleep(server.limits.linger).await;
    });
    let begin = |stream, socket| match slots.take(Instant::now()) {
        Some(slot) => {
            let client = server.clone().client(stream, slot, phases.clone());
            tokio::spawn(client.map(|()| drop(socket)));
        }
        None => debug!("A connection was closed at once: all others are busy"),
    };
    loop {
        tokio::select! {
            () = &mut lingered => break,
            (socket, accepted) = next(&sockets, &listener) => match accepted {
                Ok((stream, _)) => begin(stream, Some(socket)),
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
        rest.for_each(|stream| begin(stream, None));
    }
    drop(phases);
    phase.send_replace(Phase::Draining);
    // Each connection holds a receiver until it ends.
    if timeout(server.limits.drain, phase.closed()).await.is_err() {
        warn!("Stopped with requests under way, they took too long to finish");
    } else {
        info!("Finished all requests under way");
    }
}

/// Accepts a connection, once there may be another socket.
async fn next(
    sockets: &Arc<Semaphore>,
    listener: &TcpListener,
) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
    let socket = sockets.clone().acquire_owned().await;
    let socket = socket.expect("the semaphore must not be closed");
    (socket, listener.accept().await)
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

#[cfg(test)]
mod tests;
