//! Which cluster, as kubectl takes it: the flags of the commands that look at one.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::values::{duration, positive};
use crate::{cluster::Choice, explain, policy::gate::Limits};

/// Which cluster and namespace.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Namespace, if not that of the kubeconfig's context
    #[arg(short, long, env = "PODREFRESH_NAMESPACE")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig, if not its current one
    #[arg(long, env = "PODREFRESH_CONTEXT")]
    pub context: Option<String>,
    /// Kubeconfig, if not $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "PODREFRESH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// How the controller runs, as far as that cannot be seen from outside.
#[derive(Debug, Clone, Args)]
pub struct Elsewhere {
    /// Namespace that the controller runs in
    #[arg(
        long,
        env = "PODREFRESH_CONTROLLER_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "podrefresh"
    )]
    pub controller_namespace: String,
    /// The controller's --confirm-after
    #[arg(long, env = "PODREFRESH_CONFIRM_AFTER", value_parser = duration, default_value = "10s")]
    pub confirm_after: Duration,
    /// The controller's --progress-deadline
    #[arg(long, env = "PODREFRESH_PROGRESS_DEADLINE", value_parser = positive, default_value = "10m")]
    pub progress_deadline: Duration,
    /// The controller's --max-evictions-per-minute
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        default_value_t = 30
    )]
    pub max_evictions_per_minute: u32,
    /// The controller's --max-evictions-per-minute-per-namespace
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE_PER_NAMESPACE",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(0..=100_000),
        default_value_t = 0
    )]
    pub max_evictions_per_minute_per_namespace: u32,
    /// The controller's --max-evictions-per-minute-per-node
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE_PER_NODE",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(0..=100_000),
        default_value_t = 0
    )]
    pub max_evictions_per_minute_per_node: u32,
}

impl Place {
    /// Returns which cluster that is.
    pub fn choice(&self) -> Choice {
        Choice {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}

impl Elsewhere {
    /// Returns what these flags say of the controller.
    pub fn settings(&self) -> explain::Settings {
        let limited = |count: u32| (count != 0).then_some(count);
        explain::Settings {
            limits: Limits {
                confirm_after: self.confirm_after,
                progress_deadline: self.progress_deadline,
                per_minute: self.max_evictions_per_minute,
                per_namespace: limited(self.max_evictions_per_minute_per_namespace),
                per_node: limited(self.max_evictions_per_minute_per_node),
            },
            home: self.controller_namespace.clone(),
        }
    }
}
