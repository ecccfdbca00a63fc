//! How an election is held, and how long all of it takes.

use std::{net::SocketAddr, time::Duration};

use prometheus_client::metrics::gauge::Gauge;

/// The name of the Lease that controllers elect a leader by.
pub const LEASE: &str = "podrefresh";

/// How an election is held.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who we are; no two processes may share it (see [`identity`]).
    pub identity: String,
    /// How long a Lease that nobody renews is respected: whole seconds, at least one.
    pub duration: Duration,
    /// Is 1 while we lead.
    pub gauge: Gauge,
    /// Where we take notifications, for the replicas that do not lead.
    pub notify_address: Option<SocketAddr>,
}

impl Settings {
    /// Returns how long after a renewal we lead.
    pub(super) fn term(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Returns how long what was begun while leading may take at most, to be over before anybody
    /// else can lead.
    pub fn margin(&self) -> Duration {
        self.duration - self.term()
    }

    /// Returns the pause between attempts: five in each term.
    pub(super) fn pause(&self) -> Duration {
        let pause = self.duration * 2 / 15;
        // Jitter, so that replicas that started together do not collide for ever.
        pause.mul_f64(1.0 + fastrand::f64() * 0.2)
    }

    /// Returns how long the API server may take for an answer: three calls that hang fit in a term.
    pub(super) fn call(&self) -> Duration {
        self.term() / 3
    }
}

/// Returns an identity that no other process has: the host's name and chance.
pub fn identity(host: &str) -> String {
    format!("{host}_{:016x}", fastrand::u64(..))
}
