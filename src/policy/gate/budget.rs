//! How many pods may still be evicted in this minute: over all owners, in each namespace, on each node.

use std::collections::HashMap;

use jiff::SignedDuration;

use super::{Hold, Moment};

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// What the budgets are called where they hold a pod back, in the order in which they are checked.
const BUDGETS: [Hold; 3] = [Hold::Budget, Hold::NamespaceBudget, Hold::NodeBudget];

/// What has been used up of the budgets, and what the limits are.
///
/// They are strict: however one lays 60 seconds over the evictions, both ends included, no more than the limit are
/// in them. Evictions in the future count as recent: after a clock step it is safer to wait than to evict.
pub(super) struct Budget<'a> {
    moment: Moment<'a>,
    overall: u32,
    namespaces: HashMap<&'a str, u32>,
    nodes: HashMap<&'a str, u32>,
}

impl<'a> Budget<'a> {
    /// Returns what evictions of the last minute have left.
    pub(super) fn of(moment: &Moment<'a>) -> Self {
        let mut budget = Self {
            moment: *moment,
            overall: 0,
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
        };
        for past in moment.evictions {
            if moment.now.duration_since(past.at) <= MINUTE {
                budget.count(&past.namespace, past.node.as_deref());
            }
        }
        budget
    }

    /// Takes one eviction of a pod in `namespace` on `node` out of the budgets; out of none if one is used up.
    ///
    /// A restart is one of its namespace and of no node: its owner's own limits pace its pods.
    pub(super) fn take(&mut self, namespace: &'a str, node: Option<&'a str>) -> Result<(), Hold> {
        let spent = BUDGETS
            .into_iter()
            .find(|budget| self.is_spent(*budget, namespace, node));
        if let Some(budget) = spent {
            return Err(budget);
        }
        self.count(namespace, node);
        Ok(())
    }

    /// Says whether the budget that is called `which` has nothing left for a pod in `namespace` on `node`.
    pub(super) fn is_spent(&self, which: Hold, namespace: &str, node: Option<&str>) -> bool {
        let limits = self.moment.limits;
        let used = |counts: &HashMap<&str, u32>, key| counts.get(key).copied().unwrap_or_default();
        let is_spent = |limit: Option<u32>, used: u32| limit.is_some_and(|limit| limit <= used);
        match which {
            Hold::Budget => is_spent(Some(limits.per_minute), self.overall),
            Hold::NamespaceBudget => {
                is_spent(limits.per_namespace, used(&self.namespaces, namespace))
            }
            Hold::NodeBudget => {
                node.is_some_and(|node| is_spent(limits.per_node, used(&self.nodes, node)))
            }
            _ => false,
        }
    }

    fn count(&mut self, namespace: &'a str, node: Option<&'a str>) {
        self.overall = self.overall.saturating_add(1);
        *self.namespaces.entry(namespace).or_default() += 1;
        if let Some(node) = node {
            *self.nodes.entry(node).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::gate::{
        Limits, Past,
        notation::{NOW, at, limits, moment},
    };

    /// Takes evictions in `wanted` (namespace, node) out of the budgets, after those `evicted` at these seconds in
    /// `shop` on `n1`; returns `go` or what holds each.
    fn taken(limits: Limits, evicted: &[i64], wanted: &[(&str, Option<&str>)]) -> String {
        let evictions: Vec<_> = (evicted.iter())
            .map(|second| Past {
                at: at(*second),
                namespace: "shop".into(),
                node: Some("n1".into()),
            })
            .collect();
        let moment = Moment {
            limits,
            evictions: &evictions,
            ..moment(NOW)
        };
        let mut budget = Budget::of(&moment);
        let taken = wanted.iter().map(|(namespace, node)| {
            let taken = budget.take(namespace, *node);
            taken.map_or_else(Hold::label, |()| "go")
        });
        taken.collect::<Vec<_>>().join(" ")
    }

    /// Checks how many evictions are left of the overall budget.
    #[track_caller]
    fn check(per_minute: u32, evicted: &[i64], expected: usize) {
        let wanted = [("shop", None); 9];
        let fates = taken(limits(per_minute), evicted, &wanted);
        let left = fates.split(' ').filter(|fate| *fate == "go").count();
        assert_eq!(left, expected);
        assert_eq!(
            fates.split(' ').filter(|fate| *fate == "budget").count(),
            9 - left
        );
    }

    #[test]
    fn the_last_minute_counts_with_both_its_ends() {
        check(3, &[], 3);
        check(3, &[939], 3);
        check(3, &[940], 2);
        check(3, &[1000], 2);
        check(3, &[1000, 900, 950, 1000], 0);
    }

    #[test]
    fn more_than_allowed_leave_nothing() {
        check(3, &[1000; 3], 0);
        check(3, &[1000; 4], 0);
        check(0, &[], 0);
    }

    #[test]
    fn the_future_counts_as_recent() {
        check(3, &[1001, 4600], 1);
    }

    /// Checks what budgets of 9 overall and these for each namespace and node leave.
    #[track_caller]
    fn check_parts(
        (per_namespace, per_node): (Option<u32>, Option<u32>),
        evicted: &[i64],
        wanted: &[(&str, Option<&str>)],
        expected: &str,
    ) {
        let limits = Limits {
            per_namespace,
            per_node,
            ..limits(9)
        };
        assert_eq!(taken(limits, evicted, wanted), expected);
    }

    #[test]
    fn each_namespace_has_its_own() {
        let wanted = [
            ("shop", None),
            ("shop", None),
            ("zoo", None),
            ("shop", None),
        ];
        let two = (Some(2), None);
        check_parts(two, &[], &wanted, "go go go namespace_budget");
        check_parts(
            two,
            &[940],
            &wanted,
            "go namespace_budget go namespace_budget",
        );
        check_parts(two, &[939], &wanted, "go go go namespace_budget");
        check_parts((None, None), &[940], &wanted, "go go go go");
    }

    #[test]
    fn each_node_has_its_own() {
        let (one, two) = (Some("n1"), Some("n2"));
        let wanted = [("shop", one), ("zoo", one), ("zoo", two), ("zoo", None)];
        check_parts((None, Some(1)), &[], &wanted, "go node_budget go go");
        check_parts(
            (None, Some(1)),
            &[940],
            &wanted,
            "node_budget node_budget go go",
        );
        check_parts((None, Some(2)), &[939], &wanted, "go go go go");
    }

    #[test]
    fn what_one_budget_holds_is_not_taken_from_the_others() {
        let wanted = [
            ("shop", Some("n1")),
            ("shop", Some("n1")),
            ("shop", Some("n2")),
        ];
        let fates = "go node_budget go";
        check_parts((Some(2), Some(1)), &[], &wanted, fates);
        let both = (Some(1), Some(1));
        check_parts(both, &[], &wanted, "go namespace_budget namespace_budget");
    }
}
