//! What the demo prints: lines with the time since its start, and tables.

use std::{
    io::{self, Write as _},
    time::Instant,
};

/// Standard output, with a clock.
#[derive(Debug)]
pub(crate) struct Page {
    start: Instant,
}

impl Page {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Returns the seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Prints what happened just now.
    pub(crate) fn say(&self, what: &str) {
        self.print(&format!("{:6.1}s  {what}", self.seconds()));
    }

    /// Prints a line without a time.
    pub(crate) fn print(&self, line: &str) {
        // Whoever closed standard output does not want to read on; the exit code still counts.
        let _ = writeln!(io::stdout(), "{}", line.trim_end());
    }

    /// Prints rows under their heads as kubectl aligns them.
    pub(crate) fn table<const N: usize>(&self, heads: [&str; N], rows: &[[String; N]]) {
        let heads = heads.map(str::to_owned);
        let all = || std::iter::once(&heads).chain(rows);
        let width = |column: usize| all().map(|row| row[column].len()).max().unwrap_or(0);
        for row in all() {
            let cells = row.iter().enumerate();
            let line: String = cells
                .map(|(at, cell)| format!("{cell:<0$}", width(at) + 3))
                .collect();
            self.print(&line);
        }
    }
}
