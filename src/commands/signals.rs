//! The signals that end a command, and what its process and its pod are called.

use std::net::IpAddr;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// SIGTERM and SIGINT, listened for.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen. Do it before anything else, so that no signal finds nobody listening.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("Got SIGTERM"),
            _ = self.interrupt.recv() => info!("Got SIGINT"),
        }
    }
}

/// Returns what this process is called: its pod's name, else its machine's.
pub(super) fn host() -> String {
    std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned()))
        .unwrap_or_else(|_| "podrefresh".to_owned())
}

/// Returns the address of our pod, if the manifest tells it.
pub(super) fn pod_ip() -> Option<IpAddr> {
    let text = std::env::var("POD_IP").ok().filter(|ip| !ip.is_empty())?;
    let ip = text.parse();
    if ip.is_err() {
        warn!("POD_IP is {text:?}, which is no IP address");
    }
    ip.ok()
}
