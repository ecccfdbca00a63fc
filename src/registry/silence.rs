//! Whether a host answers at all: one that does not costs one lookup at a time, and not all of them their patience.

use super::Fault;

/// What has become of a host's last lookups.
#[derive(Debug)]
pub(super) struct Silence {
    /// As many lookups without an answer make the host silent.
    limit: usize,
    /// Lookups since its last answer, of whatever kind, that got none in time.
    unanswered: usize,
    /// Whether one is under way to find out whether it answers again.
    trying: bool,
}

/// A lookup's leave to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// One of as many as like.
    Ordinary,
    /// The only one, as long as the host is silent.
    Trial,
}

impl Silence {
    /// Returns the state of a host that is believed to answer until `limit` lookups in a row got none.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            unanswered: 0,
            trying: false,
        }
    }

    /// Says whether another lookup would be of no use: the host is silent, and that is being tried already.
    pub(super) const fn is_tried(&self) -> bool {
        self.limit <= self.unanswered && self.trying
    }

    /// Lets a lookup ask; `None` if that would be of no use.
    pub(super) fn enter(&mut self) -> Option<Leave> {
        if self.unanswered < self.limit {
            return Some(Leave::Ordinary);
        }
        if self.trying {
            return None;
        }
        self.trying = true;
        Some(Leave::Trial)
    }

    /// Notes that a lookup is over.
    pub(super) fn left(&mut self, leave: Leave, is_answered: bool) {
        if leave == Leave::Trial {
            self.trying = false;
        }
        self.unanswered = match is_answered {
            true => 0,
            false => self.unanswered.saturating_add(1),
        };
    }
}

impl Fault {
    /// Says whether there was an answer, if one of no use.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(self.root(), Self::Timeout { .. } | Self::Aborted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what each lookup of `events` gets: `a` is answered, `-` is not, both at once; `(` and `)` begin and end
    /// one that gets no answer, `]` ends it with one.
    #[track_caller]
    fn check(events: &str, expected: &str) {
        let mut silence = Silence::new(2);
        let mut open = Vec::new();
        let mut found = String::new();
        for event in events.chars() {
            if matches!(event, ')' | ']') {
                silence.left(open.pop().unwrap(), event == ']');
                continue;
            }
            let leave = silence.enter();
            found.push(match leave {
                Some(Leave::Ordinary) => 'o',
                Some(Leave::Trial) => 't',
                None => 'x',
            });
            match leave {
                Some(leave) if event == '(' => open.push(leave),
                Some(leave) => silence.left(leave, event == 'a'),
                None => assert!(silence.is_tried()),
            }
        }
        assert_eq!(found, expected, "{events}");
    }

    #[test]
    fn a_host_is_silent_after_as_many_lookups_in_a_row_without_an_answer() {
        check("aaa", "ooo");
        check("-a-a-", "ooooo");
        check("--a", "oot");
        check("-(-a", "ooot"); // the second is still under way
    }

    #[test]
    fn one_at_a_time_finds_out_whether_it_answers_again() {
        check("--(aa)", "ootxx");
        check("--(a)(a)", "ootxtx");
        check("--(a]aa", "ootxoo");
        check("--a-a", "ootoo");
    }

    #[test]
    fn an_answer_to_one_that_was_under_way_before_counts() {
        check("(--]a", "oooo");
        check("(--(a]", "oootx");
    }
}
