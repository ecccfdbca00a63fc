//! ServiceAccounts and their tokens, for credential providers that act for the account of a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    call::{Media, Segment, Server, decode},
    refusal::CallError,
};
use crate::memo::{Keep, Memo};

/// An API server that has not answered within this will not.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the remembered accounts take together, and tokens of them: about 2,000 of these. An annotation may have 256 KiB.
const CAPACITY: u64 = 4 << 20;

/// Accounts that nobody asked for so long leave the memory.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// Rights are granted by people, who then look whether it helped.
const KEEP_REFUSAL: Duration = Duration::from_secs(60);

/// How long an API server that does not answer is spared.
const KEEP_FAILURE: Duration = Duration::from_secs(5);

/// No token is used for longer than this, however long it is good for.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Reads accounts and asks for their tokens; a clone shares the memory.
#[derive(Debug, Clone)]
pub struct Accounts {
    server: Server,
    /// The annotations that anybody wants to know.
    wanted: Arc<BTreeSet<String>>,
    accounts: Arc<Memo<Name, AccountRead>>,
    tokens: Arc<Memo<TokenKey, TokenRead>>,
}

/// A namespace and the name of an account in it.
type Name = (Arc<str>, Arc<str>);

/// One reading of an account.
pub type AccountRead = Arc<Result<Account, AccountError>>;

/// One answer to a question for a token.
pub type TokenRead = Arc<Result<AccountToken, AccountError>>;

/// A ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its uid: one that is made anew under the same name is another.
    pub uid: Box<str>,
    /// Those of its annotations that were asked for.
    pub annotations: BTreeMap<String, String>,
}

/// A token of a ServiceAccount for one audience.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountToken {
    /// The token.
    pub text: Box<str>,
    /// How long it may be used from when it was asked for.
    keep: Duration,
}

/// Why there is no such account or token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AccountError {
    /// There is no such account.
    #[error("there is no service account {account}")]
    Missing {
        /// Namespace and name.
        account: Box<str>,
    },
    /// We may not read it.
    #[error("podrefresh may not read service account {account}: {message}")]
    Unreadable {
        /// Namespace and name.
        account: Box<str>,
        /// What the API server says.
        message: String,
    },
    /// We may not have tokens of it.
    #[error("podrefresh may not create tokens of service account {account}: {message}")]
    NoTokens {
        /// Namespace and name.
        account: Box<str>,
        /// What the API server says.
        message: String,
    },
    /// The API server could not say.
    #[error("the API server gave no token of service account {account}")]
    Unavailable {
        /// Namespace and name.
        account: Box<str>,
        /// Why.
        source: Arc<CallError>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    name: Name,
    uid: Box<str>,
    audience: Box<str>,
}

#[derive(Deserialize)]
struct RawAccount {
    metadata: RawMeta,
}

#[derive(Deserialize)]
struct RawMeta {
    uid: Box<str>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawToken {
    status: RawStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus {
    token: Box<str>,
    expiration_timestamp: Timestamp,
}

impl Account {
    fn bytes(&self) -> usize {
        let annotations = self.annotations.iter();
        annotations
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }
}

impl Accounts {
    /// Returns a reader that asks `server`, and keeps the annotations `wanted`.
    pub fn new(server: Server, wanted: BTreeSet<String>) -> Self {
        let keep_account = |read: &AccountRead| match &**read {
            Ok(_) => Keep::Good(Duration::MAX),
            Err(error) => Keep::Bad(error.keep()),
        };
        let accounts = Memo::weighed(CAPACITY, IDLE, keep_account, |_, read| {
            (**read).as_ref().map_or(0, Account::bytes)
        });
        let keep_token = |read: &TokenRead| match &**read {
            Ok(token) => Keep::Good(token.keep),
            Err(error) => Keep::Bad(error.keep()),
        };
        let tokens = Memo::weighed(CAPACITY, LONGEST, keep_token, |key: &TokenKey, read| {
            key.audience.len() + (**read).as_ref().map_or(0, |token| token.text.len())
        });
        Self {
            server,
            wanted: Arc::new(wanted),
            accounts: Arc::new(accounts),
            tokens: Arc::new(tokens),
        }
    }

    /// Returns the account `name` of `namespace`, from a reading at most `max_age` old.
    pub async fn get(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        max_age: Duration,
    ) -> AccountRead {
        let key = (Arc::clone(namespace), Arc::clone(name));
        let ask = |last: Option<AccountRead>| {
            let (server, wanted) = (self.server.clone(), Arc::clone(&self.wanted));
            let name = key.clone();
            async move {
                match (last, read(&server, &name, &wanted).await) {
                    // When the API server does not answer, the last good reading stands.
                    (Some(last), Err(AccountError::Unavailable { .. })) if last.is_ok() => last,
                    (Some(last), Ok(new)) if last.as_ref().as_ref().ok() == Some(&new) => last,
                    (_, new) => Arc::new(new),
                }
            }
        };
        match self.accounts.get(&key, max_age, ask).await {
            Ok(hit) => hit.value,
            Err(aborted) => Arc::new(Err(AccountError::aborted(&key, aborted))),
        }
    }

    /// Returns a token for `audience` of the account with this uid, one that is good for a while yet.
    ///
    /// It is bound to the account alone: the kubelet's is bound to the pod, too, which may not be there yet.
    pub async fn token(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        uid: &str,
        audience: &str,
    ) -> TokenRead {
        let key = TokenKey {
            name: (Arc::clone(namespace), Arc::clone(name)),
            uid: uid.into(),
            audience: audience.into(),
        };
        let ask = |_| {
            let (server, key) = (self.server.clone(), key.clone());
            async move { Arc::new(request(&server, &key).await) }
        };
        match self.tokens.get(&key, Duration::MAX, ask).await {
            Ok(hit) => hit.value,
            Err(aborted) => Arc::new(Err(AccountError::aborted(&key.name, aborted))),
        }
    }
}

fn path((namespace, name): &Name) -> String {
    let (namespace, name) = (Segment(namespace), Segment(name));
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
}

async fn read(
    server: &Server,
    name: &Name,
    wanted: &BTreeSet<String>,
) -> Result<Account, AccountError> {
    let body = server.get(&path(name), CALL_TIMEOUT).await;
    let raw = body.and_then(|body| decode::<RawAccount>(&body));
    let RawMeta { uid, annotations } = raw
        .map_err(|error| AccountError::of_call(name, error, false))?
        .metadata;
    let mut annotations = annotations.unwrap_or_default();
    annotations.retain(|key, _| wanted.contains(key));
    Ok(Account { uid, annotations })
}

async fn request(server: &Server, key: &TokenKey) -> Result<AccountToken, AccountError> {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        // Refused with a conflict if the account has been made anew meanwhile.
        "metadata": {"uid": key.uid},
        "spec": {"audiences": [key.audience]},
    });
    let path = format!("{}/token", path(&key.name));
    let answer = server
        .send(Method::POST, &path, Media::Json, &body, CALL_TIMEOUT)
        .await;
    let raw = answer.and_then(|body| {
        decode::<RawToken>(&body).map_err(|error| match error {
            // The decoder's own words may quote the token.
            CallError::Malformed(error) => CallError::Malformed(serde::de::Error::custom(format!(
                "it is not a TokenRequest (line {}, column {})",
                error.line(),
                error.column()
            ))),
            other => other,
        })
    });
    let RawStatus {
        token,
        expiration_timestamp,
    } = raw
        .map_err(|error| AccountError::of_call(&key.name, error, true))?
        .status;
    let life = expiration_timestamp.duration_since(Timestamp::now());
    let life = Duration::try_from(life).unwrap_or_default();
    Ok(AccountToken {
        text: token,
        // As the kubelet does, it is replaced when a fifth of its life is left.
        keep: life.mul_f64(0.8).min(LONGEST),
    })
}

impl AccountError {
    /// Returns the stable, documented name of the error.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "account_missing",
            Self::Unreadable { .. } | Self::NoTokens { .. } => "account_forbidden",
            Self::Unavailable { .. } => "account_unavailable",
        }
    }

    const fn keep(&self) -> Duration {
        match self {
            Self::Unavailable { .. } => KEEP_FAILURE,
            _ => KEEP_REFUSAL,
        }
    }

    fn of_call(name: &Name, error: CallError, for_token: bool) -> Self {
        let account = format!("{}/{}", name.0, name.1).into();
        match error {
            CallError::Refused(refusal) if refusal.code == 404 => Self::Missing { account },
            CallError::Refused(refusal) if refusal.code == 403 => {
                let message = refusal.message;
                match for_token {
                    true => Self::NoTokens { account, message },
                    false => Self::Unreadable { account, message },
                }
            }
            other => Self::Unavailable {
                account,
                source: Arc::new(other),
            },
        }
    }

    fn aborted(name: &Name, aborted: crate::memo::Aborted) -> Self {
        Self::of_call(name, CallError::Unreachable(Box::new(aborted)), true)
    }
}

impl fmt::Debug for AccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountToken({:?})", self.keep)
    }
}

#[cfg(test)]
mod tests;
