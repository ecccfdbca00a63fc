//! The loop that every controller runs in: changes in, names of objects to look at out, retries with a growing pause.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::api::{Api, ApiError, Change, object};

// A real controller manager works on five objects of a kind at once.
const WORKERS: usize = 5;
// Real controllers start at 5 ms and double up to 1000 s; a test does not wait that long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

// The changes that come within this time are one look: a thousand pods that get ready must not cost a thousand counts of a
// thousand pods.
const GATHERING: Duration = Duration::from_millis(1);

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub(crate) fn of(object: &serde_json::Value) -> Self {
        Self::new(object::namespace(object), object::name(object))
    }
}

/// When to look at an object again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At the next change that concerns it.
    OnChange,
    /// After this time even without a change.
    After(Duration),
}

/// What a controller knows about its objects. It keeps no state: each look starts from the store.
pub(crate) trait Controller: Send + Sync + 'static {
    /// Returns all objects to look at, when the controller starts.
    fn all(&self, api: &Api) -> Vec<Name>;

    /// Returns the objects that a change may concern.
    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name>;

    /// Moves one object a step towards what it asks for.
    fn reconcile(
        &self,
        api: &Api,
        name: &Name,
    ) -> impl Future<Output = Result<Next, ApiError>> + Send;
}

/// Which objects are to be looked at, and when.
#[derive(Debug, Default)]
struct Queue {
    due: HashMap<Name, Instant>,
    /// The same, by time.
    order: BTreeSet<(Instant, Name)>,
    failures: HashMap<Name, u32>,
    busy: HashSet<Name>,
}

impl Queue {
    /// Asks for a look at this time, or earlier if one is due earlier.
    fn ask(&mut self, name: Name, at: Instant) {
        match self.due.get(&name) {
            Some(due) if *due <= at => return,
            Some(due) => self.order.remove(&(*due, name.clone())),
            None => false,
        };
        self.order.insert((at, name.clone()));
        self.due.insert(name, at);
    }

    /// A change asks for a look at `now`, but not before the pause after a failure is over.
    fn changed(&mut self, name: Name, now: Instant) {
        let pauses = self.failures.contains_key(&name) && self.due.contains_key(&name);
        if !pauses {
            self.ask(name, now);
        }
    }

    fn ended(&mut self, name: Name, outcome: Result<Next, ApiError>, now: Instant) {
        self.busy.remove(&name);
        match outcome {
            Ok(next) => {
                self.failures.remove(&name);
                if let Next::After(time) = next {
                    self.ask(name, now + time);
                }
            }
            Err(error) => {
                debug!(?name, %error, "A look failed");
                let failures = self.failures.entry(name.clone()).or_default();
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << (*failures).min(16))
                    .min(LONGEST_PAUSE);
                *failures += 1;
                // What has changed meanwhile waits, too.
                self.drop_due(&name);
                self.ask(name, now + pause);
            }
        }
    }

    fn drop_due(&mut self, name: &Name) {
        if let Some(at) = self.due.remove(name) {
            self.order.remove(&(at, name.clone()));
        }
    }

    fn next_due(&self) -> Option<&(Instant, Name)> {
        self.order
            .iter()
            .find(|(_, name)| !self.busy.contains(name))
    }

    /// Takes the next object that is due.
    fn take(&mut self, now: Instant) -> Option<Name> {
        let (_, name) = self.next_due().filter(|(at, _)| *at <= now)?.clone();
        self.drop_due(&name);
        self.busy.insert(name.clone());
        Some(name)
    }
}

/// Runs a controller until the store is gone. While `paused` says so, no new look is begun.
pub(crate) async fn run<C: Controller>(controller: C, api: Api, mut paused: watch::Receiver<bool>) {
    let controller = Arc::new(controller);
    let mut changes = api.subscribe();
    let mut queue = Queue::default();
    let mut looks = FuturesUnordered::new();
    for name in controller.all(&api) {
        queue.changed(name, Instant::now());
    }
    loop {
        while let Some(change) = changes.try_next() {
            note(&*controller, &api, &mut queue, &change);
        }
        let may_start = !*paused.borrow_and_update();
        while may_start && looks.len() < WORKERS {
            let Some(name) = queue.take(Instant::now()) else {
                break;
            };
            let (controller, api) = (Arc::clone(&controller), api.clone());
            looks.push(async move { (controller.reconcile(&api, &name).await, name) });
        }
        let waits = may_start && looks.len() < WORKERS;
        let due = queue.next_due().map(|(at, _)| *at).filter(|_| waits);
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => note(&*controller, &api, &mut queue, &change),
                None => return,
            },
            Some((outcome, name)) = looks.next() => queue.ended(name, outcome, Instant::now()),
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            switched = paused.changed() => if switched.is_err() { return },
        }
    }
}

fn note<C: Controller>(controller: &C, api: &Api, queue: &mut Queue, change: &Change) {
    for name in controller.concerned(api, change) {
        queue.changed(name, Instant::now() + GATHERING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<Next, ApiError> {
        Err(ApiError::new(500, "InternalError", "no"))
    }

    #[test]
    fn a_failing_object_waits_longer_each_time() {
        let (mut queue, now, name) = (Queue::default(), Instant::now(), Name::new("a", "b"));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            queue.ended(name.clone(), failed(), now);
            // A change does not cut the pause short.
            queue.changed(name.clone(), now);
            pauses.push(queue.next_due().unwrap().0 - now);
        }
        assert_eq!(pauses[..3], [5, 10, 20].map(Duration::from_millis));
        assert_eq!(pauses[9], LONGEST_PAUSE);
    }

    #[test]
    fn success_forgets_the_failures() {
        let (mut queue, now, name) = (Queue::default(), Instant::now(), Name::new("a", "b"));
        queue.ended(name.clone(), failed(), now);
        queue.ended(name.clone(), Ok(Next::OnChange), now);
        queue.changed(name.clone(), now);
        assert_eq!(queue.next_due(), Some(&(now, name)));
    }

    #[test]
    fn nothing_is_looked_at_twice_at_once() {
        let (mut queue, now, name) = (Queue::default(), Instant::now(), Name::new("a", "b"));
        queue.changed(name.clone(), now);
        assert_eq!(queue.take(now), Some(name.clone()));
        queue.changed(name.clone(), now);
        assert_eq!(queue.take(now), None);
        queue.ended(name.clone(), Ok(Next::OnChange), now);
        assert_eq!(queue.take(now), Some(name));
    }

    #[test]
    fn a_change_comes_before_a_planned_look() {
        let (mut queue, now, name) = (Queue::default(), Instant::now(), Name::new("a", "b"));
        queue.ended(name.clone(), Ok(Next::After(Duration::from_secs(9))), now);
        assert_eq!(queue.take(now), None);
        queue.changed(name.clone(), now);
        assert_eq!(queue.take(now), Some(name));
    }
}
