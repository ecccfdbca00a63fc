use super::*;
use crate::{
    policy::{Scope, fixture::digest},
    refresh::{
        fixture::{Stage, deployment, lookup, runs, seconds, unavailable},
        survey::Survey,
    },
    registry::{Fault, LookupError},
};

/// A look at some pods, and what is done about them.
struct Night {
    stage: Stage,
    memory: Memory,
    ledger: Ledger,
    restart: HashSet<Box<str>>,
    dry_run: bool,
}

impl Night {
    /// Returns the night of pods of one Deployment, `web-0` and so on, that run these versions when their tag
    /// has come to mean version 2.
    fn new(versions: &[u8]) -> Self {
        let pods = versions.iter().enumerate();
        let pods = pods.map(|(nth, version)| runs(&format!("web-{nth}"), "set", *version));
        let mut stage = Stage::new(pods.collect::<Vec<_>>());
        stage.namespace.enabled = false;
        stage.whose = Scope::All;
        Self {
            stage: stage.confirmed(2),
            memory: Memory::new(seconds(300)),
            ledger: Ledger::default(),
            restart: HashSet::new(),
            dry_run: false,
        }
    }

    fn uid(&self, nth: usize) -> Box<str> {
        self.stage.pods[nth].uid.clone()
    }

    /// Notes a look at which some pods, by their places, were held back.
    fn note(&mut self, held: &[(usize, Hold)]) {
        self.stage.look();
        let held = held.iter().map(|(nth, hold)| (self.uid(*nth), *hold));
        let entry = Entry {
            scene: self.stage.scene(),
            memory: &self.memory,
            held: &held.collect(),
            restart: &self.restart,
            dry_run: self.dry_run,
        };
        self.ledger.note(&entry, false);
    }

    /// Returns the report's states, in the order of the pods, and the counts.
    fn close(self) -> (Vec<String>, Report) {
        let sightings = &self.stage.sightings;
        let report = self.ledger.close(End::Done, self.dry_run, sightings);
        let states = report.rows.iter().map(|row| row.state.label().to_owned());
        (states.collect(), report)
    }
}

#[test]
fn the_pods_are_counted_when_they_were_first_looked_at() {
    let mut night = Night::new(&[2, 1, 0, 1]);
    night.note(&[(1, Hold::Pace), (3, Hold::Pace)]);
    night.memory.goes(&night.uid(1), None);
    night.note(&[(3, Hold::Pace)]);
    night.stage.pods.remove(1);
    night.note(&[(2, Hold::Pace)]);
    let (states, report) = night.close();
    assert_eq!(states, ["evicted", "pace"]);
    let expected = Summary {
        checked: 4,
        current: 1,
        unknown: 1,
        outdated: 2,
        evicted: 1,
        held: [("pace".to_owned(), 1)].into(),
        ..Summary::default()
    };
    assert_eq!(report.summary, expected);
}

#[test]
fn pods_that_have_not_gone_yet_are_told() {
    let mut night = Night::new(&[1, 1, 1]);
    for nth in 0..2 {
        night.memory.goes(&night.uid(nth), None);
    }
    // The second is not seen to go yet, and nobody here sent the third away.
    for nth in [0, 2] {
        Arc::make_mut(&mut night.stage.pods[nth]).terminating = true;
    }
    night.note(&[]);
    assert_eq!(night.ledger.terminating, ["shop/web-0"]);
    night.stage.pods.remove(0);
    night.note(&[]);
    assert_eq!(night.close().1.terminating, [""; 0]);
}

#[test]
fn a_pod_that_is_outdated_no_more_is_settled_or_went_after_all() {
    let mut night = Night::new(&[1, 1, 1]);
    night.note(&[(0, Hold::Pdb), (1, Hold::Pdb), (2, Hold::Pdb)]);
    // Nobody knows whether the second was evicted. It is gone, as is the third.
    let until = night.stage.now() + seconds(90);
    night.memory.goes(&night.uid(1), Some(until));
    night.stage.pods.truncate(1);
    let restarted = runs("web-0", "set", 2).build();
    night.stage.pods[0] = Arc::new(Pod {
        uid: night.uid(0),
        ..restarted
    });
    night.note(&[]);
    assert_eq!(night.close().0, ["settled", "evicted", "settled"]);
}

#[test]
fn a_pod_whose_owner_was_restarted_is_told_so_once_it_is_replaced() {
    let mut night = Night::new(&[1, 1, 1]);
    for nth in 0..2 {
        night.memory.restarted(&night.uid(nth));
    }
    night.note(&[(2, Hold::Pace)]);
    assert_eq!(night.ledger.rows[&night.uid(0)].state.label(), "rollout");
    // The others go without our doing, or stay.
    night.stage.pods.remove(2);
    night.stage.pods.remove(0);
    let seen = night.stage.pods.clone();
    let seen = seen.iter().map(|pod| &*pod.uid);
    night.memory.tidy(night.stage.now(), seen);
    night.note(&[(0, Hold::Rollout)]);
    let (states, report) = night.close();
    assert_eq!(states, ["restarted", "rollout", "settled"]);
    let Summary {
        restarted,
        evicted,
        held,
        ..
    } = &report.summary;
    assert_eq!((*restarted, *evicted, held["rollout"]), (1, 0, 1));
    assert_eq!(report.left(), 1);
}

/// Checks the state of one pod that is not held, after something has happened to it.
#[track_caller]
fn check(dry_run: bool, happen: impl FnOnce(&mut Night), expected: &str) {
    let mut night = Night::new(&[1]);
    night.dry_run = dry_run;
    let now = night.stage.now();
    let owner = night.stage.pods[0].owner.as_ref().unwrap().uid.clone();
    night.memory.read(deployment("web", 1), [owner], now);
    happen(&mut night);
    night.note(&[]);
    let (states, report) = night.close();
    assert_eq!(states, [expected]);
    assert_eq!(report.rows[0].owner, "Deployment/web");
    let change = &report.rows[0].changes[0];
    assert_eq!(
        (&change.running, &change.wanted),
        (&Some(digest(1)), &digest(2))
    );
}

#[test]
fn what_was_let_go_went_or_was_refused() {
    check(false, |_| {}, "next");
    check(true, |_| {}, "would_evict");
    check(
        false,
        |night| night.memory.goes(&night.uid(0), None),
        "evicted",
    );
    let rehearsed = |night: &mut Night| {
        let (uid, now) = (night.uid(0), night.stage.now());
        night.memory.goes(&uid, Some(now + seconds(60)));
        night.memory.pods.refused(&uid, "app=sha256:…", None, now);
    };
    check(true, rehearsed, "would_evict");
    let restarted = |night: &mut Night| {
        night.restart.insert(night.uid(0));
        rehearsed(night);
    };
    check(true, restarted, "would_restart");
    let unreached = |night: &mut Night| night.restart.extend([night.uid(0)]);
    check(true, unreached, "would_restart");
    check(false, unreached, "next");
    let blocked = |night: &mut Night| {
        let now = night.stage.now();
        night
            .memory
            .ready
            .refused("uid-web", "blocked web", None, now);
    };
    check(false, blocked, "pdb");
    check(true, blocked, "pdb");
    let forbidden = |night: &mut Night| {
        let now = night.stage.now();
        night
            .memory
            .workloads
            .refused("uid-web", "forbidden", None, now);
    };
    check(false, forbidden, "forbidden");
}

#[test]
fn an_owner_that_cannot_be_read_is_a_failure() {
    let mut night = Night::new(&[1]);
    let now = night.stage.now();
    let owner = night.stage.pods[0].owner.as_ref().unwrap().uid.clone();
    night
        .memory
        .owners
        .refused(&owner, "owner_unread", None, now);
    night.note(&[(0, Hold::Pace)]);
    let (states, report) = night.close();
    assert_eq!(states, ["owner_unread"]);
    assert_eq!((report.summary.failed, report.left()), (1, 1));
    assert_eq!(report.rows[0].owner, "ReplicaSet/set");
}

#[test]
fn an_image_without_a_digest_is_told_with_its_pods() {
    for fault in [Some(Fault::NotFound), None] {
        let mut night = Night::new(&[1, 2]);
        let now = night.stage.now();
        let error = fault.map_or_else(unavailable, |fault| {
            LookupError::anonymous(&lookup().image, fault)
        });
        let reason = error.label();
        (night.stage.sightings).landed(&lookup(), Some(Err(error)), now, 0.0);
        night.note(&[(0, Hold::RegistryFailing)]);
        let (_, report) = night.close();
        assert_eq!(report.summary.failed, 2);
        let [image] = &report.unresolved[..] else {
            panic!("{:?}", report.unresolved)
        };
        assert_eq!((&*image.namespace, image.reason), ("shop", reason));
        assert_eq!(image.image, lookup().image.to_string());
    }
}

/// Checks whether a workload that lost a pod is said not to be up, as it is some seconds later.
#[track_caller]
fn check_turn(finished: bool, second: u64, expected: &[&str]) {
    let mut night = Night::new(&[1]);
    let now = night.stage.now();
    let owner = night.stage.pods[0].owner.clone().unwrap();
    night
        .memory
        .read(deployment("web", 1), [owner.uid.clone()], now);
    let turn = Turn {
        owner,
        namespace: "shop".into(),
        targets: String::new(),
        evicted: 1,
        begun: now,
        halted: false,
        short: None,
        until: now + seconds(600),
    };
    night.memory.turning.insert("uid-web".into(), turn);
    night.note(&[]);
    night.stage.second += second;
    if finished {
        night.memory.turning.remove("uid-web");
    }
    let none: [&str; 0] = [];
    night.memory.tidy(night.stage.now(), none.into_iter());
    night.note(&[]);
    assert_eq!(night.close().1.unready, expected);
}

#[test]
fn a_workload_whose_replacement_is_not_ready_is_told() {
    check_turn(true, 599, &[]);
    check_turn(false, 599, &["shop/Deployment/web"]);
    check_turn(false, 600, &["shop/Deployment/web"]);
}

#[test]
fn nothing_is_said_before_it_is_known_that_it_is_another_image() {
    let mut night = Night::new(&[1]);
    night.stage.survey = Survey::default();
    night.stage.facts = crate::refresh::facts::Facts::new(seconds(300));
    night.stage.reads = false;
    night.note(&[(0, Hold::Unconfirmed)]);
    assert_eq!(night.close().0, Vec::<String>::new());
}
