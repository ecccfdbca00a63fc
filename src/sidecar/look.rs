//! One look: what the pod runs, what its tag means, and what is done about it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    HELD, Next, OVERTAKEN, Parts, Settings, Trouble,
    judge::judge,
    known::Known,
    tell::{Idle, Told},
};
use crate::{
    cluster::{Owners, Restart, Workload},
    policy::{
        Container, Digest, Owner, Phase, Pod, Running, Verdict, Wishes, carried,
        gate::{self, Hold, Moment, signed},
        refreshed_value,
        solo::{self, Health, Sight, Stay},
        wishes::{Selection, Strategy},
    },
    registry::Lookup,
};

/// How long a pod may take to become ready before a rollout that waits for it counts as failing, so that it does
/// not keep its own fix away. Longer than most pods take, and far shorter than the ten minutes of a Deployment.
const STARTING: Duration = Duration::from_secs(30);

/// Pull secrets are read again when a registry refuses them, not for each lookup.
const SECRETS_AGE: Duration = Duration::from_secs(3600);

/// The part of the poll interval for which an answer is used again. Less than the shortest pause between two polls.
const REUSE: f64 = 0.85;

/// Looks at a pod again and again; all that it remembers may be lost.
pub(super) struct Watcher<'a> {
    parts: &'a Parts,
    settings: &'a Settings,
    owners: Owners,
    resolver: crate::registry::Resolver,
    /// The uid of our pod: a StatefulSet's next pod will have its name.
    uid: Option<Box<str>>,
    /// What the tag means, by what it was asked for.
    known: Option<(Lookup, Option<Known>)>,
    /// What the tag meant at the first look.
    first: Option<Digest>,
    /// Whether the container was seen to run what its tag meant.
    was_current: bool,
    /// The value of the last restart that was only tried.
    tried: Option<String>,
    /// What has been told.
    pub(super) told: Told<'a>,
}

impl<'a> Watcher<'a> {
    /// Returns one who has seen nothing yet.
    pub(super) fn new(parts: &'a Parts, settings: &'a Settings, owners: Owners) -> Self {
        Self {
            parts,
            settings,
            owners,
            resolver: parts.resolver.for_nodes().with_secrets_max_age(SECRETS_AGE),
            uid: None,
            known: None,
            first: None,
            was_current: false,
            tried: None,
            told: Told::new(&parts.recorder),
        }
    }

    /// Says whether the pod and the container have been found.
    pub(super) const fn has_seen(&self) -> bool {
        self.uid.is_some()
    }

    /// Looks once, and does what may be done.
    pub(super) async fn look(&mut self, now: Instant) -> Result<Next, Trouble> {
        let pod = self.parts.pod.read().await?;
        if self.uid.as_ref().is_some_and(|uid| *uid != pod.uid) {
            // We are what is left of the pod before.
            return Ok(self.told.idle(Idle::Replaced));
        }
        let container = self.container(&pod)?;
        self.uid.get_or_insert_with(|| pod.uid.clone());
        let (owner, wishes, lookup) = match self.eligible(&pod, container) {
            Ok(found) => found,
            Err(idle) => return Ok(self.told.idle(idle)),
        };
        if !self.told.has_begun() {
            let workload = self.owners.workload(&pod.namespace, owner).await?;
            self.told.begun(&pod, container, &workload);
        }
        if container.running == Running::NotStarted && !container.is_pinned() {
            // The kubelet will pull what the tag means when it comes to that.
            return Ok(Next::Soon(HELD));
        }
        let known = self.ask(&lookup).await?;
        self.first.get_or_insert_with(|| known.digest.clone());
        let judged = judge(&self.resolver, &lookup, container, &known.digest).await;
        let judged = judged.map_err(Box::new)?;
        match judged.verdict {
            Verdict::Current { .. } | Verdict::Identical => {
                self.was_current = true;
                self.told.current();
                Ok(Next::Poll)
            }
            Verdict::Unknown if judged.unfit => Ok(self.told.idle(Idle::Unfit)),
            Verdict::StaleCache | Verdict::Unknown => Ok(self.told.idle(Idle::Unknown)),
            Verdict::Outdated => {
                let outdated = Outdated {
                    pod: &pod,
                    container,
                    owner,
                    wishes,
                    known,
                };
                self.refresh(&outdated, now).await
            }
        }
    }

    fn container<'p>(&self, pod: &'p Pod) -> Result<&'p Container, Trouble> {
        let wanted = &*self.settings.container;
        let found = pod.containers.iter().find(|it| *it.name == *wanted);
        found.ok_or_else(|| Trouble::NoContainer {
            pod: format!("{}/{}", pod.namespace, pod.name),
            container: wanted.to_owned(),
            others: (pod.containers.iter())
                .map(|it| &*it.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Returns what is needed to refresh the pod, or why it is left alone.
    ///
    /// Of its wishes `containers` is passed over: the container was chosen by a setting. The namespace's defaults
    /// would take a right over the namespace object.
    fn eligible<'p>(
        &self,
        pod: &'p Pod,
        container: &Container,
    ) -> Result<(&'p Owner, Wishes, Lookup), Idle> {
        if pod.terminating || pod.phase == Phase::Over {
            return Err(Idle::Ending);
        }
        if pod.opted_out {
            return Err(Idle::OptedOut);
        }
        let owner = pod.owner.as_deref().filter(|owner| owner.replaces());
        let owner = owner.ok_or(Idle::NoController)?;
        let wishes = Wishes::parse(&pod.annotations, &[]);
        let mut wishes = wishes.map_err(|bad| Idle::BadWishes(Box::new((pod.clone(), bad))))?;
        wishes.containers = Selection::default();
        let lookup = Lookup::of(pod, container).filter(|_| container.counts(&wishes));
        Ok((owner, wishes, lookup.ok_or(Idle::NothingCounts)?))
    }

    /// Returns what the tag means.
    ///
    /// What is confirmed is asked for once in a poll interval, however often the pod is looked at.
    async fn ask(&mut self, lookup: &Lookup) -> Result<Known, Trouble> {
        if self.known.as_ref().is_none_or(|(of, _)| of != lookup) {
            self.known = Some((lookup.clone(), None));
        }
        let (_, known) = (self.known.as_mut()).expect("it must have been set just now");
        let apart = self.settings.limits.confirm_after;
        let is_confirmed = known.as_ref().is_some_and(|it| it.is_confirmed(apart));
        let max_age = match is_confirmed {
            true => self.settings.poll_interval.mul_f64(REUSE),
            false => Duration::ZERO,
        };
        let answer = self.resolver.digest(lookup, max_age).await;
        let answer = answer.map_err(Box::new)?;
        self.told.problems(answer.trail.problems());
        Known::note(known, answer.digest, answer.at);
        Ok(known.clone().expect("it must have been noted just now"))
    }

    /// Has the owner of an outdated pod restarted, if that may be.
    async fn refresh(&mut self, outdated: &Outdated<'_>, now: Instant) -> Result<Next, Trouble> {
        let wall = Timestamp::now();
        if let Err(hold) = self.rules(outdated, now, wall) {
            if hold == Hold::Unconfirmed {
                let apart = self.settings.limits.confirm_after;
                return Ok(Next::Soon(outdated.known.confirmed_in(apart, now)));
            }
            self.told.outdated(outdated);
            self.told.held(hold.label());
            return Ok(match hold {
                Hold::Notify => self.told.notified(outdated),
                _ => Next::Soon(HELD),
            });
        }
        self.told.outdated(outdated);
        let pod = outdated.pod;
        let workload = self.owners.workload(&pod.namespace, outdated.owner).await?;
        let name = &*outdated.container.name;
        let wanted = refreshed_value([(name, &outdated.known.digest)]);
        let has_moved = self.was_current || self.first.as_ref() != Some(&outdated.known.digest);
        match solo::restart(&self.sight(pod, &workload, (&wanted, has_moved), wall)) {
            Ok(value) => self.restart(outdated, &workload, &value).await,
            Err(stay) => {
                self.told.held(stay.label());
                self.told.stayed(outdated, &workload, stay);
                Ok(match stay {
                    Stay::NoRollout | Stay::Ineffective => Next::Poll,
                    Stay::Paused | Stay::Rollout | Stay::Halted => Next::Soon(HELD),
                })
            }
        }
    }

    /// Returns what holds the pod by the rules that the controller's gate has, too.
    fn rules(&self, outdated: &Outdated<'_>, now: Instant, wall: Timestamp) -> Result<(), Hold> {
        let mut wishes = outdated.wishes.clone();
        if wishes.strategy != Strategy::Notify {
            // Whatever is wished of a controller: a sidecar has no other way than to restart.
            wishes.strategy = Strategy::Evict;
        }
        let moment = Moment {
            now: wall,
            leader: true,
            limits: self.settings.limits,
            evictions: &[],
        };
        let outdated = gate::Outdated {
            wishes: &wishes,
            targets: vec![outdated.known.target(now, wall)],
            registry_failing: false,
            made: gate::Made::Now,
        };
        gate::rules(&moment, &outdated)
    }

    fn sight<'s>(
        &self,
        pod: &'s Pod,
        workload: &'s Workload,
        (wanted, has_moved): (&'s str, bool),
        wall: Timestamp,
    ) -> Sight<'s> {
        let deadline = self.settings.limits.progress_deadline;
        let age = wall.duration_since(pod.created);
        let is_older = |limit: Duration| signed(limit) <= age;
        Sight {
            automatic: workload.rolls,
            paused: workload.paused,
            rolling: workload.rolling,
            stuck: workload.stuck,
            template: workload.refreshed.as_deref(),
            made_with: carried(pod),
            wanted,
            has_moved,
            young: !is_older(deadline),
            health: match !pod.ready && is_older(STARTING.min(deadline)) {
                true => Health::Failing,
                false => Health::Fine,
            },
        }
    }

    async fn restart(
        &mut self,
        outdated: &Outdated<'_>,
        workload: &Workload,
        value: &str,
    ) -> Result<Next, Trouble> {
        let restart = if !self.settings.dry_run {
            self.owners.restart(workload, value).await
        } else if self.tried.as_deref() == Some(value) {
            return Ok(Next::Poll);
        } else {
            self.owners.rehearse(workload, value).await
        };
        match restart {
            Restart::Restarted if self.settings.dry_run => {
                self.tried = Some(value.to_owned());
                self.told.tried(outdated, workload);
                Ok(Next::Poll)
            }
            Restart::Restarted => {
                self.told.restarted(outdated, workload);
                Ok(Next::Soon(HELD))
            }
            // Another sidecar was first, or somebody has scaled it: what is there now decides.
            Restart::Unchanged | Restart::Conflict | Restart::Gone => Ok(Next::Soon(OVERTAKEN)),
            Restart::Unsupported => {
                self.told.held(Stay::NoRollout.label());
                Ok(Next::Poll)
            }
            Restart::Failed(source) => Err(Trouble::Restart {
                kind: workload.kind,
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                source,
            }),
        }
    }
}

/// An outdated container, and all that has to do with it.
pub(super) struct Outdated<'a> {
    /// Its pod.
    pub(super) pod: &'a Pod,
    /// The container.
    pub(super) container: &'a Container,
    owner: &'a Owner,
    wishes: Wishes,
    known: Known,
}

impl Outdated<'_> {
    /// Says which image has moved on, and from where to where.
    pub(super) fn moves(&self) -> String {
        let (to, image) = (&self.known.digest, &self.container.image);
        let image = image
            .as_ref()
            .map_or_else(|bad| bad.to_string(), |it| it.to_string());
        match self.container.running.digest() {
            Some(from) => format!("{image} has moved on from {from} to {to}"),
            None => format!("{image} has moved on to {to}"),
        }
    }
}
