//! What the product says of its own flags.

use std::{collections::BTreeMap, process::Command};

/// A flag as `--help` shows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flag {
    /// Its `[default: …]`.
    pub(crate) default: Option<String>,
    /// Its `[env: …]`, without the value that it has here.
    pub(crate) env: Option<String>,
}

/// Returns the flags of `podrefresh <command> --help` by name, `--help` and `--version` left out.
#[track_caller]
pub(crate) fn flags(command: &str) -> BTreeMap<String, Flag> {
    let output = Command::new(env!("CARGO_BIN_EXE_podrefresh"))
        .args([command, "--help"])
        // One line a flag's text, wherever the test runs.
        .env("COLUMNS", "10000")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && help.contains("--"),
        "`podrefresh {command} --help` shows no flags: {} {help:?} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&help)
}

/// Reads clap's help: a flag's line starts with dashes, what belongs to it stands behind or below.
fn parse(help: &str) -> BTreeMap<String, Flag> {
    let mut flags = BTreeMap::<String, Flag>::new();
    let mut current = None;
    for line in help.lines() {
        let text = line.trim_start();
        // Possible values are items of a list: `- json: …`.
        let is_flag = text.starts_with('-') && !text.starts_with("- ");
        if is_flag && text.len() < line.len() {
            let name = text
                .split([' ', ',', '=', '['])
                .find(|word| word.starts_with("--"));
            current = name.map(str::to_owned);
        } else if !line.is_empty() && text.len() == line.len() {
            current = None; // a heading
        }
        let Some(name) = &current else { continue };
        let flag = flags.entry(name.clone()).or_default();
        if let Some(default) = bracket(line, "[default: ") {
            flag.default = Some(default.to_owned());
        }
        if let Some(env) = bracket(line, "[env: ") {
            flag.env = Some(env.split('=').next().unwrap_or(env).to_owned());
        }
    }
    flags.remove("--help");
    flags.remove("--version");
    flags
}

/// Returns what stands behind `opening` up to the bracket that closes it; addresses have brackets too.
fn bracket<'a>(line: &'a str, opening: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(opening)?;
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some(&rest[..end])
}

#[test]
fn both_shapes_of_claps_help_are_read() {
    let flag = |default: Option<&str>, env: Option<&str>| Flag {
        default: default.map(str::to_owned),
        env: env.map(str::to_owned),
    };
    let short = "Usage: x\n\nOptions:\n      --addr <ADDR>  Where [env: X_ADDR=] [default: [::]:8443]\n  -n, --dry-run      Not really\n  -h, --help         Print help\n";
    let long = "Options:\n      --addr <ADDR>\n          Where it listens\n\n          Possible values:\n          - any: An address\n\n          [env: X_ADDR=[::1]:1]\n          [default: [::]:8443]\n\n  -n, --dry-run\n          Not really, see --addr\n\n  -h, --help\n          Print help\n";
    let expected = BTreeMap::from([
        ("--addr".to_owned(), flag(Some("[::]:8443"), Some("X_ADDR"))),
        ("--dry-run".to_owned(), flag(None, None)),
    ]);
    assert_eq!(parse(short), expected);
    assert_eq!(parse(long), expected);
}
