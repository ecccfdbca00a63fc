//! How many pods of one owner may be down for our sake.

use std::str::FromStr;

use super::fault::Refusal;

/// A number of pods, or a share of those desired; never nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaxUnavailable {
    /// So many pods, at least 1.
    Pods(u32),
    /// So many of a hundred, 1 to 100.
    Percent(u32),
}

impl Default for MaxUnavailable {
    fn default() -> Self {
        Self::Pods(1)
    }
}

impl MaxUnavailable {
    /// Returns how many pods that is where `desired` are: a percentage is rounded down, to at least 1.
    pub fn of(self, desired: u32) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => {
                let share = u64::from(desired) * u64::from(percent) / 100;
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl FromStr for MaxUnavailable {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let refused = |nearest: Option<&str>| {
            Refusal::new(
                "a number of pods from 1, such as 1, or a percentage from 1% to 100%, such as 25%",
            )
            .nearest(nearest)
        };
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused(None));
        }
        match (digits.parse(), percent) {
            (Ok(0), false) => Err(refused(Some("1"))),
            (Ok(pods), false) => Ok(Self::Pods(pods)),
            (Err(_), false) => Err(refused(None)),
            (Ok(0), true) => Err(refused(Some("1%"))),
            (Ok(percent @ 1..=100), true) => Ok(Self::Percent(percent)),
            (_, true) => Err(refused(Some("100%"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, desired: u32, expected: u32) {
        let wish: MaxUnavailable = text.parse().unwrap();
        assert_eq!(wish.of(desired), expected, "{text} of {desired}");
    }

    #[track_caller]
    fn refuse(text: &str, nearest: Option<&str>) {
        let refusal = text.parse::<MaxUnavailable>().unwrap_err();
        assert_eq!(refusal.nearest.as_deref(), nearest, "{text}");
    }

    #[test]
    fn a_number_is_itself() {
        check("1", 10, 1);
        check("3", 2, 3);
        check("4294967295", 1, u32::MAX);
        assert_eq!(MaxUnavailable::default().of(10), 1);
    }

    #[test]
    fn a_percentage_is_rounded_down_to_at_least_one() {
        check("25%", 8, 2);
        check("25%", 7, 1);
        check("25%", 4, 1);
        check("25%", 3, 1);
        check("1%", 0, 1);
        check("99%", 2, 1);
        check("100%", 3, 3);
        check("100%", u32::MAX, u32::MAX);
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        refuse("0", Some("1"));
        refuse("0%", Some("1%"));
        refuse("101%", Some("100%"));
        refuse("99999999999%", Some("100%"));
        for text in [
            "",
            "%",
            "-1",
            "+1",
            "1.5",
            "one",
            " 1",
            "1 %",
            "25%%",
            "4294967296",
        ] {
            refuse(text, None);
        }
    }
}
