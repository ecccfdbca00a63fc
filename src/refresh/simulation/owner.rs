//! A workload of the model, and its pods as they really are.

use std::{rc::Rc, sync::Arc};

use super::schedule::{Kind, OwnerPlan};
use crate::{
    cluster::{Workload, WorkloadKind},
    policy::{
        Container, Owner as DirectOwner, OwnerKind, Phase, Pod, PullIdentity, Running, fixture,
        pod::Annotations, wishes::MaxUnavailable,
    },
    refresh::fixture::{deployment, wall},
};

/// The nodes: fewer than most workloads have pods.
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// What a tag means: the byte that its digest is made of; 0 is nothing.
pub(super) type Version = u8;

/// What all pods of one namespace share.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) name: Arc<str>,
    pub(super) identity: Arc<PullIdentity>,
    pub(super) enabled: bool,
}

/// A workload.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) plan: OwnerPlan,
    pub(super) name: String,
    pub(super) home: Rc<str>,
    pub(super) desired: u32,
    pub(super) deleted: bool,
    /// How many pods each of its budgets wants healthy.
    pub(super) budgets: Vec<u32>,
    /// Whether its budgets let pods go that are not ready, whatever the others are.
    pub(super) always_allow: bool,
    /// What may be down at once for our sake.
    pub(super) max_unavailable: MaxUnavailable,
    /// The direct owner of pods of today's template.
    pub(super) direct: Arc<DirectOwner>,
    pub(super) pods: Vec<Actual>,
    /// How many ready pods we have taken that no new one has made up for.
    pub(super) taken: u32,
    /// The most that the wishes allowed when one of those was taken.
    pub(super) allowed: u32,
    revision: u32,
    annotations: Arc<Annotations>,
    container: Container,
}

/// A pod as it is.
#[derive(Debug, Clone)]
pub(super) struct Actual {
    /// What the API server tells of it.
    pub(super) pod: Arc<Pod>,
    version: u32,
    /// What it runs; 0 before its image is pulled.
    pub(super) runs: Version,
    /// When its image is pulled.
    pub(super) starts: u64,
    /// How long it takes from then until it is ready.
    pub(super) warms_up: u64,
    /// Whether it crashes, though its image is a good one.
    pub(super) crashes: bool,
    /// Whether it has ever been ready.
    pub(super) has_served: bool,
    /// When it is gone, once it has to go.
    pub(super) ends: u64,
}

impl Actual {
    /// Changes what the API server tells of it: each time it has another version.
    pub(super) fn change(&mut self) -> &mut Pod {
        self.version += 1;
        let pod = Arc::make_mut(&mut self.pod);
        pod.version = Some(self.version.to_string().into());
        pod
    }

    /// Has it end at `second`.
    pub(super) fn end(&mut self, second: u64) {
        self.ends = second;
        self.change().terminating = true;
    }

    /// Says whether it is to stay.
    pub(super) fn stays(&self) -> bool {
        self.pod.stays()
    }

    /// Says whether it has ended and nobody removes it.
    pub(super) fn lies(&self) -> bool {
        !self.pod.terminating && !self.stays()
    }
}

impl Owner {
    /// Returns the workload with this number, without pods.
    pub(super) fn new(number: usize, plan: OwnerPlan, home: &Home, image: &str) -> Self {
        let wish = ("max-unavailable".into(), plan.max_unavailable.into());
        let name = format!("app{number}");
        Self {
            direct: direct(&name, plan.kind, 0),
            home: Rc::from(&*home.name),
            name,
            plan,
            desired: plan.desired,
            deleted: false,
            budgets: plan.budget.into_iter().collect(),
            always_allow: number.is_multiple_of(2),
            max_unavailable: plan.max_unavailable.parse().unwrap(),
            pods: Vec::new(),
            taken: 0,
            allowed: 0,
            revision: 0,
            annotations: Arc::new([wish]),
            container: fixture::container(image),
        }
    }

    /// Returns the uid of the workload.
    pub(super) fn uid(&self) -> String {
        match self.plan.kind {
            Kind::Deployment => format!("uid-{}", self.name),
            Kind::StatefulSet | Kind::DaemonSet => self.direct.uid.to_string(),
        }
    }

    /// Changes the template.
    pub(super) fn roll_out(&mut self) {
        // The others do so in place, by their own pace: here they are left as they are.
        if self.plan.kind == Kind::Deployment {
            self.revision += 1;
            self.direct = direct(&self.name, self.plan.kind, self.revision);
        }
    }

    /// Returns how many of its pods serve.
    pub(super) fn available(&self) -> u32 {
        let available = self.pods.iter().filter(|it| it.pod.is_available());
        u32::try_from(available.count()).unwrap()
    }

    /// Returns what reading the workload gives, with the uids of the direct owners that belong to it.
    pub(super) fn read(&self) -> Option<(Workload, Vec<Box<str>>)> {
        if self.deleted {
            return None;
        }
        let workload = Workload {
            kind: match self.plan.kind {
                Kind::Deployment => WorkloadKind::Deployment,
                Kind::StatefulSet => WorkloadKind::StatefulSet,
                Kind::DaemonSet => WorkloadKind::DaemonSet,
            },
            namespace: self.home.to_string(),
            uid: self.uid(),
            ..deployment(&self.name, self.desired)
        };
        let of = |revision| direct(&self.name, self.plan.kind, revision).uid.clone();
        Some((workload, (0..=self.revision).map(of).collect()))
    }

    /// Returns a new pod, created at `second`, called after `born`, the number of pods so far; `None` while
    /// there is no place for it.
    pub(super) fn spawn(&self, born: u32, home: &Home, second: u64) -> Option<Actual> {
        let name = match self.plan.kind {
            // One of the same name must be gone first.
            Kind::StatefulSet => {
                let names = (0..self.desired).map(|ordinal| format!("{}-{ordinal}", self.name));
                let taken = |name: &String| self.pods.iter().any(|it| *it.pod.name == **name);
                names.into_iter().find(|name| !taken(name))?
            }
            // Its node must be free first.
            Kind::DaemonSet if self.desired as usize <= self.pods.len() => return None,
            Kind::DaemonSet | Kind::Deployment => format!("{}-{born:03}", self.name),
        };
        let pod = fixture::pod(&name).with(|pod| {
            pod.uid = format!("uid-{born}").into();
            pod.namespace = Arc::clone(&home.name);
            pod.identity = Arc::clone(&home.identity);
            pod.owner = Some(Arc::clone(&self.direct));
            pod.annotations = Arc::clone(&self.annotations);
            pod.created = wall(i64::try_from(second).unwrap());
            pod.node = Some(NODES[usize::try_from(born).unwrap() % NODES.len()].into());
            (pod.phase, pod.ready) = (Phase::Pending, false);
            let mut container = self.container.clone();
            container.running = Running::NotStarted;
            pod.containers = Box::new([container]);
        });
        Some(Actual {
            pod: Arc::new(pod.build()),
            version: 0,
            runs: 0,
            starts: second,
            warms_up: 0,
            crashes: false,
            has_served: false,
            ends: u64::MAX,
        })
    }
}

/// Returns the owner that stands in the pods of a template.
fn direct(name: &str, kind: Kind, revision: u32) -> Arc<DirectOwner> {
    let (kind, name) = match kind {
        Kind::Deployment => (OwnerKind::ReplicaSet, format!("{name}-{revision}")),
        Kind::StatefulSet => (OwnerKind::StatefulSet, name.to_owned()),
        Kind::DaemonSet => (OwnerKind::DaemonSet, name.to_owned()),
    };
    Arc::new(DirectOwner {
        kind,
        uid: format!("uid-of-{name}").into(),
        name: name.into(),
    })
}
