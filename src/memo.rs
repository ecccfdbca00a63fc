//! A bounded cache that knows how old its answers are and asks each question only once at a time.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::future::Cache;
use tokio::{sync::watch, time::Instant};

/// How long a value may serve, whatever its reader would accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// A good answer: its age counts from when it was asked for, as that is what it is known to be true of.
    Good(Duration),
    /// A failure: its age counts from when it came, so that a slow one still spares its source for a while.
    Bad(Duration),
}

/// What an entry takes besides what is weighed: the cache's own books, the slot, and what allocators round up.
pub const ENTRY_BYTES: usize = 512;

/// Answers by question; equal questions at one time share one answer.
pub struct Memo<K, V> {
    slots: Cache<K, Arc<Slot<V>>>,
    keep: fn(&V) -> Keep,
    weighed: bool,
}

/// An answer, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<V> {
    /// The answer.
    pub value: V,
    /// When it was asked for.
    pub asked: Instant,
    /// Whether it was there already.
    pub cached: bool,
}

/// The task that was to find the answer ended without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task that was to find out ended early")]
pub struct Aborted;

struct Slot<V>(Mutex<State<V>>);

struct State<V> {
    done: Option<Done<V>>,
    flight: Option<Flight<V>>,
}

#[derive(Clone)]
struct Done<V> {
    value: V,
    asked: Instant,
    finished: Instant,
}

struct Flight<V> {
    asked: Instant,
    answer: watch::Receiver<Option<Done<V>>>,
}

impl<K, V> Memo<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Returns an empty cache of at most about `capacity` answers, each dropped when unused for `idle`.
    pub fn new(capacity: u64, idle: Duration, keep: fn(&V) -> Keep) -> Self {
        let slots = Cache::builder()
            .max_capacity(capacity)
            .time_to_idle(idle)
            .build();
        Self {
            slots,
            keep,
            weighed: false,
        }
    }

    /// Returns an empty cache of answers that take at most about `capacity` bytes together, for those of which others
    /// say how long they are.
    ///
    /// `weigh` returns how many bytes a question and its answer have; each entry counts [`ENTRY_BYTES`] more.
    pub fn weighed(
        capacity: u64,
        idle: Duration,
        keep: fn(&V) -> Keep,
        weigh: fn(&K, &V) -> usize,
    ) -> Self {
        let weigh = move |key: &K, slot: &Arc<Slot<V>>| {
            let state = slot.lock();
            let answer = state
                .done
                .as_ref()
                .map_or(0, |done| weigh(key, &done.value));
            weight(answer)
        };
        let slots = Cache::builder()
            .weigher(weigh)
            .max_capacity(capacity)
            .time_to_idle(idle)
            .build();
        Self {
            slots,
            keep,
            weighed: true,
        }
    }

    /// Returns the answer to `key`, asked for at most `max_age` ago, else what `ask` finds.
    ///
    /// A `max_age` of zero always asks. `ask` is given the last answer, however old, and runs in a task
    /// of its own: a caller that goes away takes the answer from nobody.
    pub async fn get<F, A>(&self, key: &K, max_age: Duration, ask: F) -> Result<Hit<V>, Aborted>
    where
        F: FnOnce(Option<V>) -> A,
        A: Future<Output = V> + Send + 'static,
    {
        let slot = match self.slots.get(key).await {
            Some(slot) => slot,
            None => self
                .slots
                .entry_by_ref(key)
                .or_insert_with(async { Arc::new(Slot::empty()) })
                .await
                .into_value(),
        };
        let now = Instant::now();
        let mut answer = {
            let mut state = slot.lock();
            if let Some(done) = &state.done
                && self.serves(done, max_age, now)
            {
                return Ok(done.clone().into_hit(true));
            }
            match &state.flight {
                Some(flight) if flight.serves(max_age, now) => flight.answer.clone(),
                _ => {
                    let previous = state.done.as_ref().map(|done| done.value.clone());
                    let scales = self.weighed.then(|| Scales {
                        slots: self.slots.clone(),
                        key: key.clone(),
                    });
                    let answer = take_off(Arc::clone(&slot), now, ask(previous), scales);
                    state.flight = Some(Flight {
                        asked: now,
                        answer: answer.clone(),
                    });
                    answer
                }
            }
        };
        let done = answer.wait_for(Option::is_some).await;
        let done = done.map_err(|_| Aborted)?.clone().ok_or(Aborted)?;
        Ok(done.into_hit(false))
    }

    fn serves(&self, done: &Done<V>, max_age: Duration, now: Instant) -> bool {
        let (age, limit) = match (self.keep)(&done.value) {
            Keep::Good(limit) => (now - done.asked, limit),
            Keep::Bad(limit) => (now - done.finished, limit),
        };
        !max_age.is_zero() && age <= max_age && age < limit
    }
}

/// Returns the weight, in bytes, of an entry of which so many are known.
pub fn weight(known: usize) -> u32 {
    u32::try_from(known.saturating_add(ENTRY_BYTES)).unwrap_or(u32::MAX)
}

/// Where a slot is weighed again: it was let into the cache when it was empty.
struct Scales<K, V> {
    slots: Cache<K, Arc<Slot<V>>>,
    key: K,
}

impl<K, V> Scales<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    async fn weigh(self, slot: &Arc<Slot<V>>) {
        let known = self.slots.get(&self.key).await;
        // One that has left the cache meanwhile is not to come back.
        if known.is_some_and(|known| Arc::ptr_eq(&known, slot)) {
            self.slots.insert(self.key, Arc::clone(slot)).await;
        }
    }
}

fn take_off<K, V, A>(
    slot: Arc<Slot<V>>,
    asked: Instant,
    ask: A,
    scales: Option<Scales<K, V>>,
) -> watch::Receiver<Option<Done<V>>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    A: Future<Output = V> + Send + 'static,
{
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let value = ask.await;
        let done = Done {
            value,
            asked,
            finished: Instant::now(),
        };
        slot.land(done.clone());
        if let Some(scales) = scales {
            scales.weigh(&slot).await;
        }
        sender.send_replace(Some(done));
    });
    receiver
}

impl<V> Flight<V> {
    fn serves(&self, max_age: Duration, now: Instant) -> bool {
        // A closed channel belongs to a task that panicked: nobody would ever answer.
        !max_age.is_zero() && now - self.asked <= max_age && self.answer.has_changed().is_ok()
    }
}

impl<V> Slot<V> {
    fn empty() -> Self {
        Self(Mutex::new(State {
            done: None,
            flight: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self, done: Done<V>) {
        let mut state = self.lock();
        if state.flight.as_ref().is_some_and(|f| f.asked == done.asked) {
            state.flight = None;
        }
        // An old flight may come in after a younger one, with older news.
        if state.done.as_ref().is_none_or(|d| d.asked <= done.asked) {
            state.done = Some(done);
        }
    }
}

impl<V> Done<V> {
    fn into_hit(self, cached: bool) -> Hit<V> {
        Hit {
            value: self.value,
            asked: self.asked,
            cached,
        }
    }
}

impl<K, V> fmt::Debug for Memo<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values may be secret.
        write!(f, "Memo({} entries)", self.slots.entry_count())
    }
}

#[cfg(test)]
mod tests;
