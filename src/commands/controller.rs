//! `podrefresh controller`: admission and refresh, until a signal or a part that fails.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::{
    app::Controller,
    cli,
    cluster::{Choice, connect},
};

/// Runs the controller.
pub(super) async fn run(flags: cli::Controller) -> anyhow::Result<()> {
    // Before anything else, so that no signal finds nobody listening.
    let mut signals = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let connection = connect(&Choice::default()).await?;
    info!(
        "Found the cluster {} by {}",
        connection.url, connection.origin
    );
    let settings = flags.settings(&connection.namespace, host());
    let controller = tokio::select! {
        controller = Controller::bind(settings, connection) => controller?,
        // Without a cluster it may wait for one; it has nothing to put in order yet.
        () = any(&mut signals) => return Ok(()),
    };
    controller
        .run(any(&mut signals))
        .await
        .context("the controller failed")
}

/// Waits for the first signal.
async fn any((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => info!("Got SIGTERM"),
        _ = interrupt.recv() => info!("Got SIGINT"),
    }
}

/// Returns what this process is called: its pod's name, else its machine's.
fn host() -> String {
    std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .or_else(|_| std::fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned()))
        .unwrap_or_else(|_| "podrefresh".to_owned())
}
