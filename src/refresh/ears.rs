//! What wakes the one who looks at the cluster.

use tokio::sync::watch;

use super::Parts;

/// Counters that move when something has changed.
#[derive(Debug)]
pub(super) struct Ears {
    terms: watch::Receiver<Option<u64>>,
    number: u64,
    /// That of the pods.
    pub(super) pods: watch::Receiver<u64>,
    /// That of the namespaces.
    pub(super) namespaces: watch::Receiver<u64>,
}

impl Ears {
    /// Returns ears that hear what changes from now on in the term with this number.
    pub(super) fn of(parts: &Parts, number: u64) -> Self {
        Self {
            terms: parts.leadership.changed(),
            number,
            pods: parts.pods.changed(),
            namespaces: parts.namespaces.changed(),
        }
    }

    /// Returns what waits until the term is over, even if the next one has begun since; for ever if the election
    /// is over for good.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let (mut terms, number) = (self.terms.clone(), self.number);
        let is_over = move |term: &Option<u64>| *term != Some(number);
        async move {
            if terms.wait_for(is_over).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
