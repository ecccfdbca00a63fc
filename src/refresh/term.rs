//! One term of leadership: look, decide, act, again and again.

use std::{mem, pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{
    Parts, Settings,
    act::Actor,
    ears::Ears,
    facts::Facts,
    group::Scene,
    heritage,
    memory::Memory,
    poller::Poller,
    reader::Reader,
    rhythm::{Phase, Rhythm},
    sightings::Sightings,
    survey::{self, Hints, Survey},
    suspects::Suspects,
    tally::Tally,
    tell,
};
use crate::{
    cluster::{CallError, Evictor, Nodes, OwnerError, Owners},
    observe::metrics,
    policy::{Pod, Push, gate::Plan},
};

/// How long one call of the API server may take.
const CALL_TIME: Duration = Duration::from_secs(3);

/// How long an eviction may take: the API server tries for some 10 s to write a budget that others write, too. Who
/// leads waits no longer than it is sure to lead.
const EVICTION_TIME: Duration = Duration::from_secs(15);

/// How long a look may take to find out whom something is to be told of. The next one goes on with that.
const TELL_TIME: Duration = Duration::from_secs(1);

/// One term of leadership.
pub(super) struct Term<'a> {
    pub(super) parts: &'a Parts,
    pub(super) settings: &'a Settings,
    /// Which term of leadership this is.
    number: u64,
    pub(super) owners: Owners,
    pub(super) actor: Actor,
    pub(super) poller: Poller,
    pub(super) reader: Reader,
    suspects: Suspects,
    pub(super) memory: Memory,
    /// Whether it is still to be found out what the leader before may have used up of the budgets.
    is_heir: bool,
}

impl<'a> Term<'a> {
    /// Returns the term of leadership with this number, which knows nothing yet.
    pub(super) fn new(parts: &'a Parts, settings: &'a Settings, number: u64) -> Self {
        let sightings = Sightings::new(settings.poll_interval, Instant::now());
        let leadership = parts.leadership.of_term(number);
        Self {
            parts,
            settings,
            number,
            is_heir: leadership.succeeds(),
            owners: Owners::new(parts.server.clone(), CALL_TIME),
            actor: Actor {
                evictor: Evictor::new(parts.server.clone(), EVICTION_TIME.min(parts.reserve)),
                rehearsal: settings.dry_run.then_some(settings.poll_interval),
                progress_deadline: settings.limits.progress_deadline,
                leadership,
                whose: settings.whose,
                pods: parts.pods.clone(),
                namespaces: parts.namespaces.clone(),
                recorder: parts.recorder.clone(),
                metrics: parts.metrics.clone(),
            },
            poller: Poller::new(parts.resolver.clone(), sightings, parts.metrics.clone()),
            reader: Reader::new(
                parts.resolver.clone(),
                Nodes::new(parts.server.clone(), CALL_TIME),
                Facts::new(settings.poll_interval),
            ),
            suspects: Suspects::default(),
            memory: Memory::new(settings.poll_interval),
        }
    }

    /// Ticks until the term is over.
    pub(super) async fn lead(mut self, pushes: &mut mpsc::Receiver<Push>) {
        let mut ears = Ears::of(self.parts, self.number, Some(pushes));
        let mut rhythm = Rhythm::new(self.settings.poll_interval, Instant::now());
        while self.wakes(&mut ears, &mut rhythm).await {
            if self.tick(&mut rhythm).await {
                ears.looked();
                // They were told before that look.
                self.hear(&ears.pushes.take());
            }
        }
        self.hide();
    }

    /// Waits until it is time to look; says no as soon as the term is over.
    pub(super) async fn wakes(&mut self, ears: &mut Ears<'_>, rhythm: &mut Rhythm) -> bool {
        let mut lost = pin!(ears.lost());
        loop {
            // Each of these may be dropped for another without losing anything.
            tokio::select! {
                () = &mut lost => return false,
                news = self.poller.news() => if news {
                    rhythm.changed(Instant::now());
                },
                () = self.reader.news() => rhythm.changed(Instant::now()),
                () = ears.pushes.wait() => match ears.is_behind() {
                    // Of an image that has come since.
                    true => rhythm.changed(Instant::now()),
                    false => self.hear(&ears.pushes.take()),
                },
                Ok(()) = ears.pods.changed() => {
                    ears.changed();
                    rhythm.pod_changed(Instant::now());
                }
                Ok(()) = ears.namespaces.changed() => {
                    ears.changed();
                    rhythm.changed(Instant::now());
                }
                () = sleep_until(rhythm.wake()) => return true,
            }
        }
    }

    /// Has the images in use asked for that have been pushed, as it is said.
    fn hear(&mut self, pushes: &[Push]) {
        let hints = self.poller.sightings.told(pushes, Instant::now());
        for (push, hint) in pushes.iter().zip(hints) {
            let outcome = hint.label();
            metrics::count(&self.parts.metrics.notify_hints, outcome);
            debug!(image = %push, outcome, "Heard of a push of {push}: {outcome}");
        }
    }

    /// Looks at everything once and does what may be done; says no where nothing can be seen.
    async fn tick(&mut self, rhythm: &mut Rhythm) -> bool {
        let now = Instant::now();
        if !self.sees() {
            self.rest(Phase::Wait, Duration::ZERO, rhythm);
            return false;
        }
        let (pods, survey) = self.look(now);
        let work = now.elapsed();
        self.confirm(&survey);
        let scene = self.scene(&pods, &survey, now);
        let pass = self.refresh(scene).await;
        self.tell_findings(&survey).await;
        let metrics = &self.parts.metrics;
        metrics
            .refresh_last_tick
            .set(Timestamp::now().as_duration().as_secs_f64());
        metrics::observe(&metrics.refresh_tick_duration, now.elapsed());
        self.rest(pass.phase, work, rhythm);
        true
    }

    /// Says whether changes are seen as they come. What was seen last need not be so any more otherwise: another pod may
    /// be down by now.
    pub(super) fn sees(&self) -> bool {
        let sees = self.parts.pods.in_sight() && self.parts.namespaces.in_sight();
        if !sees {
            debug!("Did nothing: pods or namespaces are out of sight");
        }
        sees
    }

    /// Looks at all pods, and counts what there is to see.
    pub(super) fn look(&mut self, now: Instant) -> (Vec<Arc<Pod>>, Survey) {
        let pods = self.parts.pods.snapshot();
        let namespaces = &self.parts.namespaces;
        let survey = survey::take(
            &pods,
            |name| namespaces.get(name),
            self.settings.whose,
            Hints {
                sightings: &mut self.poller.sightings,
                suspects: &mut self.suspects,
                facts: &mut self.reader.facts,
            },
            now,
        );
        if mem::take(&mut self.is_heir) {
            let whose = self.settings.whose;
            let is_ours = |name: &str| namespaces.get(name).is_some_and(|it| it.takes_part(whose));
            let evictions = heritage::evictions(&pods, is_ours, survey.clock, now);
            self.memory.inherit(evictions);
        }
        self.memory.tidy(now, pods.iter().map(|pod| &*pod.uid));
        let metrics = &self.parts.metrics;
        let count = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        metrics.cluster_pods.set(count);
        survey.tally.show(metrics);
        (pods, survey)
    }

    /// Tells what a look has found. What is of a workload waits where that cannot be read now.
    pub(super) async fn tell_findings(&self, survey: &Survey) {
        let until = Instant::now() + TELL_TIME;
        let mut may_ask = true;
        for finding in &survey.findings {
            let mut notice = tell::found(finding);
            if let (true, Some(owner)) = (finding.is_of_owner(), &finding.pod.owner) {
                may_ask &= Instant::now() < until;
                if !may_ask {
                    continue;
                }
                match self.owners.about(&finding.pod.namespace, owner).await {
                    Ok(about) => notice.about = about.unwrap_or(notice.about),
                    // Its pods are about to go.
                    Err(OwnerError::Gone { .. } | OwnerError::Replaced { .. }) => continue,
                    Err(OwnerError::Unread {
                        source: CallError::Refused(refusal),
                        ..
                    }) if refusal.code == 403 => {}
                    Err(_) => {
                        may_ask = false;
                        continue;
                    }
                }
            }
            self.parts.recorder.record(notice);
        }
    }

    /// Returns the moment that was looked at.
    pub(super) fn scene<'s>(
        &self,
        pods: &'s [Arc<Pod>],
        survey: &'s Survey,
        now: Instant,
    ) -> Scene<'s> {
        Scene {
            pods,
            survey,
            limits: self.settings.limits,
            now,
            wall: Timestamp::now(),
        }
    }

    /// Plans the next look after one that cost `work`.
    pub(super) fn rest(&self, phase: Phase, work: Duration, rhythm: &mut Rhythm) {
        let now = Instant::now();
        let end = match phase {
            Phase::Rest => None,
            _ => self.memory.next_end(now),
        };
        rhythm.looked(phase, work, end, now);
    }

    /// Has tags asked for again on which something is to be done: as soon as that makes it certain.
    pub(super) fn confirm(&mut self, survey: &Survey) {
        let apart = self.settings.limits.confirm_after;
        survey.confirm(&mut self.poller.sightings, apart, Instant::now());
    }

    /// Takes back what only the leader can know.
    fn hide(&self) {
        Tally::default().show(&self.parts.metrics);
        self.show_holds(&Plan::default());
        self.parts.metrics.refresh_halted_workloads.set(0);
        self.parts.metrics.cluster_pods.set(0);
        self.parts.metrics.refresh_last_tick.set(0.0);
    }
}
