//! Owners with thousands of pods, which are told of at once: each pod is looked at a few times, not once for each other.

use super::*;

/// More than would be done with while anybody waits, were each pod looked at for each other.
const PODS: usize = 3_000;

#[test]
fn each_of_many_pods_is_judged_in_their_company() {
    let restart = [("strategy", "restart")];
    let all = vec![OLD; PODS];
    let known = || vec![outdated(9_000, 2)];
    check_holds(&all, known(), &restart, &vec![None; PODS]);
    check_holds(&all, vec![], &restart, &vec![Some(Hold::Unconfirmed); PODS]);
    let mut paced = vec![Some(Hold::Pace); PODS];
    paced[0] = None;
    check_holds(&all, known(), &[], &paced);
}

#[test]
fn what_an_event_says_of_one_counts_for_many() {
    let note = format!("No more pods go. web has moved to {}", digest(2));
    let event = told(9_001, EventReason::RefreshIneffective, &note, "web");
    let events = vec![outdated(9_000, 2), event];
    let expected = vec![Some(Hold::Ineffective); PODS];
    check_holds(&vec![OLD; PODS], events, &[], &expected);
}
