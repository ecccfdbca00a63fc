//! The repositories of a host whose digests HEAD does not tell, so that they are asked by GET at once.
//!
//! A GET counts as a pull at many registries, and behind one address there may be repositories of all kinds. So nothing
//! follows from one for the others.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// HEAD gets another chance after so long.
const HOLDS: Duration = Duration::from_secs(60 * 60);

/// Repositories that are remembered of a host. Of others each lookup takes both requests.
const CAPACITY: usize = 1000;

/// Repositories, and until when that holds.
#[derive(Debug, Default)]
pub(super) struct GetOnly(Mutex<HashMap<Box<str>, Instant>>);

impl GetOnly {
    /// Says whether HEAD is known to be of no use for `repository`.
    pub(super) fn covers(&self, repository: &str) -> bool {
        let until = self.lock().get(repository).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Takes note that HEAD is of no use for `repository`.
    pub(super) fn note(&self, repository: &str) {
        let (mut known, now) = (self.lock(), Instant::now());
        if known.len() >= CAPACITY {
            known.retain(|_, until| now < *until);
        }
        if known.len() < CAPACITY || known.contains_key(repository) {
            known.insert(repository.into(), now + HOLDS);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn head_gets_another_chance() {
        let known = GetOnly::default();
        assert!(!known.covers("app"));
        known.note("app");
        advance(HOLDS - SECOND).await;
        assert!(known.covers("app") && !known.covers("other"));
        advance(SECOND).await;
        assert!(!known.covers("app"));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_remembered_until_their_time_is_up() {
        let known = GetOnly::default();
        let name = |n: usize| format!("app-{n}");
        for n in 0..CAPACITY {
            known.note(&name(n));
        }
        advance(SECOND).await;
        known.note(&name(CAPACITY));
        assert!(known.covers(&name(0)) && !known.covers(&name(CAPACITY)));
        known.note(&name(0));
        advance(HOLDS - SECOND).await;
        known.note(&name(CAPACITY));
        assert!(known.covers(&name(0)) && known.covers(&name(CAPACITY)));
        assert_eq!(known.lock().len(), 2);
    }
}
