//! The program: one binary with subcommands, also under the name `kubectl-podrefresh`.

use std::{io::Write as _, process::ExitCode};

use podrefresh::{cli::Cli, commands, error::Chain, observe::log, server::files};

fn main() -> ExitCode {
    files::raise();
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::of(std::env::args_os());
    log::start(cli.logging.log_format, &cli.logging.log_filter);
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the TLS provider must be chosen once, and first");
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed; there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}
