//! Puts the parts together: binds, loads and checks everything, then runs it until one part ends.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tracing::info;

use self::{checks::checks, notify::Notify};
pub use self::{
    once::{Once, once},
    resolver::{Registries, resolver},
    settings::{NotifySettings, Settings},
    sidecar::{PodName, Sidecar, SidecarSettings},
};
use crate::{
    admission::{body::REVIEWS, mutate::Mutator, router},
    cluster::{
        Connection, Leadership, Namespaces, Pods, Recorder, Scope, WatchError, elect, lease,
    },
    notify::QUEUE,
    observe::{admin::Readiness, metrics::Metrics},
    refresh,
    registry::Resolver,
    server, tls,
};

mod checks;
mod notify;
mod once;
mod ports;
mod resolver;
mod settings;
mod sidecar;

/// The Secret that the replicas share a certificate by.
const SECRET: &str = "podrefresh-tls";

/// What the poller's lookups may use pull secrets for without reading them again: at rest it makes no call.
/// A registry that refuses them has them read anew at once.
const POLLER_SECRETS_AGE: Duration = Duration::from_secs(3600);

/// How long a process that fails may take to give the Lease back: no longer than another would wait for it.
const FAREWELL: Duration = Duration::from_secs(10);

/// A controller with its ports bound and its certificate loaded, not yet running.
pub struct Controller {
    settings: Settings,
    connection: Connection,
    /// How many files may be open, connections included.
    files: usize,
    resolver: Resolver,
    metrics: Metrics,
    admission: TcpListener,
    admin_addr: SocketAddr,
    admin: BoxFuture<'static, ()>,
    notify: Option<Notify>,
    readiness: Readiness,
    serving: tls::Serving,
    certificate: BoxFuture<'static, ()>,
}

impl Controller {
    /// Binds the ports, checks the way to the cluster and gets the serving certificate.
    ///
    /// As that may have to wait for the API server, the admin port answers already: alive, not ready.
    pub async fn bind(settings: Settings, connection: Connection) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let files = server::files::limit();
        ports::check(files);
        let resolver = resolver(&settings.registries, Some(connection.server()), &metrics)?;
        let admission = server::bind(settings.admission_addr).await?;
        let admin = server::bind(settings.admin_addr).await?;
        let admin_addr = admin.local_addr()?;
        let notify = match &settings.notify {
            Some(settings) => Some(Notify::bind(settings).await?),
            None => None,
        };
        let readiness = Readiness::default();
        let mut admin = ports::admin(admin, readiness.clone(), metrics.clone(), files).boxed();
        let source = match &settings.cert_dir {
            Some(folder) => tls::Source::Folder(folder.clone()),
            None => tls::Source::SelfManaged {
                secret: SECRET.to_owned(),
            },
        };
        let service = tls::Service {
            namespace: settings.namespace.clone(),
            name: settings.service_name.clone(),
        };
        let whom = tls::Settings {
            service,
            webhook: settings.webhook_name.clone(),
        };
        let certificate = tls::start(source, connection.client.clone(), whom, metrics.clone());
        let (serving, certificate) = tokio::select! {
            started = certificate => started?,
            () = &mut admin => return Err(admin_ended()),
        };
        Ok(Self {
            settings,
            connection,
            files,
            resolver,
            metrics,
            admission,
            admin_addr,
            admin,
            notify,
            readiness,
            serving,
            certificate,
        })
    }

    /// Returns where admission reviews come in.
    pub fn admission_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.admission.local_addr()?)
    }

    /// Returns where the admin port is.
    pub fn admin_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.admin_addr)
    }

    /// Returns where registries tell of pushes, if they may.
    pub fn notify_addr(&self) -> anyhow::Result<Option<SocketAddr>> {
        Ok(self.notify.as_ref().map(Notify::addr).transpose()?)
    }

    /// Runs everything until `shutdown`, then stops in order; fails as soon as a vital part ends.
    ///
    /// In order: unready first, so that no more reviews are sent here; then no more evictions, and the
    /// Lease given back; then the reviews under way are finished.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self {
            settings,
            connection,
            files,
            resolver,
            metrics,
            admission,
            admin_addr,
            mut admin,
            notify,
            readiness,
            serving,
            certificate,
        } = self;
        let server = connection.server();
        let (staying, stayed) = watch::channel(());
        let (tell, told) = mpsc::channel(QUEUE);
        let (namespaces, namespaces_task) = Namespaces::start(server.clone());
        let (pods, pods_task) = Pods::start(server.clone(), Scope::default());
        let (recorder, events_task) =
            Recorder::start(server.clone(), &settings.host, metrics.events_lost.clone());
        let (leadership, election, reserve) = match settings.lease_duration {
            None => {
                metrics.leader.set(1);
                (Leadership::always(), None, Duration::MAX)
            }
            Some(duration) => {
                let lease = lease::Settings {
                    namespace: settings.namespace.clone(),
                    name: lease::LEASE.to_owned(),
                    identity: lease::identity(&settings.host),
                    duration,
                    gauge: metrics.leader.clone(),
                    notify_address: notify.as_ref().and_then(|it| it.reached),
                };
                let reserve = lease.margin();
                let (leadership, election) = elect(server.clone(), lease, ended(stayed.clone()));
                (leadership, Some(election), reserve)
            }
        };
        let notifying = notify.map(|it| {
            let limits = ports::notifications(files, settings.linger);
            it.serve(tell, &leadership, &metrics, limits, stayed.clone())
        });
        let mut notifying = notifying.transpose()?;
        let mutator = Mutator {
            resolver: resolver.clone(),
            namespaces: namespaces.clone(),
            digest_ttl: settings.digest_ttl,
        };
        let router = router::router(mutator, metrics.clone(), REVIEWS);
        let tls = Arc::new(serving.server_config()?);
        let stopping = Arc::new(AtomicBool::new(false));
        readiness.decide_by(checks(&stopping, &serving, &pods, &namespaces));
        let refreshing = refresh::run(
            refresh::Parts {
                server,
                pods,
                namespaces,
                resolver: resolver
                    .for_nodes()
                    .with_secrets_max_age(POLLER_SECRETS_AGE),
                leadership,
                reserve,
                recorder,
                metrics: metrics.clone(),
            },
            settings.refresh,
            told,
        );
        info!(
            "Serving reviews on {} and the admin port on {admin_addr}",
            admission.local_addr()?
        );

        let mut serve = pin!(server::serve(
            admission,
            tls,
            router,
            // The API server learns a moment later that we are not ready, and calls us until then.
            ports::reviews(files, settings.linger),
            ended(stayed)
        ));
        let mut elect = pin!(OptionFuture::from(election).then(|over| match over {
            Some(()) => futures::future::ready(()).left_future(),
            None => futures::future::pending().right_future(),
        }));
        let mut background = pin!(background(
            pods_task,
            namespaces_task,
            certificate,
            events_task
        ));
        let mut refreshing = Box::pin(refreshing);
        let mut shutdown = pin!(shutdown);
        let notified = async {
            match &mut notifying {
                Some(serving) => serving.await,
                None => futures::future::pending().await,
            }
        };
        let fault = tokio::select! {
            () = &mut shutdown => None,
            () = &mut elect => bail!("the leader election ended"),
            () = &mut serve => Some(anyhow::anyhow!("the admission server ended")),
            result = &mut background => Some(background_ended(result)),
            () = &mut admin => Some(admin_ended()),
            () = &mut refreshing => Some(anyhow::anyhow!("refreshing ended")),
            () = notified => Some(anyhow::anyhow!("the port for notifications ended")),
        };
        if let Some(fault) = fault {
            // Another replica need not wait until the Lease expires.
            drop(refreshing);
            drop(staying);
            if settings.lease_duration.is_some() {
                let _ = tokio::time::timeout(FAREWELL, elect).await;
            }
            return Err(fault);
        }
        info!("Stopping: unready, no more evictions, finishing the reviews under way");
        stopping.store(true, Ordering::Relaxed);
        drop(refreshing);
        drop(staying);
        let lease = async {
            if settings.lease_duration.is_some() {
                elect.await;
            }
        };
        let notifications = OptionFuture::from(notifying);
        let orderly = async { tokio::join!(serve, notifications, lease) };
        // Readiness is still asked for, and certificates still turn, while the last reviews are answered.
        tokio::select! {
            _ = orderly => info!("Stopped"),
            result = background => result?,
            () = admin => return Err(admin_ended()),
        }
        Ok(())
    }
}

/// Waits until the sender of `stopped` is gone.
async fn ended(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

/// Returns why what must never end is gone.
fn background_ended(result: anyhow::Result<()>) -> anyhow::Error {
    match result {
        Ok(()) => anyhow::anyhow!("a background task ended"),
        Err(error) => error,
    }
}

/// Returns why the admin port is gone, which it must never be.
fn admin_ended() -> anyhow::Error {
    anyhow::anyhow!("the admin port ended")
}

/// Runs what must never end; returns how it did.
async fn background(
    pods: impl Future<Output = Result<std::convert::Infallible, WatchError>>,
    namespaces: impl Future<Output = Result<std::convert::Infallible, WatchError>>,
    certificate: BoxFuture<'static, ()>,
    events: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    // Events are no part that anything depends on.
    let events = events.then(|()| futures::future::pending::<()>());
    tokio::select! {
        Err(error) = pods => Err(error.into()),
        Err(error) = namespaces => Err(error.into()),
        () = certificate => bail!("the certificate's keeper ended"),
        () = events => unreachable!("events must never end"),
    }
}
