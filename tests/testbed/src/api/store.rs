//! All objects, one revision counter, and the history that watches are served from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::change::{Change, ChangeKind, Key, Subscription, TooOld};
use super::{Resource, object};

type Objects = BTreeMap<(String, String), Arc<Value>>;

#[derive(Debug, Default)]
struct State {
    revision: u64,
    objects: BTreeMap<(&'static str, &'static str), Objects>,
    history: VecDeque<Change>,
    compacted: u64,
    subscribers: Vec<mpsc::UnboundedSender<Change>>,
}

impl State {
    fn of(&self, resource: &'static Resource) -> Option<&Objects> {
        self.objects.get(&(resource.group, resource.plural))
    }

    fn commit(
        &mut self,
        kind: ChangeKind,
        key: &Key,
        object: Arc<Value>,
        before: Option<Arc<Value>>,
    ) {
        let objects = self
            .objects
            .entry((key.resource.group, key.resource.plural))
            .or_default();
        if kind == ChangeKind::Deleted {
            objects.remove(&key.path());
        } else {
            objects.insert(key.path(), object.clone());
        }
        let change = Change {
            kind,
            resource: key.resource,
            object,
            before,
            revision: self.revision,
        };
        self.subscribers
            .retain(|subscriber| subscriber.send(change.clone()).is_ok());
        self.history.push_back(change);
    }

    fn stamp(&mut self, object: &mut Value) {
        self.revision += 1;
        object::metadata(object).insert(
            "resourceVersion".to_owned(),
            json!(self.revision.to_string()),
        );
    }
}

/// The storage: a cheap handle, all clones of which share one set of objects.
#[derive(Debug, Clone)]
pub struct Store(Arc<Mutex<State>>);

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store; its first write gets revision 2, as `resourceVersion` 0 and 1 mean other things to clients.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            revision: 1,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no holder of the store's lock must panic")
    }

    /// Returns the revision of the last write.
    pub fn revision(&self) -> u64 {
        self.state().revision
    }

    /// Returns an object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.state().of(key.resource)?.get(&key.path()).cloned()
    }

    /// Returns the objects of a resource, in one namespace or all, by namespace and name, and the revision they are of.
    pub fn list(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
    ) -> (Vec<Arc<Value>>, u64) {
        let state = self.state();
        let objects = state.of(resource.storage()).into_iter().flatten();
        let objects = objects.filter(|((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns));
        (
            objects.map(|(_, object)| object.clone()).collect(),
            state.revision,
        )
    }

    /// Returns the objects of a resource as they were at a revision, undoing what came later.
    pub fn list_at(
        &self,
        resource: &'static Resource,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Value>>, TooOld> {
        let state = self.state();
        if revision < state.compacted {
            return Err(TooOld(state.compacted));
        }
        let resource = resource.storage();
        let mut objects = state.of(resource).cloned().unwrap_or_default();
        for change in state
            .history
            .iter()
            .rev()
            .take_while(|change| change.revision > revision)
        {
            if change.resource != resource {
                continue;
            }
            let path = (
                object::namespace(&change.object).to_owned(),
                object::name(&change.object).to_owned(),
            );
            match &change.before {
                Some(before) => objects.insert(path, before.clone()),
                None => objects.remove(&path),
            };
        }
        let wanted = objects
            .into_iter()
            .filter(|((ns, _), _)| namespace.is_none_or(|wanted| wanted == ns));
        Ok(wanted.map(|(_, object)| object).collect())
    }

    /// Stores a new object. `None` when the name is taken.
    pub fn insert(&self, key: &Key, mut object: Value) -> Option<Arc<Value>> {
        let mut state = self.state();
        if state
            .of(key.resource)
            .is_some_and(|objects| objects.contains_key(&key.path()))
        {
            return None;
        }
        state.stamp(&mut object);
        let object = Arc::new(object);
        state.commit(ChangeKind::Added, key, object.clone(), None);
        Some(object)
    }

    /// Replaces the object that `before` is. `None` when it has been written or deleted meanwhile.
    ///
    /// A write that changes nothing keeps the resourceVersion and makes no event.
    pub fn replace(&self, key: &Key, before: &Arc<Value>, mut object: Value) -> Option<Arc<Value>> {
        let mut state = self.state();
        let current = state.of(key.resource)?.get(&key.path())?.clone();
        if object::revision(&current) != object::revision(before)
            || object::uid(&current) != object::uid(before)
        {
            return None;
        }
        let version = current["metadata"]["resourceVersion"].clone();
        object::metadata(&mut object).insert("resourceVersion".to_owned(), version);
        if object == *current {
            return Some(current);
        }
        state.stamp(&mut object);
        let object = Arc::new(object);
        state.commit(ChangeKind::Modified, key, object.clone(), Some(current));
        Some(object)
    }

    /// Removes the object that `before` is, and returns it with the deletion's resourceVersion.
    /// `None` when it has been written or deleted meanwhile.
    pub fn remove(&self, key: &Key, before: &Arc<Value>) -> Option<Arc<Value>> {
        let mut state = self.state();
        let current = state.of(key.resource)?.get(&key.path())?.clone();
        if object::revision(&current) != object::revision(before)
            || object::uid(&current) != object::uid(before)
        {
            return None;
        }
        let mut object = (*current).clone();
        state.stamp(&mut object);
        let object = Arc::new(object);
        state.commit(ChangeKind::Deleted, key, object.clone(), Some(current));
        Some(object)
    }

    /// Returns all changes from now on.
    pub fn subscribe(&self) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().subscribers.push(sender);
        Subscription(receiver)
    }

    /// Returns the changes after a revision, then all from now on, without a gap.
    pub fn subscribe_after(&self, revision: u64) -> Result<(Vec<Change>, Subscription), TooOld> {
        let mut state = self.state();
        if revision < state.compacted {
            return Err(TooOld(state.compacted));
        }
        let missed = state
            .history
            .iter()
            .filter(|change| change.revision > revision)
            .cloned()
            .collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        state.subscribers.push(sender);
        Ok((missed, Subscription(receiver)))
    }

    /// Returns the objects of a resource, their revision, and all changes after it, without a gap.
    pub fn list_and_subscribe(
        &self,
        resource: &'static Resource,
    ) -> (Vec<Arc<Value>>, u64, Subscription) {
        let mut state = self.state();
        let objects = state
            .of(resource.storage())
            .into_iter()
            .flatten()
            .map(|(_, object)| object.clone())
            .collect();
        let (sender, receiver) = mpsc::unbounded_channel();
        state.subscribers.push(sender);
        (objects, state.revision, Subscription(receiver))
    }

    /// Forgets the history: older revisions can no longer be listed or watched from.
    pub fn compact(&self) {
        let mut state = self.state();
        state.history.clear();
        state.compacted = state.revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resource;

    fn key(name: &str) -> Key {
        Key::new(&resource::CONFIG_MAPS, "ns", name)
    }

    fn config_map(name: &str, value: &str) -> Value {
        json!({ "metadata": { "name": name, "namespace": "ns", "uid": name }, "data": { "k": value } })
    }

    #[test]
    fn a_write_that_changes_nothing_is_no_change() {
        let store = Store::new();
        let mut changes = store.subscribe();
        let first = store.insert(&key("a"), config_map("a", "1")).unwrap();
        let second = store
            .replace(&key("a"), &first, config_map("a", "1"))
            .unwrap();
        assert_eq!(object::revision(&first), object::revision(&second));
        assert_eq!(changes.try_next().unwrap().kind, ChangeKind::Added);
        assert!(changes.try_next().is_none());
    }

    #[test]
    fn a_stale_write_is_refused() {
        let store = Store::new();
        let first = store.insert(&key("a"), config_map("a", "1")).unwrap();
        let second = store
            .replace(&key("a"), &first, config_map("a", "2"))
            .unwrap();
        assert!(
            store
                .replace(&key("a"), &first, config_map("a", "3"))
                .is_none()
        );
        assert!(store.remove(&key("a"), &first).is_none());
        assert!(store.remove(&key("a"), &second).is_some());
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_compacted() {
        let store = Store::new();
        let a = store.insert(&key("a"), config_map("a", "1")).unwrap();
        store.insert(&key("b"), config_map("b", "1")).unwrap();
        let then = store.revision();
        store.remove(&key("a"), &a).unwrap();
        store.insert(&key("c"), config_map("c", "1")).unwrap();
        let names = |at| {
            let objects = store
                .list_at(&resource::CONFIG_MAPS, Some("ns"), at)
                .unwrap();
            objects
                .iter()
                .map(|o| object::name(o).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(then), ["a", "b"]);
        assert_eq!(names(store.revision()), ["b", "c"]);
        store.compact();
        assert_eq!(
            store.list_at(&resource::CONFIG_MAPS, None, then),
            Err(TooOld(store.revision()))
        );
        assert!(store.subscribe_after(then).is_err());
        assert!(store.subscribe_after(store.revision()).is_ok());
    }

    #[test]
    fn a_deletion_has_its_own_revision() {
        let store = Store::new();
        let a = store.insert(&key("a"), config_map("a", "1")).unwrap();
        let gone = store.remove(&key("a"), &a).unwrap();
        assert_eq!(object::revision(&gone), object::revision(&a) + 1);
        assert_eq!(gone["data"]["k"], "1");
    }
}
