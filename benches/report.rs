//! The table of figures: what was measured, where, and what it should be.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::{fmt, fs, process::Command, process::ExitCode, time::Duration};

/// The width of the column that says what a figure is.
const WIDTH: usize = 62;

/// A figure with its unit.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum Figure {
    /// Seconds.
    Time(f64),
    /// Bytes on a disk or a wire, shown in powers of ten.
    Size(u64),
    /// Bytes of memory, shown in powers of two.
    Memory(u64),
    /// A number of things.
    Count(u64),
}

impl Figure {
    /// Returns a time.
    pub(crate) fn time(time: Duration) -> Self {
        Self::Time(time.as_secs_f64())
    }

    /// Returns a time in microseconds.
    pub(crate) const fn micros(micros: u32) -> Self {
        Self::Time(micros as f64 / 1e6)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match *self {
            Self::Count(count) => return f.pad(&count.to_string()),
            Self::Size(bytes) if bytes < 1_000_000 => (bytes as f64 / 1e3, "kB"),
            Self::Size(bytes) => (bytes as f64 / 1e6, "MB"),
            Self::Memory(bytes) if bytes < 10 << 10 => return f.pad(&format!("{bytes} B")),
            Self::Memory(bytes) => (bytes as f64 / f64::from(1 << 20), "MiB"),
            Self::Time(seconds) if seconds < 1e-3 => (seconds * 1e6, "µs"),
            Self::Time(seconds) if seconds < 1.0 => (seconds * 1e3, "ms"),
            Self::Time(seconds) => (seconds, "s"),
        };
        let digits = usize::from(value < 100.0) + usize::from(value < 10.0);
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

/// Prints rows as they are measured, and remembers whether a target was missed.
pub(crate) struct Report {
    missed: u32,
    untold: u32,
}

impl Report {
    /// Prints where this is.
    pub(crate) fn begin() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("machine  {model}, {cores} cores");
        println!("commit   {}", commit());
        println!("command  make bench");
        Self {
            missed: 0,
            untold: 0,
        }
    }

    /// Prints the name of the rows that follow.
    pub(crate) fn section(&self, name: &str) {
        println!("\n{name}");
    }

    /// Prints a figure that must be below `limit`.
    pub(crate) fn below(&mut self, what: &str, figure: Figure, limit: Figure) {
        self.row(what, figure, &format!("< {limit}"), figure < limit);
    }

    /// Prints a figure that should be below `limit`, on a machine that is too busy to tell whether it is.
    pub(crate) fn untold(&mut self, what: &str, figure: Figure, limit: Figure) {
        self.untold += 1;
        self.print(what, figure, &format!("< {limit}"), "not told");
    }

    /// Prints a number that must be `expected`.
    pub(crate) fn exactly(&mut self, what: &str, count: usize, expected: usize) {
        let figure = Figure::Count(count as u64);
        self.row(what, figure, &format!("= {expected}"), count == expected);
    }

    /// Prints a figure without a target.
    pub(crate) fn tell(&self, what: &str, figure: Figure) {
        println!("  {what:<WIDTH$} {figure:>10}");
    }

    /// Prints a number of things a second.
    pub(crate) fn rate(&self, what: &str, count: usize, took: Duration) {
        let rate = format!("{:.0}/s", count as f64 / took.as_secs_f64());
        println!("  {what:<WIDTH$} {rate:>10}");
    }

    /// Says how it went.
    pub(crate) fn end(self) -> ExitCode {
        if self.untold > 0 {
            println!(
                "\nTargets that nothing can be told of, as the machine is too busy: {}",
                self.untold
            );
        }
        match (self.missed, self.untold) {
            (0, 0) => println!("\nAll targets are met."),
            (0, _) => println!("All others are met."),
            (missed, _) => {
                println!("\nTargets missed: {missed}");
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    fn row(&mut self, what: &str, figure: Figure, target: &str, met: bool) {
        let verdict = if met { "ok" } else { "MISSED" };
        self.missed += u32::from(!met);
        self.print(what, figure, target, verdict);
    }

    fn print(&self, what: &str, figure: Figure, target: &str, verdict: &str) {
        println!("  {what:<WIDTH$} {figure:>10}  {target:<10} {verdict}");
    }
}

/// Returns the commit of the working tree, marked when that differs from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}
