//! Switches that make the API server fail in ways real ones do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

/// The part of a request that decides whether a fault hits it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Verb as RBAC names it.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Subresource.
    pub subresource: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// User.
    pub user: &'a str,
    /// The path with its query.
    pub uri: &'a str,
}

/// What a fault does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Answers 500, as when storage is in trouble.
    InternalError,
    /// Answers 429 as API priority and fairness does, with `Retry-After` in seconds.
    TooManyRequests(u32),
    /// Answers 503, as while the server starts or stops.
    Unavailable,
    /// Never answers.
    Hang,
    /// Breaks the connection.
    Reset,
    /// Does the work, but answers only later.
    Delay(Duration),
    /// Does the work, then breaks the connection instead of answering.
    LoseAnswer,
}

type Condition = Arc<dyn Fn(&Seen<'_>) -> bool + Send + Sync>;

struct Rule {
    id: u64,
    effect: Effect,
    every: u32,
    seen: u32,
    condition: Condition,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    next: u64,
}

/// The switches of one server: a cheap handle.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    // Counts who wants the server down, so that two guards may overlap.
    down: Arc<watch::Sender<usize>>,
    watches: Arc<watch::Sender<u64>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<Effect> = self.lock().rules.iter().map(|rule| rule.effect).collect();
        f.debug_struct("Faults")
            .field("rules", &rules)
            .finish_non_exhaustive()
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            down: Arc::new(watch::Sender::new(0)),
            watches: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no holder of the faults' lock must panic")
    }

    /// Hits every request that satisfies a condition, until the guard is dropped.
    pub fn inject(
        &self,
        effect: Effect,
        on: impl Fn(&Seen<'_>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        self.inject_every(1, effect, on)
    }

    /// Hits every n-th request that satisfies a condition, until the guard is dropped.
    pub fn inject_every(
        &self,
        every: u32,
        effect: Effect,
        on: impl Fn(&Seen<'_>) -> bool + Send + Sync + 'static,
    ) -> Guard {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.rules.push(Rule {
            id,
            effect,
            every: every.max(1),
            seen: 0,
            condition: Arc::new(on),
        });
        Guard {
            faults: self.clone(),
            kind: GuardKind::Rule(id),
        }
    }

    /// Takes the server down: its port refuses connections and those that are open break. It is back on the
    /// same port once the guard is dropped.
    pub fn take_down(&self) -> Guard {
        self.down.send_modify(|count| *count += 1);
        Guard {
            faults: self.clone(),
            kind: GuardKind::Down,
        }
    }

    /// Ends all watches that are open now, as a restarting server does.
    pub fn drop_watches(&self) {
        self.watches.send_modify(|count| *count += 1);
    }

    /// Returns what is to happen to a request.
    pub(crate) fn effect(&self, seen: &Seen<'_>) -> Option<Effect> {
        let mut state = self.lock();
        for rule in &mut state.rules {
            if (rule.condition)(seen) {
                rule.seen += 1;
                if rule.seen.is_multiple_of(rule.every) {
                    return Some(rule.effect);
                }
            }
        }
        None
    }

    pub(crate) fn watch_drops(&self) -> watch::Receiver<u64> {
        self.watches.subscribe()
    }

    pub(crate) fn downs(&self) -> watch::Receiver<usize> {
        self.down.subscribe()
    }
}

enum GuardKind {
    Rule(u64),
    Down,
}

/// A fault that lasts until this is dropped.
#[must_use = "the fault ends when its guard is dropped"]
pub struct Guard {
    faults: Faults,
    kind: GuardKind,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        match self.kind {
            GuardKind::Rule(id) => self.faults.lock().rules.retain(|rule| rule.id != id),
            GuardKind::Down => self.faults.down.send_modify(|count| *count -= 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Seen<'_> = Seen {
        verb: "get",
        group: "",
        resource: "pods",
        subresource: "",
        namespace: "a",
        name: "b",
        user: "u",
        uri: "/",
    };

    #[test]
    fn every_nth_request_is_hit_until_the_guard_goes() {
        let faults = Faults::default();
        let guard = faults.inject_every(2, Effect::InternalError, |seen| seen.resource == "pods");
        assert_eq!(faults.effect(&POD), None);
        assert_eq!(faults.effect(&POD), Some(Effect::InternalError));
        assert_eq!(faults.effect(&POD), None);
        drop(guard);
        assert_eq!(faults.effect(&POD), None);
    }

    #[test]
    fn a_fault_hits_only_what_it_is_for() {
        let faults = Faults::default();
        let _guard = faults.inject(Effect::Reset, |seen| seen.resource == "leases");
        assert_eq!(faults.effect(&POD), None);
        assert_eq!(
            faults.effect(&Seen {
                resource: "leases",
                ..POD
            }),
            Some(Effect::Reset)
        );
    }
}
