//! One pass: what the gate lets through is done, and what holds all others is told.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    act::{self, Leave},
    group::{self, Group, Scene},
    lanes::{Lane, Lanes},
    memory::SERVER,
    read::{self, Reading, views},
    restart::{self, Restarting},
    rhythm::Phase,
    survey::Outdated,
    tell,
    term::Term,
};
use crate::{
    observe::metrics,
    policy::gate::{self, Hold, Moment, Plan, plan},
};

/// How long one pass may take: what it knows of the pods gets older meanwhile.
const PASS_TIME: Duration = Duration::from_secs(5);

/// What one pass came to.
#[derive(Debug)]
pub(super) struct Pass {
    /// What it has found to do.
    pub(super) phase: Phase,
    /// The outdated pods that it held back, by uid, and why.
    pub(super) held: HashMap<Box<str>, Hold>,
    /// The outdated pods, by uid, whose owners it was to restart.
    pub(super) restart: HashSet<Box<str>>,
}

impl Pass {
    /// Returns a pass that had nothing to judge.
    pub(super) fn idle(phase: Phase) -> Self {
        Self {
            phase,
            held: HashMap::new(),
            restart: HashSet::new(),
        }
    }
}

/// What the gate lets through, and what is known of it.
#[derive(Clone, Copy)]
struct Work<'a> {
    scene: Scene<'a>,
    reading: &'a Reading,
    plan: &'a Plan<'a>,
    /// The outdated pods by uid, each with the number of its group.
    places: &'a HashMap<&'a str, (usize, &'a Outdated)>,
    /// When the pass is to be over.
    until: Instant,
}

/// How far the work of a pass has come.
#[derive(Debug, Clone, Copy)]
struct Done {
    /// Whether something was left to the next pass.
    left: bool,
    /// Whether others may be tried in this one.
    go_on: bool,
}

impl Term<'_> {
    /// Evicts and restarts what the gate lets through, and tells what holds the others.
    pub(super) async fn refresh(&mut self, scene: Scene<'_>) -> Pass {
        if scene.survey.outdated.is_empty() && self.memory.turning.is_empty() {
            self.show_holds(&Plan::default());
            self.show_halted(&[], &Plan::default(), &HashMap::new());
            self.memory.rollouts.retain(|_| false);
            self.memory.keep_paced(|_| false);
            return Pass::idle(Phase::Rest);
        }
        let until = scene.now + PASS_TIME;
        let evictions = scene.past(&self.memory);
        let moment = Moment {
            now: scene.wall,
            leader: self.actor.leadership.leads(Instant::now()),
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
        for notice in &reading.denied {
            self.parts.recorder.record(notice.clone());
        }
        self.tell(scene, &reading.groups, &plan, &places);
        self.finish(scene, &reading.groups);
        self.show_halted(&reading.groups, &plan, &places);
        restart::wait(scene, &reading, &plan, &places, &mut self.memory);
        let is_fresh = |group: &Group| reading.is_fresh(group);
        read::wait(
            (&reading.groups, &views),
            (scene, &moment),
            &plan,
            is_fresh,
            &mut self.memory,
        );
        let work = Work {
            scene,
            reading: &reading,
            plan: &plan,
            places: &places,
            until,
        };
        let mut done = self.evict(work).await;
        if done.go_on {
            done.left |= self.restart(work).await.left;
        }
        let uid = |member: &gate::Member<'_>| member.pod.uid.clone();
        let restart = plan.restart.iter().flat_map(|restart| &restart.members);
        Pass {
            phase: self.phase(&plan, done.left),
            held: (plan.held.iter())
                .map(|(member, hold)| (uid(member), *hold))
                .collect(),
            restart: restart.map(|member| uid(member)).collect(),
        }
    }

    /// Evicts the pods that may go: those of several owners at the same time, those of one owner in their order.
    async fn evict(&mut self, work: Work<'_>) -> Done {
        let (actor, memory) = (&self.actor, &mut self.memory);
        let mut done = Done {
            left: false,
            go_on: true,
        };
        let (scene, reading) = (work.scene, work.reading);
        let targets = work.plan.go.iter().filter_map(|member| {
            let (nth, outdated) = *work.places.get(&*member.pod.uid)?;
            let group = &reading.groups[nth];
            let workload = (group.workload.as_deref()).filter(|_| reading.is_fresh(group));
            // Not read in this pass: the next one sees to it.
            done.left |= workload.is_none();
            let target = act::Target {
                outdated,
                workload: workload?,
                about: group.about(memory, scene.now),
            };
            let lane = Lane {
                owner: nth,
                namespace: &group.namespace,
            };
            Some((lane, target))
        });
        let mut lanes = Lanes::new(targets);
        let mut asked = FuturesUnordered::new();
        loop {
            while done.go_on
                && let Some((lane, target)) = lanes.begin()
            {
                let (pod, now) = (&*target.outdated.pod, Instant::now());
                // What was refused for one of its pods just now would be refused for this one, too.
                let refused = group::refused(pod, Some(target.workload), memory, now);
                // The pass has taken too long: the next one sees to it.
                let late = work.until <= now;
                done.left |= late;
                let leave = match refused {
                    Some(_) => Leave::Withdrawn,
                    None if late => Leave::Over,
                    None => actor.leave(target.outdated, memory),
                };
                match leave {
                    Leave::Given => asked.push(async move { (lane, actor.ask(pod).await, target) }),
                    Leave::Withdrawn => lanes.ended(lane),
                    Leave::Over => done.go_on = false,
                }
            }
            // What has been asked for is waited for, whatever the other answers are.
            let Some((lane, answer, target)) = asked.next().await else {
                return done;
            };
            lanes.ended(lane);
            done.go_on &= actor.note(target, &answer, memory);
        }
    }

    /// Restarts the owners that may be restarted.
    async fn restart(&mut self, work: Work<'_>) -> Done {
        let Work { scene, reading, .. } = work;
        let mut left = false;
        for restart in &work.plan.restart {
            let first = restart.members.first();
            let Some((nth, _)) = first.and_then(|member| work.places.get(&*member.pod.uid)) else {
                continue;
            };
            let group = &reading.groups[*nth];
            let is_known = reading.is_fresh(group) && Instant::now() < work.until;
            let target = Restarting::new(scene, group, &self.memory).filter(|_| is_known);
            let Some(target) = target else {
                left = true;
                continue;
            };
            if !(self.actor)
                .restart(&target, &self.owners, &mut self.memory)
                .await
            {
                return Done { left, go_on: false };
            }
        }
        Done { left, go_on: true }
    }

    fn phase(&self, plan: &Plan<'_>, left: bool) -> Phase {
        let memory = &self.memory;
        let paced = |hold: Hold| matches!(hold, Hold::Rollout | Hold::Pace | Hold::Halted);
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
        for (member, hold) in &plan.held {
            let (ns, name, reason) = (&member.pod.namespace, &member.pod.name, hold.label());
            debug!(pod.namespace = %ns, pod.name = %name, reason, "Held {ns}/{name} back: {reason}");
        }
        for (nth, outdated, hold) in certain(plan, places, scene.limits.confirm_after) {
            let Some(about) = groups[nth].about(&self.memory, scene.now) else {
                continue;
            };
            let recorder = &self.parts.recorder;
            if let Some(hold) = hold
                && let Some(notice) = tell::held(about.clone(), outdated, hold)
            {
                let (reason, note) = (hold.label(), notice.note.clone());
                if recorder.record(notice) {
                    warn!(reason, "Held back pods of {about}: {note}");
                }
            }
            for notice in tell::outdated(&about, outdated) {
                recorder.record(notice);
            }
        }
    }

    /// Shows how many pods each reason holds.
    pub(super) fn show_holds(&self, plan: &Plan<'_>) {
        let held = &self.parts.metrics.refresh_held_pods;
        for hold in Hold::ALL {
            let count = plan.held.iter().filter(|(_, why)| *why == hold).count();
            let gauge = held.get_or_create(&metrics::Reason {
                reason: hold.label(),
            });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Returns the pods to tell of, each with the number of its group and what holds it back: one for all of its group that
/// are held back alike, of which it is certain. Nobody need be told of any other.
fn certain<'a>(
    plan: &Plan<'_>,
    places: &HashMap<&str, (usize, &'a Outdated)>,
    confirm_after: Duration,
) -> Vec<(usize, &'a Outdated, Option<Hold>)> {
    let held = plan.held.iter();
    let held = held.map(|(member, hold)| (*member, Some(*hold)));
    let restarted = plan.restart.iter().flat_map(|restart| &restart.members);
    let go = plan.go.iter().chain(restarted);
    let mut told = HashSet::new();
    held.chain(go.map(|member| (*member, None)))
        .filter_map(|(member, hold)| {
            let &(nth, outdated) = places.get(&*member.pod.uid)?;
            Some((nth, outdated, hold))
        })
        .filter(|(_, outdated, _)| outdated.is_certain(confirm_after))
        .filter(|(nth, _, hold)| told.insert((*nth, *hold)))
        .collect()
}

/// Returns the outdated pods by uid, each with the number of its group.
pub(super) fn places<'a>(
    groups: &[Group],
    scene: Scene<'a>,
) -> HashMap<&'a str, (usize, &'a Outdated)> {
    let mut places = HashMap::new();
    for (nth, group) in groups.iter().enumerate() {
        for outdated in group.outdated(scene) {
            places.insert(&*outdated.pod.uid, (nth, outdated));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::{
        fixture::{Stage, limits, lookup, runs},
        memory::Memory,
    };

    #[test]
    fn one_certain_pod_is_told_of_for_all_that_are_held_back_alike() {
        let mut stage = Stage::new([runs("b", "web", 2), runs("c", "web", 2)]).confirmed(1);
        // Another one comes before them, and the tag has not been asked for since.
        stage.second += 5;
        let late = runs("a", "web", 2).build();
        stage.pods.insert(0, late.into());
        stage.look();
        let names = |stage: &Stage, held: [Hold; 3]| {
            let (scene, memory) = (stage.scene(), Memory::new(limits().confirm_after));
            let groups = group::groups(scene, &memory);
            let views = views(&groups, scene, &memory);
            let members = views[0].members.iter().zip(held);
            let plan = Plan {
                held: members.collect(),
                ..Plan::default()
            };
            let certain = certain(&plan, &places(&groups, scene), limits().confirm_after);
            let told = certain
                .iter()
                .map(|(_, outdated, _)| outdated.pod.name.to_string());
            told.collect::<Vec<_>>()
        };
        assert_eq!(names(&stage, [Hold::Pace; 3]), ["b"]);
        assert_eq!(
            names(&stage, [Hold::Pace, Hold::Pace, Hold::Pdb]),
            ["b", "c"]
        );
        stage.answer(&lookup(), 1);
        stage.look();
        assert_eq!(names(&stage, [Hold::Pace; 3]), ["a"]);
    }
}
