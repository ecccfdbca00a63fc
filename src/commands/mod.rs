//! One thin module per subcommand.

use crate::cli::Command;

mod controller;
mod digest;

/// Runs `command` to its end.
pub fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Controller(flags) => controller::run(*flags).await,
            Command::Digest(flags) => digest::run(flags).await,
        }
    });
    // A lookup that hangs must not hold the end of the process.
    runtime.shutdown_background();
    result
}
