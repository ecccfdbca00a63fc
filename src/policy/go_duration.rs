//! Durations as Go writes them: in the API server's requests, the kubelet's files and registries' messages.

use std::time::Duration;

use jiff::SignedDuration;

/// Units and what they are in seconds, those that begin like another one first. Of the two letters for micro, Go prints
/// the sign and reads the Greek one as well.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("\u{3bc}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// It is not written as one.
    #[error("not a time such as 1m30s, 1.5h or 300ms")]
    Malformed,
    /// It is one, of more seconds than can be counted.
    #[error("longer than can be counted")]
    TooLong,
}

/// Parses `12h`, `6h0m0s`, `1.5h`, `331.163µs`, `-1s` and `0`.
///
/// Source: Go's `time.ParseDuration`.
pub fn parse(text: &str) -> Result<SignedDuration, NoDuration> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let mut seconds = 0.0;
    loop {
        let digits = rest
            .find(|c: char| c != '.' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| NoDuration::Malformed)?;
        let unit = UNITS.iter().find(|(unit, _)| behind.starts_with(unit));
        let (unit, size) = unit.ok_or(NoDuration::Malformed)?;
        seconds += number * size;
        rest = &behind[unit.len()..];
        if rest.is_empty() {
            break;
        }
    }
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| NoDuration::TooLong)?;
    let time = SignedDuration::try_from(time).map_err(|_| NoDuration::TooLong)?;
    Ok(if is_negative { -time } else { time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected_micros: Result<i64, NoDuration>) {
        let expected = expected_micros.map(SignedDuration::from_micros);
        assert_eq!(parse(text), expected, "{text:?}");
    }

    #[test]
    fn units_add_up() {
        check("12h", Ok(43_200_000_000));
        check("6h0m0s", Ok(21_600_000_000));
        check("1.5h", Ok(5_400_000_000));
        check("1h30m", Ok(5_400_000_000));
        check("300ms", Ok(300_000));
        check("1m1ms", Ok(60_001_000));
        check("2000000us", Ok(2_000_000));
        check("331us", Ok(331));
        check("331\u{b5}s", Ok(331));
        check("331\u{3bc}s", Ok(331));
        check("1000ns", Ok(1));
        check(".5s", Ok(500_000));
        check("+1s", Ok(1_000_000));
        check("-1s", Ok(-1_000_000));
    }

    #[test]
    fn only_zero_needs_no_unit() {
        check("0", Ok(0));
        check("0s", Ok(0));
        for text in [
            "", "-", "1", "1h1", "h", "1d", ".s", "1..5s", "1 h", "soon", "1e9h", "+-1s", "..s",
            "5 s",
        ] {
            check(text, Err(NoDuration::Malformed));
        }
    }

    #[test]
    fn what_no_clock_can_count_is_told_apart() {
        check(&format!("{}h", "9".repeat(400)), Err(NoDuration::TooLong));
        check("99999999999999999999h", Err(NoDuration::TooLong));
    }
}
