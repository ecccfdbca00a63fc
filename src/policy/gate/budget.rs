//! How many pods may still be evicted in this minute, over all owners.

use jiff::SignedDuration;

use super::Moment;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// Returns how many evictions may follow those of the last minute.
///
/// It is strict: however one lays 60 seconds over the evictions, both ends included, no more than the limit are in
/// them. Evictions in the future count as recent: after a clock step it is safer to wait than to evict.
pub(super) fn left(moment: &Moment<'_>) -> usize {
    let recent = moment
        .evictions
        .iter()
        .filter(|at| moment.now.duration_since(**at) <= MINUTE)
        .count();
    usize::try_from(moment.limits.per_minute)
        .unwrap_or(usize::MAX)
        .saturating_sub(recent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::gate::notation::{NOW, at, limits};

    #[track_caller]
    fn check(per_minute: u32, evicted_at: &[i64], expected: usize) {
        let evictions: Vec<_> = evicted_at.iter().map(|second| at(*second)).collect();
        let moment = Moment {
            now: at(NOW),
            leader: true,
            limits: limits(per_minute),
            evictions: &evictions,
        };
        assert_eq!(left(&moment), expected);
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
}
