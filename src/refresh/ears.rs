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
}

/// What is told of pushes, if anybody tells.
#[derive(Debug)]
pub(super) struct Pushes<'a> {
    told: Option<&'a mut mpsc::Receiver<Push>>,
    /// Whether it is known which images are in use: what is told before waits.
    pub(super) looked: bool,
}

impl Pushes<'_> {
    /// Waits for pushes, and returns those that have been told of. A caller that goes away before loses nothing.
    pub(super) async fn next(&mut self) -> Vec<Push> {
        let mut pushes = Vec::new();
        if let Some(told) = self.told.as_mut().filter(|_| self.looked)
            && 0 < told.recv_many(&mut pushes, AT_ONCE).await
        {
            return pushes;
        }
        // Nobody tells, or not any more.
        std::future::pending().await
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
                looked: false,
            },
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn push(text: &str) -> Push {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_told_before_the_first_look_is_heard_after_it() {
        let (tell, mut told) = mpsc::channel(4);
        let mut pushes = Pushes {
            told: Some(&mut told),
            looked: false,
        };
        tell.try_send(push("h.io/a:1")).unwrap();
        tell.try_send(push("h.io/b:1")).unwrap();
        assert_eq!(pushes.next().now_or_never(), None);
        pushes.looked = true;
        let both = vec![push("h.io/a:1"), push("h.io/b:1")];
        assert_eq!(pushes.next().now_or_never(), Some(both));
        assert_eq!(pushes.next().now_or_never(), None);
        tell.try_send(push("h.io/c:1")).unwrap();
        // Nobody tells any more; what was told is heard, and then nothing.
        drop(tell);
        let last = vec![push("h.io/c:1")];
        assert_eq!(pushes.next().now_or_never(), Some(last));
        assert_eq!(pushes.next().now_or_never(), None);
    }
}
