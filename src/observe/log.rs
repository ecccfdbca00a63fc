//! Where log lines go, and in which form.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line, fields at its top.
    Json,
    /// For people.
    Text,
}

/// Returns `filter` if it is a level or a comma list of `target=level`, else what is allowed.
///
/// The library would take any word for a target, so that a mistyped level silences everything.
pub fn checked_filter(filter: &str) -> Result<String, String> {
    // The library reads nothing as `error`.
    let level = |text: &str| !text.is_empty() && LevelFilter::from_str(text).is_ok();
    let wrong = filter.split(',').find(|part| match part.split_once('=') {
        Some((target, end)) => {
            target.is_empty() || !level(end) || EnvFilter::try_new(part).is_err()
        }
        None => !level(part),
    });
    match wrong {
        None => Ok(filter.to_owned()),
        Some(part) => Err(format!(
            "{part:?} is neither a level (error, warn, info, debug, trace, off) nor target=level"
        )),
    }
}

/// Libraries that log each failed call as an error of theirs, with the answer's text, which may be a Secret.
///
/// Whoever called tells of it in better words.
const QUIET: [&str; 2] = ["kube_client", "kube_runtime"];

/// Returns `filter` with the loud libraries silenced, but for those that it names itself.
fn quieted(filter: &str) -> String {
    let named = |library: &str| {
        let mut targets = filter.split(',').filter_map(|part| part.split_once('='));
        // A directive holds for all targets that begin with its own, and may be for a part of a library.
        targets.any(|(target, _)| library.starts_with(target) || target.starts_with(library))
    };
    let mut filter = filter.to_owned();
    for library in QUIET.iter().filter(|library| !named(library)) {
        filter.push_str(&format!(",{library}=off"));
    }
    filter
}

/// Sends log lines that pass `filter`, a checked one, to standard error in `format`.
pub fn start(format: Format, filter: &str) {
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(quieted(filter)))
        .with_ansi(terminal && env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()))
        .with_writer(move || {
            let mut stderr = io::stderr();
            if terminal {
                // A command may have drawn a bar where the line is to stand.
                let _ = stderr.write_all(b"\r\x1b[2K");
            }
            stderr
        });
    // It fails only where something else in the process has set up logging, as a test may have.
    let _ = match format {
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        Format::Text => lines.with_target(false).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, allowed: bool) {
        assert_eq!(checked_filter(filter).is_ok(), allowed, "{filter:?}");
    }

    #[test]
    fn a_filter_is_levels_and_targets_with_levels() {
        check("info", true);
        check("warn,podrefresh=debug,kube_client=off", true);
        check("verbose", false);
        check("podrefresh=loud", false);
        check("podrefresh=", false);
        check("=info", false);
        check("podrefresh[span=info", false);
        check("info,", false);
        check("", false);
    }

    #[track_caller]
    fn check_quieted(filter: &str, added: &str) {
        assert_eq!(quieted(filter), format!("{filter}{added}"));
    }

    #[test]
    fn loud_libraries_are_silent_unless_they_are_named() {
        check_quieted("info", ",kube_client=off,kube_runtime=off");
        check_quieted("trace,hyper=info", ",kube_client=off,kube_runtime=off");
        check_quieted("info,kube_client=warn", ",kube_runtime=off");
        check_quieted("kube_runtime::watcher=debug", ",kube_client=off");
        check_quieted("kube=debug", "");
    }
}
