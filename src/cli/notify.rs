//! The flags that say where registries tell of pushes.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::values::address;
use crate::app::NotifySettings;

/// Where registries tell of pushes.
#[derive(Debug, Clone, Args)]
pub struct Notify {
    /// Where registries tell of pushes, in plain http, by POST /push; nowhere, if it is not given
    #[arg(long, env = "PODREFRESH_NOTIFY_ADDR", value_parser = address)]
    pub notify_addr: Option<SocketAddr>,
    /// File with the token that registries must show; without it anybody may tell of pushes
    #[arg(
        long,
        env = "PODREFRESH_NOTIFY_TOKEN_FILE",
        value_name = "FILE",
        requires = "notify_addr"
    )]
    pub notify_token_file: Option<PathBuf>,
}

impl Notify {
    /// Returns what these flags ask for.
    pub(super) fn settings(&self) -> Option<NotifySettings> {
        Some(NotifySettings {
            addr: self.notify_addr?,
            token_file: self.notify_token_file.clone(),
            pod_ip: None,
        })
    }
}
