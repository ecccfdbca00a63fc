//! The command line: every flag, its environment variable and its default.

use clap::{Args, Parser, Subcommand};

use crate::observe::log;

mod controller;
mod digest;
mod registries;
mod values;

pub use controller::Controller;
pub use digest::Digest;
pub use registries::Registries;

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
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
