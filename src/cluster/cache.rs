//! The objects of one kind as last seen: one task writes, everybody reads.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Deserialize;
use tokio::sync::watch;

use super::view::View;

/// A kind of object that is kept.
pub(super) trait Kept: Debug + PartialEq + Send + Sync + Sized + 'static {
    /// The object as it is read, borrowing from the answer.
    type Raw<'de>: Deserialize<'de> + Default + Send;
    /// What tells objects apart at any one time, and orders them.
    type Key: Debug + Ord + Send + Sync;
    /// What the objects are called in logs: `pods`.
    const WHAT: &'static str;

    /// Returns the object's resourceVersion.
    fn version<'r>(raw: &'r Self::Raw<'_>) -> Option<&'r str>;
    /// Translates the object; `None` when it is the shell of a bookmark.
    fn view(view: &mut View, raw: &Self::Raw<'_>) -> Option<Self>;
    /// Returns what identifies the object.
    fn key(this: &Arc<Self>) -> Self::Key;
}

type Index<T> = BTreeMap<<T as Kept>::Key, Arc<T>>;

/// The reading end; a clone shares the objects.
#[derive(Debug)]
pub(super) struct Cache<T: Kept> {
    index: Arc<RwLock<Index<T>>>,
    in_sight: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<String>>>,
    generation: watch::Receiver<u64>,
}

impl<T: Kept> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self {
            index: self.index.clone(),
            in_sight: self.in_sight.clone(),
            fault: self.fault.clone(),
            generation: self.generation.clone(),
        }
    }
}

impl<T: Kept> Cache<T> {
    /// Returns both ends of an empty cache.
    pub(super) fn new() -> (Self, Writer<T>) {
        let (sender, generation) = watch::channel(0);
        let index = Arc::new(RwLock::new(Index::<T>::new()));
        let in_sight = Arc::new(AtomicBool::new(false));
        let fault = Arc::new(Mutex::default());
        let writer = Writer {
            index: index.clone(),
            in_sight: in_sight.clone(),
            fault: Arc::clone(&fault),
            generation: sender,
            view: View::default(),
            list: Index::<T>::new(),
        };
        let cache = Self {
            index,
            in_sight,
            fault,
            generation,
        };
        (cache, writer)
    }

    /// Reads the objects; the writer waits meanwhile.
    pub(super) fn read<R>(&self, look: impl FnOnce(&Index<T>) -> R) -> R {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns all objects in the order of their keys.
    pub(super) fn snapshot(&self) -> Vec<Arc<T>> {
        self.read(|index| index.values().cloned().collect())
    }

    /// Says whether all objects have been listed once.
    pub(super) fn synced(&self) -> bool {
        *self.generation.borrow() > 0
    }

    /// Says whether the objects are seen now: all have been listed, and no fault keeps their changes away.
    pub(super) fn in_sight(&self) -> bool {
        self.in_sight.load(Ordering::Relaxed)
    }

    /// Returns what keeps the objects from being seen, in words, if the last question failed.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Waits until all objects have been listed once; for ever, if the writer is gone before.
    pub(super) async fn wait_synced(&self) {
        let mut generation = self.generation.clone();
        if generation.wait_for(|&it| it > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns a counter of changes, 0 until all objects have been listed once.
    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }
}

/// The writing end.
#[derive(Debug)]
pub(super) struct Writer<T: Kept> {
    index: Arc<RwLock<Index<T>>>,
    in_sight: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<String>>>,
    generation: watch::Sender<u64>,
    view: View,
    list: Index<T>,
}

impl<T: Kept> Writer<T> {
    /// Notes whether changes of the objects come through.
    pub(super) fn see(&self, in_sight: bool) {
        self.in_sight.store(in_sight, Ordering::Relaxed);
        if in_sight {
            *lock(&self.fault) = None;
        }
    }

    /// Notes that they do not, and why.
    pub(super) fn lose(&self, fault: String) {
        self.see(false);
        *lock(&self.fault) = Some(fault);
    }

    /// Begins a new list; what was there stays visible until it is complete.
    pub(super) fn restart(&mut self) {
        self.list.clear();
    }

    /// Takes an object of the new list.
    pub(super) fn listed(&mut self, raw: &T::Raw<'_>) {
        let Some(object) = T::view(&mut self.view, raw).map(Arc::new) else {
            return;
        };
        let key = T::key(&object);
        // A list after the first finds most objects as they were: they are kept, not doubled.
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let known = index.get(&key).filter(|known| **known == object).cloned();
        drop(index);
        let object = known.unwrap_or(object);
        put(&mut self.list, object);
    }

    /// Shows the new list instead of what was there, and returns its length.
    pub(super) fn complete(&mut self) -> usize {
        let list = std::mem::take(&mut self.list);
        let count = list.len();
        let first = *self.generation.borrow() == 0;
        self.write(|index| {
            let same = index.len() == count
                && (index.values().zip(list.values())).all(|(old, new)| Arc::ptr_eq(old, new));
            *index = list;
            first || !same
        });
        count
    }

    /// Takes an object that was added or changed.
    pub(super) fn applied(&mut self, raw: &T::Raw<'_>) {
        let Some(object) = T::view(&mut self.view, raw).map(Arc::new) else {
            return;
        };
        self.write(|index| {
            // Most writes to a pod change nothing that we look at.
            let known = index.get(&T::key(&object));
            let changed = known.is_none_or(|known| **known != *object);
            if changed {
                put(index, object);
            }
            changed
        });
    }

    /// Drops an object.
    pub(super) fn deleted(&mut self, raw: &T::Raw<'_>) {
        let Some(object) = T::view(&mut self.view, raw).map(Arc::new) else {
            return;
        };
        self.write(|index| index.remove(&T::key(&object)).is_some());
    }

    fn write(&self, change: impl FnOnce(&mut Index<T>) -> bool) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut index);
        drop(index);
        if changed {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts an object in its place. A key may share its object, so an old key goes with the old object.
fn put<T: Kept>(index: &mut Index<T>, object: Arc<T>) {
    let key = T::key(&object);
    index.remove(&key);
    index.insert(key, object);
}
