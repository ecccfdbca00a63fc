//! Puts a sidecar together: binds and loads everything, then runs it.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Context as _;
use futures::future::{self, BoxFuture, FutureExt as _};
use tokio::net::TcpListener;

use super::{Registries, admin_ended, ports, resolver};
use crate::{
    cluster::{Connection, Known, OwnPod, Recorder},
    observe::{admin::Readiness, metrics::Metrics},
    server,
    sidecar::{self, CALL_TIME, Parts},
};

/// The name of the pod that a sidecar runs in, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    name: String,
    known: Known,
}

/// How a sidecar runs.
#[derive(Debug, Clone)]
pub struct SidecarSettings {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: PodName,
    /// Where the admin port is, if there is one.
    pub admin_addr: Option<SocketAddr>,
    /// How registries are asked.
    pub registries: Registries,
    /// What it watches.
    pub watch: sidecar::Settings,
}

/// A sidecar with its port bound, not yet running.
pub struct Sidecar {
    parts: Parts,
    settings: sidecar::Settings,
    events: BoxFuture<'static, ()>,
    admin: Option<(TcpListener, Metrics)>,
}

impl PodName {
    /// A name that somebody has told who knows it.
    pub const fn told(name: String) -> Self {
        Self {
            name,
            known: Known::Told,
        }
    }

    /// The hostname, which may be another.
    pub const fn guessed(name: String) -> Self {
        Self {
            name,
            known: Known::Guessed,
        }
    }
}

impl Sidecar {
    /// Binds the port, if one is wanted, and sets up the way to registries.
    pub async fn bind(settings: SidecarSettings, connection: &Connection) -> anyhow::Result<Self> {
        let metrics = Metrics::without_leader();
        let server = connection.server();
        let resolver = resolver(&settings.registries, Some(server.clone()), &metrics)?;
        let admin = match settings.admin_addr {
            Some(address) => Some((server::bind(address).await?, metrics.clone())),
            None => None,
        };
        let PodName { name, known } = settings.pod;
        let (recorder, events) =
            Recorder::start(server.clone(), &name, metrics.events_lost.clone());
        let pod = OwnPod::new(server.clone(), CALL_TIME, settings.namespace, name, known);
        Ok(Self {
            parts: Parts {
                pod,
                server,
                resolver,
                recorder,
            },
            settings: settings.watch,
            events: events.boxed(),
            admin,
        })
    }

    /// Returns where the admin port is, if there is one.
    pub fn admin_addr(&self) -> anyhow::Result<Option<SocketAddr>> {
        let bound = self
            .admin
            .as_ref()
            .map(|(listener, _)| listener.local_addr());
        Ok(bound.transpose()?)
    }

    /// Runs it until it is dropped; fails where a setting cannot be right.
    pub async fn run(self) -> anyhow::Result<Infallible> {
        let admin = match self.admin {
            Some((listener, metrics)) => {
                let readiness = Readiness::default();
                // What it waits for is no reason to take its pod out of service.
                readiness.decide_by(Vec::new());
                let files = server::files::limit();
                ports::admin(listener, readiness, metrics, files).left_future()
            }
            None => future::pending().right_future(),
        };
        // Events are no part that anything depends on.
        let events = self.events.then(|()| future::pending::<()>());
        tokio::select! {
            result = sidecar::run(self.parts, self.settings) => result.context("nothing to watch"),
            () = admin => Err(admin_ended()),
            () = events => unreachable!("events must never end"),
        }
    }
}
