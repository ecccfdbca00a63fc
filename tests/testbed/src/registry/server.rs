//! The registry's socket: connections, the faults that befall requests, the journal.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::USER_AGENT;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::State;
use super::answer::{Body, instead, spoil};
use super::fault::Fault;
use super::journal::Seen;
use super::protocol::{Asked, accept, claim};
use super::target::Route;
use super::wire::{Switch, Wire};

/// Serves until the task is aborted; its connections end with it.
pub(super) async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Accepting fails when the process runs out of files; the next attempt may succeed.
                let Ok((tcp, _)) = accepted else { tokio::task::yield_now().await; continue };
                state.journal.connected();
                connections.spawn(connection(tcp, tls.clone(), Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let switch = Arc::new(Switch::default());
    // Small answers must not wait for the peer's delayed acknowledgement.
    let _ = tcp.set_nodelay(true);
    let wire = Wire::new(tcp, Arc::clone(&switch));
    let service = {
        let switch = Arc::clone(&switch);
        service_fn(move |request| answer(Arc::clone(&state), Arc::clone(&switch), request))
    };
    let builder = Builder::new(TokioExecutor::new());
    match tls {
        None => {
            let served = builder.serve_connection(TokioIo::new(wire), service);
            tokio::select! { _ = served => {} () = switch.cut() => {} }
        }
        Some(tls) => {
            // A client that does not trust the certificate leaves here.
            let Ok(stream) = tls.accept(wire).await else {
                return;
            };
            let served = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! { _ = served => {} () = switch.cut() => {} }
        }
    }
}

/// Counts a request as open until it is answered, or its client is gone.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.journal.left();
    }
}

async fn answer(
    state: Arc<State>,
    switch: Arc<Switch>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let route = Route::of(parts.uri.path());
    let claim = claim(&parts);
    let agent = parts
        .headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let agent = agent.unwrap_or_default().to_owned();
    let place = state.journal.arrived(Seen {
        at: Instant::now(),
        method: parts.method.clone(),
        kind: route.kind,
        repository: route.repository.clone(),
        reference: route.reference.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        agent: agent.clone(),
        accept: accept(&parts),
        scheme: claim.scheme(),
        user: None,
        status: None,
    });
    let _open = Open(Arc::clone(&state));
    let faults = state.faults.befall(&parts.method, &route, &agent);
    before(&faults, &switch).await;
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let asked = Asked {
        parts,
        route,
        claim,
        body,
        faults,
    };
    let path = asked
        .parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let (response, user) = match asked.faults.iter().find_map(|fault| instead(fault, path)) {
        Some(response) => (response, None),
        None => state.answer(&asked),
    };
    state
        .journal
        .answered(place, response.status().as_u16(), user);
    Ok(asked
        .faults
        .iter()
        .fold(response, |response, fault| spoil(fault, response)))
}

async fn before(faults: &[Fault], switch: &Switch) {
    for fault in faults {
        match fault {
            Fault::Latency(time) => tokio::time::sleep(*time).await,
            Fault::Hang => pending().await,
            Fault::SlowHead(pause) => switch.slow_down(*pause),
            Fault::Reset => {
                switch.reset();
                pending().await
            }
            _ => {}
        }
    }
}
