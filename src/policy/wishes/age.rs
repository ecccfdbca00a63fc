//! A span of time as people write it in an annotation: `30s`, `10m`, `1h30m`, `1d`.

use std::time::Duration;

use super::fault::Refusal;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

// Longer than any cool-down that people mean; it keeps sums with timestamps far from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Returns the time that `text` says: whole numbers of `d`, `h`, `m`, `s`, each unit at most once and in that order.
pub(super) fn parse(text: &str) -> Result<Duration, Refusal> {
    span(text).ok_or_else(|| {
        let seconds = text.parse::<u32>().ok().map(|n| format!("{n}s"));
        Refusal::new("a time such as 30s, 10m, 1h30m or 1d, at most 365d")
            .nearest(seconds.filter(|text| span(text).is_some()))
    })
}

fn span(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut rest = text;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(end);
        let mut tail = tail.chars();
        let unit = tail.next()?;
        let nth = units.iter().position(|(name, _)| *name == unit)?;
        let amount = number.parse::<u64>().ok()?.checked_mul(units[nth].1)?;
        seconds = seconds.checked_add(amount)?;
        units = &units[nth + 1..];
        rest = tail.as_str();
    }
    let span = Duration::from_secs(seconds);
    (!text.is_empty() && span <= LONGEST).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, seconds: u64) {
        assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
    }

    #[track_caller]
    fn refuse(text: &str, nearest: Option<&str>) {
        let refusal = parse(text).unwrap_err();
        assert_eq!(refusal.nearest.as_deref(), nearest, "{text}");
    }

    #[test]
    fn units_add_up() {
        check("0s", 0);
        check("30s", 30);
        check("10m", 600);
        check("2h", 7_200);
        check("1d", 86_400);
        check("1h30m", 5_400);
        check("1d2h3m4s", 93_784);
        check("1d4s", 86_404);
        check("90m", 5_400);
        check("007s", 7);
    }

    #[test]
    fn a_year_is_the_longest() {
        check("365d", 31_536_000);
        refuse("365d1s", None);
        refuse("18446744073709551615s", None);
        refuse("18446744073709551616s", None);
        refuse("300000000000000000d", None);
    }

    #[test]
    fn units_are_written_once_and_from_the_largest() {
        for text in [
            "", "s", "h1", "1m1h", "1s1s", "1h 30m", " 1s", "1s ", "-1s", "+1s", "1.5h", "1ms",
            "1w", "1S",
        ] {
            refuse(text, None);
        }
        refuse("10", Some("10s"));
        refuse("1h30", None);
    }
}
