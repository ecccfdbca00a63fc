//! The one translation from Kubernetes' pods and namespaces into the rules' own.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    intern::Interner,
    lenient::{List, Object, Text},
    wire::{ContainerStatus, Meta, OwnerReference, PodStatus, RawContainer, RawNamespace, RawPod},
};
use crate::policy::{
    Container, ContainerKind, Namespace, Owner, OwnerKind, Phase, Pod, PullIdentity, PullPolicy,
    Running, Stamp, excerpt,
    names::{DIGEST_PREFIX, ENABLED, IMAGE_PREFIX, PREFIX, REFRESHED},
    pod::Annotations,
    wishes::{LONGEST_WISH, NAMES},
};

/// The kubelet's mark on the mirror of a static pod.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// As many annotations below our prefix are kept that are no wishes. They only serve to be told.
const MOST_OTHERS: usize = 8;

/// Translates objects; what they have in common is shared.
#[derive(Debug, Default)]
pub(super) struct View {
    interner: Interner,
}

impl View {
    /// Returns the namespace, unless it has no name (as a bookmark's).
    pub(super) fn namespace(&mut self, raw: &RawNamespace<'_>) -> Option<Namespace> {
        self.interner.sweep();
        let meta = &raw.metadata.0;
        let name = meta.name.0.as_deref()?;
        Some(Namespace {
            name: self.interner.text(name),
            enabled: meta.labels.get(ENABLED) == Some("true"),
            opted_out: meta.labels.get(ENABLED) == Some("false"),
            terminating: meta.deletion_timestamp.0.is_some()
                || raw.status.0.phase.as_str() == "Terminating",
            annotations: self.wishes(meta),
        })
    }

    /// Returns the pod, unless it has no name or uid (as a bookmark's).
    pub(super) fn pod(&mut self, raw: &RawPod<'_>) -> Option<Pod> {
        self.interner.sweep();
        let meta = &raw.metadata.0;
        let (spec, status) = (&raw.spec.0, &raw.status.0);
        let namespace = self.interner.text(meta.namespace.0.as_deref()?);
        let conditions = status.conditions.0.iter().map(|Object(it)| it);
        let condition = { conditions }.find(|it| it.kind.as_str() == "Ready");
        let ready = condition.is_some_and(|it| it.status.as_str() == "True");
        let created = time(&meta.creation_timestamp).unwrap_or(Timestamp::UNIX_EPOCH);
        let ready_since = condition.and_then(|it| time(&it.since)).unwrap_or(created);
        let version = meta.resource_version.0.as_deref();
        Some(Pod {
            name: meta.name.0.as_deref()?.into(),
            uid: meta.uid.0.as_deref()?.into(),
            owner: meta.controller().map(|owner| self.owner(owner)),
            node: (spec.node_name.0.as_deref()).map(|node| self.interner.text(node)),
            phase: phase(status.phase.0.as_deref()),
            ready,
            ready_since,
            ran: match ready {
                true => Duration::ZERO,
                false => ran(status, ready_since),
            },
            version: version.filter(|_| !ready).map(Into::into),
            terminating: meta.deletion_timestamp.0.is_some(),
            mirror: meta.annotations.get(MIRROR).is_some(),
            opted_out: meta.labels.get(ENABLED) == Some("false"),
            created,
            identity: self.identity(&namespace, raw),
            annotations: self.wishes(meta),
            containers: self.containers(raw),
            namespace,
        })
    }

    fn owner(&mut self, owner: &OwnerReference<'_>) -> Arc<Owner> {
        self.interner.owner(Owner {
            kind: owner_kind(owner.api_version.as_str(), owner.kind.as_str()),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        })
    }

    fn identity(&mut self, namespace: &Arc<str>, raw: &RawPod<'_>) -> Arc<PullIdentity> {
        let spec = &raw.spec.0;
        let secrets = (spec.image_pull_secrets.0.iter())
            .filter_map(|Object(secret)| secret.name.0.as_deref());
        let account = Some(spec.service_account_name.as_str());
        let keep = |name: &str| self.interner.text(name);
        let identity = PullIdentity::new(Arc::clone(namespace), secrets, account, keep);
        self.interner.identity(identity)
    }

    fn wishes(&mut self, meta: &Meta<'_>) -> Arc<Annotations> {
        let mut others = 0..MOST_OTHERS;
        let restart = REFRESHED.strip_prefix(PREFIX);
        let mut wishes: Vec<(Box<str>, Box<str>)> = (meta.annotations.0.iter())
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, &**value)))
            .filter(|(name, _)| {
                NAMES.contains(name) || Some(*name) == restart || others.next().is_some()
            })
            .map(|(name, value)| match value.len() {
                // Its start makes no sense either.
                length if LONGEST_WISH < length => (name.into(), excerpt(value).into()),
                _ => (name.into(), value.into()),
            })
            .collect();
        wishes.sort_unstable();
        self.interner.annotations(wishes)
    }

    fn containers(&mut self, raw: &RawPod<'_>) -> Box<[Container]> {
        let (spec, status) = (&raw.spec.0, &raw.status.0);
        let init = spec.init_containers.0.iter().map(|Object(container)| {
            let kind = match container.restart_policy.as_str() {
                "Always" => ContainerKind::Sidecar,
                _ => ContainerKind::Init,
            };
            (container, kind, &status.init_container_statuses)
        });
        let ordinary = (spec.containers.0.iter()).map(|Object(container)| {
            (
                container,
                ContainerKind::Ordinary,
                &status.container_statuses,
            )
        });
        init.chain(ordinary)
            .map(|(container, kind, statuses)| {
                let name = container.name.as_str();
                Container {
                    name: self.interner.text(name),
                    kind,
                    image: self.interner.image(container.image.as_str()),
                    pull: pull_policy(container),
                    stamp: self.stamp(&raw.metadata.0, name),
                    running: running(statuses, name),
                }
            })
            .collect()
    }

    /// Returns what the webhook wrote down for a container.
    fn stamp(&mut self, meta: &Meta<'_>, container: &str) -> Option<Stamp> {
        let under = |prefix: &str| {
            let mut entries = meta.annotations.0.iter();
            entries.find_map(|(key, value)| {
                (key.strip_prefix(prefix)? == container).then_some(&**value)
            })
        };
        let stamp = Stamp::read(under(DIGEST_PREFIX), under(IMAGE_PREFIX))?;
        Some(Stamp {
            image: self.interner.text(&stamp.image),
            ..stamp
        })
    }
}

fn time(text: &Text<'_>) -> Option<Timestamp> {
    text.as_str().parse().ok()
}

/// Returns how long the containers of a pod had run that became unready at `fell`; nothing of one that was never ready.
///
/// The kubelet writes down that a new pod is not ready when it takes it up, before it starts anything. It keeps the last run
/// of each container besides the one that is under way. One that has started more often since has told nothing more of the
/// run before, which may have begun with the pod.
fn ran(status: &PodStatus<'_>, fell: Timestamp) -> Duration {
    let Some(began) = time(&status.start_time) else {
        return Duration::ZERO;
    };
    // Both are cut to seconds.
    if fell.duration_since(began) <= SignedDuration::from_secs(1) {
        return Duration::ZERO;
    }
    let run = |Object(container): &Object<ContainerStatus<'_>>| {
        let (state, last) = (&container.state.0, &container.last_state.0);
        let runs = [&state.running, &state.terminated, &last.terminated];
        let mut starts = (runs.into_iter()).filter_map(|run| time(&run.0.started_at));
        starts.find(|start| *start <= fell).unwrap_or(began)
    };
    let last = status.container_statuses.0.iter().map(run).max();
    let ran = fell.duration_since(last.unwrap_or(began));
    Duration::try_from(ran).unwrap_or_default()
}

fn owner_kind(api_version: &str, kind: &str) -> OwnerKind {
    match (api_version, kind) {
        ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
        ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
        ("apps/v1", "DaemonSet") => OwnerKind::DaemonSet,
        ("v1", "ReplicationController") => OwnerKind::ReplicationController,
        _ => OwnerKind::Other,
    }
}

fn phase(phase: Option<&str>) -> Phase {
    match phase {
        // A pod that the kubelet has not reported on yet.
        None | Some("" | "Pending") => Phase::Pending,
        Some("Running") => Phase::Running,
        Some(_) => Phase::Over,
    }
}

/// The API server fills the policy in; one that we do not know must not make a container count.
fn pull_policy(container: &RawContainer<'_>) -> PullPolicy {
    match container.image_pull_policy.as_str() {
        "Always" => PullPolicy::Always,
        "IfNotPresent" => PullPolicy::IfNotPresent,
        _ => PullPolicy::Never,
    }
}

fn running(statuses: &List<Object<ContainerStatus<'_>>>, container: &str) -> Running {
    let mut statuses = statuses.0.iter().map(|Object(status)| status);
    let image_id = statuses
        .find(|status| status.name.as_str() == container)
        .map_or("", |status| status.image_id.as_str());
    Running::from_image_id(image_id)
}

#[cfg(test)]
mod tests;
