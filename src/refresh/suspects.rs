//! Since when each outdated pod has been seen to run what it runs.
//!
//! A pod may run a *newer* image than the one that its tag was last known to mean: it was started after the
//! tag had moved, and before the tag was asked for again. So what was known of the tag before a pod was
//! seen says nothing against it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tokio::time::Instant;

use crate::policy::{Digest, Pod};

/// The outdated pods, by uid.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashMap<Box<str>, Suspect>);

#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// A fingerprint of what it runs.
    runs: u64,
    since: Instant,
    seen: Instant,
}

impl Suspects {
    /// Returns since when the pod has been seen to run this in its outdated containers: `now` if it has not.
    pub(super) fn since<'a>(
        &mut self,
        pod: &Pod,
        runs: impl Iterator<Item = (&'a str, Option<&'a Digest>)>,
        now: Instant,
    ) -> Instant {
        let mut hasher = DefaultHasher::new();
        runs.for_each(|container| container.hash(&mut hasher));
        let runs = hasher.finish();
        let fresh = Suspect {
            runs,
            since: now,
            seen: now,
        };
        match self.0.get_mut(&pod.uid) {
            Some(known) if known.runs == runs => {
                known.seen = now;
                known.since
            }
            Some(known) => {
                *known = fresh;
                now
            }
            None => {
                self.0.insert(pod.uid.clone(), fresh);
                now
            }
        }
    }

    /// Forgets the pods that have not been seen outdated at `now`.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.0.retain(|_, suspect| suspect.seen == now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::fixture::{digest, pod};

    /// Checks since which second a pod is suspected that runs, second for second, these digests (0 is none).
    #[track_caller]
    fn check(runs: &[u8], expected: &[u64]) {
        let (mut suspects, start) = (Suspects::default(), Instant::now());
        let pod = pod("web").build();
        for (second, (runs, expected)) in (0..).zip(runs.iter().zip(expected)) {
            let now = start + Duration::from_secs(second);
            if *runs != 0 {
                let digest = digest(*runs);
                let since = suspects.since(&pod, [("app", Some(&digest))].into_iter(), now);
                assert_eq!(since, start + Duration::from_secs(*expected), "{second}");
            }
            suspects.tidy(now);
        }
    }

    #[test]
    fn a_pod_is_suspected_since_it_was_seen_to_run_what_it_runs() {
        check(&[1, 1, 1], &[0, 0, 0]);
        check(&[1, 2, 2, 1], &[0, 1, 1, 3]);
    }

    #[test]
    fn a_pod_that_was_cleared_is_suspected_anew() {
        check(&[1, 0, 1], &[0, 0, 2]);
    }
}
