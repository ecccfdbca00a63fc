//! A crowd of reviews for the shipped binary, as API servers send them: not waiting for answers before the next one is
//! sent.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
};

use crate::connections::{Connections, Protocol};

/// Clients of one webhook, on a thread of their own.
pub(crate) struct Load {
    runtime: Runtime,
    connections: Arc<Connections>,
}

/// What became of some reviews.
#[derive(Default)]
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
    /// Returns clients of the webhook at `address` that trust `bundle` (PEM) as the API server does.
    pub(crate) fn new(address: SocketAddr, bundle: &[u8], protocol: Protocol) -> Self {
        // One thread: the other core is the webhook's, and so is most of this one.
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let connections = Arc::new(Connections::new(address, bundle, protocol));
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
            let connections = self.connections.clone();
            let sender = sender.clone();
            self.runtime.spawn(async move {
                let ended = review(&connections, body).await;
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
        for _ in 0..at_once {
            let connections = self.connections.clone();
            let (sender, body) = (sender.clone(), body.clone());
            self.runtime.spawn(async move {
                while started.elapsed() < span {
                    let sent = Instant::now();
                    let ended = review(&connections, body.clone()).await;
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
    /// Adds what became of others, at another time.
    pub(crate) fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.stamped += other.stamped;
        self.failed += other.failed;
        self.took += other.took;
    }

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

async fn review(connections: &Connections, body: Bytes) -> Ended {
    match connections.review(body).await {
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
