//! What the leader remembers between two looks at the cluster. A hint: all of it may be lost at any time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::waits::Waits;
use crate::{
    cluster::Workload,
    policy::{Digest, Owner, Pod},
};

/// How long a workload's count of desired pods may be used to hold pods back. To let one go it is read anew.
const READING_TIME: Duration = Duration::from_secs(30);

/// How many digests are remembered that pods of a workload were to run.
const AIMS: usize = 16;

/// How long a workload that none of our pods belong to is remembered.
const KEEP: Duration = Duration::from_secs(600);

/// The first and the longest pause after a refused eviction; the first as `kubectl drain` has it. Where images are
/// asked for more often, the first one is no longer than that.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// The same after the API server was busy or away: it comes back for all at once.
const SERVER_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The length of the budget's minute, with a little on top as it includes both of its ends.
pub(super) const MINUTE: Duration = Duration::from_millis(60_001);

/// The only one who is waited for in `Memory::server`.
pub(super) const SERVER: &str = "";

/// The memory.
#[derive(Debug)]
pub(super) struct Memory {
    /// The workloads last read, by their uid.
    readings: HashMap<Box<str>, Reading>,
    /// The uid of the workload that the pods of a direct owner belong to, by the owner's uid.
    belongs: HashMap<Box<str>, Box<str>>,
    /// What was done about pods, by uid, while they are seen.
    deeds: HashMap<Box<str>, Deeds>,
    /// What pods of a workload were to run that have gone for our sake, by its uid, each with when the first of them did.
    aims: HashMap<Box<str>, Vec<(Digest, Instant)>>,
    /// The workloads that have lost pods for our sake and do not run the new image all over yet.
    pub(super) turning: HashMap<Box<str>, Turn>,
    /// The evictions and restarts of the last minute, oldest first.
    evictions: VecDeque<Spent>,
    /// Pods that the API server refused to evict.
    pub(super) pods: Waits,
    /// Workloads whose ready pods it refused to evict: a budget.
    pub(super) ready: Waits,
    /// Workloads of which it refused to evict any pod.
    pub(super) workloads: Waits,
    /// Workloads whose last reading is good enough to hold their restart back.
    pub(super) rollouts: Waits,
    /// Workloads whose last reading is good enough to hold ready pods back by the pace, while they have as many pods.
    paces: Waits,
    /// Direct owners whose workload could not be read.
    pub(super) owners: Waits,
    /// The API server itself.
    pub(super) server: Waits,
}

/// What was done about a pod.
#[derive(Debug, Default, PartialEq, Eq)]
struct Deeds {
    /// Whether it is going for our sake, and until when that is taken for granted.
    going: Option<Until>,
    /// Whether nobody knows what became of its last eviction.
    in_doubt: bool,
    /// The version that it had left behind when it was asked to go.
    outrun: Option<Box<str>>,
    /// Whether its owner was restarted for its sake.
    restarted: bool,
}

/// The end of what was taken for granted; none while the pod is seen.
type Until = Option<Instant>;

/// A workload as last read.
#[derive(Debug)]
struct Reading {
    workload: Workload,
    at: Instant,
    used: Instant,
}

/// An eviction or a restart, as the budgets count it.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    /// When it was answered.
    pub(super) at: Instant,
    /// The namespace.
    pub(super) namespace: Arc<str>,
    /// The pod's node; none for a restart.
    pub(super) node: Option<Arc<str>>,
}

/// A workload whose pods are being replaced.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// The direct owner of the pod evicted last.
    pub(super) owner: Arc<Owner>,
    /// Its namespace.
    pub(super) namespace: Arc<str>,
    /// What the pod evicted last was to run.
    pub(super) targets: String,
    /// How many pods were evicted; a restart evicts none.
    pub(super) evicted: u32,
    /// When the first of them was, or the restart.
    pub(super) begun: Instant,
    /// Whether a pod that has come since has not become ready in its time, or one has not come in it.
    pub(super) halted: bool,
    /// Since when there have been fewer pods than are wanted, at each look since the last eviction; not known of a
    /// restart, whose pods come by and by.
    pub(super) short: Option<Instant>,
    /// Until when it is waited for.
    pub(super) until: Instant,
}

impl Memory {
    /// Returns an empty memory of one who looks for news every `poll_interval`.
    pub(super) fn new(poll_interval: Duration) -> Self {
        let waits = || Waits::new(PAUSES.0.min(poll_interval), PAUSES.1);
        Self {
            readings: HashMap::new(),
            belongs: HashMap::new(),
            deeds: HashMap::new(),
            aims: HashMap::new(),
            turning: HashMap::new(),
            evictions: VecDeque::new(),
            pods: waits(),
            ready: waits(),
            workloads: waits(),
            rollouts: waits(),
            paces: waits(),
            owners: waits(),
            server: Waits::new(SERVER_PAUSES.0, SERVER_PAUSES.1),
        }
    }

    /// Forgets what is over at `now`; `pods` are the uids of all pods that are still seen.
    pub(super) fn tidy<'a>(&mut self, now: Instant, pods: impl Iterator<Item = &'a str>) {
        if !self.deeds.is_empty() {
            let seen: HashSet<&str> = pods.filter(|uid| self.deeds.contains_key(*uid)).collect();
            self.deeds.retain(|uid, deeds| {
                deeds.going = (deeds.going).filter(|until| until.is_none_or(|until| now < until));
                seen.contains(&**uid) && *deeds != Deeds::default()
            });
        }
        self.readings.retain(|_, reading| now < reading.used + KEEP);
        let readings = &self.readings;
        self.belongs
            .retain(|_, workload| readings.contains_key(workload));
        self.aims
            .retain(|workload, _| readings.contains_key(workload));
        self.turning.retain(|_, turn| now < turn.until);
        while self
            .evictions
            .front()
            .is_some_and(|spent| spent.at + MINUTE < now)
        {
            self.evictions.pop_front();
        }
        for waits in [&mut self.pods, &mut self.ready, &mut self.workloads] {
            waits.tidy(now);
        }
        self.rollouts.tidy(now);
        self.paces.tidy(now);
        self.owners.tidy(now);
        self.server.tidy(now);
    }

    /// Notes a workload as it was just read, and which direct owners' pods belong to it.
    pub(super) fn read(
        &mut self,
        workload: Workload,
        owners: impl IntoIterator<Item = Box<str>>,
        now: Instant,
    ) {
        let uid: Box<str> = workload.uid.as_str().into();
        for owner in owners {
            self.owners.over(&owner);
            self.belongs.insert(owner, uid.clone());
        }
        let reading = Reading {
            workload,
            at: now,
            used: now,
        };
        self.readings.insert(uid, reading);
    }

    /// Notes that it is not known any more which workload a direct owner's pods belong to.
    pub(super) fn unread(&mut self, owner: &str) {
        self.belongs.remove(owner);
    }

    /// Returns the uid of the workload that a direct owner's pods belong to, if that is known.
    pub(super) fn workload_of(&self, owner: &Owner) -> Option<&str> {
        self.belongs.get(&owner.uid).map(|uid| &**uid)
    }

    /// Returns a workload as it was last read, however long ago.
    pub(super) fn workload(&self, uid: &str) -> Option<&Workload> {
        self.readings.get(uid).map(|reading| &reading.workload)
    }

    /// Returns a workload as it may be judged by whether it can be restarted at `now`, the beginning of a look:
    /// read since then, or not long enough ago to read it again while it is known to hold its restart back.
    pub(super) fn template(&self, uid: &str, now: Instant) -> Option<&Workload> {
        let reading = self.readings.get(uid)?;
        let is_good = now <= reading.at || self.rollouts.hold(uid, now);
        is_good.then_some(&reading.workload)
    }

    /// Notes that a workload has pods that are of interest, so that it is not forgotten.
    pub(super) fn keep(&mut self, uid: &str, now: Instant) {
        if let Some(reading) = self.readings.get_mut(uid) {
            reading.used = now;
        }
    }

    /// Returns how many pods a workload wanted lately, if that is known; `staying` is how many it has.
    pub(super) fn desired(&self, uid: &str, staying: usize, now: Instant) -> Option<u32> {
        let reading = self.readings.get(uid)?;
        let is_good = now < reading.at + READING_TIME
            || self.paces.hold(uid, now) && self.is_paced_with(uid, staying);
        is_good.then_some(reading.workload.desired)
    }

    /// Notes that a workload which was read just now, and has `staying` pods, holds ready pods back by the pace: as long
    /// as it has as many it is read again less and less often for that.
    pub(super) fn paced(&mut self, uid: &str, staying: usize, now: Instant) {
        if !self.is_paced_with(uid, staying) {
            self.paces.over(uid);
        }
        self.paces.refused(uid, &staying.to_string(), None, now);
    }

    /// Forgets which workloads hold ready pods back by the pace, all but those of which `is_kept` says so.
    pub(super) fn keep_paced(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.paces.retain(is_kept);
    }

    fn is_paced_with(&self, uid: &str, staying: usize) -> bool {
        let known = self.paces.refusal(uid);
        known.is_some_and(|(count, _)| *count == staying.to_string())
    }

    /// Notes that the pod is on its way out: until it is gone, or until `until`.
    pub(super) fn goes(&mut self, pod: &str, until: Option<Instant>) {
        self.deeds_about(pod).going = Some(until);
    }

    /// Says whether the pod is on its way out for our sake.
    pub(super) fn is_going(&self, pod: &str) -> bool {
        (self.deeds.get(pod)).is_some_and(|it| it.going.is_some())
    }

    /// Says whether the API server has said that the pod goes, for our sake.
    pub(super) fn has_gone(&self, pod: &str) -> bool {
        (self.deeds.get(pod)).is_some_and(|it| it.going == Some(None))
    }

    /// Says whether any pod is on its way out for our sake.
    pub(super) fn anything_goes(&self) -> bool {
        self.deeds.values().any(|it| it.going.is_some())
    }

    /// Notes whether it is known what became of the pod's last eviction.
    pub(super) fn doubt(&mut self, pod: &str, in_doubt: bool) {
        self.deeds_about(pod).in_doubt = in_doubt;
    }

    /// Says whether nobody knows what became of the pod's last eviction.
    pub(super) fn is_in_doubt(&self, pod: &str) -> bool {
        self.deeds.get(pod).is_some_and(|it| it.in_doubt)
    }

    /// Notes that the pod has another version by now than the one that it was asked to go in.
    pub(super) fn outran(&mut self, pod: &str, version: &str) {
        self.deeds_about(pod).outrun = Some(version.into());
    }

    /// Says whether the pod is known not to be any more as it is seen here.
    pub(super) fn is_outrun(&self, pod: &Pod) -> bool {
        let version = (self.deeds.get(&pod.uid)).and_then(|it| it.outrun.as_ref());
        version.is_some() && version == pod.version.as_ref()
    }

    /// Notes that the pod's owner was restarted for its sake, or may have been.
    pub(super) fn restarted(&mut self, pod: &str) {
        self.deeds_about(pod).restarted = true;
    }

    /// Says whether the pod's owner was restarted for its sake.
    pub(super) fn is_restarted(&self, pod: &str) -> bool {
        self.deeds.get(pod).is_some_and(|it| it.restarted)
    }

    fn deeds_about(&mut self, pod: &str) -> &mut Deeds {
        self.deeds.entry(pod.into()).or_default()
    }

    /// Notes that pods of a workload go, or may have gone, to run `digests`.
    pub(super) fn aim<'d>(
        &mut self,
        workload: &str,
        digests: impl IntoIterator<Item = &'d Digest>,
        now: Instant,
    ) {
        let aims = self.aims.entry(workload.into()).or_default();
        for digest in digests {
            if aims.iter().all(|(aim, _)| aim != digest) {
                aims.push((digest.clone(), now));
            }
        }
        aims.drain(..aims.len().saturating_sub(AIMS));
    }

    /// Returns when the first pod of a workload went to run `digest`, if that is known.
    pub(super) fn aimed(&self, workload: &str, digest: &Digest) -> Option<Instant> {
        let mut aims = self.aims.get(workload)?.iter();
        aims.find_map(|(aim, since)| (aim == digest).then_some(*since))
    }

    /// Counts the eviction of a pod on `node`, or a restart, against the budgets.
    pub(super) fn spend(&mut self, namespace: &Arc<str>, node: Option<&Arc<str>>, now: Instant) {
        self.evictions.push_back(Spent {
            at: now,
            namespace: namespace.clone(),
            node: node.cloned(),
        });
    }

    /// Counts what others may have done against the budgets, before anything of our own.
    pub(super) fn inherit(&mut self, mut evictions: Vec<Spent>) {
        evictions.sort_by_key(|spent| spent.at);
        evictions.extend(self.evictions.drain(..));
        self.evictions = evictions.into();
    }

    /// Returns the evictions and restarts of the last minute.
    pub(super) fn evictions(&self) -> impl Iterator<Item = &Spent> {
        self.evictions.iter()
    }

    /// Returns the first time after `now` at which something here stops holding pods back.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let doubts = self.deeds.values().filter_map(|it| it.going.flatten());
        let budget = self.evictions.front().map(|spent| spent.at + MINUTE);
        let waits = [
            &self.pods,
            &self.ready,
            &self.workloads,
            &self.rollouts,
            &self.paces,
            &self.owners,
            &self.server,
        ];
        let refusals = waits.into_iter().flat_map(Waits::ends);
        refusals
            .chain(doubts)
            .chain(budget)
            .filter(|at| now < *at)
            .min()
    }
}

#[cfg(test)]
mod tests;
