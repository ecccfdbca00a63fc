//! What can go wrong between a reference and its digest.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    HostsFault,
    unanswered::{Shown, Unanswered},
};
use crate::{
    credentials::{Candidates, Obstacle, Problem},
    error::Chain,
    policy::ImageRef,
};

/// Why there is no digest for a reference.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no {} {image} from {host}{}", self.wanted(), self.tried())]
pub struct LookupError {
    /// The reference.
    pub image: Arc<ImageRef>,
    /// The host that was asked, with its port if it has one.
    pub host: Arc<str>,
    /// What went wrong.
    #[source]
    pub fault: Fault,
    pub(super) candidates: Arc<Candidates>,
}

/// What went wrong with a lookup; a variant per reaction.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The registry has no such repository or tag, or does not admit to it.
    #[error("it knows no such image")]
    NotFound,
    /// No credential was accepted.
    #[error("it accepted no credential")]
    Unauthorized,
    /// A credential was accepted, and is not enough.
    #[error("it refused access")]
    Forbidden,
    /// It answered us, and would not answer nodes.
    #[error("it answers who shows nothing, but nodes cannot pull")]
    NodesCannotPull(#[source] Obstacle),
    /// The registry asks to be left alone.
    #[error(
        "it limits the rate of requests, to be asked again in {}",
        seconds(retry_after)
    )]
    RateLimited {
        /// How much longer.
        retry_after: Duration,
    },
    /// There is no connection, or it broke.
    #[error("it cannot be reached")]
    Unreachable(#[source] Arc<Unanswered>),
    /// The connection is not safe: certificate, either side's, or protocol.
    #[error("it cannot be trusted")]
    Tls(#[source] Arc<Unanswered>),
    /// There was no answer in time.
    #[error("no answer within {}", seconds(after))]
    Timeout {
        /// How long that is.
        after: Duration,
    },
    /// The answer makes no sense.
    #[error("its answer makes no sense: {0}")]
    Malformed(&'static str),
    /// The registry allows so few more requests that they are left to the nodes.
    #[error("it allows only {remaining} more requests for now, which are left to the nodes")]
    AllowanceLow {
        /// How many.
        remaining: u64,
    },
    /// The registry has trouble of its own: a status of 500 or above.
    #[error("it answered {status}")]
    Unavailable {
        /// The status.
        status: u16,
        /// How much longer it asks to be left alone, if it does.
        retry_after: Option<Duration>,
    },
    /// The registry answered with a status that says nothing to us.
    #[error("it answered {0}")]
    Refused(u16),
    /// The token service that the registry names is at fault.
    #[error("its token service {host} failed")]
    TokenService {
        /// The service's host.
        host: Arc<str>,
        /// What it did.
        source: Box<Fault>,
    },
    /// The reference names a host that can be none.
    #[error("it is not a host that can be asked")]
    InvalidHost,
    /// It was never known where the registry is to be asked: its folder in `--registries-dir` is broken.
    #[error("it is not known where to ask")]
    HostsFile(#[source] Arc<HostsFault>),
    /// The registry's `hosts.toml` has no host that may resolve tags.
    #[error("its hosts.toml names no host that resolves tags")]
    NoHost,
    /// The lookup's task ended early: a fault of ours.
    #[error("the lookup was given up")]
    Aborted,
}

impl LookupError {
    /// Returns the error of a lookup of `image` that was made without credentials, for tests.
    #[cfg(test)]
    pub(crate) fn anonymous(image: &Arc<ImageRef>, fault: Fault) -> Self {
        Self {
            image: Arc::clone(image),
            host: image.registry().into(),
            fault,
            candidates: Arc::new(Candidates::anonymous()),
        }
    }

    /// Returns the stable, documented name of what went wrong.
    pub fn label(&self) -> &'static str {
        self.fault.label()
    }

    /// Returns what kept credentials from being tried.
    pub fn problems(&self) -> &[Problem] {
        self.candidates.problems()
    }

    /// Returns how long the registry asks to be left alone, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        self.fault.retry_after()
    }

    /// Says whether asking again soon, and changing nothing, may help.
    pub fn is_transient(&self) -> bool {
        self.fault.is_transient()
    }

    /// Names what was asked for: a tag's digest, or the manifest with a digest.
    fn wanted(&self) -> &'static str {
        match self.image.tag() {
            Some(_) => "digest for",
            None => "manifest",
        }
    }

    /// Returns the host and what went wrong there, for those who know the reference.
    pub fn brief(&self) -> String {
        format!("{}: {}{}", self.host, Chain(&self.fault), self.tried())
    }

    /// Names what was tried and what could not be, where that is what failed.
    fn tried(&self) -> String {
        if !self.fault.is_denial() {
            return String::new();
        }
        let problems: Vec<String> = (self.problems().iter())
            .map(|problem| format!("; {}", Chain(problem)))
            .collect();
        let more = match self.candidates.untold_problems() {
            0 => String::new(),
            count => format!("; and {count} more problems"),
        };
        format!(" (tried {}{}{more})", self.candidates, problems.concat())
    }
}

impl Fault {
    /// Returns the fault itself, whoever had it: the registry or its token service.
    pub fn root(&self) -> &Self {
        match self {
            Self::TokenService { source, .. } => source.root(),
            other => other,
        }
    }

    /// Returns the stable, documented name of the fault.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NodesCannotPull(_) => "nodes_cannot_pull",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Malformed(_) => "malformed",
            Self::AllowanceLow { .. } => "allowance_low",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused(_) => "refused",
            Self::TokenService { source, .. } => source.label(),
            Self::InvalidHost => "invalid_host",
            Self::HostsFile(_) => "hosts_file",
            Self::NoHost => "no_host",
            Self::Aborted => "aborted",
        }
    }

    /// Says whether it may pass by itself, soon.
    fn is_transient(&self) -> bool {
        matches!(
            self.root(),
            Self::RateLimited { .. }
                | Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::Unavailable { .. }
                | Self::Aborted
        )
    }

    /// Returns how long it is asked to be left alone, if it is.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self.root() {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Says whether another credential may have more luck: who may not see an image is often told that there is none, and
    /// some registries answer a password that is none of theirs with 400, or with another status of that hundred.
    pub(super) fn is_denial(&self) -> bool {
        /// The status of a proxy on the way, whatever the registry is shown.
        const PROXY: u16 = 407;
        match self.root() {
            Self::Unauthorized | Self::Forbidden | Self::NotFound | Self::NodesCannotPull(_) => {
                true
            }
            Self::Refused(status) => (400..500).contains(status) && *status != PROXY,
            _ => false,
        }
    }

    /// Says whether it is about how often one asks, by oneself or with all who show nothing either.
    pub(super) fn is_limit(&self) -> bool {
        matches!(self.root(), Self::RateLimited { .. })
    }

    /// Returns how long the whole host should be spared, if what failed was neither one image nor one account.
    pub(super) fn spares_host_for(&self) -> Option<Duration> {
        match self.root() {
            Self::Unreachable(error) if error.is_connect() => Some(super::KEEP_FAILURE),
            Self::Tls(_) => Some(super::KEEP_FAILURE),
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns how long the host should be spared by the account that met it, but not by others.
    pub(super) fn spares_account_for(&self) -> Option<Duration> {
        match self.root() {
            Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Translates a failed request, for which the host was `shown` that if it asked for a client certificate.
    pub(super) fn of_request(error: reqwest::Error, shown: Option<Shown>) -> Self {
        let error = Arc::new(Unanswered::new(error, shown));
        match error.is_tls() {
            true => Self::Tls(error),
            false => Self::Unreachable(error),
        }
    }
}

/// Displays a duration for people: whole seconds, unless there are few.
fn seconds(duration: &Duration) -> impl fmt::Display + use<> {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match seconds {
        0 => format!("{millis} ms"),
        _ => format!("{} s", seconds + u64::from(millis >= 500)),
    }
}
