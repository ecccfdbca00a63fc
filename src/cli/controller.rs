//! The flags of `podrefresh controller`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args};

use super::{
    Notify, Pace, Registries,
    values::{address, duration, lease, positive},
};
use crate::{app, policy::Scope, refresh};

/// `podrefresh controller`.
#[derive(Debug, Clone, Args)]
pub struct Controller {
    /// Where the API server reaches the webhook, over TLS
    #[arg(long, env = "PODREFRESH_ADMISSION_ADDR", value_parser = address, default_value = "[::]:8443")]
    pub admission_addr: SocketAddr,
    /// Where /livez, /readyz and /metrics are served, in plain http
    #[arg(long, env = "PODREFRESH_ADMIN_ADDR", value_parser = address, default_value = "[::]:8080")]
    pub admin_addr: SocketAddr,
    /// Where registries tell of pushes.
    #[command(flatten)]
    pub notify: Notify,
    /// Namespace the controller runs in, if not that of its ServiceAccount or kubeconfig
    #[arg(long, env = "PODREFRESH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Service the API server reaches the webhook by
    #[arg(long, env = "PODREFRESH_SERVICE_NAME", default_value = "podrefresh")]
    pub service_name: String,
    /// Name of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration
    #[arg(long, env = "PODREFRESH_WEBHOOK_NAME", default_value = "podrefresh")]
    pub webhook_name: String,
    /// Directory with tls.crt and tls.key to serve with, instead of the self-managed Secret podrefresh-tls
    #[arg(long, env = "PODREFRESH_CERT_DIR", value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// How often each distinct image is looked up
    #[arg(long, env = "PODREFRESH_POLL_INTERVAL", value_parser = positive, default_value = "5m")]
    pub poll_interval: Duration,
    /// How old an answer may be to be stamped
    #[arg(long, env = "PODREFRESH_DIGEST_TTL", value_parser = duration, default_value = "30s")]
    pub digest_ttl: Duration,
    /// How fast pods are replaced.
    #[command(flatten)]
    pub pace: Pace,
    /// Ask the API server for evictions as a dry run: nothing is evicted
    #[arg(
        long,
        env = "PODREFRESH_DRY_RUN",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub dry_run: bool,
    /// Let only the holder of the Lease evict
    #[arg(
        long,
        env = "PODREFRESH_LEADER_ELECT",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = true
    )]
    pub leader_elect: bool,
    /// Time after which another replica may take over from a leader that fell silent
    #[arg(long, env = "PODREFRESH_LEASE_DURATION", value_parser = lease, default_value = "15s")]
    pub lease_duration: Duration,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}

/// How long the API server may go on calling a webhook that is not ready any more: its view of a Service's
/// endpoints lags behind by a second or two.
const LINGER: Duration = Duration::from_secs(5);

impl Controller {
    /// Returns what these flags ask for; `default_namespace` and `host` are what the surroundings say.
    pub fn settings(&self, default_namespace: &str, host: String) -> app::Settings {
        let namespace = self.namespace.as_deref().unwrap_or(default_namespace);
        app::Settings {
            admission_addr: self.admission_addr,
            admin_addr: self.admin_addr,
            notify: self.notify.settings(),
            namespace: namespace.to_owned(),
            service_name: self.service_name.clone(),
            webhook_name: self.webhook_name.clone(),
            cert_dir: self.cert_dir.clone(),
            digest_ttl: self.digest_ttl,
            refresh: refresh::Settings {
                poll_interval: self.poll_interval,
                limits: self.pace.limits(),
                dry_run: self.dry_run,
                whose: Scope::OptedIn,
            },
            lease_duration: self.leader_elect.then_some(self.lease_duration),
            host,
            linger: LINGER,
            registries: self.registries.settings(),
        }
    }
}
