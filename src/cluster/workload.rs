//! What a controller says of itself: how many pods it wants, and whether it is changing them.

use std::{fmt, time::Duration};

use serde::Deserialize;

use super::{
    lenient::{Flag, List, Number, Object, Text},
    wire::{Condition, Meta, Ours},
};
use crate::policy::{
    OwnerKind,
    gate::{Rollout, Rollouts},
    names::REFRESHED,
};

/// The kinds of objects that replace pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// apps/v1 Deployment, by its ReplicaSets.
    Deployment,
    /// apps/v1 ReplicaSet without a Deployment.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// v1 ReplicationController.
    ReplicationController,
}

impl WorkloadKind {
    /// Returns the kind as Kubernetes writes it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicationController => "ReplicationController",
        }
    }

    /// Returns the API version as Kubernetes writes it.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::ReplicationController => "v1",
            _ => "apps/v1",
        }
    }

    /// Returns the collection in `namespace`.
    pub(super) const fn collection(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("/apis/apps/v1", "deployments"),
            Self::ReplicaSet => ("/apis/apps/v1", "replicasets"),
            Self::StatefulSet => ("/apis/apps/v1", "statefulsets"),
            Self::DaemonSet => ("/apis/apps/v1", "daemonsets"),
            Self::ReplicationController => ("/api/v1", "replicationcontrollers"),
        }
    }

    /// Returns the kind of a pod's direct owner; `None` for those that we leave alone.
    pub const fn of_owner(kind: OwnerKind) -> Option<Self> {
        match kind {
            OwnerKind::ReplicaSet => Some(Self::ReplicaSet),
            OwnerKind::StatefulSet => Some(Self::StatefulSet),
            OwnerKind::DaemonSet => Some(Self::DaemonSet),
            OwnerKind::ReplicationController => Some(Self::ReplicationController),
            OwnerKind::Other => None,
        }
    }

    /// Says whether a change of its template replaces its pods.
    pub const fn rolls(self) -> bool {
        matches!(self, Self::Deployment | Self::StatefulSet | Self::DaemonSet)
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The update strategy of a StatefulSet or DaemonSet whose pods somebody deletes by hand.
const ON_DELETE: &str = "OnDelete";

/// Why a Deployment's condition `Progressing` is `False`.
const STUCK: &str = "ProgressDeadlineExceeded";

/// A controller as just read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// How many pods it should have.
    pub desired: u32,
    /// How long a pod must have been ready to count as available (`minReadySeconds`).
    pub min_ready: Duration,
    /// Whether a person has paused it (Deployments only).
    pub paused: bool,
    /// Whether it is replacing its pods because its template has changed, or has not yet seen a change.
    pub rolling: bool,
    /// Whether that has made no progress within its own deadline (Deployments only); then it is not `rolling`.
    pub stuck: bool,
    /// Whether a change of its template replaces all its pods without anybody's doing.
    pub rolls: bool,
    /// The count of changes of its spec.
    pub generation: i64,
    /// The version that was read, the precondition of a restart.
    pub resource_version: String,
    /// The value of `podrefresh.io/refreshed` in its template.
    pub refreshed: Option<String>,
}

impl Workload {
    /// Says whether it is a Deployment that wants one pod.
    pub fn is_single(&self) -> bool {
        self.kind == WorkloadKind::Deployment && self.desired == 1
    }

    /// Returns how it can be restarted; `restarted` says that its template was written for what its outdated pods
    /// should run.
    pub const fn rollouts(&self, restarted: bool) -> Rollouts {
        Rollouts {
            automatic: self.rolls,
            paused: self.paused,
            last: match (self.rolling, self.stuck) {
                (true, _) => Rollout::UnderWay,
                (false, true) => Rollout::Stuck,
                (false, false) => Rollout::Done,
            },
            restarted,
        }
    }
}

/// A controller as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawWorkload<'a> {
    #[serde(borrow)]
    pub(super) metadata: Object<Meta<'a>>,
    #[serde(borrow)]
    spec: Object<Spec<'a>>,
    #[serde(borrow)]
    status: Object<Status<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    replicas: Number,
    min_ready_seconds: Number,
    paused: Flag,
    #[serde(borrow)]
    template: Object<Template<'a>>,
    #[serde(borrow)]
    update_strategy: Object<UpdateStrategy<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template<'a> {
    #[serde(borrow)]
    metadata: Object<TemplateMeta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateMeta<'a> {
    #[serde(borrow)]
    annotations: super::lenient::Entries<'a, Ours>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpdateStrategy<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    rolling_update: Object<RollingUpdate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status<'a> {
    observed_generation: Number,
    replicas: Number,
    updated_replicas: Number,
    available_replicas: Number,
    desired_number_scheduled: Number,
    updated_number_scheduled: Number,
    #[serde(borrow)]
    current_revision: Text<'a>,
    #[serde(borrow)]
    update_revision: Text<'a>,
    #[serde(borrow)]
    conditions: List<Object<Condition<'a>>>,
}

impl RawWorkload<'_> {
    /// Returns the workload; what is missing reads as the API's default.
    pub(super) fn workload(&self, kind: WorkloadKind) -> Workload {
        let (meta, spec, status) = (&self.metadata.0, &self.spec.0, &self.status.0);
        let desired = match kind {
            WorkloadKind::DaemonSet => count(status.desired_number_scheduled),
            _ => spec.replicas.0.map_or(1, |_| count(spec.replicas)),
        };
        let generation = meta.generation.0.unwrap_or_default();
        // Until the controller has seen a change, its counts are those of before.
        let unseen = status.observed_generation.0.unwrap_or_default() < generation;
        let annotations = &spec.template.0.metadata.0.annotations;
        Workload {
            kind,
            namespace: meta.namespace.as_str().to_owned(),
            name: meta.name.as_str().to_owned(),
            uid: meta.uid.as_str().to_owned(),
            desired,
            min_ready: Duration::from_secs(count(spec.min_ready_seconds).into()),
            paused: kind == WorkloadKind::Deployment && spec.paused.0,
            rolling: unseen || self.is_replacing(kind, desired),
            stuck: !unseen && kind == WorkloadKind::Deployment && self.progress() == STUCK,
            rolls: kind.rolls() && self.replaces_all(),
            generation,
            resource_version: meta.resource_version.as_str().to_owned(),
            refreshed: annotations.get(REFRESHED).map(str::to_owned),
        }
    }

    fn is_replacing(&self, kind: WorkloadKind, desired: u32) -> bool {
        let (strategy, status) = (&self.spec.0.update_strategy.0, &self.status.0);
        let updated = count(status.updated_replicas);
        match kind {
            WorkloadKind::Deployment => match self.progress() {
                // A rollout that got stuck waits for a fix, so it must not hold one back.
                STUCK => false,
                // It had finished: what is missing now has been evicted or has crashed since.
                "NewReplicaSetAvailable" => count(status.replicas) > updated,
                _ => {
                    let available = count(status.available_replicas);
                    count(status.replicas) > updated || updated < desired || available < desired
                }
            },
            // OnDelete changes nothing by itself.
            _ if strategy.kind.as_str() == ON_DELETE => false,
            WorkloadKind::StatefulSet => {
                let kept = count(strategy.rolling_update.0.partition);
                let revised = status.current_revision != status.update_revision;
                revised && (kept == 0 || updated < desired.saturating_sub(kept))
            }
            WorkloadKind::DaemonSet => count(status.updated_number_scheduled) < desired,
            WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController => false,
        }
    }

    /// Says whether nothing in its strategy keeps pods of an earlier template for good.
    fn replaces_all(&self) -> bool {
        let strategy = &self.spec.0.update_strategy.0;
        strategy.kind.as_str() != ON_DELETE && count(strategy.rolling_update.0.partition) == 0
    }

    /// Returns the reason of a Deployment's condition `Progressing`.
    fn progress(&self) -> &str {
        let mut conditions = self.status.0.conditions.0.iter();
        conditions
            .find(|Object(condition)| condition.kind.as_str() == "Progressing")
            .map_or("", |Object(condition)| condition.reason.as_str())
    }
}

fn count(number: Number) -> u32 {
    u32::try_from(number.0.unwrap_or_default().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
