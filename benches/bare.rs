//! A server that only speaks TLS and HTTP: what it takes under the same load is the machine's and the client's time.

use std::{convert::Infallible, net::SocketAddr};

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use testbed::pki::Authority;
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    connections::{NAME, Protocol},
    load::Load,
};

/// As long as an answer of the webhook, and proper to a client's eye.
const ANSWER: &str = r#"{"response":{"allowed":true,"patch":""}}"#;
const ANSWER_BYTES: usize = 1500;

/// The server, until it is dropped.
pub(crate) struct Bare {
    /// As many threads as the webhook has: one for each core.
    _runtime: Runtime,
    address: SocketAddr,
    authority: Authority,
}

impl Bare {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        let authority = Authority::new("bare").unwrap();
        let tls = TlsAcceptor::from(authority.server(&[NAME]).unwrap());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A client may go away at any time.
                    if let Ok(stream) = tls.accept(stream).await {
                        let server = Builder::new(TokioExecutor::new());
                        let stream = TokioIo::new(stream);
                        let _ = server.serve_connection(stream, service_fn(answer)).await;
                    }
                });
            }
        });
        Self {
            _runtime: runtime,
            address,
            authority,
        }
    }

    /// Returns clients of it.
    pub(crate) fn clients(&self, protocol: Protocol) -> Load {
        Load::new(self.address, self.authority.pem().as_bytes(), protocol)
    }
}

/// Takes the whole request, and answers at once.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // One that does not end is the client's own affair.
    let _ = request.into_body().collect().await;
    let body = format!("{ANSWER:ANSWER_BYTES$}");
    Ok(Response::new(Full::from(body)))
}
