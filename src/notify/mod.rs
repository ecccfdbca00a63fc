//! Registries that tell of pushes: what they say is a hint to look at an image now, and nothing more.
//!
//! A hint goes to the replica that leads. There the poller asks the registry again, for images in use only, and all
//! that follows is as if it had asked by itself: a digest that a payload claims is never looked at.

use std::time::Duration;

use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    cluster::Leadership,
    observe::metrics::Metrics,
    policy::Push,
    server::{self, body::Intake},
};

mod outcome;
pub mod payload;
mod relay;
mod router;
pub mod token;

pub use token::{TokenError, TokenFile};

/// The one path that is served.
pub const PATH: &str = "/push";

/// Pushes that wait for the leader to look; some more than it takes in at once.
pub const QUEUE: usize = 1024;

/// What a client may cost. Senders are few; whoever is not among them finds the port small.
pub const LIMITS: server::Limits = server::Limits {
    connections: 256,
    sockets: usize::MAX,
    greeting: Duration::from_secs(10),
    // Distribution keeps its connection open between two pushes, and makes another one where it is closed.
    idle: Duration::from_secs(60),
    // There is no HTTP/2 without TLS.
    streams: 1,
    stall: Duration::from_secs(10),
    ping: Duration::from_secs(20),
    linger: Duration::ZERO,
    // More than a body and two tries to tell the leader may take.
    drain: Duration::from_secs(15),
};

/// The parts of the house that take what registries tell.
#[derive(Debug)]
pub struct Parts {
    /// Takes what is to be looked at while this replica leads.
    pub pushes: mpsc::Sender<Push>,
    /// Whether it does, and who else.
    pub leadership: Leadership,
    /// What senders must show; they need show nothing without.
    pub token: Option<TokenFile>,
    /// Counts.
    pub metrics: Metrics,
}

/// Takes what registries tell at `listener` within `limits` until `shutdown`, and for their linger after that.
///
/// Fails when the client for other replicas cannot be made. Needs rustls' default provider installed.
pub fn serve(
    listener: TcpListener,
    parts: Parts,
    limits: server::Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<impl Future<Output = ()>, reqwest::Error> {
    let relay = relay::Relay::new(parts.leadership.leader(), parts.token.clone())?;
    let desk = router::Desk {
        pushes: parts.pushes,
        leadership: parts.leadership,
        relay,
        token: parts.token,
        metrics: parts.metrics,
        intake: Intake::new(router::BODIES),
    };
    let router = router::router(desk);
    Ok(server::serve_plain(listener, router, limits, shutdown))
}
