//! The command line: every flag, its environment variable and its default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, builder::BoolishValueParser};

use crate::{
    app,
    observe::log,
    policy::{ImageRef, InvalidImage, gate::Limits},
    refresh,
};

/// Keeps Kubernetes pods on the image their tag names now, within PodDisruptionBudgets.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub logging: Logging,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve admission reviews, and evict outdated pods (what manifests/ runs)
    Controller(Box<Controller>),
    /// Resolve references the way the controller would
    Digest(Digest),
}

/// How to log.
#[derive(Debug, Args)]
pub struct Logging {
    /// Form of a log line
    #[arg(
        long,
        global = true,
        env = "PODREFRESH_LOG_FORMAT",
        value_enum,
        default_value = "json"
    )]
    pub log_format: log::Format,
    /// Least level, or a list of target=level
    #[arg(
        long,
        global = true,
        env = "PODREFRESH_LOG_FILTER",
        value_parser = log::checked_filter,
        default_value = "info"
    )]
    pub log_filter: String,
}

/// How registries are asked.
#[derive(Debug, Clone, Args)]
pub struct Registries {
    /// Time a lookup may take in all, retries included
    #[arg(long, env = "PODREFRESH_LOOKUP_TIMEOUT", value_parser = positive, default_value = "10s")]
    pub lookup_timeout: Duration,
    /// Docker config.json with credentials for images whose pod has none that work
    #[arg(long, env = "PODREFRESH_DOCKER_CONFIG", value_name = "FILE")]
    pub docker_config: Option<PathBuf>,
    /// Directory like containerd's certs.d: where and how each registry is asked
    #[arg(long, env = "PODREFRESH_REGISTRIES_DIR", value_name = "DIR")]
    pub registries_dir: Option<PathBuf>,
    /// The kubelet's CredentialProviderConfig: which plugins know credentials for which images
    #[arg(
        long,
        env = "PODREFRESH_CREDENTIAL_PROVIDER_CONFIG",
        value_name = "FILE",
        requires = "credential_provider_bin_dir"
    )]
    pub credential_provider_config: Option<PathBuf>,
    /// Directory of those plugins
    #[arg(
        long,
        env = "PODREFRESH_CREDENTIAL_PROVIDER_BIN_DIR",
        value_name = "DIR",
        requires = "credential_provider_config"
    )]
    pub credential_provider_bin_dir: Option<PathBuf>,
}

/// `podrefresh controller`.
#[derive(Debug, Clone, Args)]
pub struct Controller {
    /// Where the API server reaches the webhook, over TLS
    #[arg(long, env = "PODREFRESH_ADMISSION_ADDR", value_parser = address, default_value = "[::]:8443")]
    pub admission_addr: SocketAddr,
    /// Where /livez, /readyz and /metrics are served, in plain http
    #[arg(long, env = "PODREFRESH_ADMIN_ADDR", value_parser = address, default_value = "[::]:8080")]
    pub admin_addr: SocketAddr,
    /// Namespace the controller runs in, if not that of its ServiceAccount or kubeconfig
    #[arg(long, env = "PODREFRESH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Service the API server reaches the webhook by
    #[arg(long, env = "PODREFRESH_SERVICE_NAME", default_value = "podrefresh")]
    pub service_name: String,
    /// Name of the MutatingWebhookConfiguration
    #[arg(long, env = "PODREFRESH_WEBHOOK_NAME", default_value = "podrefresh")]
    pub webhook_name: String,
    /// Directory with tls.crt and tls.key to serve with, instead of the self-managed Secret podrefresh-tls
    #[arg(long, env = "PODREFRESH_CERT_DIR", value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// How often each distinct image is looked up
    #[arg(long, env = "PODREFRESH_POLL_INTERVAL", value_parser = positive, default_value = "5m")]
    pub poll_interval: Duration,
    /// Time between the two lookups that must agree before a digest is acted on
    #[arg(long, env = "PODREFRESH_CONFIRM_AFTER", value_parser = duration, default_value = "10s")]
    pub confirm_after: Duration,
    /// How old an answer may be to be stamped
    #[arg(long, env = "PODREFRESH_DIGEST_TTL", value_parser = duration, default_value = "30s")]
    pub digest_ttl: Duration,
    /// Evictions in any minute, over all namespaces
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        default_value_t = 30
    )]
    pub max_evictions_per_minute: u32,
    /// Time a replacement has to become Ready before its owner counts as halted
    #[arg(long, env = "PODREFRESH_PROGRESS_DEADLINE", value_parser = positive, default_value = "10m")]
    pub progress_deadline: Duration,
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

/// `podrefresh digest`.
#[derive(Debug, Args)]
pub struct Digest {
    /// References such as nginx:1.27 or registry.example:5000/team/app:stable
    #[arg(required = true, value_name = "IMAGE", value_parser = image)]
    pub images: Vec<ImageRef>,
    /// Tell how each answer came about, and which platforms it holds (reads the manifest)
    #[arg(short, long, env = "PODREFRESH_VERBOSE", value_parser = BoolishValueParser::new())]
    pub verbose: bool,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}

/// How long the API server may go on calling a webhook that is not ready any more: its view of a Service's
/// endpoints lags behind by a second or two.
const LINGER: Duration = Duration::from_secs(5);

impl Registries {
    /// Returns what these flags ask for.
    pub fn settings(&self) -> app::Registries {
        app::Registries {
            lookup_timeout: self.lookup_timeout,
            docker_config: self.docker_config.clone(),
            registries_dir: self.registries_dir.clone(),
            credential_providers: self
                .credential_provider_config
                .clone()
                .zip(self.credential_provider_bin_dir.clone()),
        }
    }
}

impl Controller {
    /// Returns what these flags ask for; `default_namespace` and `host` are what the surroundings say.
    pub fn settings(&self, default_namespace: &str, host: String) -> app::Settings {
        let namespace = self.namespace.as_deref().unwrap_or(default_namespace);
        app::Settings {
            admission_addr: self.admission_addr,
            admin_addr: self.admin_addr,
            namespace: namespace.to_owned(),
            service_name: self.service_name.clone(),
            webhook_name: self.webhook_name.clone(),
            cert_dir: self.cert_dir.clone(),
            digest_ttl: self.digest_ttl,
            refresh: refresh::Settings {
                poll_interval: self.poll_interval,
                limits: Limits {
                    confirm_after: self.confirm_after,
                    progress_deadline: self.progress_deadline,
                    per_minute: self.max_evictions_per_minute,
                },
                dry_run: self.dry_run,
            },
            lease_duration: self.leader_elect.then_some(self.lease_duration),
            host,
            linger: LINGER,
            registries: self.registries.settings(),
        }
    }
}

/// Parses an address to listen on.
fn address(text: &str) -> Result<SocketAddr, String> {
    let allowed = "must be an IP address with a port, such as [::]:8443 or 127.0.0.1:8080";
    text.parse().map_err(|_| allowed.to_owned())
}

/// Parses an image reference.
fn image(text: &str) -> Result<ImageRef, String> {
    text.parse()
        .map_err(|error: InvalidImage| error.fault.to_string())
}

/// Parses `90s`, `5m`, `1h30m`, `200ms` and `0s`.
fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "a time such as 500ms, 30s, 5m or 1h30m";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| format!("not {allowed}"))?;
    Duration::try_from(parsed).map_err(|_| format!("negative: allowed is {allowed}"))
}

/// Parses a duration longer than nothing.
fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than 0s".to_owned()),
        time => Ok(time),
    }
}

/// Parses a Lease's duration: whole seconds, as the Lease object has no others; long enough to renew twice.
fn lease(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(3) || time > Duration::from_secs(3600) || time.subsec_nanos() != 0
    {
        return Err("must be whole seconds from 3s to 1h".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(parser: fn(&str) -> Result<Duration, String>, text: &str, milliseconds: Option<u64>) {
        assert_eq!(
            parser(text).ok(),
            milliseconds.map(Duration::from_millis),
            "{text:?}"
        );
    }

    #[test]
    fn durations_have_units() {
        check(duration, "0s", Some(0));
        check(duration, "200ms", Some(200));
        check(duration, "1h30m", Some(5_400_000));
        check(duration, "30", None);
        check(duration, "-5s", None);
        check(duration, "", None);
        check(positive, "0s", None);
        check(positive, "1ms", Some(1));
    }

    #[test]
    fn a_lease_lasts_whole_seconds() {
        check(lease, "2s", None);
        check(lease, "3s", Some(3_000));
        check(lease, "3500ms", None);
        check(lease, "1h", Some(3_600_000));
        check(lease, "3601s", None);
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        for command in Cli::command().get_subcommands() {
            for flag in command
                .get_arguments()
                .filter(|flag| flag.get_long().is_some())
            {
                let name = flag.get_long().unwrap();
                if matches!(name, "help" | "version") {
                    continue;
                }
                let variable = format!("PODREFRESH_{}", name.replace('-', "_").to_uppercase());
                assert_eq!(
                    flag.get_env().and_then(|env| env.to_str()),
                    Some(variable.as_str()),
                    "--{name}"
                );
            }
        }
    }
}
