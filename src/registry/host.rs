//! What is remembered of one registry host, so that it is asked no more than it must be.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Fault,
    accounts::{Account, Accounts},
    challenge::Scheme,
    get_only::GetOnly,
    silence::{Leave, Silence},
    spared::Spared,
};
use crate::credentials::Candidate;

/// What a host said of how to log in is not asked for again for so long, though nobody gets in by it.
const LOGIN_HOLDS: Duration = Duration::from_secs(60);

/// Lookups that a host is sent in a second, at most, for as long as it answers faster than that. The registries that
/// say what they bear take more.
const PER_SECOND: u32 = 500;

/// As many lookups may go at once after a pause.
const BURST: u32 = 16;

/// One host's state.
#[derive(Debug)]
pub(super) struct Host {
    /// Whose rate of requests it limits.
    pub(super) accounts: Accounts,
    /// Where it tells no digests by HEAD.
    pub(super) get_only: GetOnly,
    permits: Semaphore,
    met: OnceCell<()>,
    state: Mutex<State>,
}

/// A lookup's turn at a host, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'h> {
    host: &'h Host,
    leave: Leave,
    /// Whether the host has given an answer. One that is given up in the middle got none.
    is_answered: bool,
    _permit: SemaphorePermit<'h>,
}

#[derive(Debug)]
struct State {
    /// How it wants to be logged in to; `None` while it did not say so.
    scheme: Option<Arc<Scheme>>,
    /// When it said so last.
    scheme_told: Option<Instant>,
    spared: Spared,
    silence: Silence,
    /// When the next lookup would go if all went evenly.
    next_turn: Option<Instant>,
}

impl Host {
    /// Returns an unknown host that takes `concurrency` lookups at a time.
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            accounts: Accounts::default(),
            get_only: GetOnly::default(),
            permits: Semaphore::new(concurrency),
            met: OnceCell::new(),
            // When all that may be under way came to nothing, more of them will hardly do better.
            state: Mutex::new(State::new(concurrency)),
        }
    }

    /// Waits for its turn, at most for `patience`; fails at once while the host is to be spared, by all or by
    /// each of `accounts`, or answers nobody.
    pub(super) async fn enter(
        &self,
        accounts: &[Account],
        patience: Duration,
    ) -> Result<Turn<'_>, Fault> {
        let silent = Fault::Timeout { after: patience };
        self.check_spared(accounts)?;
        if self.lock().silence.is_tried() {
            return Err(silent);
        }
        let permit = timeout(patience, self.permits.acquire()).await;
        let permit = permit.map_err(|_| silent.clone())?;
        let permit = permit.map_err(|_| Fault::Aborted)?;
        let turn = self.lock().turn(Instant::now());
        sleep_until(turn).await;
        // Those who waited with us may have met trouble.
        self.check_spared(accounts)?;
        let leave = self.lock().silence.enter().ok_or(silent)?;
        Ok(Turn {
            host: self,
            leave,
            is_answered: false,
            _permit: permit,
        })
    }

    /// Takes note of what a lookup came to grief with.
    fn note(&self, fault: &Fault) {
        if let Some(duration) = fault.spares_host_for() {
            self.lock().spared.note(fault, duration);
        }
    }

    fn check_spared(&self, accounts: &[Account]) -> Result<(), Fault> {
        self.lock().spared.check()?;
        self.accounts.check_all_spared(accounts)
    }

    /// Returns who asks when `candidates` do: nobody in particular where no login is known to be wanted.
    pub(super) fn accounts_of<'c>(
        &self,
        candidates: impl Iterator<Item = &'c Candidate>,
    ) -> Vec<Account> {
        match self.wants_login() {
            true => candidates.map(Account::of).collect(),
            false => vec![Account::Anonymous],
        }
    }

    /// Says whether it is known to want a login: else nobody shows it anything.
    pub(super) fn wants_login(&self) -> bool {
        self.lock().scheme.is_some()
    }

    /// Returns how the host wants to be logged in to; `meet` asks it, once.
    pub(super) async fn scheme<A>(&self, meet: A) -> Result<Option<Arc<Scheme>>, Fault>
    where
        A: Future<Output = Result<Option<Scheme>, Fault>>,
    {
        let met = self.met.get_or_try_init(|| async {
            let scheme = meet.await?;
            self.lock().is_told(scheme);
            Ok(())
        });
        met.await?;
        Ok(self.lock().scheme.clone())
    }

    /// Takes note of how the host wants to be logged in to, as it said when it was asked for something.
    pub(super) fn learn(&self, scheme: &Scheme) {
        self.lock().is_told(Some(scheme.clone()));
    }

    /// Says whether it is long ago that the host said how it wants to be logged in to: that may have changed.
    pub(super) fn may_want_another_login(&self) -> bool {
        let told = self.lock().scheme_told;
        told.is_none_or(|told| LOGIN_HOLDS <= told.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Takes note of what the lookup came to.
    pub(super) fn note<T>(&mut self, answer: &Result<T, Fault>) {
        self.is_answered = answer.as_ref().map_or_else(Fault::is_answer, |_| true);
        if let Err(fault) = answer {
            self.host.note(fault);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        state.silence.left(self.leave, self.is_answered);
    }
}

impl State {
    /// Returns what is known of a host that has not been asked yet.
    fn new(concurrency: usize) -> Self {
        Self {
            scheme: None,
            scheme_told: None,
            spared: Spared::default(),
            silence: Silence::new(concurrency),
            next_turn: None,
        }
    }

    fn is_told(&mut self, scheme: Option<Scheme>) {
        self.scheme = scheme.map(Arc::new);
        self.scheme_told = Some(Instant::now());
    }

    /// Returns when a lookup that comes at `now` may go.
    fn turn(&mut self, now: Instant) -> Instant {
        let step = Duration::from_secs(1) / PER_SECOND;
        // What was not used in a pause is not saved beyond the burst.
        let earliest = now.checked_sub(step * BURST).unwrap_or(now);
        let turn = self.next_turn.map_or(earliest, |next| next.max(earliest));
        self.next_turn = Some(turn + step);
        turn
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::credentials::{Credential, Fingerprint, Source};

    const SECOND: Duration = Duration::from_secs(1);
    const ANONYMOUS: &[Account] = &[Account::Anonymous];

    #[tokio::test(start_paused = true)]
    async fn an_account_is_limited_until_the_time_is_up_and_no_other_is() {
        let host = Host::new(2);
        host.accounts
            .note(Account::Anonymous, &limited(10 * SECOND));
        advance(4 * SECOND).await;
        let error = host.enter(ANONYMOUS, SECOND).await.unwrap_err();
        assert!(matches!(error, Fault::RateLimited { retry_after } if retry_after == 6 * SECOND));
        let other = Account::Named(Fingerprint::numbered(1));
        assert!(host.enter(&[other], SECOND).await.is_ok());
        // Who has both may ask as the other.
        let both = [Account::Anonymous, other];
        assert!(host.enter(&both, SECOND).await.is_ok());
        host.accounts.note(other, &limited(9 * SECOND));
        let error = host.enter(&both, SECOND).await.unwrap_err();
        assert!(matches!(error, Fault::RateLimited { retry_after } if retry_after == 6 * SECOND));
        advance(6 * SECOND).await;
        assert!(host.enter(ANONYMOUS, SECOND).await.is_ok());
    }

    #[test]
    fn a_credential_names_who_asks_where_a_login_is_wanted() {
        let candidate = |n, credential| Candidate {
            source: Source::Anonymous,
            credential,
            fingerprint: Fingerprint::numbered(n),
        };
        let ann = candidate(1, Credential::Identity("t".into()));
        let candidates = [ann, candidate(2, Credential::Anonymous)];
        let host = Host::new(1);
        assert_eq!(host.accounts_of(candidates.iter()), ANONYMOUS);
        host.learn(&Scheme::Basic);
        let named = Account::Named(Fingerprint::numbered(1));
        let found = host.accounts_of(candidates.iter());
        assert_eq!(found, [named, Account::Anonymous]);
    }

    fn limited(retry_after: Duration) -> Fault {
        Fault::RateLimited { retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_image_spares_nothing() {
        let host = Host::new(1);
        host.note(&Fault::NotFound);
        host.note(&unavailable(None));
        assert!(host.enter(ANONYMOUS, SECOND).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_down_until_later_is_spared_until_then() {
        let host = Host::new(1);
        host.note(&unavailable(Some(10 * SECOND)));
        advance(4 * SECOND).await;
        let error = host.enter(ANONYMOUS, SECOND).await.unwrap_err();
        assert!(
            matches!(error, Fault::Unavailable { retry_after: Some(left), .. } if left == 6 * SECOND)
        );
        advance(6 * SECOND).await;
        assert!(host.enter(ANONYMOUS, SECOND).await.is_ok());
    }

    fn unavailable(retry_after: Option<Duration>) -> Fault {
        Fault::Unavailable {
            status: 503,
            retry_after,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_bounded_in_number_and_patience() {
        let host = Host::new(2);
        let (first, second) = (
            host.enter(ANONYMOUS, SECOND).await,
            host.enter(ANONYMOUS, SECOND).await,
        );
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(
            host.enter(ANONYMOUS, SECOND).await.unwrap_err().label(),
            "timeout"
        );
        drop(first);
        assert!(host.enter(ANONYMOUS, SECOND).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_lookups_go_in_a_second_than_a_host_is_meant_to_bear() {
        let host = Host::new(1);
        advance(60 * SECOND).await;
        for pause in [Duration::ZERO, 60 * SECOND] {
            advance(pause).await;
            let begun = Instant::now();
            for _ in 0..PER_SECOND + BURST + 1 {
                drop(host.enter(ANONYMOUS, SECOND).await.unwrap());
            }
            // The clock of the tests ticks in milliseconds.
            let excess = begun.elapsed().abs_diff(SECOND);
            assert!(
                excess <= Duration::from_millis(5),
                "{excess:?} after {pause:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_in_the_queue_learn_of_trouble() {
        let host = Host::new(1);
        let first = host.enter(ANONYMOUS, SECOND).await.unwrap();
        let (waiting, ()) = tokio::join!(host.enter(ANONYMOUS, SECOND), async {
            host.accounts.note(Account::Anonymous, &limited(SECOND));
            drop(first);
        });
        assert_eq!(waiting.unwrap_err().label(), "rate_limited");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_answers_nobody_is_tried_by_one_at_a_time() {
        let host = Host::new(2);
        let (mut given_up, mut timed_out) = (enter(&host).await, enter(&host).await);
        timed_out.note::<()>(&Err(Fault::Timeout { after: SECOND }));
        drop((given_up, timed_out));
        let mut trial = enter(&host).await;
        let begun = Instant::now();
        assert_eq!(
            host.enter(ANONYMOUS, SECOND).await.unwrap_err().label(),
            "timeout"
        );
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // Any answer will do.
        trial.note::<()>(&Err(Fault::NotFound));
        drop(trial);
        given_up = enter(&host).await;
        assert!(host.enter(ANONYMOUS, SECOND).await.is_ok());
        drop(given_up);
    }

    async fn enter(host: &Host) -> Turn<'_> {
        host.enter(ANONYMOUS, SECOND).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_met_once_unless_that_failed() {
        let host = Host::new(1);
        let failed = host.scheme(async { Err(unavailable(None)) }).await;
        assert!(failed.is_err());
        let met = host.scheme(async { Ok(Some(Scheme::Basic)) }).await;
        assert_eq!(met.unwrap().as_deref(), Some(&Scheme::Basic));
        let again = host
            .scheme(async { panic!("must not be asked again") })
            .await;
        assert_eq!(again.unwrap().as_deref(), Some(&Scheme::Basic));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_of_the_login_holds_for_a_while() {
        let host = Host::new(1);
        assert!(host.may_want_another_login());
        let met = host.scheme(async { Ok(Some(Scheme::Basic)) }).await;
        assert!(met.is_ok());
        for _ in 0..2 {
            advance(LOGIN_HOLDS - SECOND).await;
            assert!(!host.may_want_another_login());
            advance(SECOND).await;
            assert!(host.may_want_another_login());
            host.learn(&Scheme::Basic);
        }
    }
}
