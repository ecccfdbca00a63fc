//! Committed writes, and how others hear of them.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use super::Resource;

/// Where an object is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its resource.
    pub resource: &'static Resource,
    /// Its namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of an object; both Event APIs lead to the same one.
    pub fn new(resource: &'static Resource, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.storage(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn path(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was written.
    Modified,
    /// It is gone.
    Deleted,
}

/// One committed write.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The object's resource.
    pub resource: &'static Resource,
    /// The object after the write; after a deletion its last state with the deletion's resourceVersion.
    pub object: Arc<Value>,
    /// The object before the write.
    pub before: Option<Arc<Value>>,
    /// The store's revision of this write.
    pub revision: u64,
}

/// The history before a revision is gone: the oldest revision still known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("history starts at {0}")]
pub struct TooOld(pub u64);

/// A stream of changes as they are committed.
#[derive(Debug)]
pub struct Subscription(pub(super) mpsc::UnboundedReceiver<Change>);

impl Subscription {
    /// Returns the next change; `None` once the store is gone.
    pub async fn next(&mut self) -> Option<Change> {
        self.0.recv().await
    }

    /// Returns a change that is there already.
    pub fn try_next(&mut self) -> Option<Change> {
        self.0.try_recv().ok()
    }
}
