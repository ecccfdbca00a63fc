//! The port: TLS, HTTP/1.1 and h2, faults, the journal.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Server;
use super::impersonation;
use super::query::Query;
use super::reply::{Body, Reply};
use super::request::Request;
use super::route::Attributes;
use crate::api::{ApiError, User};
use crate::faults::{Effect, Seen};
use crate::journal::Entry;

// The real server's limit for a request body.
const MAX_BODY: usize = 3 * 1024 * 1024;
// How much of a body the journal keeps.
const EXCERPT: usize = 1024;

/// Binds a port on loopback.
pub(crate) fn serve(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port is bound again after a time of being down, when old connections still linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Accepts connections until the task is dropped, except while faults want the server down.
pub(crate) async fn run(
    server: Arc<Server>,
    tls: Arc<ServerConfig>,
    listener: TcpListener,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(tls);
    let mut downs = server.faults.downs();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if *downs.borrow_and_update() > 0 {
            listener = None;
            connections.shutdown().await;
            if downs.changed().await.is_err() {
                return Ok(());
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => serve(address)?,
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(server.clone(), acceptor.clone(), stream));
                }
            }
            _ = downs.changed() => {}
            Some(_) = connections.join_next() => {}
        }
        listener = Some(open);
    }
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| handle(server.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    // An error here is the client's going away, or a fault that was asked for.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    server: Arc<Server>,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let at = Timestamp::now();
    let (head, body) = request.into_parts();
    let uri = head
        .uri
        .path_and_query()
        .map_or("/", |uri| uri.as_str())
        .to_owned();
    let query = Query::parse(head.uri.query().unwrap_or(""));
    let path = head.uri.path().to_owned();
    let method = head.method.as_str().to_owned();
    let mut attributes = Attributes::read(&method, &path, &query);
    name_by_selector(&mut attributes, &query);
    let authorization = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let user = server
        .tokens
        .authenticate(&server.api, authorization)
        .and_then(|user| impersonation::user(&server.api, user, &head.headers));
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map(|body| body.to_bytes());
    let (body, too_large) = body.map_or_else(|_| (bytes::Bytes::new(), true), |body| (body, false));
    let (user, refusal) =
        user.map_or_else(|error| (User::default(), Some(error)), |user| (user, None));
    let request = Request {
        method,
        path,
        uri,
        query,
        headers: head.headers,
        body,
        user,
        attributes,
    };

    let effect = server.faults.effect(&seen(&request));
    let mut entry = entry(&request, at);
    if matches!(effect, Some(Effect::Hang | Effect::Reset)) {
        server.journal.add(entry);
        if effect == Some(Effect::Hang) {
            std::future::pending::<()>().await;
        }
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let answer = match (effect.and_then(faulty), refusal) {
        (Some(error), _) | (None, Some(error)) => Err(error),
        (None, None) if too_large => {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            Err(ApiError::new(413, "RequestEntityTooLarge", message))
        }
        (None, None) => server.answer(&request).await,
    };
    if answer.as_ref().is_err_and(|error| error.code == 501) {
        server.note_unmodelled(&request);
    }
    let reply = answer.unwrap_or_else(Reply::from);
    entry.status = if effect == Some(Effect::LoseAnswer) {
        0
    } else {
        reply.status()
    };
    server.journal.add(entry);
    match effect {
        Some(Effect::Delay(time)) => tokio::time::sleep(time).await,
        Some(Effect::LoseAnswer) => return Err(io::ErrorKind::ConnectionReset.into()),
        _ => {}
    }
    Ok(reply.into_response(request.header("accept-encoding").contains("gzip")))
}

// A list or watch of one name counts as one of that name, for RBAC.
fn name_by_selector(attributes: &mut Attributes, query: &Query) {
    if !matches!(attributes.verb, "list" | "watch" | "deletecollection") {
        return;
    }
    let rules = query.get("fieldSelector").unwrap_or("").split(',');
    if let Some(name) = rules
        .filter_map(|rule| rule.strip_prefix("metadata.name="))
        .next_back()
    {
        name.trim_start_matches('=')
            .clone_into(&mut attributes.name);
    }
}

fn faulty(effect: Effect) -> Option<ApiError> {
    match effect {
        Effect::InternalError => Some(ApiError::new(
            500,
            "InternalError",
            "Internal error occurred: etcdserver: leader changed",
        )),
        Effect::TooManyRequests(seconds) => {
            let message =
                "the server has received too many requests and has asked us to try again later";
            let mut error =
                ApiError::new(429, "TooManyRequests", message).with_details(serde_json::json!({}));
            error.retry_after = Some(seconds);
            Some(error)
        }
        Effect::Unavailable => Some(ApiError::new(
            503,
            "ServiceUnavailable",
            "apiserver is shutting down",
        )),
        Effect::Hang | Effect::Reset | Effect::Delay(_) | Effect::LoseAnswer => None,
    }
}

fn seen(request: &Request) -> Seen<'_> {
    let a = &request.attributes;
    Seen {
        verb: a.verb,
        group: &a.group,
        resource: &a.plural,
        subresource: &a.subresource,
        namespace: &a.namespace,
        name: &a.name,
        user: &request.user.name,
        uri: &request.uri,
    }
}

fn entry(request: &Request, at: Timestamp) -> Entry {
    let a = &request.attributes;
    let keeps_body = a.subresource == "eviction" || a.verb == "patch";
    let body = if keeps_body {
        &request.body[..request.body.len().min(EXCERPT)]
    } else {
        &[]
    };
    let body = String::from_utf8_lossy(body).into_owned();
    // Evictions and deletions may say so in the body, too.
    let in_body = body.replace(' ', "").contains("\"dryRun\":[\"All\"]");
    Entry {
        at,
        user: request.user.name.clone(),
        agent: request.header("user-agent").to_owned(),
        verb: a.verb,
        group: a.group.clone(),
        resource: a.plural.clone(),
        subresource: a.subresource.clone(),
        namespace: a.namespace.clone(),
        name: a.name.clone(),
        uri: request.uri.clone(),
        status: 0,
        dry_run: request.query.get("dryRun").is_some() || (a.subresource == "eviction" && in_body),
        body,
    }
}
