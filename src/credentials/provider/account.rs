//! For whom a credential provider acts: nobody in particular, or the ServiceAccount of a pod.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    ProviderFault,
    attributes::{Attributes, CacheType},
};
use crate::{
    cluster::{Accounts, accounts::AccountRead},
    policy::PullIdentity,
};

/// For whom a provider is asked.
pub(super) enum Client {
    /// Nobody in particular.
    Nobody,
    /// A pod's account.
    Account(Arc<Principal>),
    /// It is not to be asked: the account that it requires, or an annotation of it, is not there.
    Missing,
}

/// An account, as far as a provider may know of it.
pub(super) struct Principal {
    namespace: Arc<str>,
    name: Arc<str>,
    uid: Box<str>,
    annotations: BTreeMap<String, String>,
    audience: Box<str>,
    cache: CacheType,
    /// Known beforehand where answers are good for one token only.
    token: Option<Box<str>>,
}

/// Stands for an account, and for all that a provider is told of it, in cache keys.
pub(super) type Stand = [u8; 32];

/// What a provider is told of an account, beside the image.
pub(super) struct Introduction {
    pub(super) token: Box<str>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Returns for whom a provider with `attributes` is asked on behalf of `identity`, by a reading of the account at
/// most `max_age` old.
pub(super) async fn client(
    attributes: Option<&Attributes>,
    accounts: Option<&Accounts>,
    identity: &PullIdentity,
    max_age: Duration,
) -> Result<Client, ProviderFault> {
    let Some(attributes) = attributes else {
        return Ok(Client::Nobody);
    };
    let Some(accounts) = accounts.filter(|_| !identity.service_account.is_empty()) else {
        return Ok(match attributes.requires_account {
            true => Client::Missing,
            false => Client::Nobody,
        });
    };
    let (namespace, name) = (&identity.namespace, &identity.service_account);
    let read: AccountRead = accounts.get(namespace, name, max_age).await;
    let account = read.as_ref().as_ref();
    let account = account.map_err(|error| ProviderFault::Account(error.clone()))?;
    let mut annotations = BTreeMap::new();
    for (keys, required) in [(&attributes.required, true), (&attributes.optional, false)] {
        for key in keys {
            match account.annotations.get(key) {
                Some(value) => drop(annotations.insert(key.clone(), value.clone())),
                None if required => return Ok(Client::Missing),
                None => {}
            }
        }
    }
    let mut principal = Principal {
        namespace: Arc::clone(namespace),
        name: Arc::clone(name),
        uid: account.uid.clone(),
        annotations,
        audience: attributes.audience.clone(),
        cache: attributes.cache,
        token: None,
    };
    if attributes.cache == CacheType::Token {
        principal.token = Some(principal.ask(accounts).await?);
    }
    Ok(Client::Account(Arc::new(principal)))
}

/// Returns what stands for an account that nothing could be learned of.
pub(super) fn unknown(identity: &PullIdentity) -> Stand {
    stand(&["unknown", &identity.namespace, &identity.service_account])
}

impl Principal {
    /// Returns what stands for it: whoever differs in any of this gets no answer from here, as with the kubelet.
    pub(super) fn stand(&self) -> Stand {
        let mut parts = vec!["account", &*self.namespace, &*self.name, &*self.uid];
        for (key, value) in &self.annotations {
            parts.extend([key.as_str(), value.as_str()]);
        }
        if let Some(token) = &self.token {
            parts.extend(["token", token]);
        }
        stand(&parts)
    }

    /// Returns what a provider is told, with a token that is good for a while.
    pub(super) async fn introduction(
        &self,
        accounts: &Accounts,
    ) -> Result<Introduction, ProviderFault> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => self.ask(accounts).await?,
        };
        Ok(Introduction {
            token,
            annotations: self.annotations.clone(),
        })
    }

    /// Says whether a provider may hand the token itself on as a password: its answers are then good for that token only.
    pub(super) fn may_hand_on(&self) -> bool {
        self.cache == CacheType::Token
    }

    async fn ask(&self, accounts: &Accounts) -> Result<Box<str>, ProviderFault> {
        let token = accounts.token(&self.namespace, &self.name, &self.uid, &self.audience);
        match token.await.as_ref() {
            Ok(token) => Ok(token.text.clone()),
            Err(error) => Err(ProviderFault::Account(error.clone())),
        }
    }
}

fn stand(parts: &[&str]) -> Stand {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length before it no part can run into the next.
        hash.update((part.len() as u64).to_ne_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl fmt::Debug for Principal {
    /// Shows no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({}/{})", self.namespace, self.name)
    }
}
