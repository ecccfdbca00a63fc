//! The program: one binary with subcommands, also under the name `kubectl-podrefresh`.

use std::process::ExitCode;

use podrefresh::{
    cli::Cli,
    commands,
    error::Chain,
    observe::{failure, log},
    server::files,
};

fn main() -> ExitCode {
    files::raise();
    // Wrong usage ends here, with exit code 2.
    let cli = Cli::of(std::env::args_os());
    let failures = failure::form(cli.failures());
    failure::catch_panics(failures);
    log::start(cli.logging.log_format, &cli.logging.log_filter);
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("the TLS provider must be chosen once, and first");
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            failure::tell(failures, &Chain(&*error).to_string());
            ExitCode::FAILURE
        }
    }
}
