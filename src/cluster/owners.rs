//! Who replaces a pod, read fresh each time it matters.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use moka::future::Cache;
use serde_json::json;

use super::{
    About,
    call::{Media, Segment, Server, decode},
    refusal::CallError,
    workload::{RawWorkload, Workload, WorkloadKind},
};
use crate::policy::{Owner, OwnerKind, names::REFRESHED};

// Which Deployment a ReplicaSet belongs to practically never changes.
const LINKS: u64 = 20_000;
const LINK_TIME: Duration = Duration::from_secs(3600);

/// Reads and restarts the controllers of pods; a clone shares what is remembered.
#[derive(Debug, Clone)]
pub struct Owners {
    server: Server,
    time_limit: Duration,
    links: Cache<Box<str>, Link>,
}

/// What a ReplicaSet belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    Deployment { name: Arc<str>, uid: Arc<str> },
    Nobody,
}

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// It does not exist any more.
    #[error("{kind} {namespace}/{name} is gone")]
    Gone {
        /// Its kind.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Another object has its name now.
    #[error("{kind} {namespace}/{name} has been deleted and created again")]
    Replaced {
        /// Its kind.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Its pods are not ours to replace.
    #[error("the owner {0} is of a kind that is left alone")]
    Foreign(String),
    /// It could not be read.
    #[error("cannot read {kind} {namespace}/{name}")]
    Unread {
        /// Its kind.
        kind: WorkloadKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why not.
        source: CallError,
    },
}

impl OwnerError {
    /// Returns the stable, documented name of the error.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "owner_gone",
            Self::Replaced { .. } => "owner_replaced",
            Self::Foreign(_) => "owner_foreign",
            Self::Unread { .. } => "owner_unread",
        }
    }
}

/// What has become of a restart.
#[derive(Debug)]
pub enum Restart {
    /// The template carries the value now, and the controller replaces the pods.
    Restarted,
    /// The template carried the value already.
    Unchanged,
    /// Somebody else has changed the workload since it was read.
    Conflict,
    /// The workload is gone.
    Gone,
    /// A change of its template replaces nothing, or not all of its pods.
    Unsupported,
    /// There is no useful answer; after a timeout it may have been done.
    Failed(CallError),
}

impl Restart {
    /// Returns the stable, documented name of the outcome.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Unsupported => "unsupported",
            Self::Failed(_) => "failed",
        }
    }
}

impl Owners {
    /// Returns a reader that waits at most `time_limit` for each answer.
    pub fn new(server: Server, time_limit: Duration) -> Self {
        let links = Cache::builder()
            .max_capacity(LINKS)
            .time_to_live(LINK_TIME)
            .build();
        Self {
            server,
            time_limit,
            links,
        }
    }

    /// Reads the workload behind a pod's owner: the Deployment of a ReplicaSet, else the owner itself.
    pub async fn workload(&self, namespace: &str, owner: &Owner) -> Result<Workload, OwnerError> {
        let kind = WorkloadKind::of_owner(owner.kind)
            .ok_or_else(|| OwnerError::Foreign(owner.name.to_string()))?;
        if kind != WorkloadKind::ReplicaSet {
            return self
                .read(kind, namespace, &owner.name, &owner.uid)
                .await
                .map(|read| read.0);
        }
        if let Some(Link::Deployment { name, uid }) = self.links.get(&owner.uid).await {
            let deployment = WorkloadKind::Deployment;
            match self.read(deployment, namespace, &name, &uid).await {
                Ok((workload, _)) => return Ok(workload),
                // It may have been replaced by one that has adopted the ReplicaSet.
                Err(OwnerError::Gone { .. } | OwnerError::Replaced { .. }) => {
                    self.links.invalidate(&owner.uid).await;
                }
                Err(error) => return Err(error),
            }
        }
        let (set, link) = self.read(kind, namespace, &owner.name, &owner.uid).await?;
        match link {
            Link::Nobody => Ok(set),
            Link::Deployment { name, uid } => {
                let deployment = WorkloadKind::Deployment;
                self.read(deployment, namespace, &name, &uid)
                    .await
                    .map(|read| read.0)
            }
        }
    }

    /// Returns what Events about the pods of `owner` are about: the Deployment of a ReplicaSet, else the owner itself.
    /// `None` for kinds that we leave alone.
    ///
    /// Asks the API server once an hour for each ReplicaSet.
    pub async fn about(&self, namespace: &str, owner: &Owner) -> Result<Option<About>, OwnerError> {
        let itself = About::owner(namespace, owner);
        if owner.kind != OwnerKind::ReplicaSet {
            return Ok(itself);
        }
        Ok(match self.link(namespace, owner).await? {
            Link::Nobody => itself,
            Link::Deployment { name, uid } => Some(About::deployment(namespace, &name, &uid)),
        })
    }

    /// Returns those of a namespace's pod owners that belong to `workload`.
    ///
    /// These are the ReplicaSets of a Deployment, and the workload itself otherwise. Asks the API server
    /// once for each ReplicaSet whose name could be one of the Deployment's.
    pub async fn siblings<'o>(
        &self,
        workload: &Workload,
        owners: impl IntoIterator<Item = &'o Arc<Owner>>,
    ) -> Result<Vec<Arc<Owner>>, OwnerError> {
        let mut siblings = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for owner in owners {
            if !seen.insert(&owner.uid) {
                continue;
            }
            let belongs = match workload.kind {
                WorkloadKind::Deployment => self.is_of(workload, owner).await?,
                _ => *owner.uid == *workload.uid,
            };
            if belongs {
                siblings.push(owner.clone());
            }
        }
        Ok(siblings)
    }

    /// Says whether `owner` is one of a Deployment's ReplicaSets.
    async fn is_of(&self, deployment: &Workload, owner: &Owner) -> Result<bool, OwnerError> {
        // The deployment controller names them so: this only spares questions about others.
        let named =
            (owner.name.strip_prefix(&*deployment.name)).is_some_and(|rest| rest.starts_with('-'));
        if owner.kind != OwnerKind::ReplicaSet || !named {
            return Ok(false);
        }
        match self.link(&deployment.namespace, owner).await {
            Ok(Link::Deployment { uid, .. }) => Ok(*uid == *deployment.uid),
            // One that is gone: its last pods are on their way out.
            Ok(Link::Nobody) | Err(OwnerError::Gone { .. } | OwnerError::Replaced { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns what a ReplicaSet belongs to, as it was when it was last read.
    async fn link(&self, namespace: &str, set: &Owner) -> Result<Link, OwnerError> {
        if let Some(link) = self.links.get(&set.uid).await {
            return Ok(link);
        }
        let kind = WorkloadKind::ReplicaSet;
        Ok(self.read(kind, namespace, &set.name, &set.uid).await?.1)
    }

    /// Restarts the workload as it was read: writes `value` into its template's annotation
    /// `podrefresh.io/refreshed`, unless somebody has changed the workload since.
    pub async fn restart(&self, workload: &Workload, value: &str) -> Restart {
        self.patch(workload, value, "").await
    }

    /// Has the API server check a restart: rights, preconditions and webhooks, without effect.
    pub async fn rehearse(&self, workload: &Workload, value: &str) -> Restart {
        self.patch(workload, value, "&dryRun=All").await
    }

    async fn patch(&self, workload: &Workload, value: &str, options: &str) -> Restart {
        if !workload.rolls {
            return Restart::Unsupported;
        }
        if workload.refreshed.as_deref() == Some(value) {
            return Restart::Unchanged;
        }
        let mut path = path(workload.kind, &workload.namespace, &workload.name);
        path.push_str("?fieldManager=podrefresh&fieldValidation=Strict");
        path.push_str(options);
        let patch = json!({
            "metadata": {"uid": workload.uid, "resourceVersion": workload.resource_version},
            "spec": {"template": {"metadata": {"annotations": {REFRESHED: value}}}},
        });
        let answer = (self.server)
            .send(
                Method::PATCH,
                &path,
                Media::MergePatch,
                &patch,
                self.time_limit,
            )
            .await;
        match answer {
            Ok(_) => Restart::Restarted,
            Err(error) => match error.code() {
                409 => Restart::Conflict,
                404 => Restart::Gone,
                _ => Restart::Failed(error),
            },
        }
    }

    /// Reads one controller, and what it belongs to.
    async fn read(
        &self,
        kind: WorkloadKind,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(Workload, Link), OwnerError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let path = path(kind, &namespace, &name);
        let read = async {
            let body = self.server.get(&path, self.time_limit).await?;
            let raw: RawWorkload<'_> = decode(&body)?;
            Ok((raw.workload(kind), link(&raw)))
        };
        match read.await {
            Ok((workload, _)) if workload.uid != uid => Err(OwnerError::Replaced {
                kind,
                namespace,
                name,
            }),
            Ok((workload, link)) => {
                if kind == WorkloadKind::ReplicaSet {
                    self.links.insert(uid.into(), link.clone()).await;
                }
                Ok((workload, link))
            }
            Err(CallError::Refused(refusal)) if refusal.code == 404 => Err(OwnerError::Gone {
                kind,
                namespace,
                name,
            }),
            Err(source) => Err(OwnerError::Unread {
                kind,
                namespace,
                name,
                source,
            }),
        }
    }
}

fn path(kind: WorkloadKind, namespace: &str, name: &str) -> String {
    let (group, plural) = kind.collection();
    format!(
        "{group}/namespaces/{}/{plural}/{}",
        Segment(namespace),
        Segment(name)
    )
}

/// A ReplicaSet of something else than a Deployment (an Argo Rollout) stands for itself.
fn link(raw: &RawWorkload<'_>) -> Link {
    match raw.metadata.0.controller() {
        Some(owner)
            if owner.kind.as_str() == "Deployment" && owner.api_version.as_str() == "apps/v1" =>
        {
            Link::Deployment {
                name: owner.name.as_str().into(),
                uid: owner.uid.as_str().into(),
            }
        }
        _ => Link::Nobody,
    }
}

#[cfg(test)]
mod tests;
