//! The pods of the cluster, kept current by a watch, each in a few hundred bytes.

use std::{cmp::Ordering, convert::Infallible, sync::Arc};

use tokio::sync::watch;

use super::{
    cache::{Cache, Kept},
    call::{Segment, Server},
    view::View,
    watch::{Feed, PAGE, WatchError},
    wire::RawPod,
};
use crate::policy::Pod;

/// Which pods to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// One namespace; `None` is all of them.
    pub namespace: Option<String>,
    /// A label selector, as `kubectl get -l` takes it.
    pub selector: Option<String>,
    /// How many pods to ask for at a time.
    pub page: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            namespace: None,
            selector: None,
            page: PAGE,
        }
    }
}

/// The pods as last seen; a clone shares the cache.
#[derive(Debug, Clone)]
pub struct Pods(Cache<Pod>);

impl Pods {
    /// Returns the cache, still empty, and the task that keeps it current.
    ///
    /// The task ends only when the first list is refused for good (no rights, bad credentials).
    pub fn start(
        server: Server,
        scope: Scope,
    ) -> (
        Self,
        impl Future<Output = Result<Infallible, WatchError>> + Send,
    ) {
        let path = match &scope.namespace {
            Some(namespace) => format!("/api/v1/namespaces/{}/pods", Segment(namespace)),
            None => "/api/v1/pods".to_owned(),
        };
        let (cache, writer) = Cache::new();
        let feed = Feed {
            server,
            path,
            selector: scope.selector,
            page: scope.page,
        };
        (Self(cache), feed.follow(writer))
    }

    /// Says whether all pods have been listed once.
    pub fn synced(&self) -> bool {
        self.0.synced()
    }

    /// Says whether the pods are seen now: all have been listed, and no fault keeps their changes away.
    pub fn in_sight(&self) -> bool {
        self.0.in_sight()
    }

    /// Returns what keeps the pods from being seen, in words, if the last question failed.
    pub fn fault(&self) -> Option<String> {
        self.0.fault()
    }

    /// Waits until all pods have been listed once; for ever, if the task has ended before.
    pub async fn wait_synced(&self) {
        self.0.wait_synced().await;
    }

    /// Returns all pods, ordered by namespace and name.
    pub fn snapshot(&self) -> Vec<Arc<Pod>> {
        self.0.snapshot()
    }

    /// Returns the pod of the same name as it was seen last; `None` when it is gone.
    pub fn latest(&self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        self.0
            .read(|index| index.get(&ByName(Arc::clone(pod))).cloned())
    }

    /// Returns a counter that moves whenever something that we look at has changed in a pod.
    ///
    /// It is 0 until the pods have been listed once.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }
}

impl Kept for Pod {
    type Raw<'de> = RawPod<'de>;
    type Key = ByName;
    const WHAT: &'static str = "pods";

    fn version<'r>(raw: &'r RawPod<'_>) -> Option<&'r str> {
        raw.metadata.0.resource_version.0.as_deref()
    }

    fn view(view: &mut View, raw: &RawPod<'_>) -> Option<Self> {
        view.pod(raw)
    }

    fn key(this: &Arc<Self>) -> ByName {
        ByName(this.clone())
    }
}

/// A pod's place by namespace and name; shares the pod, so that names are not kept twice.
#[derive(Debug)]
pub(super) struct ByName(Arc<Pod>);

impl ByName {
    fn names(&self) -> (&str, &str) {
        (&self.0.namespace, &self.0.name)
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(&other.names())
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for ByName {}
