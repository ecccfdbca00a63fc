//! Thousands of runs of the rules and the memory over a model cluster in which everything goes wrong that can.
//!
//! Each run is one seed: workloads, budgets, pushes good and bad, crashes, pods that their nodes end, outages, restarts
//! without memory, caches that lag, clocks that are set. After every step it is checked that nothing has happened that must not, by a
//! record of its own (`ledger`); then all is repaired, good images are pushed, and every pod must come to run them.
//!
//! A run that fails prints its seed and the fewest events that make it fail; `PODREFRESH_SIMULATION_SEED=4711` plays
//! that one alone, `PODREFRESH_SIMULATION_RUNS=1000000` more of them.

use std::{env, fmt, thread};

use tokio::time::Instant;

use super::fixture::seconds;
use cluster::Cluster;
use dice::Dice;
use ledger::Ledger;
use replica::Replica;
use schedule::{CALM, Event, LAST_PUSH, Schedule};

mod cluster;
mod dice;
mod eviction;
mod ledger;
mod owner;
mod replica;
mod schedule;

/// How many runs there are.
const RUNS: u64 = 10_000;

/// How long everything may take after the last push, in seconds: a budget may have refused for five minutes before.
const PATIENCE: u64 = 3600;

/// Where and why a run has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    step: u32,
    second: u64,
    why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, second, why } = self;
        write!(f, "at step {step} (second {second}): {why}")
    }
}

/// Plays a schedule to its end; returns how many pods were evicted.
fn play(schedule: &Schedule) -> Result<usize, Failure> {
    let mut dice = Dice::new(schedule.seed, 2);
    let mut cluster = Cluster::new(schedule, &mut dice);
    let mut ledger = Ledger::new(schedule);
    let start = Instant::now();
    let at = |second| start + seconds(second);
    let mut replica = Replica::new(schedule, start, at(cluster.second));
    let mut events = schedule.events.iter().peekable();
    let mut end = None;
    for step in 0.. {
        // What is rolled in a step does not depend on what was rolled before it.
        let mut dice = Dice::new(schedule.seed, 1000 + u64::from(step));
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= step) {
            cluster.happen(*event);
            match event {
                Event::Restart => {
                    let clock = replica.clock;
                    cluster.list_anew();
                    ledger.restarted();
                    replica = Replica::new(schedule, start, at(cluster.second));
                    replica.clock = clock;
                }
                Event::Clock { by } => replica.clock += by,
                _ => {}
            }
        }
        if step == CALM {
            cluster.calm();
        }
        if step == LAST_PUSH {
            for image in 0..2 {
                cluster.happen(Event::Push { image, bad: false });
            }
            end = Some(cluster.second + PATIENCE);
        }
        let idle = LAST_PUSH < step && !cluster.moves();
        cluster.pass(if idle { 20 } else { 5 }, &mut dice);
        let checked = (ledger.check(&mut cluster))
            .and_then(|()| replica.look(&mut cluster, &mut ledger, &mut dice))
            .and_then(|()| ledger.check(&mut cluster));
        let unfinished = cluster.unfinished();
        let over = end.is_some_and(|end| end < cluster.second);
        let why = match (checked, unfinished) {
            (Err(why), _) => why,
            (Ok(()), None) if end.is_some() => return Ok(ledger.count),
            (Ok(()), Some(left)) if over => {
                let held = &replica.held;
                format!("{left}, though nothing is wrong any more; held back: {held:?}")
            }
            (Ok(()), _) => continue,
        };
        let second = cluster.second;
        return Err(Failure { step, second, why });
    }
    unreachable!("time must be up before the steps are")
}

/// Returns a failing schedule without the events that it fails without, and how it fails then.
fn shrink(mut schedule: Schedule, mut failure: Failure) -> (Schedule, Failure) {
    schedule.events.retain(|(step, _)| *step <= failure.step);
    let mut at = 0;
    while at < schedule.events.len() {
        let mut fewer = schedule.clone();
        fewer.events.remove(at);
        match play(&fewer) {
            Err(other) => (schedule, failure) = (fewer, other),
            Ok(_) => at += 1,
        }
    }
    schedule.events.retain(|(step, _)| *step <= failure.step);
    (schedule, failure)
}

/// Plays one seed; returns how many pods were evicted.
fn run(seed: u64) -> usize {
    let schedule = Schedule::new(seed);
    match play(&schedule) {
        Ok(evicted) => evicted,
        Err(failure) => {
            let (schedule, shrunk) = shrink(schedule, failure.clone());
            panic!("seed {seed}: {failure}\nwith the fewest events: {shrunk}\n{schedule}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|text| text.parse().expect("it must be a number"))
}

#[test]
fn whatever_goes_wrong_no_rule_is_broken_and_all_ends_well() {
    if let Some(seed) = number("PODREFRESH_SIMULATION_SEED") {
        run(seed);
        return;
    }
    let runs = number("PODREFRESH_SIMULATION_RUNS").unwrap_or(RUNS);
    let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let evicted: usize = thread::scope(|scope| {
        let shares = (0..threads).map(|share| {
            let seeds = (share..runs).step_by(usize::try_from(threads).unwrap());
            scope.spawn(move || seeds.map(run).sum::<usize>())
        });
        let shares: Vec<_> = shares.collect();
        // The panic of a run is told by its own thread.
        shares.into_iter().map(|it| it.join().unwrap()).sum()
    });
    // A model in which nothing happens would prove nothing.
    assert!(runs as usize * 4 < evicted, "only {evicted} in {runs} runs");
}

#[test]
fn a_seed_is_always_the_same_run() {
    for seed in 0..20 {
        let (one, other) = (Schedule::new(seed), Schedule::new(seed));
        assert_eq!(one.events, other.events);
        assert_eq!(play(&one), play(&other), "{seed}");
    }
}
