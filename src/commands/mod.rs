//! One thin module per subcommand.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;

use crate::cli::Command;

mod certs;
mod controller;
mod digest;
mod explain;
mod look;
mod once;
mod sidecar;
mod signals;
mod status;

/// Runs `command` to its end, and returns the exit code of one that has not failed.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let page = match &command {
        Command::Completions(completions) => Some(completions.text()),
        Command::Man(man) => Some(man.text()),
        _ => None,
    };
    if let Some(page) = page {
        return print(&page).map(done);
    }
    let mut builder = match &command {
        // It shares its pod's memory, and each thread takes some.
        Command::Sidecar(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Controller(flags) => controller::run(*flags).await.map(done),
            Command::Once(flags) => once::run(*flags).await,
            Command::Sidecar(flags) => sidecar::run(*flags).await.map(done),
            Command::Digest(flags) => digest::run(flags).await.map(done),
            Command::Certs(flags) => certs::run(&flags).map(done),
            Command::Completions(_) | Command::Man(_) => Ok(done(())),
            Command::Status(flags) => status::run(*flags).await.map(done),
            Command::Explain(flags) => explain::run(*flags).await.map(done),
        }
    });
    // A lookup that hangs must not hold the end of the process.
    runtime.shutdown_background();
    result
}

/// Prints `text` as it is.
///
/// Whoever closes the other end, as `head` does, has read enough: that is no fault.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("cannot print"),
    }
}

const fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
