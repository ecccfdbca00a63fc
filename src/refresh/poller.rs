//! Asks the registries what the tags in use mean, each in its turn.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::{debug, error};

use super::sightings::{Due, Sightings};
use crate::{
    observe::metrics::{Metrics, count},
    registry::{Answer, Lookup, LookupError, Resolver},
};

/// How old secrets may be where pods go by the answer: a node that pulls their new image has none but those of now.
const SECRETS_AGE: Duration = Duration::from_secs(2);

/// The lookups of all references in use.
#[derive(Debug)]
pub(super) struct Poller {
    resolver: Resolver,
    /// What is known so far.
    pub(super) sightings: Sightings,
    flights: JoinSet<(Lookup, Option<Result<Answer, LookupError>>)>,
    metrics: Metrics,
}

impl Poller {
    /// Returns a poller that has asked for nothing yet.
    pub(super) fn new(resolver: Resolver, sightings: Sightings, metrics: Metrics) -> Self {
        Self {
            resolver,
            sightings,
            flights: JoinSet::new(),
            metrics,
        }
    }

    /// Makes lookups as they become due and takes in one answer; says whether it is news.
    ///
    /// A caller that goes away before loses nothing.
    pub(super) async fn news(&mut self) -> bool {
        loop {
            for due in self.sightings.take_due(Instant::now()) {
                self.launch(due);
            }
            tokio::select! {
                Some(landed) = self.flights.join_next() => {
                    // Nobody ends these tasks but us, and they catch their panics.
                    let Ok((lookup, answer)) = landed else { continue };
                    let answer = answer.map(|it| it.map(|it| (it.digest, it.at)));
                    let (now, chance) = (Instant::now(), fastrand::f64());
                    let news = self.sightings.landed(&lookup, answer, now, chance);
                    self.tell(&lookup);
                    return news;
                }
                () = sleep_until(self.sightings.soonest()) => {}
            }
        }
    }

    /// Tells what came of pushes of the image of `lookup`.
    fn tell(&mut self, lookup: &Lookup) {
        let image = &lookup.image;
        for end in self.sightings.ended.drain(..) {
            count(&self.metrics.notify_lookups, end.label());
            let outcome = end.label();
            debug!(image = %image, outcome, "Looked at {image}, which was said to be pushed: {outcome}");
        }
    }

    fn launch(&mut self, due: Due) {
        let resolver = match due.at_stake {
            true => self.resolver.with_secrets_max_age(SECRETS_AGE),
            false => self.resolver.clone(),
        };
        self.flights.spawn(async move {
            let Due {
                lookup, max_age, ..
            } = due;
            // One image that we cannot bear must not end the refreshing of all others.
            let answer = AssertUnwindSafe(resolver.digest(&lookup, max_age));
            let answer = answer.catch_unwind().await.ok();
            if answer.is_none() {
                error!(image = %lookup.image, "A lookup of {} failed by a fault of ours", lookup.image);
            }
            (lookup, answer)
        });
    }
}
