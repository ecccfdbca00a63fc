//! The figures of docs/performance.md: what admission, lookups, the controller and single runs cost, and whether that is little enough.
//!
//! `cargo bench` measures everything; `cargo bench -- admission` one section. Exits with 1 when a target is missed.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that goes wrong has no figure, and ends"
)]

mod admission;
mod bare;
mod connections;
mod controller;
mod counted;
mod large;
mod load;
mod lookups;
mod once;
mod population;
mod process;
mod refresh;
mod report;
mod serving;
mod turnover;
mod wire;

use std::{alloc::System, process::ExitCode};

use report::Report;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts every allocation of the benches, and of the controller that they run under count.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the TLS provider must be chosen once, and first");
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == counted::NAME) {
        return counted::run(&args);
    }
    // Cargo adds `--bench`.
    let chosen: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let mut report = Report::begin();
    for (section, measure) in [
        ("admission", admission::measure as fn(&mut Report)),
        ("serving", serving::measure),
        ("lookups", lookups::measure),
        ("controller", refresh::measure),
        ("large", large::measure),
        ("turnover", turnover::measure),
        ("once", once::measure),
    ] {
        if chosen.is_empty() || chosen.iter().any(|name| *name == section) {
            report.section(section);
            measure(&mut report);
        }
    }
    report.end()
}
