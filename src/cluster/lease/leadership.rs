//! Whether this process leads, and in which term.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

/// Whether this process leads; a clone tells the same.
#[derive(Debug, Clone)]
pub struct Leadership {
    term: Option<watch::Receiver<Option<Term>>>,
    leads: watch::Receiver<Option<u64>>,
    leader: Leader,
    /// The only term that counts, if it is one.
    only: Option<u64>,
}

/// The replica that leads while we do not; a clone is the same.
#[derive(Debug, Clone)]
pub struct Leader {
    address: watch::Receiver<Option<SocketAddr>>,
    hurry: Arc<Notify>,
}

impl Leader {
    /// Returns the one that the candidate finds, who can be told to `hurry`.
    pub(crate) const fn new(
        address: watch::Receiver<Option<SocketAddr>>,
        hurry: Arc<Notify>,
    ) -> Self {
        Self { address, hurry }
    }

    /// Returns where it takes notifications, as the Lease had it when it was read last; `None` where that is not known
    /// or it is us.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.borrow()
    }

    /// Has the Lease read again soon, and waits until that has shown another address, or for `patience`.
    pub async fn change(&self, patience: Duration) {
        let mut address = self.address.clone();
        address.mark_unchanged();
        self.hurry.notify_one();
        // An election that is over tells nothing more.
        let _ = timeout(patience, address.changed()).await;
    }
}

/// What ends a leadership that needs no Lease.
#[derive(Debug)]
pub struct Reins(watch::Sender<Option<u64>>);

impl Reins {
    /// Ends it: whoever asks from now on does not lead.
    pub fn let_go(&self) {
        self.0.send_replace(None);
    }
}

/// The time for which we lead without asking again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// Which one it is: a term that has run out is never renewed, the next one has another number.
    pub(super) number: u64,
    /// Until when, by the steady clock.
    pub(super) until: Instant,
    /// The same by the wall clock: a machine that was suspended may find its steady clock as it was.
    pub(super) wall_until: SystemTime,
    /// Whether somebody may have led before it, another or we.
    pub(super) succeeds: bool,
}

impl Leadership {
    /// The number of the only term of one who needs no Lease.
    pub const WITHOUT_LEASE: u64 = 0;

    /// Returns the leadership by these terms, of which the candidate tells.
    pub(super) const fn new(
        term: watch::Receiver<Option<Term>>,
        leads: watch::Receiver<Option<u64>>,
        leader: Leader,
    ) -> Self {
        Self {
            term: Some(term),
            leads,
            leader,
            only: None,
        }
    }

    /// Returns the leadership of the only replica.
    pub fn always() -> Self {
        Self::held().0
    }

    /// Returns the leadership of one who needs no Lease, and may act until the reins are let go.
    pub fn held() -> (Self, Reins) {
        let (reins, leads) = watch::channel(Some(Self::WITHOUT_LEASE));
        let leadership = Self {
            term: None,
            leads,
            leader: Leader::new(watch::channel(None).1, Arc::default()),
            only: None,
        };
        (leadership, Reins(reins))
    }

    /// Returns the same, for one term: whatever comes after it is not leading.
    ///
    /// Another replica may lead between two terms, so what was known in one must not be acted on in the next.
    #[must_use]
    pub fn of_term(&self, number: u64) -> Self {
        Self {
            only: Some(number),
            ..self.clone()
        }
    }

    /// Says whether we lead at `now`. Ask right before each act that only the leader may do.
    pub fn leads(&self, now: Instant) -> bool {
        !self.time_left(now).is_zero()
    }

    /// Returns for how long we lead at least: zero if we do not.
    pub fn time_left(&self, now: Instant) -> Duration {
        let Some(term) = &self.term else {
            return match *self.leads.borrow() {
                Some(number) if self.counts(number) => Duration::MAX,
                _ => Duration::ZERO,
            };
        };
        match *term.borrow() {
            Some(term) if self.counts(term.number) => term.time_left(now, SystemTime::now()),
            _ => Duration::ZERO,
        }
    }

    /// Says whether somebody may have led before the term that we lead in; not if the Lease was made for it.
    pub fn succeeds(&self) -> bool {
        let term = self.term.as_ref().and_then(|term| *term.borrow());
        term.is_some_and(|term| self.counts(term.number) && term.succeeds)
    }

    fn counts(&self, number: u64) -> bool {
        self.only.is_none_or(|only| only == number)
    }

    /// Returns the number of the term that we lead in, for waking up when it changes; `leads` alone is exact.
    pub fn changed(&self) -> watch::Receiver<Option<u64>> {
        self.leads.clone()
    }

    /// Returns the replica that leads, for those who have to tell it something.
    pub fn leader(&self) -> Leader {
        self.leader.clone()
    }
}

impl Term {
    /// Returns how much is left of it by the clock on which less is left.
    pub(super) fn time_left(&self, now: Instant, wall: SystemTime) -> Duration {
        if self.wall_until <= wall {
            return Duration::ZERO;
        }
        // A wall clock that was set back shows more than there ever was.
        self.until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_suspended_machine_does_not_lead_by_its_steady_clock() {
        let now = Instant::now();
        let leadership = |wall_until| {
            let (_, leads) = watch::channel(Some(0));
            let term = Term {
                number: 0,
                until: now + 10 * SECOND,
                wall_until,
                succeeds: false,
            };
            Leadership::new(
                watch::channel(Some(term)).1,
                leads,
                Leader::new(watch::channel(None).1, Arc::default()),
            )
        };
        assert!(leadership(SystemTime::now() + 10 * SECOND).leads(now));
        assert!(!leadership(SystemTime::now() - SECOND).leads(now));
    }

    #[test]
    fn a_clock_that_is_set_makes_no_term_longer() {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let term = Term {
            number: 0,
            until: now + 10 * SECOND,
            wall_until: wall + 10 * SECOND,
            succeeds: false,
        };
        let hour = 3600 * SECOND;
        assert_eq!(term.time_left(now, wall), 10 * SECOND);
        assert_eq!(term.time_left(now, wall - hour), 10 * SECOND);
        assert_eq!(
            term.time_left(now + 10 * SECOND, wall - hour),
            Duration::ZERO
        );
        assert_eq!(term.time_left(now, wall + hour), Duration::ZERO);
        assert_eq!(term.time_left(now, wall + 10 * SECOND), Duration::ZERO);
    }

    #[tokio::test]
    async fn the_only_replica_always_leads() {
        assert!(Leadership::always().leads(Instant::now()));
        assert!(Leadership::always().of_term(0).leads(Instant::now()));
        assert_eq!(*Leadership::always().changed().borrow(), Some(0));
        assert!(!Leadership::always().succeeds());
    }

    #[tokio::test]
    async fn who_holds_no_lease_leads_until_the_reins_are_let_go() {
        let (leadership, reins) = Leadership::held();
        let term = leadership.of_term(Leadership::WITHOUT_LEASE);
        let mut changed = leadership.changed();
        let leads = || [&leadership, &term].map(|it| it.leads(Instant::now()));
        assert_eq!(leads(), [true, true]);
        reins.let_go();
        assert_eq!(leads(), [false, false]);
        assert!(changed.wait_for(Option::is_none).await.is_ok());
    }
}
