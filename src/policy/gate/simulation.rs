//! A seeded run of many passes over an owner whose pods are seen late: what must never happen, does not.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Member, Moment, Outdated, Standing, Workload,
    notation::{at, limits, moment, target},
    plan,
};
use crate::policy::{Pod, Wishes, fixture::pod};

/// A small generator of pseudo-random numbers (xorshift), so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A pod as it is.
#[derive(Clone)]
struct Actual {
    pod: Pod,
    outdated: bool,
}

/// An owner as it is, as it was, and what we remember of it.
struct World {
    dice: Dice,
    desired: usize,
    pods: BTreeMap<String, Actual>,
    /// What the cache has not shown yet, oldest first; the first is what it shows.
    history: VecDeque<BTreeMap<String, Actual>>,
    evicted: Vec<String>,
    evictions: Vec<jiff::Timestamp>,
    born: usize,
}

impl World {
    fn new(seed: u64, desired: usize) -> Self {
        let mut world = Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            desired,
            pods: BTreeMap::new(),
            history: VecDeque::new(),
            evicted: Vec::new(),
            evictions: Vec::new(),
            born: 0,
        };
        for _ in 0..desired {
            world.create(true);
        }
        world.history.push_back(world.pods.clone());
        world
    }

    fn create(&mut self, outdated: bool) {
        self.born += 1;
        let name = format!("web-{:04}", self.born);
        let pod = pod(&name).with(|pod| pod.ready = outdated).build();
        self.pods.insert(name, Actual { pod, outdated });
    }

    fn available(&self) -> usize {
        let available = |actual: &&Actual| actual.pod.is_available();
        self.pods.values().filter(available).count()
    }

    /// Lets the owner and the kubelets do some of what is due, and the cache see some of what was done.
    fn turn(&mut self) {
        let Self { dice, pods, .. } = self;
        pods.retain(|_, actual| !actual.pod.terminating || dice.roll(4) != 0);
        for actual in pods.values_mut().filter(|actual| !actual.pod.ready) {
            actual.pod.ready = dice.roll(3) == 0;
        }
        let staying = self
            .pods
            .values()
            .filter(|actual| !actual.pod.terminating)
            .count();
        if staying < self.desired && self.dice.roll(2) == 0 {
            self.create(false);
        }
        self.history.push_back(self.pods.clone());
        for _ in 0..self.dice.roll(3) {
            if 1 < self.history.len() {
                self.history.pop_front();
            }
        }
    }

    /// Plans on what the cache shows, and does it; returns whether anything outdated is left.
    fn pass(&mut self, second: i64, wishes: &Wishes, per_minute: u32) -> bool {
        let seen = self.history.front().cloned().unwrap_or_default();
        let members = seen.values().map(|actual| Member {
            pod: &actual.pod,
            evicted: self.evicted.iter().any(|name| **name == *actual.pod.name),
            refused: None,
            standing: if actual.outdated {
                Standing::Outdated(Outdated {
                    wishes,
                    targets: vec![target(0)],
                    registry_failing: false,
                })
            } else {
                Standing::Current
            },
        });
        let workloads = [Workload {
            desired: u32::try_from(self.desired).ok(),
            recent: 0,
            members: members.collect(),
        }];
        let moment = Moment {
            limits: limits(per_minute),
            evictions: &self.evictions,
            ..moment(second)
        };
        let names: Vec<_> = plan(&moment, &workloads)
            .go
            .iter()
            .map(|m| m.pod.name.to_string())
            .collect();
        for name in names {
            assert!(!self.evicted.contains(&name), "{name} must be evicted once");
            if let Some(actual) = self.pods.get_mut(&name) {
                actual.pod.terminating = true;
            }
            self.evicted.push(name);
            self.evictions.push(at(second));
        }
        self.pods.values().any(|actual| actual.outdated)
    }
}

/// Runs one owner to its end; the cache lags by any number of turns.
fn run(seed: u64, desired: usize, max_unavailable: &str, per_minute: u32) {
    let wishes = Wishes::parse(&[("max-unavailable".into(), max_unavailable.into())], &[]).unwrap();
    let max = wishes.max_unavailable.of(u32::try_from(desired).unwrap());
    let floor = desired.saturating_sub(usize::try_from(max).unwrap());
    let mut world = World::new(seed, desired);
    for second in 1000..9000 {
        let unfinished = world.pass(second, &wishes, per_minute);
        let available = world.available();
        assert!(
            floor <= available,
            "seed {seed}: {available} of {desired} at {second}"
        );
        let minute = world
            .evictions
            .iter()
            .filter(|e| at(second - 60) <= **e)
            .count();
        assert!(
            minute <= usize::try_from(per_minute).unwrap(),
            "seed {seed}: {minute} at {second}"
        );
        if !unfinished && world.available() == desired {
            return;
        }
        world.turn();
    }
    panic!(
        "seed {seed}: {} of {desired} pods, M={max_unavailable} must all be refreshed",
        world.pods.len()
    );
}

#[test]
fn no_more_than_max_unavailable_are_down_however_late_the_cache() {
    for seed in 1..400 {
        let mut dice = Dice(seed);
        let desired = 1 + usize::try_from(dice.roll(9)).unwrap();
        let max = ["1", "2", "25%", "50%", "100%"][usize::try_from(dice.roll(5)).unwrap()];
        let per_minute = 1 + u32::try_from(dice.roll(30)).unwrap();
        run(seed, desired, max, per_minute);
    }
}
