//! The controller of the model: the memory and the rules of the real one, fed by the model instead of by sockets.

use std::{collections::HashSet, sync::Arc};

use tokio::time::Instant;

use super::{
    cluster::{Cluster, IMAGES},
    dice::Dice,
    ledger::Ledger,
    schedule::Schedule,
};
use crate::{
    cluster::{OwnerError, WorkloadKind},
    policy::{
        Digest, Namespace, Pod, Scope,
        fixture::digest,
        gate::{Hold, Limits, Moment, plan},
    },
    refresh::{
        facts::{Facts, Landed, ManifestFact, Question},
        finish,
        fixture::{image, limits, seconds, unavailable, wall},
        group::{self, Group, Scene},
        lanes::{Lane, Lanes},
        memory::{Memory, SERVER},
        outcome::{self, Asked},
        pass::places,
        read::{self, ROUNDS, unread, views, wanted},
        sightings::Sightings,
        survey::{self, Hints, Outdated, Survey},
        suspects::Suspects,
    },
    registry::Lookup,
};

/// Seconds that two sightings must be apart.
pub(super) const CONFIRM_AFTER: u64 = 10;

/// Seconds that a new pod is given to become ready.
pub(super) const PROGRESS_DEADLINE: u64 = 60;

/// A leader.
#[derive(Debug)]
pub(super) struct Replica {
    start: Instant,
    /// By how much its clock differs from the API server's.
    pub(super) clock: i64,
    limits: Limits,
    sightings: Sightings,
    suspects: Suspects,
    facts: Facts,
    memory: Memory,
    /// What held which pod back at the last look.
    pub(super) held: Vec<(Box<str>, Hold)>,
}

impl Replica {
    /// Returns one that knows nothing yet.
    pub(super) fn new(schedule: &Schedule, start: Instant, now: Instant) -> Self {
        let interval = seconds(schedule.poll_interval);
        Self {
            start,
            clock: 0,
            limits: Limits {
                per_minute: schedule.per_minute,
                per_node: schedule.per_node,
                progress_deadline: seconds(PROGRESS_DEADLINE),
                ..limits()
            },
            sightings: Sightings::new(interval, now).seeded(schedule.seed),
            suspects: Suspects::default(),
            facts: Facts::new(interval),
            memory: Memory::new(interval),
            held: Vec::new(),
        }
    }

    /// Looks at everything once, and does what may be done.
    ///
    /// # Errors
    /// The rule that it has broken.
    pub(super) fn look(
        &mut self,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        dice: &mut Dice,
    ) -> Result<(), String> {
        let now = self.start + seconds(cluster.second);
        self.poll(cluster, ledger, now, dice);
        let pods = cluster.cached();
        let mut survey = self.survey(cluster, &pods, now);
        if self.find_out(cluster, now) {
            survey = self.survey(cluster, &pods, now);
        }
        self.memory.tidy(now, pods.iter().map(|pod| &*pod.uid));
        let apart = self.limits.confirm_after;
        survey.confirm(&mut self.sightings, apart, now);
        if survey.outdated.is_empty() && self.memory.turning.is_empty() {
            return Ok(());
        }
        let scene = Scene {
            pods: &pods,
            survey: &survey,
            limits: self.limits,
            now,
            wall: wall(i64::try_from(cluster.second).unwrap() + self.clock),
        };
        self.act(scene, cluster, ledger, dice)
    }

    /// Asks the registry for the tags that are due.
    fn poll(&mut self, cluster: &Cluster, ledger: &mut Ledger, now: Instant, dice: &mut Dice) {
        // Those that are due come in no order: none must depend on those before it.
        let chance = dice.roll(100) as f64 / 100.0;
        for due in self.sightings.take_due(now) {
            let lookup = due.lookup;
            let name = lookup.image.to_string();
            let number = IMAGES.iter().position(|image| *image == name);
            let version = cluster.tags[number.expect("there must be no other image")];
            let version = cluster.registry.then_some(version);
            ledger.answered(&lookup, version, cluster.second);
            let answer = version.map(|it| (digest(it), now)).ok_or_else(unavailable);
            self.sightings.landed(&lookup, Some(answer), now, chance);
        }
    }

    fn survey(&mut self, cluster: &Cluster, pods: &[Arc<Pod>], now: Instant) -> Survey {
        let homes = cluster.homes.each_ref().map(|home| {
            Arc::new(Namespace {
                name: Arc::clone(&home.name),
                enabled: home.enabled,
                opted_out: false,
                terminating: false,
                annotations: Arc::new([]),
            })
        });
        let home = |name: &str| homes.iter().find(|home| *home.name == *name).cloned();
        let hints = Hints {
            sightings: &mut self.sightings,
            suspects: &mut self.suspects,
            facts: &mut self.facts,
        };
        survey::take(pods, home, Scope::OptedIn, hints, now)
    }

    /// Has manifests read that are in question; says whether there were any.
    fn find_out(&mut self, cluster: &Cluster, now: Instant) -> bool {
        let questions = self.facts.take_due(now, usize::MAX);
        let any = !questions.is_empty();
        for question in questions {
            let landed = match question {
                Question::Manifest(lookup, digest) if !cluster.registry => {
                    let key: (Lookup, Digest) = (lookup, digest);
                    Landed::Manifest(key, ManifestFact::Failed, seconds(0))
                }
                question => image(question),
            };
            self.facts.landed(landed, now);
        }
        any
    }

    /// Evicts what the gate lets through.
    fn act(
        &mut self,
        scene: Scene<'_>,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        dice: &mut Dice,
    ) -> Result<(), String> {
        let evictions = scene.past(&self.memory);
        let moment = Moment {
            now: scene.wall,
            leader: true,
            limits: self.limits,
            evictions: &evictions,
        };
        let (groups, fresh) = self.read(scene, &moment, cluster, dice);
        let views = views(&groups, scene, &self.memory);
        let plan = plan(&moment, &views);
        let is_fresh = |group: &Group| {
            let uid = group.workload.as_ref();
            uid.is_some_and(|uid| fresh.contains(uid))
        };
        let memory = &mut self.memory;
        read::wait((&groups, &views), (scene, &moment), &plan, is_fresh, memory);
        let held = plan.held.iter();
        self.held = held
            .map(|(it, hold)| (it.pod.name.clone(), *hold))
            .collect();
        for group in &groups {
            if let Some(uid) = &group.workload {
                self.memory.keep(uid, scene.now);
            }
            finish::end(group, scene, &mut self.memory);
        }
        let places = places(&groups, scene);
        let targets = plan.go.iter().filter_map(|member| {
            let (nth, outdated) = places[&*member.pod.uid];
            let workload = (groups[nth].workload.as_deref()).filter(|uid| fresh.contains(*uid));
            let namespace = &*outdated.pod.namespace;
            let lane = Lane {
                owner: nth,
                namespace,
            };
            Some((lane, (outdated, workload?)))
        });
        let targets: Vec<_> = targets.collect();
        self.evict(targets, cluster, ledger, (scene.now, dice))
    }

    /// Evicts pods: those of several owners at the same time, whose answers come in any order.
    fn evict<'t>(
        &mut self,
        targets: Vec<(Lane<'t>, (&'t Outdated, &'t str))>,
        cluster: &mut Cluster,
        ledger: &mut Ledger,
        (now, dice): (Instant, &mut Dice),
    ) -> Result<(), String> {
        let mut lanes = Lanes::new(targets);
        let (mut asked, mut go_on) = (Vec::new(), true);
        loop {
            while go_on && let Some((lane, (outdated, workload))) = lanes.begin() {
                let (pod, memory) = (&outdated.pod, &self.memory);
                go_on = !memory.server.hold(SERVER, now);
                if group::refused(pod, Some(workload), memory, now).is_some() {
                    lanes.ended(lane);
                } else if go_on {
                    let done = cluster.evict(pod, dice);
                    ledger.asked(cluster, pod, &outdated.moved[0].lookup, &done)?;
                    asked.push((lane, outdated, workload, done.answer));
                }
            }
            if asked.is_empty() {
                return Ok(());
            }
            let (lane, outdated, workload, answer) = asked.swap_remove(dice.index(asked.len()));
            lanes.ended(lane);
            let pod = &outdated.pod;
            let asked = Asked {
                pod,
                moved: &outdated.moved,
                owner: pod.owner.as_ref().unwrap(),
                workload,
                targets: "",
                rehearsal: None,
                progress_deadline: self.limits.progress_deadline,
            };
            go_on &= outcome::note(&mut self.memory, asked, &answer, now).go_on;
        }
    }

    /// Reads the workloads that would lose a pod; returns all groups, and the uids of those read.
    fn read(
        &mut self,
        scene: Scene<'_>,
        moment: &Moment<'_>,
        cluster: &Cluster,
        dice: &mut Dice,
    ) -> (Vec<Group>, HashSet<Box<str>>) {
        let (mut fresh, mut tried) = (HashSet::new(), HashSet::<Box<str>>::new());
        for _ in 0..ROUNDS {
            let groups = group::groups(scene, &self.memory);
            let mut wanted = wanted(&groups, scene, moment, &self.memory);
            wanted.retain(|group| tried.insert(group.owner.uid.clone()));
            if wanted.is_empty() {
                return (groups, fresh);
            }
            for group in wanted {
                let reading = cluster.read(&group.owner.uid);
                match reading.filter(|_| cluster.server || dice.chance(50)) {
                    Some((workload, uids)) => {
                        fresh.insert(workload.uid.as_str().into());
                        self.memory.server.over(SERVER);
                        self.memory.read(workload, uids, scene.now);
                    }
                    None => unread(group, &gone(group), &mut self.memory, scene.now),
                }
            }
        }
        (group::groups(scene, &self.memory), fresh)
    }
}

fn gone(group: &Group) -> OwnerError {
    OwnerError::Gone {
        kind: WorkloadKind::Deployment,
        namespace: group.namespace.to_string(),
        name: group.owner.name.to_string(),
    }
}
