//! Tells the program which commit it is built from, and when that was made: the same sources give the same words.
//!
//! `PODREFRESH_REVISION` and `SOURCE_DATE_EPOCH` say so where there is no repository, as in an image's build. No clock
//! is asked. Debug builds ask no repository either: each commit would have everything compiled again.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Hex digits of a commit that tell it from all others for long.
const DIGITS: usize = 12;

fn main() {
    for variable in ["PODREFRESH_REVISION", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR").unwrap_or_default());
    // Sources without a repository of their own may lie in that of somebody else.
    let asks = variable("PROFILE").as_deref() == Some("release") && root.join(".git").exists();
    let git = |arguments: &[&str]| asks.then(|| git(&root, arguments)).flatten();
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let revision = variable("PODREFRESH_REVISION").filter(|it| it != "unknown");
    let revision = revision.or_else(|| {
        git(&[
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
            "--abbrev=40",
        ])
    });
    let epoch = variable("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"]));
    let day = epoch.and_then(|seconds| seconds.parse().ok()).map(day);
    let number = variable("CARGO_PKG_VERSION").unwrap_or_default();
    println!(
        "cargo::rustc-env=PODREFRESH_VERSION={}",
        version(&number, revision.as_deref(), day.as_deref())
    );
}

/// Returns a variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns what git answers, if it does.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Returns the version with what is known besides: `0.1.0 (2dbfed9c8a11, 2026-11-21)`.
pub(crate) fn version(number: &str, revision: Option<&str>, day: Option<&str>) -> String {
    let short = revision.map(|revision| {
        let (commit, rest) = revision.split_once('-').unwrap_or((revision, ""));
        let commit: String = commit.chars().take(DIGITS).collect();
        match rest {
            "" => commit,
            rest => format!("{commit}-{rest}"),
        }
    });
    let known: Vec<&str> = short.as_deref().into_iter().chain(day).collect();
    match known[..] {
        [] => number.to_owned(),
        _ => format!("{number} ({})", known.join(", ")),
    }
}

/// Returns the day of a time in seconds since 1970, in UTC: `1970-01-01`.
pub(crate) fn day(seconds: i64) -> String {
    // Years begin in March here, so that the leap day is the last of its year; eras are 400 years.
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
