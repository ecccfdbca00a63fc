//! Every request the API server has answered, for tests to look at.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it arrived.
    pub at: Timestamp,
    /// Who sent it; `system:anonymous` without credentials.
    pub user: String,
    /// The client's `User-Agent`.
    pub agent: String,
    /// As RBAC names it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    /// API group, empty for core and for paths that are no resources.
    pub group: String,
    /// Plural, empty for paths that are no resources.
    pub resource: String,
    /// Subresource, empty for the object itself.
    pub subresource: String,
    /// Namespace, empty across namespaces and for cluster-scoped objects.
    pub namespace: String,
    /// Name, empty for collections.
    pub name: String,
    /// The path with its query.
    pub uri: String,
    /// The answer's status; 0 when a fault left the request without one.
    pub status: u16,
    /// Whether it asked to change nothing.
    pub dry_run: bool,
    /// The first kilobyte of the body, for evictions and patches.
    pub body: String,
}

impl Entry {
    /// Says whether it is about this verb of this resource, `create pods/eviction`.
    pub fn is(&self, verb: &str, resource: &str) -> bool {
        let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        self.verb == verb && self.resource == plural && self.subresource == subresource
    }

    /// Says whether the answer was a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The entries so far: a cheap handle.
#[derive(Debug, Clone)]
pub struct Journal {
    entries: Arc<Mutex<Vec<Entry>>>,
    length: Arc<watch::Sender<usize>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            length: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries
            .lock()
            .expect("no holder of the journal's lock must panic")
    }

    /// Returns all entries, oldest answer first.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Returns the entries that satisfy a condition.
    pub fn find(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.lock()
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }

    /// Returns how many entries satisfy a condition.
    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(entry)).count()
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits until at least `count` entries satisfy a condition; returns whether that happened in time.
    pub async fn wait_for(
        &self,
        count: usize,
        within: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> bool {
        let mut length = self.length.subscribe();
        let reached = async {
            while self.count(&wanted) < count {
                if length.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(within, reached).await.is_ok() && self.count(&wanted) >= count
    }

    pub(crate) fn add(&self, entry: Entry) {
        self.lock().push(entry);
        self.length.send_modify(|length| *length += 1);
    }
}
