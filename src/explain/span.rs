//! Spans of time as kubectl writes them: the two largest units.

use jiff::SignedDuration;

const UNITS: [(i64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];

/// Returns `5d23h`, `3h4m`, `2m`, `12s`; a time that is not over yet, or below a second, is `0s`.
pub(super) fn span(time: SignedDuration) -> String {
    let mut seconds = time.as_secs().max(0);
    let mut text = String::new();
    let first = UNITS.iter().position(|(unit, _)| *unit <= seconds);
    for (unit, letter) in UNITS.iter().skip(first.unwrap_or(3)).take(2) {
        let count = seconds / unit;
        seconds %= unit;
        if 0 < count {
            text.push_str(&format!("{count}{letter}"));
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, expected: &str) {
        assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
    }

    #[test]
    fn the_two_largest_units_are_told() {
        check(0, "0s");
        check(-5, "0s");
        check(59, "59s");
        check(60, "1m");
        check(125, "2m5s");
        check(3_600, "1h");
        check(3_661, "1h1m");
        check(11_045, "3h4m");
        check(86_400, "1d");
        check(86_459, "1d");
        check(514_800, "5d23h");
    }
}
