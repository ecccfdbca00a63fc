//! What a host says to each of those who ask: rate limits are theirs, not the host's.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use reqwest::header::HeaderMap;
use tokio::time::Instant;

use super::{Allowance, Fault, allowance::Ledger, spared::Spared};
use crate::credentials::{Candidate, Credential, Fingerprint, Source};

/// Accounts that are remembered of a host. Pods bring credentials, so there may be any number.
const CAPACITY: usize = 256;

/// Who asks, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Account {
    /// Who shows nothing.
    Anonymous,
    /// Whose credential has this fingerprint.
    Named(Fingerprint),
}

/// Accounts of one host that have been told something that still holds.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<Account, Standing>>);

#[derive(Debug, Default)]
struct Standing {
    ledger: Ledger,
    spared: Spared,
}

impl Account {
    /// Returns who asks when `candidate` shows what it has.
    pub(super) fn of(candidate: &Candidate) -> Self {
        match candidate.credential {
            Credential::Anonymous => Self::Anonymous,
            _ => Self::Named(candidate.fingerprint),
        }
    }
}

impl Accounts {
    /// Takes note of what `host` says in `headers` of the rate limit of `account`, if it says anything. The credential
    /// is from `source`.
    pub(super) fn note_allowance(
        &self,
        account: Account,
        source: &Source,
        host: &str,
        headers: &HeaderMap,
    ) {
        let Some(allowance) = Allowance::read(headers) else {
            return;
        };
        let source = match account {
            Account::Anonymous => &Source::Anonymous,
            Account::Named(_) => source,
        };
        self.change(account, |standing| {
            standing.ledger.note(allowance, host, source);
        });
    }

    /// Takes note of what `account` came to grief with, if it is to be asked again later for that.
    pub(super) fn note(&self, account: Account, fault: &Fault) {
        if let Some(duration) = fault.spares_account_for() {
            self.change(account, |standing| standing.spared.note(fault, duration));
        }
    }

    /// Fails while the host is not to be asked by `account`.
    pub(super) fn check_spared(&self, account: Account) -> Result<(), Fault> {
        let mut standings = self.lock();
        let standing = standings.get_mut(&account);
        standing.map_or(Ok(()), |standing| standing.spared.check())
    }

    /// Fails while the host is not to be asked by any of `accounts`, with what keeps the first from it.
    pub(super) fn check_all_spared(&self, accounts: &[Account]) -> Result<(), Fault> {
        let mut checks = accounts.iter().map(|account| self.check_spared(*account));
        match checks.next() {
            Some(Err(fault)) if checks.all(|check| check.is_err()) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Fails while too little is left to `account` for requests that count: HEAD costs nothing at Docker Hub, GET does.
    pub(super) fn check_allowance(&self, account: Account) -> Result<(), Fault> {
        let standings = self.lock();
        let standing = standings.get(&account);
        standing.map_or(Ok(()), |standing| standing.ledger.check())
    }

    /// Returns what is left to the account that has least, as far as that is known and not over.
    pub(super) fn least(&self) -> Option<Allowance> {
        let standings = self.lock();
        let left = standings.values().filter_map(|it| it.ledger.left());
        left.min_by_key(|allowance| allowance.remaining)
    }

    fn change(&self, account: Account, change: impl FnOnce(&mut Standing)) {
        let mut standings = self.lock();
        if !standings.contains_key(&account) {
            make_room(&mut standings);
        }
        change(standings.entry(account).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets those of whom nothing holds any more; if all does, of whom it holds for the shortest time.
fn make_room(standings: &mut HashMap<Account, Standing>) {
    if standings.len() < CAPACITY {
        return;
    }
    let now = Some(Instant::now());
    standings.retain(|_, standing| now < standing.until());
    if CAPACITY <= standings.len() {
        let all = standings.iter();
        let next = all.min_by_key(|(_, standing)| standing.until());
        if let Some(account) = next.map(|(account, _)| *account) {
            standings.remove(&account);
        }
    }
}

impl Standing {
    /// Returns how long something of it holds; `None` for nothing.
    fn until(&self) -> Option<Instant> {
        self.ledger.until().max(self.spared.until())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a named account that differs by `nth` from others.
    fn named(nth: usize) -> Account {
        Account::Named(Fingerprint::numbered(nth))
    }

    fn limited(seconds: u32) -> Fault {
        Fault::RateLimited {
            retry_after: seconds * SECOND,
        }
    }

    fn left(accounts: &Accounts, account: Account, remaining: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-remaining", remaining.parse().unwrap());
        accounts.note_allowance(account, &Source::Anonymous, "a.io", &headers);
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_limits_of_its_own() {
        let accounts = Accounts::default();
        accounts.note(Account::Anonymous, &limited(10));
        left(&accounts, Account::Anonymous, "0;w=20");
        let of = |account| {
            let checks = [
                accounts.check_spared(account),
                accounts.check_allowance(account),
            ];
            checks.map(|check| check.map_or_else(|fault| fault.label(), |()| "free"))
        };
        let both = ["rate_limited", "allowance_low"];
        assert_eq!(of(Account::Anonymous), both);
        assert_eq!(of(named(1)), ["free"; 2]);
        left(&accounts, named(1), "500;w=20");
        assert_eq!(of(named(1)), ["free"; 2]);
        assert_eq!(of(Account::Anonymous), both);
        assert_eq!(accounts.least().unwrap().remaining, 0);
        advance(10 * SECOND).await;
        assert_eq!(of(Account::Anonymous), ["free", "allowance_low"]);
        advance(10 * SECOND).await;
        assert_eq!(of(Account::Anonymous), ["free"; 2]);
        assert_eq!(accounts.least(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ails_the_host_is_not_the_accounts() {
        let accounts = Accounts::default();
        let away = Fault::Unavailable {
            status: 503,
            retry_after: Some(SECOND),
        };
        accounts.note(Account::Anonymous, &away);
        accounts.note(Account::Anonymous, &Fault::NotFound);
        assert!(accounts.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_remembered_and_those_that_wait_longest() {
        let accounts = Accounts::default();
        let all: Vec<_> = (0..=CAPACITY).map(named).collect();
        accounts.note(all[0], &limited(5));
        accounts.note(all[1], &limited(4));
        for account in &all[2..] {
            accounts.note(*account, &limited(9));
        }
        assert_eq!(accounts.lock().len(), CAPACITY);
        assert!(accounts.check_spared(all[0]).is_err());
        assert!(accounts.check_spared(all[1]).is_ok());
        // Whose time is up makes room for all at once.
        advance(5 * SECOND).await;
        accounts.note(all[1], &limited(1));
        assert_eq!(accounts.lock().len(), CAPACITY);
        advance(4 * SECOND).await;
        accounts.note(all[0], &limited(1));
        assert_eq!(accounts.lock().len(), 1);
    }
}
