//! The flags that say how fast pods are replaced.

use std::time::Duration;

use clap::Args;

use super::values::{count, duration, positive};
use crate::policy::gate::Limits;

/// How fast pods are replaced.
#[derive(Debug, Clone, Args)]
pub struct Pace {
    /// Time between the two lookups that must agree before a digest is acted on
    #[arg(long, env = "PODREFRESH_CONFIRM_AFTER", value_parser = duration, default_value = "10s")]
    pub confirm_after: Duration,
    /// Evictions in any minute, over all namespaces
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE",
        value_name = "COUNT",
        value_parser = count::<1>,
        default_value_t = 30
    )]
    pub max_evictions_per_minute: u32,
    /// Evictions in any minute in one namespace; 0 for no limit but the overall one
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE_PER_NAMESPACE",
        value_name = "COUNT",
        value_parser = count::<0>,
        default_value_t = 0
    )]
    pub max_evictions_per_minute_per_namespace: u32,
    /// Evictions in any minute on one node; 0 for no limit but the overall one
    #[arg(
        long,
        env = "PODREFRESH_MAX_EVICTIONS_PER_MINUTE_PER_NODE",
        value_name = "COUNT",
        value_parser = count::<0>,
        default_value_t = 0
    )]
    pub max_evictions_per_minute_per_node: u32,
    /// Time a replacement has to become Ready before its owner counts as halted
    #[arg(long, env = "PODREFRESH_PROGRESS_DEADLINE", value_parser = positive, default_value = "10m")]
    pub progress_deadline: Duration,
}

impl Pace {
    /// Returns the gate's limits.
    pub fn limits(&self) -> Limits {
        let limited = |count: u32| (count != 0).then_some(count);
        Limits {
            confirm_after: self.confirm_after,
            progress_deadline: self.progress_deadline,
            per_minute: self.max_evictions_per_minute,
            per_namespace: limited(self.max_evictions_per_minute_per_namespace),
            per_node: limited(self.max_evictions_per_minute_per_node),
        }
    }
}
