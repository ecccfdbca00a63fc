//! The connections that are open, and which of them goes when there are too many.
//!
//! Who waits for a place in the kernel's queue waits past its own deadline: so a newcomer is taken at once, in the place
//! of a connection that does nothing, or sent away at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use tokio::sync::Notify;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It has not asked for anything yet, since it came.
    Greeting(Instant),
    /// All that it asked for is answered, since then.
    Idle(Instant),
    /// This many of its requests are under way.
    Busy(usize),
}

#[derive(Debug)]
struct Entry {
    standing: Standing,
    leave: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, Entry>,
}

/// The places for connections; a clone stands for the same ones.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    limit: usize,
    state: Arc<Mutex<State>>,
}

/// A connection's place; free again once this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    id: u64,
    leave: Arc<Notify>,
}

impl Slots {
    /// Returns `limit` places, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            state: Arc::default(),
        }
    }

    /// Returns a place, if need be that of a connection with nothing under way; `None` where all are busy.
    ///
    /// Those go first that have never asked for anything, then those that have been idle longest.
    pub(super) fn take(&self, now: Instant) -> Option<Slot> {
        let mut state = self.lock();
        if self.limit <= state.open.len() {
            let useless = state.open.iter().min_by_key(|(_, entry)| entry.standing);
            let (&id, entry) = useless?;
            if matches!(entry.standing, Standing::Busy(_)) {
                return None;
            }
            entry.leave.notify_one();
            state.open.remove(&id);
        }
        let id = state.next;
        state.next += 1;
        let leave = Arc::new(Notify::new());
        let entry = Entry {
            standing: Standing::Greeting(now),
            leave: leave.clone(),
        };
        state.open.insert(id, entry);
        drop(state);
        Some(Slot {
            slots: self.clone(),
            id,
            leave,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no holder of this lock must panic")
    }

    /// Notes what a connection does now, unless it has lost its place.
    fn change(&self, id: u64, change: impl FnOnce(Standing) -> Standing) {
        if let Some(entry) = self.lock().open.get_mut(&id) {
            entry.standing = change(entry.standing);
        }
    }
}

impl Slot {
    /// Waits until someone else has this place.
    pub(super) async fn lost(&self) {
        self.leave.notified().await;
    }

    /// Notes a request that is under way until what is returned is dropped.
    pub(super) fn request(&self) -> Request {
        self.slots.change(self.id, |standing| match standing {
            Standing::Busy(requests) => Standing::Busy(requests + 1),
            Standing::Greeting(_) | Standing::Idle(_) => Standing::Busy(1),
        });
        Request {
            slots: self.slots.clone(),
            id: self.id,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().open.remove(&self.id);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Request {
    slots: Slots,
    id: u64,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.slots.change(self.id, |standing| match standing {
            Standing::Busy(requests) if 1 < requests => Standing::Busy(requests - 1),
            _ => Standing::Idle(Instant::now()),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn is_lost(slot: &Slot) -> bool {
        slot.lost().now_or_never().is_some()
    }

    #[test]
    fn who_has_never_asked_goes_first_then_who_idles_longest() {
        let slots = Slots::new(3);
        let now = Instant::now();
        let idle = slots.take(now).unwrap();
        drop(idle.request());
        let (old, young) = (
            slots.take(now).unwrap(),
            slots.take(now + Duration::from_secs(1)).unwrap(),
        );
        // The youngest of them has no right to stay either, but it may be about to ask.
        let first = slots.take(now).unwrap();
        assert_eq!(
            [&idle, &old, &young, &first].map(is_lost),
            [false, true, false, false]
        );
        drop(first.request());
        drop(young.request());
        let _second = slots.take(now).unwrap();
        assert_eq!([&idle, &young, &first].map(is_lost), [true, false, false]);
    }

    #[test]
    fn who_is_busy_stays_and_newcomers_are_sent_away() {
        let slots = Slots::new(1);
        let now = Instant::now();
        let busy = slots.take(now).unwrap();
        let (one, two) = (busy.request(), busy.request());
        assert!(slots.take(now).is_none());
        drop(one);
        assert!(slots.take(now).is_none());
        drop(two);
        let next = slots.take(now).unwrap();
        assert!(is_lost(&busy));
        // What a connection does that has lost its place changes nothing.
        let _late = busy.request();
        drop(busy);
        assert!(slots.take(now).is_some() && is_lost(&next));
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let slots = Slots::new(1);
        let now = Instant::now();
        let first = slots.take(now).unwrap();
        let request = first.request();
        drop(first);
        drop(request);
        let second = slots.take(now).unwrap();
        let _busy = second.request();
        assert!(slots.take(now).is_none());
    }
}
