//! What becomes of the pods of one namespace, seen from outside and without a gap.

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};
use tokio::task::JoinHandle;

use super::kube::{Kube, eventually, is_ready};

/// A watch on the pods of one namespace, of those with one prefix.
pub(crate) struct History {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    begun: bool,
    /// The pods that are there, by uid.
    pods: HashMap<String, Known>,
    /// The uids of a list that is being read.
    listed: Option<BTreeSet<String>>,
    fewest_up: Option<usize>,
    /// The names of those that were told to go, in that order.
    gone: Vec<String>,
}

#[derive(Default)]
struct Known {
    name: String,
    /// Whether it is Ready, and not on its way out.
    up: bool,
    leaves: bool,
}

/// Watches again soon, however often that fails: what happens meanwhile is not seen.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

impl History {
    /// Begins to watch the pods whose names start with `prefix`.
    pub(crate) async fn begin(kube: &Kube, namespace: &str, prefix: &str) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (writer, prefix) = (seen.clone(), prefix.to_owned());
        let pods = watcher(kube.api::<Pod>(namespace), watcher::Config::default());
        let pods = pods.backoff(Soon);
        let task = tokio::spawn(async move {
            let mut pods = pin!(pods);
            while let Some(event) = pods.next().await {
                // What breaks a watch is often the test's own doing; the watcher lists anew.
                if let Ok(event) = event {
                    writer.lock().unwrap().note(event, &prefix);
                }
            }
        });
        let history = Self { seen, task };
        let begun = async || history.seen().begun.then_some(());
        eventually("the first look at the pods", begun).await;
        history
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Returns the lowest number of pods that were Ready and not on their way out at the same time.
    pub(crate) fn fewest_up(&self) -> usize {
        self.seen().fewest_up.unwrap_or_default()
    }

    /// Returns the names of the pods that were told to go, in that order.
    pub(crate) fn gone(&self) -> Vec<String> {
        self.seen().gone.clone()
    }
}

impl Seen {
    fn note(&mut self, event: Event<Pod>, prefix: &str) {
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(pod) | Event::Apply(pod) if pod.name_any().starts_with(prefix) => {
                self.see(&pod);
            }
            Event::Delete(pod) if pod.name_any().starts_with(prefix) => {
                self.lose(&pod.uid().unwrap());
            }
            // A list shows by omission what has gone since the last watch broke.
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let lost: Vec<String> = (self.pods.keys())
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in lost {
                    self.lose(&uid);
                }
                self.begun = true;
            }
            Event::InitApply(_) | Event::Apply(_) | Event::Delete(_) => {}
        }
        if self.begun && self.listed.is_none() {
            let up = self.pods.values().filter(|pod| pod.up).count();
            self.fewest_up = Some(self.fewest_up.map_or(up, |fewest| fewest.min(up)));
        }
    }

    fn see(&mut self, pod: &Pod) {
        let (uid, name) = (pod.uid().unwrap(), pod.name_any());
        let leaves = pod.metadata.deletion_timestamp.is_some();
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.clone());
        }
        let known = self.pods.entry(uid).or_default();
        known.name = name;
        known.up = is_ready(pod) && !leaves;
        if leaves && !known.leaves {
            known.leaves = true;
            self.gone.push(known.name.clone());
        }
    }

    fn lose(&mut self, uid: &str) {
        let lost = self.pods.remove(uid);
        self.gone
            .extend(lost.filter(|pod| !pod.leaves).map(|pod| pod.name));
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}
