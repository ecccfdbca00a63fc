//! The poller: a snapshot of the pods, what their tags mean now, and what may be done about it.
//!
//! Level-triggered: each tick starts from what the caches hold now. What is remembered between ticks is
//! a hint that a restart or a new leader may lose.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::{
    cluster::{Leadership, Namespaces, Pods, Recorder, Server},
    observe::metrics::Metrics,
    policy::{Push, Scope, gate::Limits},
    registry::Resolver,
};

mod act;
mod clock;
mod ears;
mod facts;
mod finish;
#[cfg(test)]
mod fixture;
mod group;
mod heritage;
mod lanes;
mod ledger;
mod memory;
mod missed;
mod once;
mod outcome;
mod pass;
mod poller;
mod read;
mod reader;
mod report;
mod restart;
mod rhythm;
mod sightings;
#[cfg(test)]
mod simulation;
mod survey;
mod suspects;
mod tally;
mod target;
mod tell;
mod template;
mod term;
mod waits;

pub use once::{Orders, once};
pub use report::{Change, End, Progress, Report, Row, State, Summary, Unresolved};

/// What the operator has set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often each distinct image is looked up.
    pub poll_interval: Duration,
    /// The gate's limits.
    pub limits: Limits,
    /// Whether evictions are only tried.
    pub dry_run: bool,
    /// Whose pods are refreshed.
    pub whose: Scope,
}

/// The parts of the house that refreshing uses.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The API server, for reads and evictions.
    pub server: Server,
    /// All pods, or those that are asked for.
    pub pods: Pods,
    /// All namespaces.
    pub namespaces: Namespaces,
    /// Answers what a tag means.
    pub resolver: Resolver,
    /// Whether this replica may evict.
    pub leadership: Leadership,
    /// The least time from the end of our leadership until another can lead: what was begun before must
    /// be over by then.
    pub reserve: Duration,
    /// Takes Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Metrics,
}

/// Refreshes pods for as long as this replica leads, again and again; never returns.
///
/// The images that `pushes` tells of are looked at at once, as far as pods use them.
pub async fn run(parts: Parts, settings: Settings, mut pushes: mpsc::Receiver<Push>) {
    parts.pods.wait_synced().await;
    parts.namespaces.wait_synced().await;
    let mut terms = parts.leadership.changed();
    loop {
        let term = terms.wait_for(Option::is_some).await.map(|term| *term);
        let Ok(Some(number)) = term else {
            // Nobody will ever elect us.
            return std::future::pending().await;
        };
        let term = term::Term::new(&parts, &settings, number);
        term.lead(&mut pushes).await;
    }
}
