//! Credentials from the kubelet's credential provider plugins (KEP-2133): programs that know a cloud's registry.

mod account;
mod attributes;
mod config;
mod fault;
mod invalid;
mod response;
mod run;
#[cfg(test)]
mod tests;
mod turns;

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;

use self::{
    account::{Client, Principal, Stand, client},
    response::Reach,
    turns::Provider,
};
use crate::{
    cluster::{Accounts, Server},
    memo::{Keep, Memo},
    observe::metrics::Metrics,
    policy::{ImageRef, PullIdentity},
};

pub use attributes::AttributesFault;
pub use fault::ProviderFault;
pub use invalid::{ConfigFault, PluginFault, ProvidersError};
pub(super) use turns::Said;

/// A plugin that failed is not run again for the same question for so long.
const KEEP_FAULT: Duration = Duration::from_secs(30);

/// Credentials that a registry refuses are asked for again, unless they are younger than this: a
/// registry that refuses everybody must not keep the plugins running.
const RENEW_AFTER: Duration = Duration::from_secs(60);

/// What the remembered answers take together, 2,000 with the longest passwords of clouds, and how long they are remembered
/// when nobody asks.
const CAPACITY: u64 = 8 << 20;
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
    accounts: Option<Accounts>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    plugin: usize,
    reach: Reach,
    place: Box<str>,
    /// Whom it is for; `None` is nobody in particular.
    account: Option<Stand>,
}

/// What a plugin is asked, and on whose behalf.
#[derive(Clone, Copy)]
struct Question<'a> {
    plugin: usize,
    provider: &'a Arc<Provider>,
    registry: &'a str,
    /// Registry and repository.
    image: &'a str,
    identity: &'a PullIdentity,
    /// How old what is known of the pod's account may be.
    account_age: Duration,
    /// How old the plugin's answer may be.
    max_age: Duration,
}

impl Providers {
    /// Reads the kubelet's file, or directory of files, at `config`, whose plugins lie in `folder`.
    pub fn open(
        config: &Path,
        folder: &Path,
        patience: Patience,
        metrics: &Metrics,
    ) -> Result<Self, ProvidersError> {
        let plugins = config::open(config, folder)?;
        let provider = |plugin| Arc::new(Provider::new(plugin, metrics.clone()));
        let keep = |said: &Arc<Said>| match said.fault {
            None => Keep::Good(said.keep),
            Some(_) => Keep::Bad(KEEP_FAULT),
        };
        let answers = Memo::weighed(CAPACITY, IDLE, keep, |key: &Key, said| {
            key.place.len() + said.bytes()
        });
        Ok(Self {
            plugins: plugins.into_iter().map(provider).collect(),
            answers: Arc::new(answers),
            patience,
            accounts: None,
        })
    }

    /// Returns these plugins with a way to the ServiceAccounts of pods, where any of them asks for that.
    ///
    /// Without one they are asked as for pods that have no account.
    #[must_use]
    pub fn with_accounts(self, server: Option<Server>) -> Self {
        let attributes = self
            .plugins
            .iter()
            .filter_map(|it| it.plugin.account.as_ref());
        let server = server.filter(|_| attributes.clone().next().is_some());
        let wanted = attributes.flat_map(|it| it.required.iter().chain(&it.optional));
        let wanted: BTreeSet<String> = wanted.cloned().collect();
        Self {
            accounts: server.map(|server| Accounts::new(server, wanted)),
            ..self
        }
    }

    /// Says whether any plugin is to be asked about `image`.
    pub(super) fn cover(&self, image: &ImageRef) -> bool {
        self.covering(image).next().is_some()
    }

    fn covering(&self, image: &ImageRef) -> impl Iterator<Item = (usize, &Arc<Provider>)> {
        let all = self.plugins.iter().enumerate();
        all.filter(|(_, p)| p.plugin.covers(image.registry(), image.repository()))
    }

    /// Returns what the plugins say about `image` on behalf of `identity`, in the order of the file, by what was known of
    /// its ServiceAccount at most `account_age` ago.
    pub(super) async fn ask(
        &self,
        image: &ImageRef,
        identity: &PullIdentity,
        account_age: Duration,
    ) -> Vec<Arc<Said>> {
        self.ask_within(image, identity, account_age, Duration::MAX)
            .await
    }

    /// Returns what they say now that a registry refused what they said `since` ago or earlier.
    pub(super) async fn renew(
        &self,
        image: &ImageRef,
        identity: &PullIdentity,
        since: Duration,
    ) -> Vec<Arc<Said>> {
        self.ask_within(image, identity, since, since.max(RENEW_AFTER))
            .await
    }

    async fn ask_within(
        &self,
        image: &ImageRef,
        identity: &PullIdentity,
        account_age: Duration,
        max_age: Duration,
    ) -> Vec<Arc<Said>> {
        let name = format!("{}/{}", image.registry(), image.repository());
        let asked = self.covering(image).map(|(plugin, provider)| {
            let question = Question {
                plugin,
                provider,
                registry: image.registry(),
                image: &name,
                identity,
                account_age,
                max_age,
            };
            async move {
                let after = self.patience.wait;
                let said = timeout(after, self.answer(question)).await;
                let slow = || provider.fault(question.image, ProviderFault::Slow { after });
                said.unwrap_or_else(|_| Some(slow()))
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Returns what one plugin says; `None` where it is not to be asked.
    async fn answer(&self, question: Question<'_>) -> Option<Arc<Said>> {
        let Question {
            provider, identity, ..
        } = question;
        let attributes = provider.plugin.account.as_ref();
        let accounts = self.accounts.as_ref();
        match client(attributes, accounts, identity, question.account_age).await {
            Ok(Client::Missing) => None,
            Ok(Client::Nobody) => Some(self.find(question, None).await),
            Ok(Client::Account(account)) => Some(self.find(question, Some(account)).await),
            Err(fault) => Some(self.stranger(question, fault).await),
        }
    }

    /// Returns, and says once in a while, that nothing could be learned of the account.
    async fn stranger(&self, question: Question<'_>, fault: ProviderFault) -> Arc<Said> {
        let key = Key {
            plugin: question.plugin,
            reach: Reach::Global,
            place: "".into(),
            account: Some(account::unknown(question.identity)),
        };
        let tell = |_| {
            let provider = Arc::clone(question.provider);
            let (image, fault) = (Box::<str>::from(question.image), fault.clone());
            async move {
                let said = provider.fault(&image, fault);
                provider.report(&said, "");
                said
            }
        };
        let told = self.answers.get(&key, Duration::MAX, tell).await;
        told.map_or_else(
            |_| question.provider.fault(question.image, fault),
            |hit| hit.value,
        )
    }

    /// Returns what one plugin says about an image: what it said before, else by one shared run.
    ///
    /// The kubelet shares runs between equal images only, and so starts a plugin once for each image
    /// of a registry. How far an answer reaches is known only behind it; mostly as far as the last one.
    async fn find(&self, question: Question<'_>, account: Option<Arc<Principal>>) -> Arc<Said> {
        let Question {
            provider, image, ..
        } = question;
        for reach in [provider.reach(), Reach::Image] {
            let place = match reach {
                Reach::Image => image,
                Reach::Registry => question.registry,
                Reach::Global => "",
            };
            let key = Key {
                plugin: question.plugin,
                reach,
                place: place.into(),
                account: account.as_ref().map(|account| account.stand()),
            };
            let ask = |_| {
                let (provider, image) = (Arc::clone(provider), Box::from(image));
                let account = account.clone().zip(self.accounts.clone());
                let limit = self.patience.run;
                async move { provider.run(image, account, limit).await }
            };
            match self.answers.get(&key, question.max_age, ask).await {
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
