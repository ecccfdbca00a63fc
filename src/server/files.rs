//! How many files the process may have open at once: each connection is one of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As far as the limit is raised: far more than all ports and lookups take together.
///
/// The programs that we start inherit it, and the hard limit may be a thousand million: one that closes all it could
/// have inherited, one after the other, would be at it for minutes.
const ENOUGH: u64 = 65_536;

/// Raises the soft limit as far as the hard one lets it and makes sense.
///
/// It is low for the sake of programs that use `select`. Container runtimes pass on the 1,024 that they were started
/// with, and expect of servers that they raise it, as Go's do without being asked.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(current, maximum) {
        // What could not be raised is seen by what `limit` returns.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                maximum,
            },
        );
    }
}

/// Returns how many there may be now.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Returns what the soft limit is to be, unless it is right as it is; `None` stands for no limit at all.
fn raised(soft: Option<u64>, hard: Option<u64>) -> Option<u64> {
    let wanted = hard.map_or(ENOUGH, |hard| hard.min(ENOUGH));
    soft.filter(|soft| *soft < wanted).map(|_| wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(soft: Option<u64>, hard: Option<u64>, expected: Option<u64>) {
        assert_eq!(raised(soft, hard), expected, "{soft:?} of {hard:?}");
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one_and_no_further_than_makes_sense() {
        check(Some(1024), Some(4096), Some(4096));
        check(Some(4095), Some(4096), Some(4096));
        check(Some(4096), Some(4096), None);
        check(Some(1024), Some(1 << 30), Some(ENOUGH));
        check(Some(1024), None, Some(ENOUGH));
    }

    #[test]
    fn it_is_never_lowered() {
        check(Some(ENOUGH), Some(1 << 30), None);
        check(Some(ENOUGH + 1), Some(1 << 30), None);
        check(Some(1 << 30), None, None);
        check(None, None, None);
    }
}
