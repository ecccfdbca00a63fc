//! The command line: every flag, its environment variable and its default.

use std::{ffi::OsString, path::Path};

use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource,
};

use crate::observe::log;

mod certs;
mod cluster;
mod controller;
mod digest;
mod explain;
mod notify;
mod once;
mod pace;
mod registries;
mod selector;
mod sidecar;
mod status;
mod values;
mod words;

pub use certs::Certs;
pub use cluster::{Cluster, Elsewhere, Place};
pub use controller::Controller;
pub use digest::Digest;
pub use explain::{Explain, Output as ExplainOutput};
pub use notify::Notify;
pub use once::{Once, Output};
pub use pace::Pace;
pub use registries::Registries;
pub use sidecar::Sidecar;
pub use status::{Output as StatusOutput, Status};
pub use words::{Completions, Man};

/// Keeps Kubernetes pods on the image their tag names now, within PodDisruptionBudgets.
#[derive(Debug, Parser)]
#[command(version = env!("PODREFRESH_VERSION"), propagate_version = true, max_term_width = 100)]
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
    /// Look at all pods once, evict the outdated ones, and exit (for a CronJob)
    Once(Box<Once>),
    /// Watch one container of this pod, and restart its Deployment when the container's tag moves
    Sidecar(Box<Sidecar>),
    /// Resolve references the way the controller would
    Digest(Digest),
    /// Make a CA and a serving certificate as files, for --cert-dir
    Certs(Certs),
    /// Tell what runs, what the registry says, and why nothing happens
    Status(Box<Status>),
    /// Tell every fact and rule behind what becomes of one pod
    Explain(Box<Explain>),
    /// Print the completions of a shell
    Completions(Completions),
    /// Print a manual page
    Man(Man),
}

impl Cli {
    /// Reads the command line, of which the first word is the program's own name; ends the process where it is
    /// wrong, or asks for help.
    pub fn of(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<OsString> = words.into_iter().collect();
        let mut command = Self::command();
        if words.first().is_some_and(|name| is_plugin(Path::new(name))) {
            command = command.bin_name("kubectl podrefresh");
        }
        let matches = command.get_matches_from(words);
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let is_asked = matches.value_source("log_filter") != Some(ValueSource::DefaultValue);
        if cli.command.is_for_people() && !is_asked {
            // What went wrong stands in the answer already.
            "off".clone_into(&mut cli.logging.log_filter);
        }
        cli
    }

    /// Returns the form in which it is told why the command failed: that of its log lines if it goes on unattended, where
    /// something else than a person may read them.
    pub const fn failures(&self) -> log::Format {
        match self.command {
            Command::Controller(_) | Command::Once(_) | Command::Sidecar(_) => {
                self.logging.log_format
            }
            Command::Digest(_)
            | Command::Certs(_)
            | Command::Status(_)
            | Command::Explain(_)
            | Command::Completions(_)
            | Command::Man(_) => log::Format::Text,
        }
    }
}

/// Says whether the program was called by its name as a plugin of kubectl.
fn is_plugin(name: &Path) -> bool {
    let name = name.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("kubectl-")
}

impl Command {
    /// Says whether a person at a terminal waits for the answer.
    const fn is_for_people(&self) -> bool {
        match self {
            Self::Status(_) | Self::Explain(_) => true,
            Self::Controller(_)
            | Self::Once(_)
            | Self::Sidecar(_)
            | Self::Digest(_)
            | Self::Certs(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// What `--help` puts the flags of logging under, apart from those of the command.
const LOGGING: &str = "Logging";

/// How to log.
#[derive(Debug, Args)]
pub struct Logging {
    /// Form of a log line
    #[arg(
        long,
        global = true,
        env = "PODREFRESH_LOG_FORMAT",
        help_heading = LOGGING,
        value_enum,
        default_value = "json"
    )]
    pub log_format: log::Format,
    /// Least level, or a list of target=level
    #[arg(
        long,
        global = true,
        env = "PODREFRESH_LOG_FILTER",
        help_heading = LOGGING,
        value_parser = log::checked_filter,
        default_value = "info"
    )]
    pub log_filter: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_no_log_lines_unless_they_ask_for_them() {
        let filter = |words: &[&str]| {
            let words = words.iter().map(|word| OsString::from(*word));
            Cli::of(words).logging.log_filter
        };
        assert_eq!(filter(&["podrefresh", "status"]), "off");
        assert_eq!(
            filter(&["podrefresh", "status", "--log-filter=info"]),
            "info"
        );
        assert_eq!(
            filter(&["podrefresh", "--log-filter=info", "explain", "web"]),
            "info"
        );
        assert_eq!(filter(&["podrefresh", "digest", "nginx"]), "info");
    }

    #[test]
    fn commands_that_run_unattended_fail_in_the_form_of_their_logs() {
        let failures = |words: &[&str]| {
            let words = ["podrefresh"].iter().chain(words);
            Cli::of(words.map(|word| OsString::from(*word))).failures()
        };
        for command in [
            &["controller"][..],
            &["once"],
            &["sidecar", "--container=app"],
        ] {
            let json = [command, &["--log-format=json"]].concat();
            assert_eq!(failures(&json), log::Format::Json, "{command:?}");
            let text = [command, &["--log-format=text"]].concat();
            assert_eq!(failures(&text), log::Format::Text, "{command:?}");
        }
        let others: [&[&str]; 3] = [&["digest", "nginx"], &["status"], &["explain", "web"]];
        for command in others {
            let json = [command, &["--log-format=json"]].concat();
            assert_eq!(failures(&json), log::Format::Text, "{command:?}");
        }
    }

    #[test]
    fn the_plugin_is_known_by_its_name() {
        assert!(is_plugin(Path::new("/usr/bin/kubectl-podrefresh")));
        assert!(is_plugin(Path::new("kubectl-podrefresh.exe")));
        assert!(!is_plugin(Path::new("/usr/kubectl-x/podrefresh")));
    }

    #[test]
    fn how_to_log_stands_apart_from_what_a_command_does() {
        for command in Cli::command().get_subcommands() {
            let command = command.get_name();
            let mut whole = Cli::command();
            whole.build();
            let help = whole.find_subcommand_mut(command).unwrap();
            let help = help.render_long_help().to_string();
            let (options, logging) = help.split_once("\nLogging:\n").unwrap();
            assert!(!options.contains("--log-"), "{help}");
            let flags = logging
                .lines()
                .filter(|line| line.trim_start().starts_with("--"));
            assert_eq!(flags.count(), 2, "{help}");
        }
    }

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
                // Hidden are the variables of older tools, which have names of their own.
                if matches!(name, "help" | "version") || flag.is_hide_set() {
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
