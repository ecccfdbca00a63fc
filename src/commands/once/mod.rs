//! `podrefresh once`: one run over all pods, shown while it goes on and told at its end.

use std::process::ExitCode;

use anyhow::bail;
use tokio::sync::watch;
use tracing::info;

use super::{
    print,
    signals::{Signals, host},
};
use crate::{
    app,
    cli::{self, Output},
    cluster::connect,
    refresh::{End, Progress, Report},
};

mod json;
mod progress;
mod table;

/// The exit code with `--exit-code` when pods are outdated at the end.
const OUTDATED: u8 = 3;

/// Runs once over all pods and prints what came of it.
///
/// With `--exit-code` its question comes first: are pods outdated? Otherwise a run has failed that has not
/// done all it should, and a dry run has nothing to do.
pub(super) async fn run(flags: cli::Once) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let connection = connect(&flags.cluster.choice()).await?;
    info!(
        "Found the cluster {} by {}",
        connection.url, connection.origin
    );
    let (sender, receiver) = watch::channel(Progress::default());
    let work = app::once(flags.settings(host()), connection, signals.any(), sender);
    let report = tokio::select! {
        report = work => report,
        never = progress::show(receiver) => match never {},
    };
    progress::end();
    let report = report?;
    let text = match flags.output {
        Output::Table => table::render(&report),
        Output::Json => json::render(&report),
    };
    print(&text)?;
    verdict(&report, flags.exit_code)
}

fn verdict(report: &Report, exit_code: bool) -> anyhow::Result<ExitCode> {
    if exit_code && 0 < report.left() {
        return Ok(ExitCode::from(OUTDATED));
    }
    let only_told = report.dry_run && !exit_code && report.end == End::Done;
    match report.failure() {
        Some(failure) if !only_told => bail!("{failure}"),
        _ => Ok(ExitCode::SUCCESS),
    }
}
