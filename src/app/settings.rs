//! How the controller runs.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::Registries;
use crate::refresh;

/// How the controller runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where admission reviews come in.
    pub admission_addr: SocketAddr,
    /// Where the admin port is.
    pub admin_addr: SocketAddr,
    /// Where registries tell of pushes, if they may.
    pub notify: Option<NotifySettings>,
    /// The namespace of the Service, the Secret and the Lease.
    pub namespace: String,
    /// The Service's name.
    pub service_name: String,
    /// The name of both webhook configurations.
    pub webhook_name: String,
    /// The directory of a certificate that somebody else keeps, if so.
    pub cert_dir: Option<PathBuf>,
    /// How old an answer may be to be stamped.
    pub digest_ttl: Duration,
    /// How refreshing works.
    pub refresh: refresh::Settings,
    /// How long a Lease that nobody renews is respected; `None` to lead without one.
    pub lease_duration: Option<Duration>,
    /// What this process is called in the Lease and in Events.
    pub host: String,
    /// How long reviews are still taken after `/readyz` has begun to say no.
    pub linger: Duration,
    /// How registries are asked.
    pub registries: Registries,
}

/// How registries tell of pushes.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Where they do.
    pub addr: SocketAddr,
    /// The file with the token that they must show, if they must.
    pub token_file: Option<PathBuf>,
    /// The pod's address, by which other replicas pass on what they were told.
    pub pod_ip: Option<IpAddr>,
}
