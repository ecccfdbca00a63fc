//! Watches one container of its own pod, and has the pod's owner restarted when the container's tag moves.
//!
//! It lives on one `GET` of its pod per look and keeps no cache of the cluster. As many of these as the owner has
//! pods decide for themselves, and make one rollout: see [`solo`](crate::policy::solo).

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    cluster::{OwnPod, Owners, Recorder, Server},
    policy::gate::Limits,
    registry::Resolver,
};

mod judge;
mod known;
mod look;
mod platform;
mod tell;
mod trouble;

pub use trouble::Trouble;

/// How long one call of the API server may take.
pub const CALL_TIME: Duration = Duration::from_secs(5);

/// The first pause after a failure; it doubles up to the poll interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// What is held back is looked at as often as this, if the poll interval is not shorter: windows open, rollouts end.
const HELD: Duration = Duration::from_secs(15);

/// Who was overtaken by another looks again this much later.
const OVERTAKEN: Duration = Duration::from_secs(1);

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the container to watch.
    pub container: String,
    /// How often its image is looked up.
    pub poll_interval: Duration,
    /// When a digest counts as confirmed, and how long a new pod may take to become ready.
    pub limits: Limits,
    /// Whether a restart is only tried.
    pub dry_run: bool,
}

/// The parts of the house that it uses.
#[derive(Debug)]
pub struct Parts {
    /// Our own pod.
    pub pod: OwnPod,
    /// The API server, for the pod's owner.
    pub server: Server,
    /// Answers what the tag means.
    pub resolver: Resolver,
    /// Takes Events.
    pub recorder: Recorder,
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// After the poll interval: there is nothing to do.
    Poll,
    /// After so long, or after the poll interval if that is shorter: there is something to do.
    Soon(Duration),
}

/// Watches until it is dropped.
///
/// Only a setting that cannot be right (no such pod, no such container) ends it, and only at its start: whatever
/// comes later is told, and waited out. A sidecar that ends takes its pod's readiness along.
pub async fn run(parts: Parts, settings: Settings) -> Result<Infallible, Trouble> {
    let owners = Owners::new(parts.server.clone(), CALL_TIME);
    let mut watcher = look::Watcher::new(&parts, &settings, owners);
    let mut failures = 0_u32;
    loop {
        let pause = match watcher.look(Instant::now()).await {
            Ok(next) => {
                failures = 0;
                next.pause(settings.poll_interval, fastrand::f64())
            }
            Err(trouble) if trouble.is_final() && !watcher.has_seen() => return Err(trouble),
            Err(trouble) => {
                watcher.told.trouble(&trouble);
                let pause = retry(failures, settings.poll_interval, fastrand::f64());
                failures = failures.saturating_add(1);
                pause.max(trouble.retry_after().unwrap_or_default())
            }
        };
        sleep(pause).await;
    }
}

impl Next {
    /// Returns how long to wait; `chance` is a random number from 0 to 1.
    ///
    /// Sidecars of one owner start together, and should not go on so.
    fn pause(self, poll_interval: Duration, chance: f64) -> Duration {
        match self {
            Self::Poll => poll_interval.mul_f64(1.0 - 0.1 * chance),
            Self::Soon(pause) => pause.mul_f64(1.0 + 0.1 * chance).min(poll_interval),
        }
    }
}

/// Returns the pause after a failure that so many others came before.
fn retry(failures: u32, poll_interval: Duration, chance: f64) -> Duration {
    let pause = FIRST_RETRY.saturating_mul(1 << failures.min(16));
    Next::Soon(pause).pause(poll_interval, chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[track_caller]
    fn check(next: Next, chance: f64, expected: u64) {
        assert_eq!(next.pause(ms(60_000), chance), ms(expected), "{next:?}");
    }

    #[test]
    fn sidecars_do_not_look_in_step() {
        check(Next::Poll, 0.0, 60_000);
        check(Next::Poll, 1.0, 54_000);
        check(Next::Soon(ms(10_000)), 0.0, 10_000);
        check(Next::Soon(ms(10_000)), 1.0, 11_000);
        check(Next::Soon(ms(70_000)), 0.5, 60_000);
        check(Next::Soon(Duration::ZERO), 1.0, 0);
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer() {
        let pauses = |poll| [0, 1, 2, 3, 40].map(|failures| retry(failures, ms(poll), 0.0));
        let expected = [5000, 10_000, 20_000, 40_000, 60_000].map(ms);
        assert_eq!(pauses(60_000), expected);
        assert_eq!(pauses(300), [ms(300); 5]);
    }
}
