//! Pods, sightings and answers for the tests of refreshing.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    facts::{Facts, Landed, ManifestFact, Question},
    group::Scene,
    sightings::Sightings,
    survey::{self, Hints, Survey},
    suspects::Suspects,
};
use crate::{
    cluster::{Workload, WorkloadKind},
    policy::{
        Digest, Namespace, Owner, OwnerKind, Pod, Running, Scope, Stamp,
        fixture::{Fixture, container, digest, pod},
        gate::Limits,
    },
    registry::{Fault, Lookup, LookupError, Manifest},
};

/// The second at which tests begin, by the wall clock.
pub(super) const START: i64 = 1_000_000;

pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

/// Returns limits of 10 s to confirm and 600 s to become ready.
pub(super) const fn limits() -> Limits {
    Limits {
        confirm_after: seconds(10),
        progress_deadline: seconds(600),
        per_minute: 30,
        per_namespace: None,
        per_node: None,
    }
}

/// Returns a ready pod of the ReplicaSet `owner` in `shop`, created long ago, that runs `nginx:1.27` in the
/// version `runs`; not started if that is 0.
pub(super) fn runs(name: &str, owner: &str, runs: u8) -> Fixture {
    pod(name).with(|pod| {
        pod.owner = Some(Arc::new(owned_by(owner)));
        pod.created = wall(-100_000);
        let running = match runs {
            0 => Running::NotStarted,
            runs => Running::Manifest(digest(runs)),
        };
        pod.containers[0].running = running;
    })
}

/// Returns the ReplicaSet `name`.
pub(super) fn owned_by(name: &str) -> Owner {
    Owner {
        kind: OwnerKind::ReplicaSet,
        name: name.into(),
        uid: format!("uid-{name}").into(),
    }
}

/// Returns the Deployment `name` that wants `desired` pods.
pub(super) fn deployment(name: &str, desired: u32) -> Workload {
    Workload {
        kind: WorkloadKind::Deployment,
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        desired,
        min_ready: Duration::ZERO,
        paused: false,
        rolling: false,
        stuck: false,
        rolls: true,
        generation: 1,
        resource_version: "1".to_owned(),
        refreshed: None,
    }
}

/// Returns what the pods of [`runs`] are looked up by.
pub(super) fn lookup() -> Lookup {
    let pod = pod("any").build();
    Lookup {
        image: Arc::clone(pod.containers[0].image.as_ref().unwrap()),
        identity: pod.identity,
    }
}

/// Returns the lookup of `image`.
pub(super) fn lookup_of(image: &str) -> Lookup {
    Lookup {
        image: container(image).image.unwrap(),
        ..lookup()
    }
}

/// Returns that a registry answered 503.
pub(super) fn unavailable() -> LookupError {
    let fault = Fault::Unavailable {
        status: 503,
        retry_after: None,
    };
    LookupError::anonymous(&lookup().image, fault)
}

/// Gives the pod's first container the stamp of `version`.
pub(super) fn stamp(pod: &mut Pod, version: u8) {
    let container = &mut pod.containers[0];
    let image = container.image.as_ref().unwrap();
    container.stamp = Some(Stamp::new(image, digest(version)));
}

/// Answers that a manifest is an image, unlike all others.
pub(super) fn image(question: Question) -> Landed {
    let Question::Manifest(lookup, digest) = question else {
        panic!("images are the same on all nodes");
    };
    let body = br#"{"schemaVersion": 2, "config": {}, "layers": []}"#;
    let manifest = Manifest::decode(digest.clone(), body).unwrap();
    let fact = ManifestFact::Read(Arc::new(manifest));
    Landed::Manifest((lookup, digest), fact, Duration::ZERO)
}

/// Pods that are looked at again and again as seconds pass.
pub(super) struct Stage {
    pub(super) start: Instant,
    pub(super) second: u64,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) namespace: Namespace,
    /// Whose pods are looked at.
    pub(super) whose: Scope,
    pub(super) sightings: Sightings,
    pub(super) suspects: Suspects,
    pub(super) facts: Facts,
    /// Whether manifests are read: each is an image of its own.
    pub(super) reads: bool,
    pub(super) survey: Survey,
}

impl Stage {
    /// Returns a stage with `pods` in one opted-in namespace `shop`; nothing has been asked for.
    pub(super) fn new(pods: impl IntoIterator<Item = Fixture>) -> Self {
        let start = Instant::now();
        Self {
            start,
            second: 0,
            pods: pods.into_iter().map(|pod| Arc::new(pod.build())).collect(),
            namespace: Namespace {
                name: "shop".into(),
                enabled: true,
                opted_out: false,
                terminating: false,
                annotations: Arc::new([]),
            },
            whose: Scope::OptedIn,
            sightings: Sightings::new(seconds(300), start),
            suspects: Suspects::default(),
            facts: Facts::new(seconds(300)),
            reads: true,
            survey: Survey::default(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + seconds(self.second)
    }

    /// Looks at all pods, and again once what that asked for has been read.
    pub(super) fn look(&mut self) -> &Survey {
        self.look_once();
        if self.reads {
            let now = self.now();
            for question in self.facts.take_due(now, usize::MAX) {
                self.facts.landed(image(question), now);
            }
            self.look_once();
        }
        &self.survey
    }

    fn look_once(&mut self) {
        let namespace = Arc::new(self.namespace.clone());
        let now = self.now();
        let hints = Hints {
            sightings: &mut self.sightings,
            suspects: &mut self.suspects,
            facts: &mut self.facts,
        };
        self.survey = survey::take(
            &self.pods,
            |_| Some(Arc::clone(&namespace)),
            self.whose,
            hints,
            now,
        );
    }

    /// Lets the registry say that the tag of `lookup` means `version`, asked for now.
    pub(super) fn answer(&mut self, lookup: &Lookup, version: u8) {
        let now = self.now();
        let answer: (Digest, Instant) = (digest(version), now);
        self.sightings.landed(lookup, Some(Ok(answer)), now, 0.0);
    }

    /// Has the pods' tag confirmed to mean `version`: looked at, answered, and the same ten seconds later.
    pub(super) fn confirmed(mut self, version: u8) -> Self {
        for later in [0, 10] {
            self.second += later;
            self.look();
            self.answer(&lookup(), version);
            self.look();
        }
        self
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            pods: &self.pods,
            survey: &self.survey,
            limits: limits(),
            now: self.now(),
            wall: wall(i64::try_from(self.second).unwrap()),
        }
    }
}
