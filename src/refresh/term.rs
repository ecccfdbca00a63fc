//! One term of leadership: look, decide, act, again and again.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, info};

use super::{
    Parts, Settings,
    act::{self, Actor},
    facts::Facts,
    group::{Group, Scene},
    memory::{Memory, SERVER},
    poller::Poller,
    read::{self, views},
    reader::Reader,
    rhythm::{Phase, Rhythm},
    sightings::Sightings,
    survey::{self, Hints, Outdated, Survey},
    suspects::Suspects,
    tally::Tally,
    tell,
};
use crate::{
    cluster::{Evictor, Nodes, Owners},
    observe::metrics,
    policy::gate::{Hold, Moment, Plan, plan},
};

/// How long one call of the API server may take.
const CALL_TIME: Duration = Duration::from_secs(3);

/// How long one pass may take: what it knows of the pods gets older meanwhile.
const PASS_TIME: Duration = Duration::from_secs(5);

/// One term of leadership.
pub(super) struct Term<'a> {
    parts: &'a Parts,
    settings: &'a Settings,
    owners: Owners,
    actor: Actor,
    poller: Poller,
    reader: Reader,
    suspects: Suspects,
    memory: Memory,
}

impl<'a> Term<'a> {
    /// Returns a term that knows nothing yet.
    pub(super) fn new(parts: &'a Parts, settings: &'a Settings) -> Self {
        let sightings = Sightings::new(settings.poll_interval, Instant::now());
        Self {
            parts,
            settings,
            owners: Owners::new(parts.server.clone(), CALL_TIME),
            actor: Actor {
                evictor: Evictor::new(parts.server.clone(), CALL_TIME.min(parts.reserve)),
                rehearsal: settings.dry_run.then_some(settings.poll_interval),
                progress_deadline: settings.limits.progress_deadline,
                leadership: parts.leadership.clone(),
                namespaces: parts.namespaces.clone(),
                recorder: parts.recorder.clone(),
                metrics: parts.metrics.clone(),
            },
            poller: Poller::new(parts.resolver.clone(), sightings),
            reader: Reader::new(
                parts.resolver.clone(),
                Nodes::new(parts.server.clone(), CALL_TIME),
                Facts::new(settings.poll_interval),
            ),
            suspects: Suspects::default(),
            memory: Memory::new(settings.poll_interval),
        }
    }

    /// Ticks until another replica leads.
    pub(super) async fn lead(mut self) {
        let mut lost = pin!(lost(self.parts.leadership.changed()));
        let mut pods = self.parts.pods.changed();
        let mut namespaces = self.parts.namespaces.changed();
        let mut rhythm = Rhythm::new(self.settings.poll_interval, Instant::now());
        loop {
            // Each of these may be dropped for another without losing anything.
            tokio::select! {
                () = &mut lost => return self.hide(),
                news = self.poller.news() => if news {
                    rhythm.changed(Instant::now());
                },
                () = self.reader.news() => rhythm.changed(Instant::now()),
                Ok(()) = pods.changed() => rhythm.pod_changed(Instant::now()),
                Ok(()) = namespaces.changed() => rhythm.changed(Instant::now()),
                () = sleep_until(rhythm.wake()) => self.tick(&mut rhythm).await,
            }
        }
    }

    /// Looks at everything once and does what may be done.
    async fn tick(&mut self, rhythm: &mut Rhythm) {
        let now = Instant::now();
        let pods = self.parts.pods.snapshot();
        let namespaces = &self.parts.namespaces;
        let survey = survey::take(
            &pods,
            |name| namespaces.get(name),
            Hints {
                sightings: &mut self.poller.sightings,
                suspects: &mut self.suspects,
                facts: &mut self.reader.facts,
            },
            now,
        );
        self.memory.tidy(now, pods.iter().map(|pod| &*pod.uid));
        let work = now.elapsed();
        let metrics = &self.parts.metrics;
        let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        metrics.cluster_pods.set(count);
        survey.tally.show(metrics);
        for finding in &survey.findings {
            self.parts.recorder.record(tell::found(finding));
        }
        self.confirm(&survey);
        let scene = Scene {
            pods: &pods,
            survey: &survey,
            limits: self.settings.limits,
            now,
            wall: Timestamp::now(),
        };
        let phase = self.refresh(scene).await;
        metrics
            .refresh_last_tick
            .set(Timestamp::now().as_duration().as_secs_f64());
        metrics::observe(&metrics.refresh_tick_duration, now.elapsed());
        let end = match phase {
            Phase::Rest => None,
            _ => self.memory.next_end(now),
        };
        rhythm.looked(phase, work, end, Instant::now());
    }

    /// Has tags asked for again on which something is to be done: as soon as that makes it certain.
    fn confirm(&mut self, survey: &Survey) {
        let apart = self.settings.limits.confirm_after;
        for outdated in &survey.outdated {
            for moved in &outdated.moved {
                if let Some(at) = moved.to.wanted(outdated.since, apart) {
                    self.poller.sightings.ask_at(&moved.lookup, at);
                }
            }
        }
    }

    /// Evicts what the gate lets through, and tells what holds the others.
    async fn refresh(&mut self, scene: Scene<'_>) -> Phase {
        if scene.survey.outdated.is_empty() && self.memory.turning.is_empty() {
            self.show_holds(&Plan::default());
            return Phase::Rest;
        }
        let until = scene.now + PASS_TIME;
        let evictions: Vec<Timestamp> = (self.memory.evictions())
            .map(|(at, _)| scene.wall_at(at))
            .collect();
        let moment = Moment {
            now: scene.wall,
            leader: self.parts.leadership.leads(Instant::now()),
            limits: self.settings.limits,
            evictions: &evictions,
        };
        let reading = read::read(scene, &moment, &self.owners, &mut self.memory, until).await;
        for uid in reading.groups.iter().filter_map(|it| it.workload.as_ref()) {
            self.memory.keep(uid, scene.now);
        }
        let views = views(&reading.groups, scene, &self.memory);
        let plan = plan(&moment, &views);
        self.show_holds(&plan);
        let places = places(&reading.groups, scene);
        self.tell(scene, &reading.groups, &plan, &places);
        self.finish(scene, &reading.groups);
        let mut left = false;
        for member in &plan.go {
            let Some((nth, outdated)) = places.get(&*member.pod.uid) else {
                continue;
            };
            let group = &reading.groups[*nth];
            let workload = (group.workload.as_deref()).filter(|_| reading.is_fresh(group));
            // Not read in this pass, or the pass has taken too long: the next one sees to it.
            let Some(workload) = workload.filter(|_| Instant::now() < until) else {
                left = true;
                continue;
            };
            let target = act::Target {
                outdated,
                workload,
                about: group.about(&self.memory, scene.now),
            };
            if !self.actor.evict(target, &mut self.memory).await {
                break;
            }
        }
        self.phase(&plan, left)
    }

    fn phase(&self, plan: &Plan<'_>, left: bool) -> Phase {
        let memory = &self.memory;
        let paced = |hold: Hold| matches!(hold, Hold::Pace | Hold::Halted);
        if left && !memory.server.hold(SERVER, Instant::now()) {
            Phase::Again
        } else if memory.anything_goes()
            || !memory.turning.is_empty()
            || plan.held.iter().any(|(_, hold)| paced(*hold))
        {
            Phase::Turn
        } else {
            Phase::Wait
        }
    }

    /// Tells of each group once what is outdated in it and what holds it back.
    fn tell(
        &self,
        scene: Scene<'_>,
        groups: &[Group],
        plan: &Plan<'_>,
        places: &HashMap<&str, (usize, &Outdated)>,
    ) {
        let mut told = HashSet::new();
        let held = plan
            .held
            .iter()
            .map(|(member, hold)| (*member, Some(*hold)));
        for (member, hold) in held.chain(plan.go.iter().map(|member| (*member, None))) {
            let (ns, name) = (&member.pod.namespace, &member.pod.name);
            if let Some(reason) = hold.map(Hold::label) {
                debug!(pod.namespace = %ns, pod.name = %name, reason, "Held {ns}/{name} back: {reason}");
            }
            let Some(&(nth, outdated)) = places.get(&*member.pod.uid) else {
                continue;
            };
            // Nobody need be told before it is certain.
            if !told.insert((nth, hold)) || !outdated.is_certain(scene.limits.confirm_after) {
                continue;
            }
            let Some(about) = groups[nth].about(&self.memory, scene.now) else {
                continue;
            };
            let recorder = &self.parts.recorder;
            if let Some(notice) = hold.and_then(|hold| tell::held(about.clone(), outdated, hold)) {
                recorder.record(notice);
            }
            recorder.record(tell::outdated(about, outdated));
        }
    }

    /// Tells of the workloads whose pods have all been replaced.
    fn finish(&mut self, scene: Scene<'_>, groups: &[Group]) {
        for group in groups {
            let Some(uid) = &group.workload else { continue };
            let (Some(turn), Some(workload)) =
                (self.memory.turning.get(uid), self.memory.workload(uid))
            else {
                continue;
            };
            if !group.is_fresh(scene, &self.memory, workload.desired) {
                continue;
            }
            let (ns, name, kind) = (&workload.namespace, &workload.name, workload.kind);
            info!(
                pod.namespace = %ns, owner.kind = %kind, owner.name = %name,
                "Refreshed {kind} {ns}/{name}: all its pods run what their tags mean now, {} evicted", turn.evicted
            );
            if let Some(about) = group.about(&self.memory, scene.now) {
                self.parts.recorder.record(tell::refreshed(about, turn));
            }
            self.memory.turning.remove(uid);
        }
    }

    fn show_holds(&self, plan: &Plan<'_>) {
        let held = &self.parts.metrics.refresh_held_pods;
        for hold in Hold::ALL {
            let count = plan.held.iter().filter(|(_, why)| *why == hold).count();
            let gauge = held.get_or_create(&metrics::Reason {
                reason: hold.label(),
            });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Takes back what only the leader can know.
    fn hide(&self) {
        Tally::default().show(&self.parts.metrics);
        self.show_holds(&Plan::default());
        self.parts.metrics.cluster_pods.set(0);
        self.parts.metrics.refresh_last_tick.set(0.0);
    }
}

/// Returns the outdated pods by uid, each with the number of its group.
fn places<'a>(groups: &[Group], scene: Scene<'a>) -> HashMap<&'a str, (usize, &'a Outdated)> {
    let mut places = HashMap::new();
    for (nth, group) in groups.iter().enumerate() {
        for outdated in group.outdated(scene) {
            places.insert(&*outdated.pod.uid, (nth, outdated));
        }
    }
    places
}

/// Waits until another replica leads; for ever if the election is over for good.
async fn lost(mut leads: watch::Receiver<bool>) {
    if leads.wait_for(|leads| !*leads).await.is_err() {
        std::future::pending::<()>().await;
    }
}
