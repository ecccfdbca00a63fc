//! Which pod is asked to go next while others have been asked and the answers are still to come.

use std::collections::VecDeque;

/// Evictions that are under way at the same time at most: few enough for the share that an API server gives to one
/// client.
const AT_ONCE: usize = 12;

/// Those of them in one namespace. Its owners may share a PodDisruptionBudget, which is written for each eviction:
/// of all that write it at the same time one succeeds, and the others try again half a second later.
const IN_NAMESPACE: usize = 4;

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane<'a> {
    /// The owner's number.
    pub(super) owner: usize,
    /// Its namespace.
    pub(super) namespace: &'a str,
}

/// Work of several owners, in the order in which it should be done.
///
/// What is under way for an owner keeps the rest of its work back: that is done in order, and knows the answer.
#[derive(Debug)]
pub(super) struct Lanes<'a, T> {
    waiting: VecDeque<(Lane<'a>, T)>,
    busy: Vec<Lane<'a>>,
}

impl<'a, T> Lanes<'a, T> {
    /// Returns work, in order.
    pub(super) fn new(work: impl IntoIterator<Item = (Lane<'a>, T)>) -> Self {
        Self {
            waiting: work.into_iter().collect(),
            busy: Vec::new(),
        }
    }

    /// Returns what is to be begun next, and whose it is, for whom nothing more is begun until it has
    /// [`ended`](Self::ended); `None` while as much is under way as may be.
    pub(super) fn begin(&mut self) -> Option<(Lane<'a>, T)> {
        if AT_ONCE <= self.busy.len() {
            return None;
        }
        let next = (self.waiting.iter()).position(|(lane, _)| self.is_free(*lane))?;
        let (lane, work) = self.waiting.remove(next)?;
        self.busy.push(lane);
        Some((lane, work))
    }

    /// Notes that what was begun for the owner is over.
    pub(super) fn ended(&mut self, lane: Lane<'a>) {
        self.busy.retain(|busy| *busy != lane);
    }

    fn is_free(&self, lane: Lane<'_>) -> bool {
        let of_namespace = |busy: &&Lane<'_>| busy.namespace == lane.namespace;
        self.busy.iter().all(|busy| busy.owner != lane.owner)
            && self.busy.iter().filter(of_namespace).count() < IN_NAMESPACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lane of an owner; ten of them share a namespace.
    fn lane(owner: usize) -> Lane<'static> {
        let namespace = ["shop", "zoo", "team", "bank"][owner / 10];
        Lane { owner, namespace }
    }

    /// Begins all that may be begun; returns it in order.
    fn begun(lanes: &mut Lanes<'_, char>) -> String {
        std::iter::from_fn(|| lanes.begin())
            .map(|(_, work)| work)
            .collect()
    }

    /// Checks what is begun of the work of these owners, the n-th letter for the n-th of them, first and after each
    /// `end` of one.
    #[track_caller]
    fn check(owners: &[usize], ends: &[usize], expected: &[&str]) {
        let lanes = owners.iter().map(|owner| lane(*owner));
        let mut lanes = Lanes::new(lanes.zip('a'..));
        let mut rounds = vec![begun(&mut lanes)];
        for end in ends {
            lanes.ended(lane(*end));
            rounds.push(begun(&mut lanes));
        }
        assert_eq!(rounds, expected);
    }

    #[test]
    fn each_owner_has_one_under_way_and_keeps_its_order() {
        check(&[], &[], &[""]);
        check(&[0, 1, 2], &[0, 1, 2], &["abc", "", "", ""]);
        check(&[0, 0, 0], &[0, 0, 0], &["a", "b", "c", ""]);
        check(&[0, 0, 1, 0, 1], &[1, 0, 0, 1], &["ac", "e", "b", "d", ""]);
    }

    #[test]
    fn a_namespace_leaves_places_to_others() {
        let owners = [0, 1, 2, 3, 4, 5, 10, 11];
        check(&owners, &[10, 2, 0, 1], &["abcdgh", "", "e", "f", ""]);
    }

    #[test]
    fn no_more_are_under_way_than_may_be() {
        let owners = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30];
        check(&owners, &[3, 0], &["abcdefghijkl", "m", ""]);
    }
}
