//! `--version` tells the commit and its day, by nothing but what the build is given.

use std::process::Command;

#[expect(
    clippy::print_stdout,
    dead_code,
    reason = "cargo listens to what a build script prints; here only its words are tried"
)]
#[path = "../../build.rs"]
mod build;

use build::{day, version};

#[test]
fn what_is_known_stands_behind_the_number() {
    let check = |revision: Option<&str>, day: Option<&str>, expected: &str| {
        assert_eq!(version("0.1.0", revision, day), expected);
    };
    let commit = "2dbfed9c8a11aa22bb33cc44dd55ee66ff770088";
    check(
        Some(commit),
        Some("2026-11-21"),
        "0.1.0 (2dbfed9c8a11, 2026-11-21)",
    );
    check(Some(commit), None, "0.1.0 (2dbfed9c8a11)");
    check(None, Some("2026-11-21"), "0.1.0 (2026-11-21)");
    check(None, None, "0.1.0");
    let changed = format!("{commit}-dirty");
    check(Some(&changed), None, "0.1.0 (2dbfed9c8a11-dirty)");
}

#[test]
fn days_are_those_of_the_calendar() {
    let check = |seconds: i64, expected: &str| {
        assert_eq!(day(seconds), expected, "{seconds}");
        let known = jiff::Timestamp::from_second(seconds).unwrap();
        assert_eq!(known.to_string().split('T').next(), Some(expected));
    };
    check(0, "1970-01-01");
    check(86_399, "1970-01-01");
    check(86_400, "1970-01-02");
    check(951_782_400, "2000-02-29");
    check(951_868_800, "2000-03-01");
    check(1_709_164_800, "2024-02-29");
    check(1_735_689_599, "2024-12-31");
    check(4_107_542_400, "2100-03-01");
}

#[test]
fn the_program_tells_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_podrefresh"))
        .arg("--version")
        .output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    let number = concat!("podrefresh ", env!("CARGO_PKG_VERSION"));
    // What stands behind it depends on the build; never the day of the build itself.
    let rest = said
        .strip_prefix(number)
        .unwrap_or_else(|| panic!("{said:?}"));
    assert!(
        rest == "\n" || rest.starts_with(" (") && rest.ends_with(")\n"),
        "{said:?}"
    );
}
