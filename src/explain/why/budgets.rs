//! The budgets of evictions in words.

use super::{Holds, Pass, Subject, Unknown, outcome};
use crate::explain::{blind::Part, report::Outcome};

impl Subject<'_> {
    pub(super) fn budget(&self, holds: bool) -> (Outcome, String) {
        let limit = self.scene.limits.per_minute;
        if !self.scene.sees(Part::Events) {
            let why = format!(
                "{limit} evictions a minute are allowed over all namespaces; only the leader knows how many there were"
            );
            return (Unknown, why);
        }
        let told = self.scene.evictions.len();
        let why = format!(
            "{told} evictions were told here in the last minute; {limit} are allowed over all namespaces"
        );
        (outcome(holds), why)
    }

    pub(super) fn namespace_budget(&self, holds: bool) -> (Outcome, String) {
        let namespace = &self.case.seen.pod.namespace;
        let Some(limit) = self.scene.limits.per_namespace else {
            return (Pass, "namespaces have no budget of their own".to_owned());
        };
        if !self.scene.sees(Part::Events) {
            let why = format!(
                "{limit} evictions a minute are allowed in {namespace}; only the leader knows how many there were"
            );
            return (Unknown, why);
        }
        let evictions = self.scene.evictions.iter();
        let told = evictions.filter(|past| past.namespace == *namespace);
        let why = format!(
            "{} evictions in {namespace} were told in the last minute; {limit} are allowed there",
            told.count()
        );
        (outcome(holds), why)
    }

    pub(super) fn node_budget(&self, holds: bool) -> (Outcome, String) {
        let Some(limit) = self.scene.limits.per_node else {
            return (Pass, "nodes have no budget of their own".to_owned());
        };
        if self.restarts() {
            return (Pass, "a restart is an eviction of no node".to_owned());
        }
        let Some(node) = &self.case.seen.pod.node else {
            return (Pass, "it has no node yet".to_owned());
        };
        if !self.scene.sees(Part::Events) {
            let why = format!(
                "{limit} evictions a minute are allowed on {node}; only the leader knows how many there were"
            );
            return (Unknown, why);
        }
        let evictions = self.scene.evictions.iter();
        let told = evictions.filter(|past| past.node.as_ref() == Some(node));
        let (told, lost) = (told.count(), self.scene.lost);
        let mut why = format!(
            "{told} evictions on {node} were told in the last minute; {limit} are allowed there"
        );
        if 0 < lost {
            why.push_str(&format!(
                "; {lost} more pods are gone, from nobody knows which nodes"
            ));
        }
        let allowed = usize::try_from(limit).unwrap_or(usize::MAX);
        match holds {
            true => (Holds, why),
            false if allowed <= told.saturating_add(lost) => (Unknown, why),
            false => (Pass, why),
        }
    }
}
