//! The webhook's real server on a thread of its own, a client for it, and the price of TLS records.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, Version, header},
};
use podrefresh::server::{self, Limits};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use testbed::pki;

use crate::{admission::single, process::Clock};

/// Who signed the server's certificate.
pub(crate) struct Authority {
    pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// Makes one, and a certificate for 127.0.0.1.
    pub(crate) fn new() -> Self {
        let authority = pki::Authority::new("bench").unwrap();
        Self {
            pem: authority.pem(),
            server: authority.server(&["127.0.0.1"]).unwrap(),
        }
    }
}

/// A server that runs until the program ends.
pub(crate) struct Served {
    address: SocketAddr,
    /// The clock of its only thread.
    pub(crate) clock: Clock,
}

/// Serves `webhook` by TLS on a thread of its own.
pub(crate) fn serve(authority: &Authority, webhook: fn() -> Router) -> Served {
    let tls = authority.server.clone();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        single().block_on(async {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = server::bind(address).await.unwrap();
            let served = Served {
                address: listener.local_addr().unwrap(),
                clock: Clock::of_this_thread(),
            };
            sender.send(served).unwrap();
            let never = std::future::pending();
            server::serve(listener, tls, webhook(), Limits::default(), never).await;
        });
    });
    receiver.recv().unwrap()
}

/// A client with one HTTP/2 connection, as an API server is one.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// Returns a client of `server`, not yet connected.
    pub(crate) fn new(authority: &Authority, server: &Served) -> Self {
        let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
        Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([root])
                .build()
                .unwrap(),
            url: format!("https://{}/mutate?timeout=10s", server.address),
        }
    }

    /// Sends a review and returns its answer.
    pub(crate) async fn send(&self, body: Bytes) -> Bytes {
        let request = self
            .http
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, Version::HTTP_2)
        );
        answer.bytes().await.unwrap()
    }

    /// Sends a review whose pod must be stamped.
    pub(crate) async fn review(&self, body: Bytes) {
        let answer = self.send(body).await;
        let patch = br#""patch":"#;
        assert!(
            answer.windows(patch.len()).any(|bytes| bytes == patch),
            "{answer:?}"
        );
    }
}

/// Returns the median time in which the server's side of TLS reads `request` bytes and writes `answer` bytes.
pub(crate) fn records(authority: &Authority, request: usize, answer: usize) -> Duration {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(authority.server.clone()).unwrap();
    let mut buffer = Vec::new();
    let mut times = Vec::new();
    let (request, answer) = (vec![b'a'; request], vec![b'b'; answer]);
    let mut read = vec![0; request.len()];
    while times.len() < 2000 {
        let ready = !client.is_handshaking() && !server.is_handshaking();
        if ready {
            client.writer().write_all(&request).unwrap();
        }
        buffer.clear();
        while client.wants_write() {
            client.write_tls(&mut buffer).unwrap();
        }
        let started = Instant::now();
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        if ready {
            server.reader().read_exact(&mut read).unwrap();
            server.writer().write_all(&answer).unwrap();
        }
        buffer.clear();
        while server.wants_write() {
            server.write_tls(&mut buffer).unwrap();
        }
        if ready {
            times.push(started.elapsed());
        }
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
        if ready {
            let mut back = vec![0; answer.len()];
            client.reader().read_exact(&mut back).unwrap();
        }
    }
    times.sort_unstable();
    times[times.len() / 2]
}
