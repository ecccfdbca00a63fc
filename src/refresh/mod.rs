//! The poller: a snapshot of the pods, what their tags mean now, and what may be done about it.
//!
//! Level-triggered: each tick starts from what the caches hold now. What is remembered between ticks is
//! a hint that a restart or a new leader may lose.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    cluster::{Leadership, Namespaces, Pods, Recorder, Server},
    observe::metrics::Metrics,
    policy::gate::Limits,
    registry::Resolver,
};

mod act;
mod facts;
#[cfg(test)]
mod fixture;
mod group;
mod memory;
mod outcome;
mod poller;
mod read;
mod reader;
mod rhythm;
mod sightings;
mod survey;
mod suspects;
mod tally;
mod target;
mod tell;
mod term;
mod waits;

/// What the operator has set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often each distinct image is looked up.
    pub poll_interval: Duration,
    /// The gate's limits.
    pub limits: Limits,
    /// Whether evictions are only tried.
    pub dry_run: bool,
}

/// The parts of the house that refreshing uses.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The API server, for reads and evictions.
    pub server: Server,
    /// All pods.
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
pub async fn run(parts: Parts, settings: Settings) {
    parts.pods.wait_synced().await;
    parts.namespaces.wait_synced().await;
    let mut leads = parts.leadership.changed();
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() && !parts.leadership.leads(Instant::now())
        {
            // Nobody will ever elect us.
            return std::future::pending().await;
        }
        term::Term::new(&parts, &settings).lead().await;
    }
}
