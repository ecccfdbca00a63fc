//! Watches the demo as anybody with access to the API could, and prints what happens.

use std::{future::pending, time::Duration};

use anyhow::Context as _;
use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{core::v1::Pod, events::v1};
use kube::{
    Api, Client,
    runtime::watcher::{self, Event, watcher},
};
use testbed::journal::{Entry, Journal};

use crate::{
    page::Page,
    pods::{Pods, Seen, short},
    shop::{BUDGET, Tally, WORKLOADS, ready},
};

/// Looks at pods by a watch, and at refused evictions by what the API server has answered.
pub(crate) struct Observer {
    /// Where it prints.
    pub(crate) page: Page,
    /// The pods that are there.
    pub(crate) pods: Pods,
    /// What it has counted, a tally for each [`Observer::begin`].
    pub(crate) tallies: Vec<Tally>,
    /// Whether it prints how many pods are Ready: not when somebody else scales them.
    pub(crate) counts: bool,
    watch: BoxStream<'static, watcher::Result<Event<Pod>>>,
    events: BoxStream<'static, watcher::Result<Event<v1::Event>>>,
    /// The watch has delivered all that was there when it began.
    listed: bool,
    journal: Journal,
    /// How many refused evictions it has seen.
    refusals: usize,
}

impl Observer {
    /// Begins to watch a namespace's pods, silently.
    pub(crate) fn new(page: Page, client: Client, namespace: &str, journal: Journal) -> Self {
        let api = Api::<Pod>::namespaced(client.clone(), namespace);
        let events = Api::<v1::Event>::namespaced(client, namespace);
        Self {
            page,
            pods: Pods::new(),
            tallies: Vec::new(),
            counts: true,
            watch: watcher(api, watcher::Config::default()).boxed(),
            events: watcher(events, watcher::Config::default()).boxed(),
            listed: false,
            journal,
            refusals: 0,
        }
    }

    /// Prints from now on, and counts anew.
    pub(crate) fn begin(&mut self) {
        self.tallies.push(Tally::default());
        self.look();
    }

    /// Watches until `done` says so.
    pub(crate) async fn until(&mut self, done: impl Fn(&Pods) -> bool) -> anyhow::Result<()> {
        while !(self.listed && done(&self.pods)) {
            self.step().await?;
        }
        Ok(())
    }

    /// Watches until an Event has told that the last push is halted.
    pub(crate) async fn until_halted(&mut self) -> anyhow::Result<()> {
        while !self.tallies.last().is_some_and(Tally::is_halted) {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for one thing to happen. Nothing is lost if the wait is given up.
    pub(crate) async fn step(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            event = self.watch.next() => {
                let event = event.context("the watch of the pods ended")?;
                self.see(event.context("the watch of the pods failed")?)
            }
            event = self.events.next() => {
                let event = event.context("the watch of the Events ended")?;
                self.read(&event.context("the watch of the Events failed")?);
                Ok(())
            }
            entry = refusal(&self.journal, self.refusals) => {
                self.refused(&entry);
                Ok(())
            }
        }
    }

    fn see(&mut self, event: Event<Pod>) -> anyhow::Result<()> {
        match event {
            Event::Init => {
                self.listed = false;
                self.pods.clear();
            }
            Event::InitApply(pod) => {
                let (uid, pod) = Seen::read(&pod)?;
                self.pods.insert(uid, pod);
            }
            Event::InitDone => self.listed = true,
            Event::Apply(pod) => {
                let (uid, pod) = Seen::read(&pod)?;
                let before = self.pods.insert(uid, pod.clone());
                self.look();
                self.tell(before.as_ref(), &pod);
            }
            Event::Delete(pod) => {
                let (uid, _) = Seen::read(&pod)?;
                self.pods.remove(&uid);
                self.look();
            }
        }
        Ok(())
    }

    fn look(&mut self) {
        if let Some(tally) = self.tallies.last_mut() {
            tally.look(&self.pods);
        }
    }

    /// Prints the Events that tell how an owner fares.
    fn read(&mut self, event: &Event<v1::Event>) {
        let (Event::Apply(event) | Event::InitApply(event)) = event else {
            return;
        };
        let owner = event.regarding.as_ref().and_then(|it| it.name.as_deref());
        let (Some(reason), Some(owner)) = (event.reason.as_deref(), owner) else {
            return;
        };
        let Some(tally) = self.tallies.last_mut() else {
            return;
        };
        if reason == "RefreshHalted" && tally.halted.insert(owner.to_owned()) {
            self.row(owner, "Event RefreshHalted");
        }
    }

    /// Prints what has become of a pod, where that matters.
    fn tell(&mut self, before: Option<&Seen>, pod: &Seen) {
        let Some(tally) = self.tallies.last_mut() else {
            return;
        };
        if pod.evicted && !before.is_some_and(|before| before.evicted) {
            *tally.evicted.entry(pod.app.clone()).or_default() += 1;
            self.row(&pod.name, "evicted");
        }
        if pod.ready && !before.is_some_and(|before| before.ready) {
            self.row(&pod.name, &format!("Ready, runs {}", short(&pod.running)));
        }
    }

    fn refused(&mut self, entry: &Entry) {
        self.refusals += 1;
        let Some(tally) = self.tallies.last_mut() else {
            return;
        };
        let pod = self.pods.values().find(|pod| pod.name == entry.name);
        let app = pod.map_or("?", |pod| &pod.app);
        *tally.refused.entry(app.to_owned()).or_default() += 1;
        let (budget, ..) = BUDGET;
        self.row(&entry.name, &format!("not evicted: 429, budget {budget}"));
    }

    /// Prints a line about a pod, with how many are Ready beside it.
    fn row(&self, pod: &str, what: &str) {
        if !self.counts {
            return self.page.say(&format!("{pod:<24}{what}"));
        }
        let counts =
            WORKLOADS.map(|(app, wanted)| format!("{app} {}/{wanted}", ready(&self.pods, &[app])));
        self.page
            .say(&format!("{pod:<24}{what:<36}{}", counts.join("  ")));
    }
}

/// Waits for the next eviction that the API refused for a budget's sake, after the first `seen` ones.
async fn refusal(journal: &Journal, seen: usize) -> Entry {
    // Longer than the demo; the wait begins anew with each step.
    const LONG: Duration = Duration::from_secs(24 * 3600);
    let refused = |entry: &Entry| entry.is("create", "pods/eviction") && entry.status == 429;
    journal.wait_for(seen + 1, LONG, refused).await;
    match journal.find(refused).into_iter().nth(seen) {
        Some(entry) => entry,
        None => pending().await,
    }
}
