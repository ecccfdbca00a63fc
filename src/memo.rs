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

/// Answers by question; equal questions at one time share one answer.
pub struct Memo<K, V> {
    slots: Cache<K, Arc<Slot<V>>>,
    keep: fn(&V) -> Keep,
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
        Self { slots, keep }
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
                    let answer = take_off(Arc::clone(&slot), now, ask(previous));
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

fn take_off<V, A>(slot: Arc<Slot<V>>, asked: Instant, ask: A) -> watch::Receiver<Option<Done<V>>>
where
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
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures::{future::join_all, poll};
    use tokio::{sync::Notify, time::advance};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Values below 100 are good for a minute, others are failures kept for two seconds.
    fn memo() -> Memo<&'static str, u32> {
        Memo::new(100, 600 * SECOND, |value| {
            if *value < 100 {
                Keep::Good(60 * SECOND)
            } else {
                Keep::Bad(2 * SECOND)
            }
        })
    }

    async fn get(memo: &Memo<&'static str, u32>, max_age: Duration, found: u32) -> (u32, bool) {
        let hit = memo.get(&"key", max_age, |_| async move { found }).await;
        let hit = hit.unwrap();
        (hit.value, hit.cached)
    }

    fn behind(door: &Arc<Notify>, found: u32) -> impl Future<Output = u32> + Send + 'static {
        let door = Arc::clone(door);
        async move {
            door.notified().await;
            found
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_serves_up_to_its_readers_limit() {
        let memo = memo();
        assert_eq!(get(&memo, SECOND, 1).await, (1, false));
        advance(SECOND).await;
        assert_eq!(get(&memo, SECOND, 2).await, (1, true));
        advance(Duration::from_millis(1)).await;
        assert_eq!(get(&memo, SECOND, 3).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_always_asks() {
        let memo = memo();
        assert_eq!(get(&memo, Duration::ZERO, 1).await, (1, false));
        assert_eq!(get(&memo, Duration::ZERO, 2).await, (2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn no_reader_gets_more_than_the_value_allows() {
        let memo = memo();
        assert_eq!(get(&memo, Duration::MAX, 1).await, (1, false));
        advance(Duration::from_millis(59_999)).await;
        assert_eq!(get(&memo, Duration::MAX, 2).await, (1, true));
        advance(Duration::from_millis(1)).await;
        assert_eq!(get(&memo, Duration::MAX, 3).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_kept_from_when_it_came() {
        let memo = memo();
        let slow = memo.get(&"key", SECOND, |_| async {
            tokio::time::sleep(10 * SECOND).await;
            100
        });
        assert_eq!(slow.await.unwrap().value, 100);
        assert_eq!(get(&memo, SECOND, 1).await, (100, true));
        advance(2 * SECOND).await;
        assert_eq!(get(&memo, 5 * SECOND, 2).await, (2, false));
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once() {
        let memo = memo();
        let asked = Arc::new(AtomicU32::new(0));
        let all = join_all((0..1000).map(|_| {
            let asked = Arc::clone(&asked);
            memo.get(&"key", SECOND, move |_| async move {
                tokio::task::yield_now().await;
                asked.fetch_add(1, Ordering::Relaxed)
            })
        }));
        assert!(all.await.into_iter().all(|hit| hit.unwrap().value == 0));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_the_answer_from_nobody() {
        let (memo, open) = (memo(), Arc::new(Notify::new()));
        let mut first = Box::pin(memo.get(&"key", 60 * SECOND, |_| behind(&open, 7)));
        assert!(poll!(&mut first).is_pending());
        let mut second = pin!(memo.get(&"key", 60 * SECOND, |_| async { 8 }));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        open.notify_one();
        assert_eq!(second.await.unwrap().value, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_serves_only_those_who_allow_its_age() {
        let (memo, open) = (memo(), Arc::new(Notify::new()));
        let mut old = pin!(memo.get(&"key", SECOND, |_| behind(&open, 1)));
        assert!(poll!(&mut old).is_pending());
        advance(SECOND).await;
        let mut joined = pin!(memo.get(&"key", SECOND, |_| async { 2 }));
        assert!(poll!(&mut joined).is_pending());
        assert_eq!(get(&memo, Duration::ZERO, 3).await, (3, false));
        open.notify_one();
        assert_eq!(old.await.unwrap().value, 1);
        assert_eq!(joined.await.unwrap().value, 1);
        // The old flight landed last, but what it knows is older.
        assert_eq!(get(&memo, SECOND, 4).await, (3, true));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_once_and_not_a_hang() {
        let memo = memo();
        let fails = memo.get(&"key", SECOND, |_| async { panic!("on purpose") });
        assert_eq!(fails.await, Err(Aborted));
        assert_eq!(get(&memo, SECOND, 1).await, (1, false));
    }

    #[tokio::test]
    async fn the_last_answer_is_shown_to_the_next_question() {
        let memo = memo();
        get(&memo, SECOND, 5).await;
        let next = memo.get(
            &"key",
            Duration::ZERO,
            |last| async move { last.unwrap() + 1 },
        );
        assert_eq!(next.await.unwrap().value, 6);
    }
}
