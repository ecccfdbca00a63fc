//! One client, from its connection's first byte to the last one.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, Version, header},
    response::IntoResponse,
};
use futures::FutureExt;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, error};

use super::{Limits, slots::Slot, stall::Stall};

/// How long a connection that has lost its place gets to say goodbye, and one that has just come, once the server is to
/// stop, to say what it came for: its client would take the end for an answer, and try no other replica.
const GOODBYE: Duration = Duration::from_secs(1);

/// How far the server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Clients are still answered, and told to go.
    Lingering,
    /// Nobody else is answered than who asks already.
    Draining,
}

/// What answers all clients.
pub(super) struct Server {
    /// Plain without.
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) router: Router,
    pub(super) limits: Limits,
}

impl Server {
    /// Serves one client until it leaves, or until it is to go: at the latest when the server has stopped.
    pub(super) async fn client(
        self: Arc<Self>,
        stream: TcpStream,
        slot: Slot,
        mut phases: watch::Receiver<Phase>,
    ) {
        // Answers are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(error = %error, "Could not set TCP_NODELAY: {error}");
        }
        let stream = Stall::new(stream, self.limits.stall);
        let Some(tls) = &self.tls else {
            return self.connection(stream, slot, phases).await;
        };
        let stream = tokio::select! {
            stream = self.handshake(tls, stream) => stream,
            () = async {
                until(&mut phases, |phase| *phase == Phase::Draining).await;
                sleep(GOODBYE).await;
            } => None,
            () = slot.lost() => None,
        };
        if let Some(stream) = stream {
            self.connection(stream, slot, phases).await;
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

    /// Answers one client until it leaves, breaks the rules, loses its slot, or the server drains and all is answered.
    async fn connection<S>(&self, stream: S, slot: Slot, mut phases: watch::Receiver<Phase>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (greeted, mut greeting) = watch::channel(false);
        let router = TowerToHyperService::new(self.router.clone());
        let phase = phases.clone();
        let service = service_fn(|request: Request<Incoming>| {
            greeted.send_if_modified(|greeted| !std::mem::replace(greeted, true));
            let open = slot.request();
            // HTTP/2 has no such header; hyper says GOAWAY there when the server drains.
            let phase = (request.version() < Version::HTTP_2).then(|| phase.clone());
            let answer = isolated(router.clone(), request);
            async move {
                let mut answer = answer.await;
                drop(open);
                if phase.is_some_and(|phase| *phase.borrow() != Phase::Serving) {
                    let close = HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        // hyper's own timeout for heads begins with the first byte.
        let mut patience = pin!(sleep(self.limits.idle));
        let (mut is_greeted, mut is_stopping) = (false, false);
        let ended = loop {
            tokio::select! {
                ended = connection.as_mut() => break Some(ended),
                () = until(&mut greeting, |greeted| *greeted), if !is_greeted => {
                    is_greeted = true;
                    if is_stopping {
                        connection.as_mut().graceful_shutdown();
                    }
                }
                () = &mut patience, if !is_greeted => {
                    return debug!("A connection was closed, it asked for nothing");
                }
                () = until(&mut phases, |phase| *phase == Phase::Draining), if !is_stopping => {
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
async fn until<T>(watched: &mut watch::Receiver<T>, holds: impl FnMut(&T) -> bool) {
    let _ = watched.wait_for(holds).await;
}

/// Answers `request`, with a 500 if that panics; the connection and its other requests never notice.
async fn isolated(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Response<Body> {
    let answering = AssertUnwindSafe(async move { router.call(request).await }).catch_unwind();
    let Ok(Ok(answer)) = answering.await else {
        error!("Answered a request with 500: its handler panicked");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    answer
}
