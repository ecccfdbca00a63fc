//! What could not be seen, and what follows from that.

use std::collections::BTreeMap;

use super::report::Unseen;

/// A part of the cluster that one may not be allowed to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Namespaces, with their labels and annotations.
    Namespaces,
    /// The pods beside the one that is explained.
    Pods,
    /// The workloads that want pods.
    Owners,
    /// PodDisruptionBudgets.
    Budgets,
    /// What controllers told.
    Events,
    /// The controllers' Lease.
    Lease,
    /// Nodes, with their platforms.
    Nodes,
    /// Pull secrets.
    Secrets,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Namespaces,
        Self::Pods,
        Self::Owners,
        Self::Budgets,
        Self::Events,
        Self::Lease,
        Self::Nodes,
        Self::Secrets,
    ];

    /// Returns the stable, documented name of the part.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::Owners => "owners",
            Self::Budgets => "poddisruptionbudgets",
            Self::Events => "events",
            Self::Lease => "leases",
            Self::Nodes => "nodes",
            Self::Secrets => "secrets",
        }
    }

    /// Returns what follows when it cannot be seen.
    const fn consequence(self) -> &'static str {
        match self {
            Self::Namespaces => {
                "the namespace is taken for opted in, and its annotations are not known"
            }
            Self::Pods => "the other pods of its owner are not known, nor is the pace",
            Self::Owners => "it is not known how many pods are wanted",
            Self::Budgets => "it is not known whether a PodDisruptionBudget keeps a pod",
            Self::Events => {
                "it is not known what the controller has seen and done, nor since when a pod is outdated"
            }
            Self::Lease => "it is not known whether a controller leads",
            Self::Nodes => {
                "an index with the same image for the pod's node may be taken for another image"
            }
            Self::Secrets => {
                "tags that only these secrets open are unknown from here; the controller may know them"
            }
        }
    }
}

/// What could not be seen so far.
#[derive(Debug, Default)]
pub(super) struct Blind(BTreeMap<Part, String>);

impl Blind {
    /// Notes that `part` could not be seen, and why; the first reason is kept.
    pub(super) fn note(&mut self, part: Part, why: impl ToString) {
        self.0.entry(part).or_insert_with(|| why.to_string());
    }

    /// Says whether `part` could be seen.
    pub(super) fn sees(&self, part: Part) -> bool {
        !self.0.contains_key(&part)
    }

    /// Returns all that could not be seen.
    pub(super) fn report(&self) -> Vec<Unseen> {
        (self.0.iter())
            .map(|(part, why)| Unseen {
                what: part.label(),
                why: why.clone(),
                consequence: part.consequence(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_kept() {
        let mut blind = Blind::default();
        assert!(blind.sees(Part::Nodes));
        blind.note(Part::Nodes, "one");
        blind.note(Part::Nodes, "two");
        assert!(!blind.sees(Part::Nodes));
        assert!(blind.sees(Part::Events));
        let told: Vec<_> = blind.report();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].what, &*told[0].why), ("nodes", "one"));
    }

    #[test]
    fn labels_are_distinct() {
        let labels = Part::ALL.map(Part::label);
        for (nth, label) in labels.iter().enumerate() {
            assert!(!labels[..nth].contains(label), "{label}");
        }
    }
}
