//! `podrefresh controller`: admission and refresh, until a signal or a part that fails.

use anyhow::Context as _;
use tracing::info;

use super::signals::{Signals, host, pod_ip};
use crate::{
    app::Controller,
    cli,
    cluster::{Choice, connect},
};

/// Runs the controller.
pub(super) async fn run(flags: cli::Controller) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let connection = connect(&Choice::default()).await?;
    info!(
        "Found the cluster {} by {}",
        connection.url, connection.origin
    );
    let mut settings = flags.settings(&connection.namespace, host());
    if let Some(notify) = &mut settings.notify {
        notify.pod_ip = pod_ip();
    }
    let controller = tokio::select! {
        controller = Controller::bind(settings, connection) => controller?,
        // Without a cluster it may wait for one; it has nothing to put in order yet.
        () = signals.any() => return Ok(()),
    };
    controller
        .run(signals.any())
        .await
        .context("the controller failed")
}
