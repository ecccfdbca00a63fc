//! Finds out what [`Facts`] ask for, beside the ticks.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::facts::{Facts, Landed, ManifestFact, Question};
use crate::{
    cluster::{CallError, Nodes},
    error::Chain,
    policy::Digest,
    registry::{Fault, Lookup, LookupError, Resolver},
};

/// Questions under way at the same time.
const IN_FLIGHT: usize = 32;

/// Reads manifests and nodes.
#[derive(Debug)]
pub(super) struct Reader {
    resolver: Resolver,
    nodes: Nodes,
    /// What is known so far.
    pub(super) facts: Facts,
    flights: JoinSet<(Landed, Option<LookupError>)>,
}

impl Reader {
    /// Returns a reader that has read nothing yet.
    pub(super) fn new(resolver: Resolver, nodes: Nodes, facts: Facts) -> Self {
        Self {
            resolver,
            nodes,
            facts,
            flights: JoinSet::new(),
        }
    }

    /// Asks what is due and takes in the next answer; for ever when there is nothing to ask.
    ///
    /// A caller that goes away before loses nothing.
    pub(super) async fn news(&mut self) {
        loop {
            let now = Instant::now();
            let free = IN_FLIGHT - self.flights.len();
            for question in self.facts.take_due(now, free) {
                let (resolver, nodes) = (self.resolver.clone(), self.nodes.clone());
                self.flights.spawn(async move {
                    match question {
                        Question::Manifest(lookup, digest) => {
                            manifest(&resolver, lookup, digest).await
                        }
                        Question::Platform(node) => (platform(&nodes, node).await, None),
                    }
                });
            }
            let is_full = self.flights.len() == IN_FLIGHT;
            let due = self.facts.soonest().filter(|_| !is_full);
            tokio::select! {
                Some(landed) = self.flights.join_next() => {
                    let (landed, error) = landed.expect("a reading must not panic");
                    let begins = self.facts.landed(landed, Instant::now());
                    if let Some(error) = error {
                        tell_failing(&error, begins);
                    }
                    return;
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }
}

/// Reads a manifest; where that fails, why.
async fn manifest(
    resolver: &Resolver,
    lookup: Lookup,
    digest: Digest,
) -> (Landed, Option<LookupError>) {
    let (fact, least, error) = match resolver.manifest(&lookup, &digest).await {
        Ok(manifest) => (ManifestFact::Read(manifest), Duration::ZERO, None),
        Err(error) if matches!(error.fault, Fault::NotFound) => {
            (ManifestFact::Gone, Duration::ZERO, None)
        }
        Err(error) => {
            let least = error.retry_after().unwrap_or_default();
            (ManifestFact::Failed, least, Some(error))
        }
    };
    (Landed::Manifest((lookup, digest), fact, least), error)
}

/// Says that a manifest cannot be read: aloud when that begins, and not at each try from then on.
fn tell_failing(error: &LookupError, begins: bool) {
    let (image, host, reason) = (&error.image, &error.host, error.label());
    let error = Chain(error);
    if begins {
        warn!(
            image = %image, registry.host = %host, reason, error = %error,
            "No pod goes for {image} until it can be compared: {error}"
        );
    } else {
        debug!(
            image = %image, registry.host = %host, reason, error = %error,
            "No pod goes for {image} until it can be compared: {error}"
        );
    }
}

async fn platform(nodes: &Nodes, node: Arc<str>) -> Landed {
    let found = nodes.platform(&node).await;
    let answer = match found {
        Ok(platform) => Some(platform),
        // Without the right to read nodes indexes cannot be compared, and that is no reason to keep old images.
        Err(error) if error.code() == 403 => {
            tell(&node, &error);
            Some(None)
        }
        Err(error) => {
            debug!(error = %Chain(&error), "Did not get the platform of node {node}: {}", Chain(&error));
            None
        }
    };
    Landed::Platform(node, answer)
}

fn tell(node: &str, error: &CallError) {
    warn!(
        error = %Chain(error),
        "Pods of node {node} are replaced even for an index with the same image: {}", Chain(error)
    );
}
