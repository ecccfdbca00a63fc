//! What one may see of the cluster at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    ExplainError, Explainer,
    blind::{Blind, Part},
    gate::SKEW,
};
use crate::{
    cluster::{Budgets, CallError, Holder, Home, Seen, Told, lease::LEASE},
    error::Chain,
    policy::Namespace,
};

/// What one may see.
#[derive(Debug)]
pub(super) struct Sight {
    /// The pods, ordered by namespace and name.
    pub(super) pods: Vec<Seen>,
    /// The namespaces that could be read.
    pub(super) namespaces: HashMap<Arc<str>, Namespace>,
    /// The values of their labels `podrefresh.io/enabled` that mean nothing, by their names.
    pub(super) idle_labels: BTreeMap<Arc<str>, Box<str>>,
    /// The Events of ours, oldest first, by the uids of the objects that they have to do with.
    pub(super) told: HashMap<Box<str>, Vec<Arc<Told>>>,
    /// Who leads.
    pub(super) lease: Lease,
    /// When all this was read.
    pub(super) now: Timestamp,
}

/// Whose pods are of interest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'a> {
    /// Those of all namespaces.
    All,
    /// Those of one namespace.
    Namespace(&'a str),
    /// This one, in its namespace; the others there are only its company.
    Pod(&'a str, &'a str),
}

impl<'a> Whose<'a> {
    const fn namespace(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Namespace(namespace) | Self::Pod(namespace, _) => Some(namespace),
        }
    }
}

/// What there is to see of the controllers' Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lease {
    /// Somebody holds or held it.
    Held(Holder),
    /// There is none.
    Missing,
    /// It could not be read.
    Unseen,
}

impl Sight {
    /// Reads what is to be seen.
    pub(super) async fn take(
        explainer: &Explainer,
        whose: Whose<'_>,
        now: Timestamp,
    ) -> Result<(Self, Blind), ExplainError> {
        let namespace = whose.namespace();
        let Explainer { look, settings, .. } = explainer;
        let mut blind = Blind::default();
        let namespaces = async {
            match namespace {
                None => look.namespaces().await.map(Some),
                Some(name) => {
                    let found = look.namespace(name).await?;
                    Ok(found.map(|found| vec![found]))
                }
            }
        };
        let (namespaces, budgets, told, holder) = tokio::join!(
            namespaces,
            look.budgets(namespace),
            look.told(namespace),
            look.holder(&settings.home, LEASE)
        );
        let budgets = budgets.unwrap_or_else(|error| none(&mut blind, Part::Budgets, &error));
        let homes: Vec<Home> = match namespaces {
            Ok(Some(homes)) => homes,
            Ok(None) => {
                let namespace = namespace.unwrap_or_default().to_owned();
                return Err(ExplainError::NoNamespace(namespace));
            }
            Err(error) => none(&mut blind, Part::Namespaces, &error),
        };
        let (mut namespaces, mut idle_labels) = (HashMap::new(), BTreeMap::new());
        for Home {
            namespace,
            idle_label,
        } in homes
        {
            let name = &namespace.name;
            idle_labels.extend(idle_label.map(|value| (name.clone(), value)));
            namespaces.insert(name.clone(), namespace);
        }
        let mut told = told.unwrap_or_else(|error| none(&mut blind, Part::Events, &error));
        // Anybody may write one that looks like ours. None of us tells what is to come.
        told.retain(|told| told.at.duration_since(now) <= SKEW);
        let lease = match holder {
            Ok(Some(holder)) => Lease::Held(holder),
            Ok(None) => Lease::Missing,
            Err(error) => {
                blind.note(Part::Lease, Chain(&error));
                Lease::Unseen
            }
        };
        // Most pods of a big cluster are none of ours, and are not kept.
        let all = !matches!(whose, Whose::All) || !blind.sees(Part::Namespaces);
        let wanted = |name: &str| all || namespaces.get(name).is_some_and(|it| it.enabled);
        let pods = match (look.pods(namespace, &budgets, wanted).await, whose) {
            (Err(error), Whose::Pod(namespace, name)) if error.code() == 403 => {
                blind.note(Part::Pods, Chain(&error));
                let pod = look.pod(namespace, name, &Budgets::default()).await;
                pod.map(|pod| pod.into_iter().collect())
            }
            (pods, _) => pods,
        };
        let pods = pods.map_err(|source| ExplainError::Unread {
            what: match whose {
                Whose::All => "the pods of all namespaces".to_owned(),
                Whose::Namespace(namespace) => format!("the pods of the namespace {namespace:?}"),
                Whose::Pod(namespace, name) => {
                    format!("the pod {name:?} of the namespace {namespace:?}")
                }
            },
            source,
        })?;
        let sight = Self {
            pods,
            namespaces,
            idle_labels,
            told: by_uid(told),
            lease,
            now,
        };
        Ok((sight, blind))
    }

    /// Returns the Events that have to do with any of the objects with these uids, oldest first.
    pub(super) fn told<'a>(&'a self, uids: &[&str]) -> Vec<&'a Told> {
        let mut told: Vec<&Arc<Told>> = (uids.iter())
            .filter_map(|uid| self.told.get(*uid))
            .flatten()
            .collect();
        told.sort_by_key(|told| (told.at, Arc::as_ptr(told)));
        told.dedup_by(|one, other| Arc::ptr_eq(one, other));
        told.into_iter().map(|told| &**told).collect()
    }
}

fn none<T: Default>(blind: &mut Blind, part: Part, error: &CallError) -> T {
    blind.note(part, Chain(error));
    T::default()
}

fn by_uid(told: Vec<Arc<Told>>) -> HashMap<Box<str>, Vec<Arc<Told>>> {
    let mut by_uid: HashMap<Box<str>, Vec<Arc<Told>>> = HashMap::new();
    for told in told {
        let uids = [Some(&told.uid), told.related.as_ref()];
        for uid in uids.into_iter().flatten() {
            by_uid.entry(uid.clone()).or_default().push(told.clone());
        }
    }
    by_uid
}
