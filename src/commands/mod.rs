//! One thin module per subcommand.

use std::{io, process::ExitCode};

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
    match &command {
        Command::Completions(completions) => {
            completions.write(io::stdout()).context("cannot print")?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Man(man) => {
            man.write(io::stdout()).context("cannot print")?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
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

const fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
