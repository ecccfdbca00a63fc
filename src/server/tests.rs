use axum::{extract::State, routing::get};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream as Client};

use super::*;

mod ending;
mod hostile;

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(10);

/// A limit that a test wants to run into.
const SHORT: Duration = Duration::from_millis(200);

/// A server on loopback, and what a client needs to trust it.
struct Running {
    address: SocketAddr,
    roots: RootCertStore,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    /// Lets `/wait` go on.
    release: Arc<Notify>,
    /// Told when `/wait` begins.
    waiting: Arc<Notify>,
}

#[derive(Clone)]
struct Gate {
    release: Arc<Notify>,
    waiting: Arc<Notify>,
}

async fn wait(State(gate): State<Gate>) -> &'static str {
    gate.waiting.notify_one();
    gate.release.notified().await;
    "waited"
}

async fn start(limits: Limits) -> Running {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let gate = Gate {
        release: Arc::new(Notify::new()),
        waiting: Arc::new(Notify::new()),
    };
    let router = Router::new()
        .route("/", get(async || "fine"))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("on purpose") }),
        )
        .route("/wait", get(wait))
        .route("/large", get(async || vec![0_u8; 32 << 20]))
        .with_state(gate.clone());
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, Arc::new(tls), router, limits, async {
        let _ = stopped.await;
    }));
    Running {
        address,
        roots,
        stop: Some(stop),
        task,
        release: gate.release,
        waiting: gate.waiting,
    }
}

impl Running {
    fn tls(&self, alpn: &[&str]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }

    /// Returns a client that speaks what `alpn` says, over as few connections as it can.
    fn client(&self, alpn: &[&str]) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(alpn))
            .resolve("localhost", self.address)
            .no_proxy()
            .timeout(SOON)
            .build()
            .unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Returns a connection past its handshake.
    async fn connect(&self) -> io::Result<Client<TcpStream>> {
        self.greet(TcpStream::connect(self.address).await?).await
    }

    async fn greet(&self, stream: TcpStream) -> io::Result<Client<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.tls(&["http/1.1"])))
            .connect(name, stream)
            .await
    }
}

/// Waits until the server has closed the connection; returns what it said and how long that took.
async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> (String, Duration) {
    let started = Instant::now();
    let mut said = Vec::new();
    // How it closes, with an alert or a reset, does not matter.
    let _ = timeout(SOON, stream.read_to_end(&mut said))
        .await
        .expect("the server must close the connection");
    (
        String::from_utf8_lossy(&said).into_owned(),
        started.elapsed(),
    )
}

#[track_caller]
fn check_version(version: reqwest::Version, expected: &str) {
    assert_eq!(format!("{version:?}"), expected);
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let server = start(Limits::default()).await;
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let client = server.client(alpn);
        let answer = client.get(server.url("/")).send().await.unwrap();
        check_version(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "fine");
    }
    let stranger = server.client(&["spdy/1"]).get(server.url("/")).send();
    stranger.await.expect_err("there is no common protocol");
}

#[tokio::test]
async fn a_stream_that_waits_holds_no_other_one_up() {
    let server = start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let client = server.client(&["h2"]);
    let waiting = tokio::spawn(client.get(server.url("/wait")).send());
    server.waiting.notified().await;
    // The only connection there can be is the one that waits.
    let answer = client.get(server.url("/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "fine");
    assert!(!waiting.is_finished());
    server.release.notify_one();
    let waited = waiting.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(waited, "waited");
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let server = start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    for alpn in ["h2", "http/1.1"] {
        let client = server.client(&[alpn]);
        let panicked = client.get(server.url("/panic")).send().await.unwrap();
        assert_eq!(panicked.status(), 500);
        assert_eq!(panicked.text().await.unwrap(), "");
        let answer = client.get(server.url("/")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "fine");
    }
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let server = start(Limits {
        greeting: SHORT,
        idle: SHORT,
        ..Limits::default()
    })
    .await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    until_closed(&mut plain).await;
    let mut silent = server.connect().await.unwrap();
    until_closed(&mut silent).await;
    let mut slow = server.connect().await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let (said, _) = until_closed(&mut slow).await;
    assert_eq!(said, "");
}

#[tokio::test]
async fn who_is_past_the_handshake_may_idle_and_then_is_sent_away() {
    let idle = SHORT * 3;
    let server = start(Limits {
        greeting: SHORT,
        idle,
        ..Limits::default()
    })
    .await;
    // One that was made in vain, as another was free first.
    let (said, took) = until_closed(&mut server.connect().await.unwrap()).await;
    assert_eq!(said, "");
    assert!(idle <= took, "closed after {took:?}");
    let mut stream = server.connect().await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let (said, took) = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    assert!(idle <= took, "closed after {took:?}");
}

#[tokio::test]
async fn plain_http_and_noise_are_no_handshake() {
    let server = start(Limits::default()).await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 4096]] {
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain.write_all(noise).await.unwrap();
        until_closed(&mut plain).await;
    }
    let answer = server.client(&["h2"]).get(server.url("/")).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address).await.expect_err("must be in use");
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

/// Starts a server without TLS.
async fn start_plain(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let router = Router::new().route("/", get(async || "fine"));
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve_plain(listener, router, limits, async {
        let _ = stopped.await;
    }));
    (address, stop, task)
}

#[tokio::test]
async fn without_tls_http_1_is_spoken_and_nothing_else() {
    let (address, stop, task) = start_plain(Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (said, _) = until_closed(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    let mut other = TcpStream::connect(address).await.unwrap();
    other
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let (said, _) = until_closed(&mut other).await;
    assert!(!said.contains("200"), "{said}");
    let _idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    timeout(SOON, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn without_tls_silence_and_crowds_are_no_better() {
    let limits = Limits {
        idle: SHORT,
        connections: 1,
        ..Limits::default()
    };
    let (address, _stop, _task) = start_plain(limits).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    until_closed(&mut silent).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    // A newcomer takes the place of one that has asked for nothing.
    let mut second = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    second.write_all(request).await.unwrap();
    let (said, _) = until_closed(&mut second).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    until_closed(&mut first).await;
}
