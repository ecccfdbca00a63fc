//! The workloads of the demo, and what must hold while their pods turn over.

use std::collections::{BTreeMap, BTreeSet};

use crate::pods::Pods;

/// The workloads of `shop.yaml`, and how many pods each wants.
pub(crate) const WORKLOADS: [(&str, usize); 3] = [("canary", 1), ("cart", 2), ("web", 3)];

/// How many pods that makes.
pub(crate) const PODS: usize = 6;

/// The budget of `shop.yaml`: its name, whose pods it is about, and how many of them must be Ready.
pub(crate) const BUDGET: (&str, [&str; 2], usize) = ("balancer", ["canary", "web"], 3);

/// What an observer has counted since an image was pushed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Evictions that the API let happen, by workload.
    pub(crate) evicted: BTreeMap<String, usize>,
    /// Evictions that the API refused for a budget's sake, by workload.
    pub(crate) refused: BTreeMap<String, usize>,
    /// The fewest pods Ready at the same time, by workload and by budget.
    pub(crate) fewest: BTreeMap<String, usize>,
    /// The workloads that an Event said are halted.
    pub(crate) halted: BTreeSet<String>,
    /// What should never have been seen.
    pub(crate) broken: Vec<String>,
}

impl Tally {
    /// Notes how many pods are Ready now, and whether those are too few.
    pub(crate) fn look(&mut self, pods: &Pods) {
        for (app, wanted) in WORKLOADS {
            self.note(app, ready(pods, &[app]), wanted - 1);
        }
        let (budget, apps, least) = BUDGET;
        self.note(budget, ready(pods, &apps), least);
    }

    fn note(&mut self, whom: &str, ready: usize, least: usize) {
        let fewest = self.fewest.entry(whom.to_owned()).or_insert(usize::MAX);
        // Told once for each further pod that is missing.
        if ready < least && ready < *fewest {
            self.broken.push(format!(
                "{whom}: only {ready} pods were Ready, {least} is the least"
            ));
        }
        *fewest = ready.min(*fewest);
    }

    /// Returns how many evictions of a workload the API let happen.
    pub(crate) fn evicted(&self, app: &str) -> usize {
        self.evicted.get(app).copied().unwrap_or(0)
    }

    /// Says whether an Event has told that `cart` is halted: of `web` and `canary`, which share a budget, only one
    /// can lose a pod, and with a canary's only pod there is none left to halt.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.contains("cart")
    }

    /// Returns how many evictions the API refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.values().sum()
    }

    /// Returns the fewest pods of a workload or budget that were Ready at the same time.
    pub(crate) fn fewest(&self, whom: &str) -> usize {
        self.fewest.get(whom).copied().unwrap_or(0)
    }
}

/// Returns how many pods of `apps` are Ready.
pub(crate) fn ready(pods: &Pods, apps: &[&str]) -> usize {
    pods.values()
        .filter(|pod| pod.ready && apps.contains(&pod.app.as_str()))
        .count()
}
