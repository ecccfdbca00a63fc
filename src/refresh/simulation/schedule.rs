//! What happens to a cluster in one run, and when.

use std::fmt;

use super::dice::Dice;

/// The step from which on nothing goes wrong any more.
pub(super) const CALM: u32 = 18;

/// The step at which a good image is pushed under every tag, the last of the run.
pub(super) const LAST_PUSH: u32 = CALM + 4;

/// A run before it is played: the cluster, and what happens to it.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// What all that is not planned is rolled by: how long a pod takes, how late the cache is.
    pub(super) seed: u64,
    /// The operator's budget.
    pub(super) per_minute: u32,
    /// How many of these each node may lose, if that is limited.
    pub(super) per_node: Option<u32>,
    /// How often each tag is asked for, in seconds.
    pub(super) poll_interval: u64,
    /// The workloads.
    pub(super) owners: Vec<OwnerPlan>,
    /// What happens at which step, in order.
    pub(super) events: Vec<(u32, Event)>,
}

/// A workload at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnerPlan {
    pub(super) kind: Kind,
    /// One of the two namespaces.
    pub(super) namespace: usize,
    pub(super) desired: u32,
    /// One of the two images.
    pub(super) image: usize,
    pub(super) max_unavailable: &'static str,
    /// How many pods a budget wants healthy, if there is one.
    pub(super) budget: Option<u32>,
}

/// What replaces pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

/// Something that happens. Owners, images and namespaces are numbers of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Another image is pushed under the tag; a bad one never becomes ready.
    Push { image: usize, bad: bool },
    /// The tag goes back to what it meant before.
    Revert { image: usize },
    /// One pod, or all, of what the owner runs now crash until the calm.
    Crash { owner: usize, all: bool },
    /// A node ends a pod of the owner, which a ReplicaSet leaves lying.
    Fail { owner: usize },
    /// Somebody scales the owner.
    Scale { owner: usize, to: u32 },
    /// Somebody changes the owner's template.
    Rollout { owner: usize },
    /// Somebody deletes the owner.
    Delete { owner: usize },
    /// Another budget appears over the owner's pods.
    Budget { owner: usize, healthy: u32 },
    /// The registry answers nobody, or again.
    Registry { up: bool },
    /// The nodes pull through a mirror that still has the images of now, or not any more.
    Mirror { stale: bool },
    /// The API server is busy, fails, or does not answer in half of all calls; or none.
    Server { well: bool },
    /// The controller is restarted and has forgotten everything.
    Restart,
    /// The cache shows nothing new, or everything.
    Cache { frozen: bool },
    /// The namespace is opted in or out.
    Namespace { namespace: usize, enabled: bool },
    /// The controller's clock is set by so many seconds.
    Clock { by: i64 },
}

impl Schedule {
    /// Returns the run with this seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let owners: Vec<OwnerPlan> = (0..dice.between(1, 2))
            .map(|_| OwnerPlan::new(&mut dice))
            .collect();
        let mut events: Vec<(u32, Event)> = (0..dice.between(1, 9))
            .map(|_| {
                let at = dice.between(1, CALM - 1);
                (at, Event::new(&mut dice, &owners))
            })
            .collect();
        // Most runs are about a push, and what goes wrong after it.
        let bad = dice.chance(30);
        events.push((dice.between(0, 5), Event::Push { image: 0, bad }));
        events.sort_by_key(|(step, _)| *step);
        Self {
            seed,
            per_minute: dice.pick(&[2, 3, 5, 30]),
            per_node: dice.pick(&[None, None, Some(1), Some(2)]),
            poll_interval: dice.pick(&[10, 30]),
            owners,
            events,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (budget, interval) = (self.per_minute, self.poll_interval);
        writeln!(f, "{budget} evictions a minute, a look every {interval} s")?;
        if let Some(node) = self.per_node {
            writeln!(f, "{node} evictions a minute on each node")?;
        }
        for owner in &self.owners {
            writeln!(f, "  {owner:?}")?;
        }
        for (step, event) in &self.events {
            writeln!(f, "  step {step}: {event:?}")?;
        }
        Ok(())
    }
}

impl OwnerPlan {
    fn new(dice: &mut Dice) -> Self {
        let desired = dice.between(1, 4);
        Self {
            kind: dice.pick(&[
                Kind::Deployment,
                Kind::Deployment,
                Kind::StatefulSet,
                Kind::DaemonSet,
            ]),
            namespace: dice.index(2),
            desired,
            image: dice.index(2),
            max_unavailable: dice.pick(&["1", "1", "2", "25%", "50%", "100%"]),
            budget: dice.chance(40).then(|| dice.between(0, desired)),
        }
    }
}

impl Event {
    fn new(dice: &mut Dice, owners: &[OwnerPlan]) -> Self {
        let (owner, image) = (dice.index(owners.len()), dice.index(2));
        match dice.roll(26) {
            0..=4 => Self::Push {
                image,
                bad: dice.chance(40),
            },
            5 => Self::Revert { image },
            6..=7 => Self::Crash {
                owner,
                all: dice.chance(30),
            },
            8..=9 => Self::Scale {
                owner,
                to: dice.between(0, 5),
            },
            10 => Self::Rollout { owner },
            11 => Self::Delete { owner },
            12 => Self::Budget {
                owner,
                healthy: dice.between(0, owners[owner].desired),
            },
            13..=14 => Self::Registry {
                up: dice.chance(40),
            },
            15..=16 => Self::Mirror {
                stale: dice.chance(70),
            },
            17..=18 => Self::Server {
                well: dice.chance(30),
            },
            19..=20 => Self::Restart,
            21 => Self::Cache {
                frozen: dice.chance(60),
            },
            22 => Self::Namespace {
                namespace: dice.index(2),
                enabled: dice.chance(50),
            },
            23 => Self::Clock {
                by: dice.pick(&[-3600, -90, -5, 5, 90, 3600]),
            },
            _ => Self::Fail { owner },
        }
    }
}
