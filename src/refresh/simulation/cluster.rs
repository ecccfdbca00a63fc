//! A cluster in a few lines: owners that replace their pods, nodes that pull, a registry, and a cache that lags.

use std::{collections::VecDeque, sync::Arc};

use super::{
    dice::Dice,
    owner::{Actual, Home, Owner, Version},
    schedule::{Event, Kind, Schedule},
};
use crate::{
    cluster::Workload,
    policy::{Phase, Pod, PullIdentity, Running, Stamp, fixture::digest},
};

/// The images' references, by their numbers.
pub(super) const IMAGES: [&str; 2] = ["registry.test/one:stable", "registry.test/two:stable"];

/// How many steps a cache is late at most that is not stuck.
const LAG: usize = 1;

/// The cluster as it really is.
#[derive(Debug)]
pub(super) struct Cluster {
    /// How many seconds have passed.
    pub(super) second: u64,
    pub(super) homes: [Home; 2],
    pub(super) owners: Vec<Owner>,
    /// What each tag means.
    pub(super) tags: [Version; 2],
    /// Whether the registry answers.
    pub(super) registry: bool,
    /// Whether the API server is well.
    pub(super) server: bool,
    /// What nodes pull for each tag where they do not ask the registry.
    mirror: Option<[Version; 2]>,
    before: [Version; 2],
    bad: Vec<Version>,
    born: u32,
    pushed: Version,
    frozen: bool,
    /// The pods as they were at the last steps, oldest first; the first is what the cache shows.
    seen: VecDeque<Vec<Arc<Pod>>>,
}

impl Cluster {
    /// Returns the cluster of a schedule, with all its pods ready.
    pub(super) fn new(schedule: &Schedule, dice: &mut Dice) -> Self {
        let homes = ["shop", "team"].map(|name| Home {
            name: name.into(),
            identity: Arc::new(PullIdentity {
                namespace: name.into(),
                secrets: Box::new([]),
                service_account: "default".into(),
            }),
            enabled: true,
        });
        let owners = schedule.owners.iter().enumerate();
        let owners = owners
            .map(|(nth, plan)| Owner::new(nth, *plan, &homes[plan.namespace], IMAGES[plan.image]));
        let mut cluster = Self {
            second: 0,
            owners: owners.collect(),
            homes,
            tags: [1, 2],
            registry: true,
            server: true,
            mirror: None,
            before: [1, 2],
            bad: Vec::new(),
            born: 0,
            pushed: 2,
            frozen: false,
            seen: VecDeque::new(),
        };
        for _ in 0..8 {
            cluster.pass(10, dice);
        }
        cluster
    }

    /// Lets one thing happen that is about the cluster.
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Push { image, bad } => {
                self.pushed += 1;
                self.before[image] = std::mem::replace(&mut self.tags[image], self.pushed);
                self.bad.extend(bad.then_some(self.pushed));
            }
            Event::Revert { image } => {
                std::mem::swap(&mut self.before[image], &mut self.tags[image]);
            }
            Event::Crash { owner, all } => {
                let pods = &mut self.owners[owner].pods;
                let count = if all { pods.len() } else { 1.min(pods.len()) };
                for pod in &mut pods[..count] {
                    pod.crashes = true;
                }
            }
            Event::Fail { owner } => self.fail(owner),
            Event::Scale { owner, to } => self.owners[owner].desired = to,
            Event::Rollout { owner } => self.owners[owner].roll_out(),
            Event::Delete { owner } => self.owners[owner].deleted = true,
            Event::Budget { owner, healthy } => self.owners[owner].budgets.push(healthy),
            Event::Registry { up } => self.registry = up,
            Event::Mirror { stale } => self.mirror = stale.then_some(self.tags),
            Event::Server { well } => self.server = well,
            Event::Cache { frozen } => self.frozen = frozen,
            Event::Namespace { namespace, enabled } => self.homes[namespace].enabled = enabled,
            Event::Restart | Event::Clock { .. } => {}
        }
    }

    /// Has the node of a pod end it. A ReplicaSet leaves it lying; the others remove it before they make another.
    fn fail(&mut self, nth: usize) {
        let now = self.second;
        let owner = &mut self.owners[nth];
        let is_removed = owner.plan.kind != Kind::Deployment;
        let Some(pod) = owner.pods.iter_mut().find(|pod| pod.stays()) else {
            return;
        };
        let gone = pod.change();
        (gone.phase, gone.ready) = (Phase::Over, false);
        if is_removed {
            pod.end(now);
        }
    }

    /// Repairs everything that is not an image.
    pub(super) fn calm(&mut self) {
        (self.registry, self.server, self.mirror) = (true, true, None);
        self.frozen = false;
        for owner in &mut self.owners {
            // What a person has to do here, too, before anything can be evicted.
            owner.budgets.truncate(1);
            for healthy in &mut owner.budgets {
                *healthy = (*healthy).min(owner.desired.saturating_sub(1));
            }
            owner.always_allow = true;
            for pod in &mut owner.pods {
                pod.crashes = false;
            }
        }
    }

    /// Lets time pass: owners replace pods, nodes run them, and the cache sees some of it.
    pub(super) fn pass(&mut self, seconds: u64, dice: &mut Dice) {
        self.second += seconds;
        for nth in 0..self.owners.len() {
            self.reconcile(nth, dice);
            for at in 0..self.owners[nth].pods.len() {
                self.run(nth, at, dice);
            }
        }
        self.seen.push_back(self.list());
        let late = if self.frozen {
            usize::MAX
        } else {
            dice.index(LAG + 1)
        };
        while late < self.seen.len() - 1 {
            self.seen.pop_front();
        }
    }

    /// Returns what the cache shows.
    pub(super) fn cached(&self) -> Vec<Arc<Pod>> {
        self.seen.front().cloned().unwrap_or_default()
    }

    /// Has the cache begin anew, with what there is now.
    pub(super) fn list_anew(&mut self) {
        self.seen.clear();
        self.seen.push_back(self.list());
    }

    /// Says whether anything is on its way, so that time should not pass fast.
    pub(super) fn moves(&self) -> bool {
        let is_moving = |pod: &Actual| !(pod.lies() || pod.stays() && pod.pod.ready);
        1 < self.seen.len() || self.owners.iter().any(|it| it.pods.iter().any(is_moving))
    }

    /// Returns what is not as it must be at the end: a pod, or too few of them.
    pub(super) fn unfinished(&self) -> Option<String> {
        for owner in self.owners.iter().filter(|owner| !owner.deleted) {
            if !self.homes[owner.plan.namespace].enabled {
                continue;
            }
            let (name, wanted) = (&owner.name, self.tags[owner.plan.image]);
            let pods = || owner.pods.iter().filter(|pod| !pod.lies());
            let (count, desired) = (pods().count(), owner.desired);
            if count != desired as usize {
                return Some(format!("{name} has {count} pods and wants {desired}"));
            }
            let old = pods().find(|pod| pod.runs != wanted || !pod.pod.ready);
            if let Some(Actual { pod, runs, .. }) = old {
                let (name, ready) = (&pod.name, pod.ready);
                return Some(format!(
                    "{name} runs {runs} instead of {wanted}, ready: {ready}"
                ));
            }
        }
        None
    }

    /// Returns the owner of a pod.
    pub(super) fn owner_of(&self, pod: &Pod) -> usize {
        let name = pod.name.split('-').next().unwrap();
        let found = self.owners.iter().position(|owner| owner.name == name);
        found.expect("a pod must be called after its owner")
    }

    /// Returns what reading the workload behind a direct owner gives.
    pub(super) fn read(&self, direct: &str) -> Option<(Workload, Vec<Box<str>>)> {
        let mut owners = self.owners.iter();
        owners.find_map(|owner| {
            owner
                .read()
                .filter(|(_, uids)| uids.iter().any(|it| **it == *direct))
        })
    }

    fn list(&self) -> Vec<Arc<Pod>> {
        let pods = self.owners.iter().flat_map(|owner| &owner.pods);
        let mut pods: Vec<Arc<Pod>> = pods.map(|actual| Arc::clone(&actual.pod)).collect();
        pods.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        pods
    }

    /// Does what a workload's controller does next.
    fn reconcile(&mut self, nth: usize, dice: &mut Dice) {
        let now = self.second;
        let owner = &mut self.owners[nth];
        owner.pods.retain(|pod| now < pod.ends);
        let staying = owner.pods.iter().filter(|pod| pod.stays()).count();
        let desired = if owner.deleted { 0 } else { owner.desired };
        let desired = usize::try_from(desired).unwrap();
        if desired < staying {
            // Those that are not ready first.
            for _ in desired..staying {
                let staying = owner.pods.iter_mut().filter(|pod| pod.stays());
                if let Some(pod) = staying.min_by_key(|pod| pod.pod.ready) {
                    pod.end(now + dice.roll(15));
                }
            }
        } else if staying < desired && dice.chance(75) {
            let home = &self.homes[owner.plan.namespace];
            for _ in staying..desired {
                self.born += 1;
                let Some(mut pod) = owner.spawn(self.born, home, now) else {
                    break;
                };
                stamp(&mut pod, self.tags[owner.plan.image], self.registry, dice);
                (pod.starts, pod.warms_up) = (now + dice.roll(10), dice.roll(15));
                owner.pods.push(pod);
            }
        } else if owner.plan.kind == Kind::Deployment && owner.available() == owner.desired {
            let uid = owner.direct.uid.clone();
            let of_old = |pod: &&mut Actual| pod.pod.owner.as_ref().is_some_and(|it| it.uid != uid);
            let staying = owner.pods.iter_mut().filter(|pod| pod.stays());
            if let Some(pod) = { staying }.find(of_old) {
                pod.end(now + dice.roll(15));
            }
        }
    }

    /// Does what a node does next with a pod.
    fn run(&mut self, nth: usize, at: usize, dice: &mut Dice) {
        let owner = &mut self.owners[nth];
        let (image, now) = (owner.plan.image, self.second);
        let actual = &mut owner.pods[at];
        if !actual.stays() {
            return;
        }
        if actual.runs == 0 {
            if now < actual.starts || !(self.registry || self.mirror.is_some()) {
                return;
            }
            actual.runs = self.mirror.map_or(self.tags[image], |old| old[image]);
            let runs = actual.runs;
            let pod = actual.change();
            pod.containers[0].running = Running::Manifest(digest(runs));
            pod.phase = Phase::Running;
        }
        let warm = actual.starts + actual.warms_up <= now;
        let ready = warm && !actual.crashes && !self.bad.contains(&actual.runs);
        if ready != actual.pod.ready {
            actual.change().ready = ready;
        }
        if ready && !actual.has_served {
            actual.has_served = true;
            owner.taken = owner.taken.saturating_sub(1);
        }
        // A crashed container starts anew, and pulls what the tag means by then.
        if actual.crashes && self.registry && self.mirror.is_none() && dice.chance(10) {
            let runs = self.tags[image];
            if runs != actual.runs {
                (actual.runs, actual.crashes) = (runs, false);
                actual.change().containers[0].running = Running::Manifest(digest(runs));
            }
        }
    }
}

/// Writes on a pod what its tag means, as the webhook does when it can.
fn stamp(pod: &mut Actual, means: Version, registry: bool, dice: &mut Dice) {
    if registry && dice.chance(70) {
        let container = &mut pod.change().containers[0];
        if let Ok(image) = &container.image {
            container.stamp = Some(Stamp::new(image, digest(means)));
        }
    }
}
