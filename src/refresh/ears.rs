//! What wakes the one who looks at the cluster.

use tokio::sync::{mpsc, watch};

use super::Parts;
use crate::policy::Push;

/// Pushes that are taken in together.
const AT_ONCE: usize = 256;

/// Counters that move when something has changed, and what is told of pushes.
#[derive(Debug)]
pub(super) struct Ears<'a> {
    terms: watch::Receiver<Option<u64>>,
    number: u64,
    /// That of the pods.
    pub(super) pods: watch::Receiver<u64>,
    /// That of the namespaces.
    pub(super) namespaces: watch::Receiver<u64>,
    /// What is told of pushes.
    pub(super) pushes: Pushes<'a>,
    /// Whether something has changed, or nothing was looked at yet.
    is_behind: bool,
}

/// What is told of pushes, if anybody tells.
#[derive(Debug)]
pub(super) struct Pushes<'a> {
    told: Option<&'a mut mpsc::Receiver<Push>>,
    /// Those that wait for a look: only by one that is newer is it known whether an image is in use.
    waiting: Vec<Push>,
}

impl Pushes<'_> {
    /// Waits until pushes are told of that [`take`](Self::take) returns. A caller that goes away before loses nothing.
    pub(super) async fn wait(&mut self) {
        if let Some(told) = self.told.as_mut().filter(|_| self.waiting.is_empty())
            && 0 < told.recv_many(&mut self.waiting, AT_ONCE).await
        {
            return;
        }
        // Nobody tells, not any more, or not before those that wait are taken.
        std::future::pending().await
    }

    /// Returns what has been waited for.
    pub(super) fn take(&mut self) -> Vec<Push> {
        std::mem::take(&mut self.waiting)
    }
}

impl<'a> Ears<'a> {
    /// Returns ears that hear what changes from now on in the term with this number, and what `told` tells.
    pub(super) fn of(
        parts: &Parts,
        number: u64,
        told: Option<&'a mut mpsc::Receiver<Push>>,
    ) -> Self {
        Self {
            terms: parts.leadership.changed(),
            number,
            pods: parts.pods.changed(),
            namespaces: parts.namespaces.changed(),
            pushes: Pushes {
                told,
                waiting: Vec::new(),
            },
            is_behind: true,
        }
    }

    /// Says whether something has changed since [`looked`](Self::looked): what is in use may be something else.
    pub(super) fn is_behind(&self) -> bool {
        let has_changed = |counter: &watch::Receiver<u64>| counter.has_changed().unwrap_or(false);
        self.is_behind || has_changed(&self.pods) || has_changed(&self.namespaces)
    }

    /// Notes that something has changed.
    pub(super) fn changed(&mut self) {
        self.is_behind = true;
    }

    /// Notes that all was looked at that had changed before.
    pub(super) fn looked(&mut self) {
        self.is_behind = false;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn push(text: &str) -> Push {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn pushes_are_waited_for_until_they_are_taken() {
        let (tell, mut told) = mpsc::channel(4);
        let mut pushes = Pushes {
            told: Some(&mut told),
            waiting: Vec::new(),
        };
        assert_eq!(pushes.wait().now_or_never(), None);
        tell.try_send(push("h.io/a:1")).unwrap();
        tell.try_send(push("h.io/b:1")).unwrap();
        assert_eq!(pushes.wait().now_or_never(), Some(()));
        tell.try_send(push("h.io/c:1")).unwrap();
        assert_eq!(pushes.wait().now_or_never(), None);
        assert_eq!(pushes.take(), [push("h.io/a:1"), push("h.io/b:1")]);
        // Nobody tells any more; what was told is heard, and then nothing.
        drop(tell);
        assert_eq!(pushes.wait().now_or_never(), Some(()));
        assert_eq!(pushes.take(), [push("h.io/c:1")]);
        assert_eq!(pushes.wait().now_or_never(), None);
    }
}
