//! A span of time as people write it in an annotation: `30s`, `10m`, `1h30m`, `1d`.

use std::time::Duration;

use super::fault::Refusal;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Other words for the units, the longer ones first.
const WORDS: [(&str, &str); 12] = [
    ("days", "d"),
    ("day", "d"),
    ("hours", "h"),
    ("hour", "h"),
    ("hrs", "h"),
    ("minutes", "m"),
    ("minute", "m"),
    ("mins", "m"),
    ("min", "m"),
    ("seconds", "s"),
    ("second", "s"),
    ("secs", "s"),
];

// Longer than any cool-down that people mean; it keeps sums with timestamps far from overflowing.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Returns the time that `text` says: whole numbers of `d`, `h`, `m`, `s`, each unit at most once and in that order.
pub(super) fn parse(text: &str) -> Result<Duration, Refusal> {
    match span(text) {
        Some(span) if span <= LONGEST => Ok(span),
        Some(_) => Err(refusal().nearest(Some("365d"))),
        None => {
            let nearest = repaired(text);
            Err(refusal().nearest(nearest.filter(|text| span(text).is_some_and(|s| s <= LONGEST))))
        }
    }
}

fn refusal() -> Refusal {
    Refusal::new("a time such as 30s, 10m, 1h30m or 1d, at most 365d")
}

/// Returns `text` with its units as they should be written, in seconds where it has none.
fn repaired(text: &str) -> Option<String> {
    // A word for each unit and its number: longer is no typing error.
    if 64 < text.len() {
        return None;
    }
    let mut text = text.to_lowercase();
    text.retain(|c| !c.is_whitespace());
    for (word, unit) in WORDS {
        text = text.replace(word, unit);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.push('s');
    }
    Some(text)
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
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
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
        refuse("365d1s", Some("365d"));
        refuse("18446744073709551615s", Some("365d"));
        refuse("18446744073709551616s", None);
        refuse("300000000000000000d", None);
    }

    #[test]
    fn units_are_written_once_and_from_the_largest() {
        for text in [
            "", "s", "h1", "1m1h", "1s1s", "-1s", "+1s", "1.5h", "1ms", "1w",
        ] {
            refuse(text, None);
        }
        refuse(&"1".repeat(65), None);
    }

    #[test]
    fn other_ways_to_write_a_time_are_told_how_it_is_written() {
        refuse("10", Some("10s"));
        refuse("1h30", None);
        refuse("1S", Some("1s"));
        refuse(" 1s", Some("1s"));
        refuse("1h 30m", Some("1h30m"));
        refuse("10 minutes", Some("10m"));
        refuse("1day 2hours 5min", Some("1d2h5m"));
        refuse("400 days", None);
    }
}
