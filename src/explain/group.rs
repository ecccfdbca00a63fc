//! Workloads with all their pods, as the gate wants them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};

use super::{
    Explainer,
    blind::{Blind, Part},
    case::Case,
};
use crate::{
    cluster::{OwnerError, Owners, Workload},
    error::Chain,
    policy::{Owner, gate::Hold},
};

/// Workloads read at the same time.
const AT_ONCE: usize = 8;

/// A workload with its pods; one of its direct owners with its pods where it could not be read.
#[derive(Debug)]
pub(super) struct Group {
    /// The workload, or why it could not be read.
    pub(super) workload: Result<Workload, OwnerError>,
    /// Indices of its pods' cases.
    pub(super) members: Vec<usize>,
}

impl Group {
    /// Returns why the workload is not known, if what seems to hold one of its outdated pods back hangs on that.
    ///
    /// Without it neither the pace can be known nor, where it could not be read, which Events are about it.
    pub(super) fn missing(&self, hold: Option<Hold>) -> Option<&OwnerError> {
        let error = self.workload.as_ref().err()?;
        let is_unread = matches!(error, OwnerError::Unread { .. });
        let hangs_on_it = match hold {
            None | Some(Hold::Pace) => true,
            Some(Hold::Unconfirmed) => is_unread,
            Some(_) => false,
        };
        hangs_on_it.then_some(error)
    }

    /// Returns the label of what keeps an outdated pod of the group: `hold`, or that its workload is not known.
    pub(super) fn word(&self, hold: Option<Hold>) -> Option<&'static str> {
        let missing = self.missing(hold).map(OwnerError::label);
        missing.or(hold.map(Hold::label))
    }
}

/// Reads the workloads of the pods that `wants` chooses; `cases` are ordered by namespace.
pub(super) async fn groups(
    explainer: &Explainer,
    cases: &[Case<'_>],
    wants: impl Fn(&Case<'_>) -> bool,
    blind: &mut Blind,
) -> Vec<Group> {
    let mut in_namespace: HashMap<&str, Vec<usize>> = HashMap::new();
    for (nth, case) in cases.iter().enumerate() {
        let namespace = &*case.seen.pod.namespace;
        in_namespace.entry(namespace).or_default().push(nth);
    }
    let mut asked = HashSet::new();
    let wanted: Vec<(&str, &Arc<Owner>)> = (cases.iter().filter(|case| wants(case)))
        .filter_map(|case| Some((&*case.seen.pod.namespace, case.seen.pod.owner.as_ref()?)))
        .filter(|(_, owner)| owner.replaces() && asked.insert(&owner.uid))
        .collect();
    let read = wanted.into_iter().map(|(namespace, owner)| {
        let siblings = in_namespace[namespace].iter();
        let siblings = siblings.filter_map(|nth| cases[*nth].seen.pod.owner.as_ref());
        async move {
            let read = one(&explainer.owners, namespace, owner, siblings).await;
            (namespace, owner, read)
        }
    });
    let answers: Vec<_> = stream::iter(read).buffered(AT_ONCE).collect().await;
    let mut groups = Vec::new();
    let mut read = HashSet::new();
    for (namespace, owner, answer) in answers {
        let (workload, uids) = match answer {
            Ok((workload, uids)) => (Ok(workload), uids),
            Err(error) => {
                if matches!(error, OwnerError::Unread { .. }) {
                    blind.note(Part::Owners, Chain(&error));
                }
                (Err(error), HashSet::from([owner.uid.clone()]))
            }
        };
        // Pods of two ReplicaSets may be of one Deployment.
        let uid = workload.as_ref().map_or(&*owner.uid, |it| &it.uid);
        if !read.insert(uid.to_owned()) {
            continue;
        }
        let members = in_namespace[namespace].iter().copied();
        let is_member = |nth: &usize| {
            let owner = cases[*nth].seen.pod.owner.as_ref();
            owner.is_some_and(|owner| uids.contains(&owner.uid))
        };
        groups.push(Group {
            workload,
            members: members.filter(is_member).collect(),
        });
    }
    groups
}

/// Reads the workload behind `owner`, and which of its namespace's owners belong to it.
async fn one<'o>(
    owners: &Owners,
    namespace: &str,
    owner: &Owner,
    siblings: impl Iterator<Item = &'o Arc<Owner>>,
) -> Result<(Workload, HashSet<Box<str>>), OwnerError> {
    let workload = owners.workload(namespace, owner).await?;
    let siblings = owners.siblings(&workload, siblings).await?;
    let uids = siblings.iter().map(|owner| owner.uid.clone());
    Ok((workload, uids.chain([owner.uid.clone()]).collect()))
}
