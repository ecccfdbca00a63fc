//! Credentials from the kubelet's credential provider plugins (KEP-2133): programs that know a cloud's registry.

mod config;
mod duration;
mod fault;
mod invalid;
mod response;
mod run;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use self::{
    config::Plugin,
    response::{Reach, Response},
    run::{Failure, run},
};
use super::{Config, Origin, Problem, problem::Fault};
use crate::{
    error::Chain,
    memo::{Keep, Memo},
    observe::metrics::{Metrics, Reason},
    policy::ImageRef,
};

pub use fault::ProviderFault;
pub use invalid::{ConfigFault, PluginFault, ProvidersError};

/// Processes of one plugin at a time. Each may be large; a registry's images mostly share one answer.
const AT_ONCE: usize = 4;

/// A plugin that failed is not run again for the same question for so long.
const KEEP_FAULT: Duration = Duration::from_secs(30);

/// Credentials that a registry refuses are asked for again, unless they are younger than this: a
/// registry that refuses everybody must not keep the plugins running.
const RENEW_AFTER: Duration = Duration::from_secs(60);

/// Answers remembered, and how long they are when nobody asks.
const CAPACITY: u64 = 20_000;
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long plugins may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a plugin may run before it is ended.
    pub run: Duration,
    /// How long a lookup waits for one; it runs on, for those who ask later.
    pub wait: Duration,
}

/// The plugins; a clone shares their answers.
#[derive(Debug, Clone)]
pub struct Providers {
    plugins: Arc<[Arc<Provider>]>,
    answers: Arc<Memo<Key, Arc<Said>>>,
    patience: Patience,
}

/// One plugin, and what is known of its ways.
#[derive(Debug)]
struct Provider {
    plugin: Plugin,
    origin: Origin,
    turns: Semaphore,
    ways: Mutex<Ways>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Ways {
    /// What its last answer was good for. The next is looked for as if it were, too.
    reach: Reach,
    /// Set when it hung: those who wait for their turn need not find out, too.
    hung: Option<(Instant, ProviderFault)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    plugin: usize,
    reach: Reach,
    place: Box<str>,
}

/// What a plugin said about an image. Equal pointers mean that nothing has changed.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) origin: Origin,
    pub(super) config: Config,
    fault: Option<ProviderFault>,
    reach: Reach,
    image: Box<str>,
    keep: Duration,
}

impl Providers {
    /// Reads the kubelet's file at `config`, whose plugins lie in `folder`.
    pub fn open(
        config: &Path,
        folder: &Path,
        patience: Patience,
        metrics: &Metrics,
    ) -> Result<Self, ProvidersError> {
        let plugins = config::open(config, folder)?;
        let plugins = plugins.into_iter().map(|plugin| {
            Arc::new(Provider {
                origin: Origin::Provider(Arc::clone(&plugin.name)),
                plugin,
                turns: Semaphore::new(AT_ONCE),
                ways: Mutex::new(Ways {
                    reach: Reach::Registry,
                    hung: None,
                }),
                metrics: metrics.clone(),
            })
        });
        let answers = Memo::new(CAPACITY, IDLE, |said: &Arc<Said>| match said.fault {
            None => Keep::Good(said.keep),
            Some(_) => Keep::Bad(KEEP_FAULT),
        });
        Ok(Self {
            plugins: plugins.collect(),
            answers: Arc::new(answers),
            patience,
        })
    }

    /// Says whether any plugin is to be asked about `image`.
    pub(super) fn cover(&self, image: &ImageRef) -> bool {
        self.covering(image).next().is_some()
    }

    fn covering(&self, image: &ImageRef) -> impl Iterator<Item = (usize, &Arc<Provider>)> {
        let all = self.plugins.iter().enumerate();
        all.filter(|(_, p)| p.plugin.covers(image.registry(), image.repository()))
    }

    /// Returns what the plugins say about `image`, in the order of the file.
    pub(super) async fn ask(&self, image: &ImageRef) -> Vec<Arc<Said>> {
        self.ask_within(image, Duration::MAX).await
    }

    /// Returns what they say now that a registry refused what they said `since` ago or earlier.
    pub(super) async fn renew(&self, image: &ImageRef, since: Duration) -> Vec<Arc<Said>> {
        self.ask_within(image, since.max(RENEW_AFTER)).await
    }

    async fn ask_within(&self, image: &ImageRef, max_age: Duration) -> Vec<Arc<Said>> {
        let name = format!("{}/{}", image.registry(), image.repository());
        let asked = self.covering(image).map(|(index, provider)| {
            let (name, registry) = (&name, image.registry());
            async move {
                let said = self.find(index, provider, registry, name, max_age);
                let after = self.patience.wait;
                let said = timeout(after, said).await;
                said.unwrap_or_else(|_| provider.fault(name, ProviderFault::Slow { after }))
            }
        });
        join_all(asked).await
    }

    /// Returns what one plugin says about `image`: what it said before, else by one shared run.
    ///
    /// The kubelet shares runs between equal images only, and so starts a plugin once for each image
    /// of a registry. How far an answer reaches is known only behind it; mostly as far as the last one.
    async fn find(
        &self,
        index: usize,
        provider: &Arc<Provider>,
        registry: &str,
        image: &str,
        max_age: Duration,
    ) -> Arc<Said> {
        for reach in [provider.reach(), Reach::Image] {
            let place = match reach {
                Reach::Image => image,
                Reach::Registry => registry,
                Reach::Global => "",
            };
            let key = Key {
                plugin: index,
                reach,
                place: place.into(),
            };
            let ask = |_| {
                let (provider, image) = (Arc::clone(provider), Box::from(image));
                let limit = self.patience.run;
                async move { provider.run(image, limit).await }
            };
            match self.answers.get(&key, max_age, ask).await {
                Ok(hit) if reach <= hit.value.reach || *hit.value.image == *image => {
                    return hit.value;
                }
                // It is good for another image only: this one has to be asked about by itself.
                Ok(_) => {}
                Err(_) => break,
            }
        }
        provider.fault(image, ProviderFault::Aborted)
    }
}

impl Provider {
    fn reach(&self) -> Reach {
        self.ways
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reach
    }

    /// Runs the plugin when it is its turn.
    async fn run(&self, image: Box<str>, limit: Duration) -> Arc<Said> {
        let _turn = self.turns.acquire().await;
        let hung = {
            let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
            ways.hung.clone()
        };
        if let Some((at, fault)) = hung
            && at.elapsed() < KEEP_FAULT
        {
            return self.fault(&image, fault);
        }
        let answer = run(&self.plugin, &image, limit).await;
        self.learn(&answer);
        let (said, complaint) = match answer {
            Ok(Response {
                config,
                reach,
                keep,
            }) => {
                let said = Said {
                    origin: self.origin.clone(),
                    config,
                    fault: None,
                    reach,
                    image,
                    keep,
                };
                (Arc::new(said), String::new())
            }
            Err(Failure { fault, complaint }) => (self.fault(&image, fault), complaint),
        };
        for problem in said.problems() {
            let reason = problem.label();
            let counter = &self.metrics.credentials_problems;
            counter.get_or_create(&Reason { reason }).inc();
            warn!(
                reason,
                complaint,
                "Pulling {} goes on without a credential: {}",
                said.image,
                Chain(&problem)
            );
        }
        said
    }

    fn learn(&self, answer: &Result<Response, Failure>) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(response) => {
                ways.reach = response.reach;
                if ways.hung.take().is_some() {
                    info!("Found {} usable again", self.origin);
                }
            }
            Err(Failure { fault, .. }) if matches!(fault, ProviderFault::Hung { .. }) => {
                ways.hung = Some((Instant::now(), fault.clone()));
            }
            Err(_) => {}
        }
    }

    /// Returns that there is no answer for `image`, which says nothing about others.
    fn fault(&self, image: &str, fault: ProviderFault) -> Arc<Said> {
        Arc::new(Said {
            origin: self.origin.clone(),
            config: Config::default(),
            fault: Some(fault),
            reach: Reach::Image,
            image: image.into(),
            keep: Duration::ZERO,
        })
    }
}

impl Said {
    /// Returns what is wrong with the plugin or its answer.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let fault = self.fault.iter().cloned().map(Fault::Provider);
        let broken = self.config.broken.iter().cloned().map(Fault::Entry);
        fault.chain(broken).map(|fault| Problem {
            origin: self.origin.clone(),
            fault,
        })
    }
}
