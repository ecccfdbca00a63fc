//! The flags of `podrefresh once`.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::{Cluster, Pace, Registries, selector::selector, values::positive};
use crate::app;

/// `podrefresh once`.
#[derive(Debug, Clone, Args)]
pub struct Once {
    /// Only namespaces labelled podrefresh.io/enabled=true, as the controller has it
    #[arg(
        long,
        env = "PODREFRESH_OPTED_IN",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub opted_in: bool,
    /// Only this namespace
    #[arg(short, long, env = "PODREFRESH_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Only pods with these labels, such as app=web,tier!=db; it must take all pods of an owner or none
    #[arg(short = 'l', long, env = "PODREFRESH_SELECTOR", value_parser = selector)]
    pub selector: Option<String>,
    /// Print what is outdated and what would go, and evict nothing
    #[arg(
        long,
        env = "PODREFRESH_DRY_RUN",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub dry_run: bool,
    /// Exit with 3 when pods are outdated at the end
    #[arg(
        long,
        env = "PODREFRESH_EXIT_CODE",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub exit_code: bool,
    /// Time the whole run may take; what is outdated then stays so
    #[arg(long, env = "PODREFRESH_TIMEOUT", value_parser = positive, default_value = "1h")]
    pub timeout: Duration,
    /// Form of what is printed
    #[arg(
        short,
        long,
        env = "PODREFRESH_OUTPUT",
        value_enum,
        default_value = "table"
    )]
    pub output: Output,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: Cluster,
    /// How fast pods are replaced.
    #[command(flatten)]
    pub pace: Pace,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: the outdated pods in columns, and a summary.
    Table,
    /// A JSON object a line: each outdated pod, each image without a digest, and the summary.
    Json,
}

impl Once {
    /// Returns what these flags ask for; `host` is what this process is called.
    pub fn settings(&self, host: String) -> app::Once {
        // An empty variable says the same as none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        app::Once {
            namespace: given(&self.namespace),
            selector: given(&self.selector),
            opted_in: self.opted_in,
            limits: self.pace.limits(),
            timeout: self.timeout,
            dry_run: self.dry_run,
            host,
            registries: self.registries.settings(),
        }
    }
}
