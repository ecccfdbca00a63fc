//! A crowd of reviews for the shipped binary, as API servers send them: over few HTTP/2 connections, and not waiting for
//! answers before the next one is sent.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    net::TcpStream,
    runtime::{self, Runtime},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

/// What the API server calls the webhook.
const NAME: &str = "podrefresh.podrefresh.svc";

/// Connections: as many as a control plane of three API servers has, and one to spare.
const CONNECTIONS: usize = 4;

/// Clients of one webhook, on a thread of their own.
pub(crate) struct Load {
    runtime: Runtime,
    connections: Vec<http2::SendRequest<Full<Bytes>>>,
}

/// What became of some reviews.
pub(crate) struct Outcome {
    /// How long each took since the moment it should have been sent, sorted.
    times: Vec<Duration>,
    /// Those whose pod got stamps.
    pub(crate) stamped: usize,
    /// Those that got no proper answer.
    pub(crate) failed: usize,
    /// From the first that was sent to the last answer.
    pub(crate) took: Duration,
}

/// How one review ended.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Stamped,
    Unstamped,
    Failed,
}

impl Load {
    /// Connects to the webhook at `address`, trusting `bundle` (PEM) as the API server does.
    pub(crate) fn connect(address: SocketAddr, bundle: &[u8]) -> Self {
        // One thread: the other core is the webhook's, and so is most of this one.
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle) {
            roots.add(root.unwrap()).unwrap();
        }
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(tls));
        let connections = (0..CONNECTIONS)
            .map(|_| runtime.block_on(open(&tls, address)))
            .collect();
        Self {
            runtime,
            connections,
        }
    }

    /// Sends `bodies` at `rate` a second, whether or not those before them are answered, and waits for all answers.
    ///
    /// A time counts from when a review should have been sent: one that had to wait for its turn here waited for the
    /// webhook, too.
    pub(crate) fn open_loop(&self, bodies: impl IntoIterator<Item = Bytes>, rate: f64) -> Outcome {
        let (sender, receiver) = mpsc::unbounded_channel();
        let started = Instant::now();
        for (nth, body) in bodies.into_iter().enumerate() {
            let due = started + Duration::from_secs_f64(nth as f64 / rate);
            // The kernel's timers are finer than tokio's, which has milliseconds.
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let connection = self.connections[nth % CONNECTIONS].clone();
            let sender = sender.clone();
            self.runtime.spawn(async move {
                let ended = review(connection, body).await;
                let _ = sender.send((due.elapsed(), ended));
            });
        }
        drop(sender);
        self.outcome(started, receiver)
    }

    /// Sends `body` again and again for `span`, with `at_once` under way at each moment.
    pub(crate) fn closed_loop(&self, body: &Bytes, at_once: usize, span: Duration) -> Outcome {
        let (sender, receiver) = mpsc::unbounded_channel();
        let started = Instant::now();
        for nth in 0..at_once {
            let connection = self.connections[nth % CONNECTIONS].clone();
            let (sender, body) = (sender.clone(), body.clone());
            self.runtime.spawn(async move {
                while started.elapsed() < span {
                    let sent = Instant::now();
                    let ended = review(connection.clone(), body.clone()).await;
                    let _ = sender.send((sent.elapsed(), ended));
                }
            });
        }
        drop(sender);
        self.outcome(started, receiver)
    }

    fn outcome(
        &self,
        started: Instant,
        mut answers: mpsc::UnboundedReceiver<(Duration, Ended)>,
    ) -> Outcome {
        let mut all = Vec::new();
        self.runtime.block_on(async {
            while let Some(answer) = answers.recv().await {
                all.push(answer);
            }
        });
        let count = |wanted| all.iter().filter(|(_, ended)| *ended == wanted).count();
        let (stamped, failed) = (count(Ended::Stamped), count(Ended::Failed));
        let mut times: Vec<Duration> = all.into_iter().map(|(time, _)| time).collect();
        times.sort_unstable();
        Outcome {
            times,
            stamped,
            failed,
            took: started.elapsed(),
        }
    }
}

impl Outcome {
    /// Returns how many reviews there were.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// Returns the time that all but `per_mille` of a thousand stayed below.
    pub(crate) fn all_but(&self, per_mille: usize) -> Duration {
        let above = self.times.len() * per_mille / 1000;
        self.times[self.times.len() - 1 - above]
    }

    /// Returns the longest time.
    pub(crate) fn longest(&self) -> Duration {
        self.all_but(0)
    }
}

async fn open(tls: &TlsConnector, address: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    let stream = tls.connect(name, stream).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn review(mut connection: http2::SendRequest<Full<Bytes>>, body: Bytes) -> Ended {
    let request = Request::post(format!("https://{NAME}/mutate?timeout=5s"))
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::new(body))
        .unwrap();
    let answered = async {
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    match answered.await {
        Ok((status, text)) if status == 200 => {
            let has = |part: &[u8]| text.windows(part.len()).any(|bytes| bytes == part);
            match (has(br#""allowed":true"#), has(br#""patch":"#)) {
                (true, true) => Ended::Stamped,
                (true, false) => Ended::Unstamped,
                (false, _) => Ended::Failed,
            }
        }
        _ => Ended::Failed,
    }
}
