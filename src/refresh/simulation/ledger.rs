//! What was asked and answered, and which rules that breaks: kept apart from what the controller remembers.

use std::collections::{BTreeSet, HashMap};

use super::{
    cluster::Cluster,
    eviction::Asked,
    owner::Version,
    replica::{CONFIRM_AFTER, PROGRESS_DEADLINE},
    schedule::Schedule,
};
use crate::{
    cluster::Eviction,
    policy::{Pod, Running, fixture::digest},
    refresh::fixture::{START, wall},
    registry::Lookup,
};

/// The record of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    per_minute: u32,
    per_node: Option<u32>,
    /// The seconds of evictions that were done, since the controller's last start.
    evictions: Vec<u64>,
    /// Those of each node, where that matters.
    nodes: HashMap<String, Vec<u64>>,
    /// The uids of those that the API server said it had evicted, from the beginning.
    evicted: BTreeSet<Box<str>>,
    /// What the registry said, since the controller's last start.
    answers: HashMap<Lookup, Answers>,
    /// For each owner how often in a row a budget refused a ready pod, and when last.
    refusals: HashMap<usize, (u32, u64)>,
    /// How many were evicted.
    pub(super) count: usize,
}

/// What a registry said of one tag.
#[derive(Debug)]
struct Answers {
    version: Version,
    first: u64,
    last: u64,
    failing: bool,
}

impl Ledger {
    /// Returns an empty record.
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self {
            per_minute: schedule.per_minute,
            per_node: schedule.per_node,
            ..Self::default()
        }
    }

    /// Notes that the controller begins anew: what it was told before it cannot know.
    pub(super) fn restarted(&mut self) {
        self.evictions.clear();
        self.nodes.clear();
        self.answers.clear();
        self.refusals.clear();
    }

    /// Notes what a registry said; `None` is nothing.
    pub(super) fn answered(&mut self, lookup: &Lookup, version: Option<Version>, second: u64) {
        match (self.answers.get_mut(lookup), version) {
            (Some(known), None) => known.failing = true,
            (None, None) => {}
            (Some(known), Some(version)) if known.version == version => {
                (known.last, known.failing) = (second, false);
            }
            (_, Some(version)) => {
                let answers = Answers {
                    version,
                    first: second,
                    last: second,
                    failing: false,
                };
                self.answers.insert(lookup.clone(), answers);
            }
        }
    }

    /// Notes what became of an eviction of `pod`, as the cache showed it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn asked(
        &mut self,
        cluster: &mut Cluster,
        pod: &Pod,
        lookup: &Lookup,
        asked: &Asked,
    ) -> Result<(), String> {
        let (name, now) = (&pod.name, cluster.second);
        self.reason(pod, lookup, now)
            .map_err(|why| format!("{name} was to go, but {why}"))?;
        let nth = cluster.owner_of(pod);
        let owner = &mut cluster.owners[nth];
        if !cluster.homes[owner.plan.namespace].enabled {
            return Err(format!(
                "{name} was to go, but its namespace is not opted in"
            ));
        }
        if matches!(asked.answer, Eviction::Blocked { .. }) && pod.ready {
            self.blocked(nth, now)?;
        } else {
            self.refusals.remove(&nth);
        }
        if self.evicted.contains(&pod.uid) {
            return Err(format!("{name} was evicted already"));
        }
        if matches!(asked.answer, Eviction::Evicted) {
            self.evicted.insert(pod.uid.clone());
        }
        if !asked.done {
            return Ok(());
        }
        self.count += 1;
        self.evictions.push(now);
        let minute = self.evictions.iter().filter(|at| now <= **at + 60).count();
        if (self.per_minute as usize) < minute {
            return Err(format!("{minute} pods went within a minute"));
        }
        if let Some(node) = pod.node.as_ref().filter(|_| self.per_node.is_some()) {
            let of_node = self.nodes.entry(node.to_string()).or_default();
            of_node.push(now);
            let minute = of_node.iter().filter(|at| now <= **at + 60).count();
            if self.per_node.is_some_and(|most| (most as usize) < minute) {
                return Err(format!("{minute} pods of {node} went within a minute"));
            }
        }
        if asked.served && !pod.ready {
            return Err(format!("{name} went as one that is not ready, and was"));
        }
        if asked.served {
            owner.taken += 1;
            let allowed = owner.max_unavailable.of(owner.desired);
            owner.allowed = if owner.taken == 1 {
                allowed
            } else {
                owner.allowed.max(allowed)
            };
        }
        Ok(())
    }

    /// Checks that there is a good reason for the pod to go.
    fn reason(&self, pod: &Pod, lookup: &Lookup, now: u64) -> Result<(), String> {
        let Some(known) = self.answers.get(lookup) else {
            return Err("nobody said what its tag means".to_owned());
        };
        let Answers {
            version,
            first,
            last,
            failing,
        } = *known;
        if failing {
            return Err("its registry fails".to_owned());
        }
        if last < first + CONFIRM_AFTER {
            return Err(format!(
                "{version} was seen at {first} and {last}, which is no confirmation"
            ));
        }
        if pod.containers[0].running == Running::Manifest(digest(version)) {
            return Err(format!("it runs {version} already"));
        }
        let born = u64::try_from(pod.created.as_second() - START).unwrap();
        let since = wall(i64::try_from(first).unwrap());
        // It was asked to come, and its tag meant something else then.
        if pod.containers[0].denies(&digest(version), since, pod.created) {
            return Ok(());
        }
        if first + CONFIRM_AFTER <= born && (pod.ready || now < born + PROGRESS_DEADLINE) {
            return Err(format!(
                "it was born at {born} to replace another for {version}, known since {first}"
            ));
        }
        Ok(())
    }

    /// Checks that budgets are asked less and less often.
    fn blocked(&mut self, owner: usize, now: u64) -> Result<(), String> {
        let (count, last) = self.refusals.get(&owner).copied().unwrap_or((0, 0));
        let pause = (5 << count.min(10) >> 1).min(300);
        if 0 < count && now < last + pause {
            return Err(format!(
                "a budget was asked at {last} and {now}, having refused {count} times"
            ));
        }
        // Long after a refusal one begins anew.
        let again = last + 600 < now;
        self.refusals
            .insert(owner, (if again { 1 } else { count + 1 }, now));
        Ok(())
    }

    /// Checks that no owner has lost more pods than may be down.
    pub(super) fn check(&self, cluster: &mut Cluster) -> Result<(), String> {
        for owner in &mut cluster.owners {
            let missing = owner.desired.saturating_sub(owner.available());
            // Nothing is missing any more, by whatever has come.
            if missing == 0 {
                owner.taken = 0;
            }
            let (down, allowed) = (owner.taken.min(missing), owner.allowed);
            if allowed < down && !owner.deleted {
                let (name, desired) = (&owner.name, owner.desired);
                return Err(format!(
                    "{down} of {desired} pods of {name} are down for our sake, {allowed} may be"
                ));
            }
        }
        Ok(())
    }
}
