//! One run over all pods: the leader's looks and passes, until there is nothing left to do.
//!
//! There is no Lease. Two runs at once, or a run beside a controller, do no harm: every eviction names the
//! pod's uid, every restart the owner's resource version, the pace is read from the cluster right before, and
//! budgets are the API server's.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Parts, Settings,
    ears::Ears,
    facts::Doubt,
    group::Scene,
    ledger::{Entry, Ledger},
    pass::Pass,
    report::{End, Progress, Report},
    rhythm::{Phase, Rhythm},
    survey::{Outdated, Survey},
    target::after,
    term::Term,
};
use crate::{
    cluster::{Leadership, Reins},
    policy::{Pod, gate::Hold},
};

/// What the API server has refused so often in a row stays refused: two pauses, about 15 seconds.
const GIVE_UP: u32 = 3;

/// How a run is to end.
#[derive(Debug)]
pub struct Orders {
    /// Ends the leadership among the parts, after which nothing is evicted.
    pub reins: Reins,
    /// When to stop at the latest.
    pub deadline: Instant,
    /// Where to tell how far it has got.
    pub progress: watch::Sender<Progress>,
}

/// Refreshes all pods that are outdated now, until there is nothing left to do, the time is over or
/// `interrupted`; then tells what came of it.
///
/// Nothing is evicted from the moment at which it is to stop; what was asked for by then is waited for. With
/// `dry_run` among the settings it looks at all pods and asks the API server once whether they might go.
pub async fn once(
    parts: Parts,
    settings: Settings,
    orders: Orders,
    interrupted: impl Future<Output = ()>,
) -> Report {
    parts.pods.wait_synced().await;
    parts.namespaces.wait_synced().await;
    let mut run = Run {
        term: Term::new(&parts, &settings, Leadership::WITHOUT_LEASE),
        ledger: Ledger::default(),
        deadline: orders.deadline,
        progress: orders.progress,
    };
    let end = {
        let mut work = pin!(run.work());
        let end = tokio::select! {
            () = &mut work => End::Done,
            () = interrupted => End::Interrupted,
            () = sleep_until(orders.deadline) => End::TimedOut,
        };
        if end != End::Done {
            orders.reins.let_go();
            work.await;
        }
        end
    };
    let sightings = &run.term.poller.sightings;
    run.ledger.close(end, settings.dry_run, sightings)
}

/// A run under way.
struct Run<'a> {
    term: Term<'a>,
    ledger: Ledger,
    deadline: Instant,
    progress: watch::Sender<Progress>,
}

impl Run<'_> {
    /// Looks and acts until there is nothing left to do, or it may not act any more.
    async fn work(&mut self) {
        let term = &self.term;
        let mut ears = Ears::of(term.parts, Leadership::WITHOUT_LEASE, None);
        let mut rhythm = Rhythm::new(term.settings.poll_interval, Instant::now());
        while self.term.wakes(&mut ears, &mut rhythm).await {
            // The time to look and the end may come together.
            let may_act = self.term.parts.leadership.leads(Instant::now());
            if !may_act || self.step(&mut rhythm).await {
                return;
            }
        }
    }

    /// Looks at everything once and does what may be done; says whether that was all.
    async fn step(&mut self, rhythm: &mut Rhythm) -> bool {
        let now = Instant::now();
        let dry_run = self.term.settings.dry_run;
        // A dry run acts on nothing, so what was listed is enough for it.
        if !dry_run && !self.term.sees() {
            self.term.rest(Phase::Wait, Duration::ZERO, rhythm);
            return false;
        }
        let (pods, mut survey) = self.term.look(now);
        let work = now.elapsed();
        self.term.tell_findings(&survey).await;
        let open = self.is_open(&survey);
        if dry_run && !open {
            certify(&mut survey);
        } else {
            self.term.confirm(&survey);
        }
        let scene = self.term.scene(&pods, &survey, now);
        // What would go is only of interest when all is known.
        let pass = match dry_run && open {
            true => Pass::idle(Phase::Wait),
            false => self.term.refresh(scene).await,
        };
        let entry = Entry {
            scene,
            memory: &self.term.memory,
            held: &pass.held,
            restart: &pass.restart,
            dry_run,
        };
        if !(dry_run && open) {
            self.ledger.note(&entry, open);
        }
        let progress = self.ledger.progress(&self.term.poller.sightings);
        self.progress.send_replace(progress);
        let phase = match pass.phase {
            // At rest it would not look again soon, and something is still to come.
            Phase::Rest => Phase::Wait,
            phase => phase,
        };
        self.term.rest(phase, work, rhythm);
        !open && (dry_run || self.is_over(scene, &pass.held))
    }

    /// Says whether something is still to be learnt of what the pods should run.
    fn is_open(&self, survey: &Survey) -> bool {
        self.term.poller.sightings.awaits(self.deadline)
            || self.term.reader.facts.awaits(self.deadline)
            || survey.comparing
    }

    /// Says whether nothing more will come about before the deadline.
    fn is_over(&self, scene: Scene<'_>, held: &HashMap<Box<str>, Hold>) -> bool {
        let memory = &self.term.memory;
        let stays = |outdated: &Outdated| {
            let hold = held.get(&outdated.pod.uid);
            hold.is_some_and(|hold| self.is_final(outdated, *hold, scene))
        };
        // The new pods of these have had their time, and those that are left stay.
        let is_halted = |outdated: &&Outdated| held.get(&outdated.pod.uid) == Some(&Hold::Halted);
        let halted: HashSet<&str> = (scene.survey.outdated.iter().filter(is_halted))
            .filter_map(|outdated| memory.workload_of(outdated.pod.owner.as_deref()?))
            .collect();
        // A dead node, or a long grace: it may be terminating for longer than anybody waits. That its replacement is up is
        // waited for among the turns.
        let goes = |pod: &Arc<Pod>| !pod.terminating && memory.is_going(&pod.uid);
        !scene.pods.iter().any(goes)
            && (memory.turning.iter()).all(|(uid, turn)| turn.halted || halted.contains(&**uid))
            && scene.survey.outdated.iter().all(stays)
    }

    /// Says whether a hold will not end before the deadline, unless somebody does something about it.
    fn is_final(&self, outdated: &Outdated, hold: Hold, scene: Scene<'_>) -> bool {
        let memory = &self.term.memory;
        let (pod, wishes) = (&outdated.pod, &outdated.wishes);
        let given_up =
            |refusal: Option<(&str, u32)>| refusal.is_some_and(|(_, times)| GIVE_UP <= times);
        match hold {
            Hold::NotLeader
            | Hold::Notify
            | Hold::RegistryFailing
            | Hold::Ineffective
            | Hold::NoRollout
            | Hold::Paused
            | Hold::Halted => true,
            Hold::Unconfirmed => {
                outdated.registry_failing || outdated.doubt == Some(Doubt::Failing)
            }
            Hold::MinAge => (outdated.moved.iter())
                .any(|moved| self.deadline < after(moved.to.first, wishes.min_age)),
            Hold::Window => {
                let left = self.deadline.saturating_duration_since(scene.now);
                let end = SignedDuration::try_from(left)
                    .ok()
                    .and_then(|left| scene.wall.checked_add(left).ok());
                match (wishes.window.opens_next(scene.wall), end) {
                    (Some(opens), Some(end)) => end <= opens,
                    _ => !wishes.window.open(scene.wall),
                }
            }
            // An owner that cannot be read lets no pod go.
            Hold::Pace => {
                let owner = pod.owner.as_ref();
                given_up(owner.and_then(|owner| memory.owners.refusal(&owner.uid)))
            }
            Hold::Refused => {
                let workload = (pod.owner.as_ref()).and_then(|owner| memory.workload_of(owner));
                given_up(workload.and_then(|uid| memory.workloads.refusal(uid)))
            }
            Hold::Rollout | Hold::Budget | Hold::NamespaceBudget | Hold::NodeBudget | Hold::Pdb => {
                false
            }
        }
    }
}

/// Takes each digest for confirmed: a dry run asks once, and acts on nothing.
fn certify(survey: &mut Survey) {
    for outdated in &mut survey.outdated {
        for moved in &mut outdated.moved {
            moved.to.sightings = moved.to.sightings.max(2);
            moved.to.last = moved.to.last.max(outdated.since);
        }
    }
}
