//! What the leader before may have used up of the budgets, as far as the pods tell.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    clock::ServerClock,
    memory::{MINUTE, Spent},
};
use crate::policy::Pod;

/// Returns as many evictions of the last minute as there may have been, of pods in the namespaces that are ours.
///
/// Whoever was evicted in that minute is still ending, or another came in its place, which is younger. So each of these
/// counts as one, whatever it ends or came for: rather too many than too few.
pub(super) fn evictions(
    pods: &[Arc<Pod>],
    is_ours: impl Fn(&str) -> bool,
    clock: Option<ServerClock>,
    now: Instant,
) -> Vec<Spent> {
    let at = |pod: &Pod| {
        if pod.terminating {
            return Some(now);
        }
        // The clock shows at most what it is: a pod seems rather younger than it is.
        let age = clock?.at(now).duration_since(pod.created);
        let age = Duration::try_from(age).unwrap_or_default();
        now.checked_sub(age).filter(|_| age <= MINUTE)
    };
    let is_replaced = |pod: &Pod| pod.owner.as_ref().is_some_and(|owner| owner.replaces());
    let lately = |pod: &Arc<Pod>| {
        Some(Spent {
            at: at(pod)?,
            namespace: pod.namespace.clone(),
            node: pod.node.clone(),
        })
    };
    (pods.iter())
        .filter(|pod| is_replaced(pod) && is_ours(&pod.namespace))
        .filter_map(lately)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{OwnerKind, fixture::Fixture},
        refresh::{
            fixture::{runs, seconds, wall},
            memory::Memory,
        },
    };

    /// Checks how many seconds ago evictions are counted for a pod, looked at in second 100 by the API server's clock.
    #[track_caller]
    fn check(pod: Fixture, expected: Option<u64>) {
        let now = Instant::now() + seconds(1000);
        let mut clock = None;
        ServerClock::saw(&mut clock, wall(100), now);
        let pods = [Arc::new(pod.build())];
        let found = evictions(&pods, |name| name == "shop", clock, now);
        let ago = found.iter().map(|spent| (now - spent.at).as_secs());
        assert_eq!(ago.collect::<Vec<_>>(), Vec::from_iter(expected));
    }

    fn created(second: i64) -> Fixture {
        runs("a", "web", 1).with(|pod| pod.created = wall(second))
    }

    #[test]
    fn pods_that_end_or_are_younger_than_a_minute_count() {
        check(created(100), Some(0));
        check(created(40), Some(60));
        check(created(39), None);
        check(created(-5000), None);
        let ending = |pod: &mut Pod| pod.terminating = true;
        check(created(-5000).with(ending), Some(0));
    }

    #[test]
    fn pods_that_we_would_not_evict_do_not() {
        check(created(90).owned_by(OwnerKind::Other), None);
        check(created(90).with(|pod| pod.owner = None), None);
        check(created(90).with(|pod| pod.namespace = "zoo".into()), None);
    }

    #[test]
    fn what_is_inherited_is_forgotten_with_its_minute() {
        let mut memory = Memory::new(seconds(300));
        let now = Instant::now() + seconds(1000);
        let of = |ago| Spent {
            at: now - seconds(ago),
            namespace: "shop".into(),
            node: None,
        };
        memory.inherit(vec![of(0), of(50), of(20)]);
        for (later, expected) in [(10, 3), (11, 2), (40, 2), (41, 1), (60, 1), (61, 0)] {
            memory.tidy(now + seconds(later), [].into_iter());
            assert_eq!(memory.evictions().count(), expected, "{later}");
        }
    }
}
