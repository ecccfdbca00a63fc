//! Would the PodDisruptionBudgets that select a pod let it go?
//!
//! The Eviction API has the last word; this foretells it for people who ask. It follows what Kubernetes' own
//! eviction does (`pkg/registry/core/pod/storage/eviction.go`).

use super::{Phase, Pod};

/// A PodDisruptionBudget as its controller last saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disruptions {
    /// Its name.
    pub name: Box<str>,
    /// How many of its pods may be disrupted now.
    pub allowed: i64,
    /// How many of its pods are healthy.
    pub healthy: i64,
    /// How many of them it wants to be.
    pub wanted: i64,
    /// Whether its controller has seen its last change.
    pub observed: bool,
    /// Whether pods that are not Ready may go whatever it says (`unhealthyPodEvictionPolicy: AlwaysAllow`).
    pub spares_unready: bool,
}

/// Why budgets keep a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// More than one selects it, so that nobody can evict it.
    Several,
    /// Its controller has not looked at it yet.
    Unobserved,
    /// It allows no more disruptions now.
    NoneAllowed,
}

/// Says whether the budgets that select `pod` would let it go now.
///
/// # Errors
/// What they would refuse it for.
pub fn disruptable<'a>(
    pod: &Pod,
    budgets: impl IntoIterator<Item = &'a Disruptions>,
) -> Result<(), Kept> {
    // Nothing is disrupted that does not run.
    if pod.phase != Phase::Running || pod.terminating {
        return Ok(());
    }
    let mut budgets = budgets.into_iter();
    let Some(budget) = budgets.next() else {
        return Ok(());
    };
    if budgets.next().is_some() {
        return Err(Kept::Several);
    }
    let is_healthy = 0 < budget.wanted && budget.wanted <= budget.healthy;
    if !pod.ready && (budget.spares_unready || is_healthy) {
        return Ok(());
    }
    if !budget.observed {
        return Err(Kept::Unobserved);
    }
    if budget.allowed <= 0 {
        return Err(Kept::NoneAllowed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::pod;

    fn budget(allowed: i64, healthy: i64, wanted: i64) -> Disruptions {
        Disruptions {
            name: "web".into(),
            allowed,
            healthy,
            wanted,
            observed: true,
            spares_unready: false,
        }
    }

    #[track_caller]
    fn check(ready: bool, budgets: &[Disruptions], expected: Result<(), Kept>) {
        let pod = pod("web").with(|pod| pod.ready = ready).build();
        assert_eq!(disruptable(&pod, budgets), expected);
    }

    #[test]
    fn a_ready_pod_needs_a_disruption_that_is_allowed() {
        check(true, &[], Ok(()));
        check(true, &[budget(1, 3, 2)], Ok(()));
        check(true, &[budget(0, 2, 2)], Err(Kept::NoneAllowed));
        check(true, &[budget(-1, 2, 2)], Err(Kept::NoneAllowed));
    }

    #[test]
    fn two_budgets_keep_every_pod() {
        check(
            true,
            &[budget(1, 3, 2), budget(1, 3, 2)],
            Err(Kept::Several),
        );
        check(
            false,
            &[budget(1, 3, 2), budget(1, 3, 2)],
            Err(Kept::Several),
        );
    }

    #[test]
    fn a_budget_that_is_new_has_allowed_nothing_yet() {
        let new = Disruptions {
            observed: false,
            ..budget(1, 3, 2)
        };
        check(true, &[new], Err(Kept::Unobserved));
    }

    #[test]
    fn a_pod_that_is_not_ready_may_go_where_enough_others_are() {
        check(false, &[budget(0, 2, 2)], Ok(()));
        check(false, &[budget(0, 1, 2)], Err(Kept::NoneAllowed));
        check(false, &[budget(0, 0, 0)], Err(Kept::NoneAllowed));
        let lenient = Disruptions {
            spares_unready: true,
            ..budget(0, 1, 2)
        };
        check(false, std::slice::from_ref(&lenient), Ok(()));
        check(true, &[lenient], Err(Kept::NoneAllowed));
    }

    #[test]
    fn what_does_not_run_is_not_disrupted() {
        let none = [budget(0, 2, 2)];
        let pending = pod("web").with(|pod| pod.phase = Phase::Pending).build();
        assert_eq!(disruptable(&pending, &none), Ok(()));
        let ending = pod("web").with(|pod| pod.terminating = true).build();
        assert_eq!(disruptable(&ending, &none), Ok(()));
    }
}
