//! The controller in a process of its own that counts its allocations: this program, started by itself.

use std::{
    io::{BufRead as _, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use podrefresh::{cli::Cli, commands, observe::log};
use stats_alloc::Stats;

use crate::ALLOCATOR;

/// The first argument that makes this program a controller; the controller's own follow.
pub(crate) const NAME: &str = "counted";

/// What a process has allocated since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heap {
    /// Allocations, those that only grow one included.
    pub(crate) allocations: usize,
    /// Bytes in use.
    pub(crate) live: usize,
}

impl Heap {
    /// Returns this process' own.
    pub(crate) fn now() -> Self {
        let Stats {
            allocations,
            reallocations,
            bytes_allocated,
            bytes_deallocated,
            ..
        } = ALLOCATOR.stats();
        Self {
            allocations: allocations + reallocations,
            live: bytes_allocated.saturating_sub(bytes_deallocated),
        }
    }

    /// Reads what `run` answers.
    pub(crate) fn parse(line: &str) -> Self {
        let (allocations, live) = line.trim().split_once(' ').unwrap();
        Self {
            allocations: allocations.parse().unwrap(),
            live: live.parse().unwrap(),
        }
    }
}

/// Runs the program with `args`; answers each line on standard input with the heap.
#[expect(
    clippy::print_stdout,
    reason = "the answers go to the process that asks"
)]
pub(crate) fn run(args: &[String]) -> ExitCode {
    let cli = Cli::parse_from(args);
    log::start(cli.logging.log_format, &cli.logging.log_filter);
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines() {
            let heap = Heap::now();
            println!("{} {}", heap.allocations, heap.live);
            std::io::stdout().flush().unwrap();
        }
    });
    commands::run(cli.command).unwrap();
    ExitCode::SUCCESS
}
