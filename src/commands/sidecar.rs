//! `podrefresh sidecar`: watches one container of its own pod, until a signal.

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{
    app::{PodName, Sidecar},
    cli,
    cluster::{Choice, connect},
};

/// Runs the sidecar.
///
/// It has nothing to put in order: a signal ends it at once, as its pod's end waits for it.
pub(super) async fn run(flags: cli::Sidecar) -> anyhow::Result<()> {
    // Before anything else: nothing ends a container's first process by default.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let watching = async {
        let connection = connect(&Choice::default()).await?;
        let settings = flags.settings(&connection.namespace, pod_name());
        let sidecar = Sidecar::bind(settings, &connection).await?;
        if let Some(address) = sidecar.admin_addr()? {
            info!("Serving the admin port on {address}");
        }
        sidecar.run().await
    };
    tokio::select! {
        ended = watching => return ended.map(|never| match never {}),
        _ = terminate.recv() => info!("Got SIGTERM"),
        _ = interrupt.recv() => info!("Got SIGINT"),
    }
    Ok(())
}

/// Returns our pod's name: as the downward API tells it, else our hostname, which the kubelet makes of it.
fn pod_name() -> PodName {
    match std::env::var("POD_NAME") {
        Ok(name) if !name.is_empty() => PodName::told(name),
        _ => {
            let name =
                std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
            PodName::guessed(name.unwrap_or_default().trim().to_owned())
        }
    }
}
