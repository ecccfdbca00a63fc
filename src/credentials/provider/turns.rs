//! One plugin, run by turns, and what is known of its ways.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tracing::{info, warn};

use super::{
    KEEP_FAULT, ProviderFault,
    account::Principal,
    config::Plugin,
    response::{Reach, Response},
    run::{Failure, run},
};
use crate::{
    cluster::Accounts,
    credentials::{Config, Origin, Problem, problem::Fault},
    error::Chain,
    observe::metrics::{Metrics, Reason},
};

/// Processes of one plugin at a time. Each may be large; a registry's images mostly share one answer.
pub(super) const AT_ONCE: usize = 4;

/// One plugin, and what is known of its ways.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) plugin: Plugin,
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

/// What a plugin said about an image. Equal pointers mean that nothing has changed.
#[derive(Debug)]
pub(in crate::credentials) struct Said {
    pub(in crate::credentials) origin: Origin,
    pub(in crate::credentials) config: Config,
    pub(super) fault: Option<ProviderFault>,
    pub(super) reach: Reach,
    pub(super) image: Box<str>,
    pub(super) keep: Duration,
}

impl Provider {
    /// Returns a plugin that nobody has asked yet.
    pub(super) fn new(plugin: Plugin, metrics: Metrics) -> Self {
        Self {
            origin: Origin::Provider(Arc::clone(&plugin.name)),
            plugin,
            turns: Semaphore::new(AT_ONCE),
            ways: Mutex::new(Ways {
                reach: Reach::Registry,
                hung: None,
            }),
            metrics,
        }
    }

    /// Returns how far its last answer reached.
    pub(super) fn reach(&self) -> Reach {
        self.ways
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reach
    }

    /// Runs the plugin when it is its turn.
    pub(super) async fn run(
        &self,
        image: Box<str>,
        account: Option<(Arc<Principal>, Accounts)>,
        limit: Duration,
    ) -> Arc<Said> {
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
        let answer = self.exchange(&image, account, limit).await;
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
        self.report(&said, &complaint);
        said
    }

    /// Introduces the account, if any, and takes the answer.
    async fn exchange(
        &self,
        image: &str,
        account: Option<(Arc<Principal>, Accounts)>,
        limit: Duration,
    ) -> Result<Response, Failure> {
        let Some((account, accounts)) = account else {
            return run(&self.plugin, image, None, limit).await;
        };
        let introduction = account.introduction(&accounts).await?;
        let response = run(&self.plugin, image, Some(&introduction), limit).await?;
        match !account.may_hand_on() && response.hands_on(&introduction.token) {
            true => Err(ProviderFault::Malformed(
                "its password is the service account's token, which takes `cacheType: Token`",
            )
            .into()),
            false => Ok(response),
        }
    }

    /// Counts and logs what is wrong with an answer.
    pub(super) fn report(&self, said: &Said, complaint: &str) {
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
    pub(super) fn fault(&self, image: &str, fault: ProviderFault) -> Arc<Said> {
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
    /// Returns about how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.image.len() + self.config.bytes()
    }

    /// Returns what is wrong with the plugin or its answer.
    pub(in crate::credentials) fn problems(&self) -> impl Iterator<Item = Problem> {
        let fault = self.fault.iter().cloned().map(Fault::Provider);
        fault.chain(self.config.faults()).map(|fault| Problem {
            origin: self.origin.clone(),
            fault,
        })
    }
}
