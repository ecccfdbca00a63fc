//! How many containers and pods there are of each kind, for the metrics.

use std::collections::HashMap;

use crate::{
    observe::metrics::{self, Metrics},
    policy::{Ineligible, Verdict},
};

/// The counts of one look at all pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    verdicts: HashMap<&'static str, i64>,
    ineligible: HashMap<&'static str, i64>,
    ambiguous: i64,
}

impl Tally {
    /// Counts a container.
    pub(super) fn container(&mut self, verdict: Verdict) {
        *self.verdicts.entry(verdict.label()).or_default() += 1;
        self.ambiguous += i64::from(verdict == Verdict::Current { ambiguous: true });
    }

    /// Counts a pod that is left alone.
    pub(super) fn left_alone(&mut self, reason: Ineligible) {
        *self.ineligible.entry(reason.label()).or_default() += 1;
    }

    /// Returns how many pods are left alone, by reason.
    pub(super) fn ineligible(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.ineligible
            .iter()
            .map(|(reason, count)| (*reason, *count))
    }

    /// Shows the counts in the metrics, those of nothing too: a series that comes and goes says less.
    pub(super) fn show(&self, metrics: &Metrics) {
        let of = |counts: &HashMap<_, i64>, label| counts.get(label).copied().unwrap_or_default();
        for verdict in Verdict::ALL.map(Verdict::label) {
            let gauge = &metrics.refresh_containers;
            let gauge = gauge.get_or_create(&metrics::Verdict { verdict });
            gauge.set(of(&self.verdicts, verdict));
        }
        for reason in Ineligible::ALL.map(Ineligible::label) {
            let gauge = &metrics.refresh_ineligible_pods;
            let gauge = gauge.get_or_create(&metrics::Reason { reason });
            gauge.set(of(&self.ineligible, reason));
        }
        metrics.refresh_ambiguous_containers.set(self.ambiguous);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_any_more_is_shown_as_nothing() {
        let (metrics, mut tally) = (Metrics::new(), Tally::default());
        tally.container(Verdict::Outdated);
        tally.container(Verdict::Current { ambiguous: true });
        tally.left_alone(Ineligible::Mirror);
        tally.show(&metrics);
        let page = metrics.render();
        let has = |page: &str, line: &str| {
            let line = format!("podrefresh_refresh_{line}\n");
            assert!(page.contains(&line), "{line}{page}");
        };
        has(&page, "containers{verdict=\"outdated\"} 1");
        has(&page, "containers{verdict=\"current\"} 1");
        has(&page, "containers{verdict=\"unknown\"} 0");
        has(&page, "ambiguous_containers 1");
        has(&page, "ineligible_pods{reason=\"mirror\"} 1");
        Tally::default().show(&metrics);
        let page = metrics.render();
        has(&page, "containers{verdict=\"outdated\"} 0");
        has(&page, "ambiguous_containers 0");
        has(&page, "ineligible_pods{reason=\"mirror\"} 0");
    }
}
