//! The flags of `podrefresh certs`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, builder::BoolishValueParser};

use super::values::{host, validity};

/// `podrefresh certs`.
#[derive(Debug, Clone, Args)]
pub struct Certs {
    /// Directory that gets ca.crt, ca.key, tls.crt and tls.key; made if it is not there
    #[arg(long, env = "PODREFRESH_OUT", value_name = "DIR")]
    pub out: PathBuf,
    /// Service the API server reaches the webhook by
    #[arg(long, env = "PODREFRESH_SERVICE_NAME", default_value = "podrefresh")]
    pub service_name: String,
    /// Namespace of that Service
    #[arg(long, env = "PODREFRESH_NAMESPACE", default_value = "podrefresh")]
    pub namespace: String,
    /// Webhook configuration that the printed commands write the caBundle of
    #[arg(long, env = "PODREFRESH_WEBHOOK_NAME", default_value = "podrefresh")]
    pub webhook_name: String,
    /// Further DNS names or IP addresses for the serving certificate
    #[arg(
        long,
        env = "PODREFRESH_DNS",
        value_name = "NAME",
        value_parser = host,
        value_delimiter = ',',
        action = ArgAction::Append
    )]
    pub dns: Vec<String>,
    /// How long the serving certificate is valid; its authority is for five years or as long, if that is more
    #[arg(long, env = "PODREFRESH_VALIDITY", value_parser = validity, default_value = "365d")]
    pub validity: Duration,
    /// Sign with the ca.crt and ca.key that lie in the directory, so that the caBundle can stay as it is
    #[arg(long, env = "PODREFRESH_KEEP_CA", value_parser = BoolishValueParser::new())]
    pub keep_ca: bool,
    /// Replace files that are there
    #[arg(long, env = "PODREFRESH_FORCE", value_parser = BoolishValueParser::new())]
    pub force: bool,
}
