//! Puts together one run over all pods.

use std::{future::Future, pin::pin, time::Duration};

use anyhow::{anyhow, bail, ensure};
use futures::future::OptionFuture;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{POLLER_SECRETS_AGE, Registries, resolver};
use crate::{
    cluster::{Connection, Leadership, Namespaces, Pods, Recorder, Scope},
    observe::metrics::Metrics,
    policy::{self, gate::Limits},
    refresh::{self, Orders, Progress, Report},
};

/// Pods asked for at a time. All are read once, and a run ends: pages twice as large as a controller's spare
/// the API server half of the lists.
const PAGE: usize = 1000;

/// How long Events may still be written when all else is done.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// No image is asked for a second time in a run, but to be certain of its digest: its turn would come again
/// when this many runs are over.
const TURNS: u32 = 20;

/// How one run over all pods is made.
#[derive(Debug, Clone)]
pub struct Once {
    /// One namespace; `None` is all of them.
    pub namespace: Option<String>,
    /// A label selector of pods.
    pub selector: Option<String>,
    /// Whether only namespaces count that have opted in.
    pub opted_in: bool,
    /// The gate's limits.
    pub limits: Limits,
    /// How long it may take in all.
    pub timeout: Duration,
    /// Whether nothing is to be evicted, nor written anywhere.
    pub dry_run: bool,
    /// What this process is called in Events.
    pub host: String,
    /// How registries are asked.
    pub registries: Registries,
}

impl Once {
    fn refresh(&self) -> refresh::Settings {
        let mut limits = self.limits;
        if self.dry_run {
            // It asks once, and there is nothing to be certain of.
            limits.confirm_after = Duration::ZERO;
        }
        refresh::Settings {
            poll_interval: self.timeout.saturating_mul(TURNS),
            limits,
            dry_run: self.dry_run,
            whose: match self.opted_in {
                true => policy::Scope::OptedIn,
                false => policy::Scope::All,
            },
        }
    }
}

/// Refreshes the pods that `settings` tell of, until nothing is left to do, the time is over or `interrupted`;
/// tells meanwhile how far it has got, and at the end what came of it.
///
/// Fails when the pods or the namespaces cannot be listed.
pub async fn once(
    settings: Once,
    connection: Connection,
    interrupted: impl Future<Output = ()>,
    progress: watch::Sender<Progress>,
) -> anyhow::Result<Report> {
    let deadline = Instant::now() + settings.timeout;
    let metrics = Metrics::new();
    let server = connection.server();
    let resolver = resolver(&settings.registries, Some(server.clone()), &metrics)?;
    let scope = Scope {
        namespace: settings.namespace.clone(),
        selector: settings.selector.clone(),
        page: PAGE,
    };
    let (namespaces, namespaces_task) = Namespaces::start(server.clone());
    let (pods, pods_task) = Pods::start(server.clone(), scope);
    let (recorder, events) =
        Recorder::start(server.clone(), &settings.host, metrics.events_lost.clone());
    // Without its task a recorder drops what it is told.
    let events = (!settings.dry_run).then_some(events);
    let (leadership, reins) = Leadership::held();
    let parts = refresh::Parts {
        server,
        pods: pods.clone(),
        namespaces: namespaces.clone(),
        resolver: resolver
            .for_nodes()
            .with_secrets_max_age(POLLER_SECRETS_AGE),
        leadership,
        reserve: Duration::MAX,
        recorder,
        metrics,
    };
    let orders = Orders {
        reins,
        deadline,
        progress,
    };
    let mut events = pin!(OptionFuture::from(events));
    let mut interrupted = pin!(interrupted);
    let run = async {
        tokio::select! {
            () = async { tokio::join!(pods.wait_synced(), namespaces.wait_synced()); } => {}
            () = &mut interrupted => bail!("interrupted before anything was looked at"),
            () = sleep_until(deadline) => {
                return Err(unlisted(settings.timeout, pods.fault().or_else(|| namespaces.fault())));
            }
        }
        if let Some(name) = &settings.namespace {
            ensure!(
                namespaces.get(name).is_some(),
                "there is no namespace {name}"
            );
        }
        Ok(refresh::once(parts, settings.refresh(), orders, interrupted).await)
    };
    let report = tokio::select! {
        report = run => report,
        Err(error) = pods_task => Err(error.into()),
        Err(error) = namespaces_task => Err(error.into()),
        Some(()) = &mut events => unreachable!("events must not end before their recorder"),
    }?;
    // The recorder is gone with the run. What is not written by then is not worth waiting for.
    let _ = timeout(LAST_EVENTS, events).await;
    Ok(report)
}

/// Returns that nothing could be looked at in time, and why, if the API server's last answer tells.
fn unlisted(timeout: Duration, fault: Option<String>) -> anyhow::Error {
    let words = format!("the pods and namespaces could not be listed within {timeout:?}");
    match fault {
        Some(fault) => anyhow!(fault).context(words),
        None => anyhow!(words),
    }
}
