//! Binds the port where registries tell of pushes, and finds out how other replicas reach it.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use super::{ended, settings::NotifySettings};
use crate::{
    cluster::Leadership,
    notify::{self, TokenFile},
    observe::metrics::Metrics,
    policy::Push,
    server,
};

/// The port for registries, bound, and its token; nothing is served yet.
pub(super) struct Notify {
    listener: TcpListener,
    token: Option<TokenFile>,
    /// Where other replicas reach it.
    pub(super) reached: Option<SocketAddr>,
}

impl Notify {
    /// Binds the port and reads the token.
    pub(super) async fn bind(settings: &NotifySettings) -> anyhow::Result<Self> {
        let listener = server::bind(settings.addr).await?;
        let token = settings.token_file.as_deref();
        let token = token.map(TokenFile::open).transpose()?;
        let reached = reached(listener.local_addr()?, settings.pod_ip);
        Ok(Self {
            listener,
            token,
            reached,
        })
    }

    /// Returns where registries tell of pushes.
    pub(super) fn addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns what serves it until the sender of `stopped` is gone, and for the linger of `limits` after that.
    pub(super) fn serve(
        self,
        pushes: mpsc::Sender<Push>,
        leadership: &Leadership,
        metrics: &Metrics,
        limits: server::Limits,
        stopped: watch::Receiver<()>,
    ) -> anyhow::Result<BoxFuture<'static, ()>> {
        let address = self.addr()?;
        let who = match self.token {
            Some(_) => "who show the token",
            None => "anybody, as there is no --notify-token-file",
        };
        info!("Taking notifications of pushes on {address} from {who}");
        if self.reached.is_none() {
            warn!(
                "Other replicas cannot pass notifications on to this one: POD_IP must say where they reach {address}"
            );
        }
        let parts = notify::Parts {
            pushes,
            leadership: leadership.clone(),
            token: self.token,
            metrics: metrics.clone(),
        };
        let serving = notify::serve(self.listener, parts, limits, ended(stopped));
        Ok(serving.context("cannot reach other replicas")?.boxed())
    }
}

/// Returns where others reach a listener that is `bound` like this, in a pod with this address.
fn reached(bound: SocketAddr, pod_ip: Option<IpAddr>) -> Option<SocketAddr> {
    let ip = match (bound.ip(), pod_ip) {
        (ip, pod_ip) if ip.is_unspecified() => pod_ip?,
        // Only what runs in the same pod gets there.
        (ip, Some(_)) if ip.is_loopback() => return None,
        (ip, _) => ip,
    };
    Some(SocketAddr::new(ip, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bound: &str, pod_ip: Option<&str>, expected: Option<&str>) {
        let pod_ip = pod_ip.map(|ip| ip.parse().unwrap());
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(reached(bound.parse().unwrap(), pod_ip), expected);
    }

    #[test]
    fn others_reach_the_pod_or_the_address_that_is_bound() {
        check("[::]:8090", Some("10.0.0.1"), Some("10.0.0.1:8090"));
        check("0.0.0.0:8090", Some("fd00::1"), Some("[fd00::1]:8090"));
        check("[::]:8090", None, None);
        check("10.0.0.2:8090", Some("10.0.0.1"), Some("10.0.0.2:8090"));
        check("127.0.0.1:8090", Some("10.0.0.1"), None);
        check("127.0.0.1:8090", None, Some("127.0.0.1:8090"));
    }
}
