//! The namespaces and their labels and annotations, kept current by a watch.

use std::{convert::Infallible, sync::Arc};

use tokio::sync::watch;

use super::{
    cache::{Cache, Kept},
    call::Server,
    view::View,
    watch::{Feed, PAGE, WatchError},
    wire::RawNamespace,
};
use crate::policy::Namespace;

/// The namespaces as last seen; a clone shares the cache.
#[derive(Debug, Clone)]
pub struct Namespaces(Cache<Namespace>);

impl Namespaces {
    /// Returns the cache, still empty, and the task that keeps it current.
    ///
    /// The task ends only when the first list is refused for good (no rights, bad credentials).
    pub fn start(
        server: Server,
    ) -> (
        Self,
        impl Future<Output = Result<Infallible, WatchError>> + Send,
    ) {
        let (cache, writer) = Cache::new();
        let feed = Feed {
            server,
            path: "/api/v1/namespaces".to_owned(),
            selector: None,
            page: PAGE,
        };
        (Self(cache), feed.follow(writer))
    }

    /// Returns the namespace called `name`, if the watch has seen it.
    pub fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.0.read(|index| index.get(name).cloned())
    }

    /// Returns all namespaces, ordered by name.
    pub fn snapshot(&self) -> Vec<Arc<Namespace>> {
        self.0.snapshot()
    }

    /// Says whether all namespaces have been listed once.
    pub fn synced(&self) -> bool {
        self.0.synced()
    }

    /// Says whether the namespaces are seen now: all have been listed, and no fault keeps their changes away.
    pub fn in_sight(&self) -> bool {
        self.0.in_sight()
    }

    /// Returns what keeps the namespaces from being seen, in words, if the last question failed.
    pub fn fault(&self) -> Option<String> {
        self.0.fault()
    }

    /// Waits until all namespaces have been listed once; for ever, if the task has ended before.
    pub async fn wait_synced(&self) {
        self.0.wait_synced().await;
    }

    /// Returns a counter that moves whenever something that we look at has changed in a namespace.
    ///
    /// It is 0 until the namespaces have been listed once.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed()
    }
}

impl Kept for Namespace {
    type Raw<'de> = RawNamespace<'de>;
    type Key = Arc<str>;
    const WHAT: &'static str = "namespaces";

    fn version<'r>(raw: &'r RawNamespace<'_>) -> Option<&'r str> {
        raw.metadata.0.resource_version.0.as_deref()
    }

    fn view(view: &mut View, raw: &RawNamespace<'_>) -> Option<Self> {
        view.namespace(raw)
    }

    fn key(this: &Arc<Self>) -> Arc<str> {
        this.name.clone()
    }
}
