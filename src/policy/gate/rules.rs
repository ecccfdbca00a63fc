//! The rules that a pod must meet alone, whatever becomes of the others.

use jiff::SignedDuration;

use super::{Hold, Moment, Outdated, Target, signed};
use crate::policy::wishes::Strategy;

/// A rule that a pod must meet alone.
struct Rule {
    /// What it is called where it holds the pod back.
    hold: Hold,
    /// Says whether it does.
    holds: fn(&Moment<'_>, &Outdated<'_>) -> bool,
}

/// The rules, in the order of [`Hold`].
///
/// A successor pulls all its images anew. So every target must be confirmed and old enough, not only the one
/// that the pod would go for; but one that works is worth going for, even if another is ineffective.
const RULES: [Rule; 7] = [
    Rule {
        hold: Hold::NotLeader,
        holds: |moment, _| !moment.leader,
    },
    Rule {
        hold: Hold::Notify,
        holds: |_, outdated| outdated.wishes.strategy == Strategy::Notify,
    },
    Rule {
        hold: Hold::Unconfirmed,
        holds: |moment, Outdated { targets, .. }| {
            targets.is_empty() || !targets.iter().all(|target| target.is_confirmed(moment))
        },
    },
    Rule {
        hold: Hold::MinAge,
        holds: |moment,
                Outdated {
                    targets, wishes, ..
                }| {
            let min_age = signed(wishes.min_age);
            targets.iter().any(|target| target.age(moment) < min_age)
        },
    },
    Rule {
        hold: Hold::Window,
        holds: |moment, outdated| !outdated.wishes.window.open(moment.now),
    },
    Rule {
        hold: Hold::RegistryFailing,
        holds: |_, outdated| outdated.registry_failing,
    },
    Rule {
        hold: Hold::Ineffective,
        holds: |_, Outdated { targets, .. }| {
            !targets.is_empty() && targets.iter().all(|target| target.ineffective)
        },
    },
];

/// Returns the first rule that holds the pod back, in the order of [`Hold`].
///
/// # Errors
/// Every hold before [`Hold::Pace`].
pub fn rules(moment: &Moment<'_>, outdated: &Outdated<'_>) -> Result<(), Hold> {
    match RULES.iter().find(|rule| (rule.holds)(moment, outdated)) {
        Some(rule) => Err(rule.hold),
        None => Ok(()),
    }
}

/// Returns every rule, in order, each with whether it holds the pod back.
pub(super) fn each(moment: &Moment<'_>, outdated: &Outdated<'_>) -> [(Hold, bool); RULES.len()] {
    RULES
        .each_ref()
        .map(|rule| (rule.hold, (rule.holds)(moment, outdated)))
}

impl Target {
    fn is_confirmed(&self, moment: &Moment<'_>) -> bool {
        let apart = self.last_seen.duration_since(self.first_seen);
        2 <= self.sightings && signed(moment.limits.confirm_after) <= apart
    }

    /// Returns how long it has been known; nothing if the clock has been set back since.
    fn age(&self, moment: &Moment<'_>) -> SignedDuration {
        moment
            .now
            .duration_since(self.first_seen)
            .max(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        Wishes,
        gate::Made,
        gate::notation::{NOW, at, moment},
    };

    /// Targets known by when they were first and last seen, and how often.
    fn target(first: i64, last: i64, sightings: u32) -> Target {
        Target {
            first_seen: at(first),
            last_seen: at(last),
            sightings,
            ineffective: false,
        }
    }

    fn ineffective(target: Target) -> Target {
        Target {
            ineffective: true,
            ..target
        }
    }

    /// Checks what holds a pod at second 1000, confirmation taking 10 s.
    #[track_caller]
    fn check_all(
        leader: bool,
        wishes: &Wishes,
        targets: &[Target],
        registry_failing: bool,
        expected: Result<(), Hold>,
    ) {
        let moment = Moment {
            leader,
            ..moment(NOW)
        };
        let outdated = Outdated {
            wishes,
            targets: targets.to_vec(),
            registry_failing,
            made: Made::Now,
        };
        assert_eq!(rules(&moment, &outdated), expected);
    }

    #[track_caller]
    fn check(wishes: &[(&str, &str)], targets: &[Target], expected: Result<(), Hold>) {
        let pairs: Vec<_> = wishes
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        let wishes = Wishes::parse(&pairs, &[]).unwrap();
        check_all(true, &wishes, targets, false, expected);
    }

    #[test]
    fn a_digest_must_be_seen_twice_far_enough_apart() {
        check(&[], &[target(900, 910, 2)], Ok(()));
        check(&[], &[target(900, 909, 2)], Err(Hold::Unconfirmed));
        check(&[], &[target(900, 909, 9)], Err(Hold::Unconfirmed));
        check(&[], &[target(900, 910, 1)], Err(Hold::Unconfirmed));
        check(&[], &[], Err(Hold::Unconfirmed));
        // The clock was set back between the two.
        check(&[], &[target(2000, 990, 2)], Err(Hold::Unconfirmed));
    }

    #[test]
    fn a_digest_must_be_as_old_as_wished() {
        let wishes = [("min-age", "100s")];
        check(&wishes, &[target(900, 950, 2)], Ok(()));
        check(&wishes, &[target(901, 950, 2)], Err(Hold::MinAge));
        check(&wishes, &[target(1900, 1950, 2)], Err(Hold::MinAge));
        check(&[], &[target(1900, 1950, 2)], Ok(()));
    }

    #[test]
    fn every_digest_must_be_confirmed_and_old_enough() {
        let (old, young) = (target(800, 990, 9), target(950, 990, 9));
        check(&[], &[old, target(1000, 1000, 1)], Err(Hold::Unconfirmed));
        check(&[("min-age", "100s")], &[old, young], Err(Hold::MinAge));
        check(&[("min-age", "50s")], &[old, young], Ok(()));
    }

    #[test]
    fn one_effective_digest_is_enough() {
        let target = target(900, 990, 2);
        check(&[], &[ineffective(target)], Err(Hold::Ineffective));
        check(
            &[],
            &[ineffective(target), ineffective(target)],
            Err(Hold::Ineffective),
        );
        check(&[], &[ineffective(target), target], Ok(()));
    }

    // Second 1000 after the epoch is 00:16:40 UTC on a Thursday.
    #[test]
    fn a_window_must_be_open() {
        let targets = [target(900, 990, 2)];
        check(&[("window", "Thu 00:16-00:17")], &targets, Ok(()));
        check(
            &[("window", "Thu 00:17-00:18")],
            &targets,
            Err(Hold::Window),
        );
    }

    #[test]
    fn all_strategies_but_one_act() {
        let targets = [target(900, 990, 2)];
        check(&[("strategy", "notify")], &targets, Err(Hold::Notify));
        for strategy in ["evict", "restart", "auto"] {
            check(&[("strategy", strategy)], &targets, Ok(()));
        }
    }

    #[test]
    fn the_first_rule_in_order_is_named() {
        let wishes = |strategy: &str, min_age: &str, window: &str| {
            let pairs = [
                ("strategy", strategy),
                ("min-age", min_age),
                ("window", window),
            ];
            Wishes::parse(&pairs.map(|(n, v)| (n.into(), v.into())), &[]).unwrap()
        };
        let notify = wishes("notify", "1h", "Fri 1:00-2:00");
        let patient = wishes("evict", "1h", "Fri 1:00-2:00");
        let closed = wishes("evict", "0s", "Fri 1:00-2:00");
        let free = Wishes::default();
        let (unconfirmed, known) = (target(900, 900, 1), target(900, 990, 2));
        let worked_before = ineffective(known);
        check_all(false, &notify, &[unconfirmed], true, Err(Hold::NotLeader));
        check_all(true, &notify, &[unconfirmed], true, Err(Hold::Notify));
        check_all(true, &patient, &[unconfirmed], true, Err(Hold::Unconfirmed));
        check_all(true, &patient, &[worked_before], true, Err(Hold::MinAge));
        check_all(true, &closed, &[worked_before], true, Err(Hold::Window));
        check_all(
            true,
            &free,
            &[worked_before],
            true,
            Err(Hold::RegistryFailing),
        );
        check_all(true, &free, &[worked_before], false, Err(Hold::Ineffective));
        check_all(true, &free, &[known], false, Ok(()));
    }
}
