//! Durations as Go writes them, which is how the kubelet's files and its plugins' answers have them.

use jiff::SignedDuration;

/// Units and what they are in seconds, those that begin like another one first.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Parses `12h`, `6h0m0s`, `1.5h`, `-1s` and `0`; `None` for everything else.
pub(super) fn parse(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let digits = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let (unit, size) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        seconds += number * size;
        rest = &behind[unit.len()..];
        if rest.is_empty() {
            return SignedDuration::try_from_secs_f64(sign * seconds).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected_millis: Option<i64>) {
        let expected = expected_millis.map(SignedDuration::from_millis);
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn units_add_up() {
        check("12h", Some(12 * 3_600_000));
        check("6h0m0s", Some(6 * 3_600_000));
        check("1.5h", Some(5_400_000));
        check("1h30m", Some(5_400_000));
        check("300ms", Some(300));
        check("1m1ms", Some(60_001));
        check("2000000us", Some(2000));
        check("+1s", Some(1000));
        check("-1s", Some(-1000));
    }

    #[test]
    fn only_zero_needs_no_unit() {
        check("0", Some(0));
        check("0s", Some(0));
        for text in [
            "", "-", "1", "1h1", "h", "1d", ".s", "1..5s", "1 h", "soon", "1e9h",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_no_clock_can_count_is_none() {
        check(&format!("{}h", "9".repeat(400)), None);
        check("99999999999999999999h", None);
    }
}
