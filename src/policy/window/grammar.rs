//! How a window is written: days, hours, zone.

use std::{fmt, str::FromStr};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{DAY, Days, Window, Windows};
use crate::policy::excerpt::excerpt;

pub(super) const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// As many of the faults in a text are told: who wrote more of them will read the form again.
const TOLD: usize = 4;

/// Why a text is no list of windows: all that is wrong with it, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidWindows(Vec<InvalidWindow>);

/// What is wrong with one window; names the part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// A window without hours.
    #[error("window {0:?} has no hours such as 22:00-06:00")]
    NoHours(String),
    /// More than a zone behind the hours.
    #[error("window {0:?} has more than a time zone behind its hours")]
    Order(String),
    /// A part of the days.
    #[error("day {0:?} is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily")]
    Day(String),
    /// The hours.
    #[error(
        "hours {0:?} are not two times from 00:00 to 24:00 joined by a dash, the first below 24:00"
    )]
    Hours(String),
    /// The end is the start.
    #[error("hours {0:?} begin and end at the same time; a whole day is 00:00-24:00")]
    Nothing(String),
    /// The zone.
    #[error("time zone {0:?} is not in the IANA database; Europe/Berlin and UTC are")]
    Zone(String),
}

impl fmt::Display for InvalidWindows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(faults) = self;
        for (nth, fault) in faults.iter().take(TOLD).enumerate() {
            let separator = if nth == 0 { "" } else { ", " };
            write!(f, "{separator}{fault}")?;
        }
        match faults.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl std::error::Error for InvalidWindows {}

impl FromStr for Windows {
    type Err = InvalidWindows;

    fn from_str(text: &str) -> Result<Self, InvalidWindows> {
        let mut faults = Vec::new();
        let windows = text
            .split(';')
            .filter_map(|text| window(text, &mut faults))
            .collect();
        if faults.is_empty() {
            Ok(Self(windows))
        } else {
            Err(InvalidWindows(faults))
        }
    }
}

/// Returns the window that `text` says; none when something is wrong with it, which is added to `faults`.
fn window(text: &str, faults: &mut Vec<InvalidWindow>) -> Option<Window> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    // Only hours have a colon, so they tell which parts are days and which is the zone.
    let Some(nth) = parts.iter().position(|part| part.contains(':')) else {
        faults.push(InvalidWindow::NoHours(excerpt(text.trim())));
        return None;
    };
    let (days, hours) = (parts[..nth].concat(), parts[nth]);
    let zone = match parts[nth + 1..] {
        [] => Ok(TimeZone::UTC),
        [zone] => parse_zone(zone),
        _ => Err(InvalidWindow::Order(excerpt(text.trim()))),
    };
    let days = if days.is_empty() {
        Ok(Days::ALL)
    } else {
        parse_days(&days)
    };
    let (days, hours, zone) = (
        noted(days, faults),
        noted(parse_hours(hours), faults),
        noted(zone, faults),
    );
    let (start, end) = hours?;
    Some(Window {
        days: days?,
        start,
        end,
        zone: zone?,
    })
}

/// Moves what is wrong to `faults`.
fn noted<T>(part: Result<T, InvalidWindow>, faults: &mut Vec<InvalidWindow>) -> Option<T> {
    part.map_err(|fault| faults.push(fault)).ok()
}

fn parse_days(text: &str) -> Result<Days, InvalidWindow> {
    if text.eq_ignore_ascii_case("daily") {
        return Ok(Days::ALL);
    }
    let mut days = Days(0);
    for entry in text.split(',') {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (parse_day(first)?, parse_day(last)?);
        // A range may run over the end of the week: Sat-Mon.
        let mut day = first;
        days.0 |= 1 << day;
        while day != last {
            day = (day + 1) % 7;
            days.0 |= 1 << day;
        }
    }
    Ok(days)
}

/// Returns the number of the day, Monday being 0.
fn parse_day(text: &str) -> Result<usize, InvalidWindow> {
    DAY_NAMES
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .ok_or_else(|| InvalidWindow::Day(excerpt(text)))
}

/// Returns start and end in minutes after midnight; an end on the next day is above 24 hours.
fn parse_hours(text: &str) -> Result<(u16, u16), InvalidWindow> {
    let (start, end) = text
        .split_once('-')
        .and_then(|(start, end)| Some((minutes(start)?, minutes(end)?)))
        .filter(|(start, _)| *start < DAY)
        .ok_or_else(|| InvalidWindow::Hours(excerpt(text)))?;
    if start == end {
        return Err(InvalidWindow::Nothing(excerpt(text)));
    }
    Ok((start, if end < start { end + DAY } else { end }))
}

/// Returns the minutes after midnight that `H:MM` or `HH:MM` says, up to 24:00.
pub(super) fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !(1..=2).contains(&hour.len()) || minute.len() != 2 || !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

/// Returns the zone from the database in this program, so that a window means the same wherever it runs.
fn parse_zone(text: &str) -> Result<TimeZone, InvalidWindow> {
    TimeZoneDatabase::bundled()
        .get(text)
        .ok()
        .filter(|zone| !zone.is_unknown())
        .ok_or_else(|| InvalidWindow::Zone(excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks one window: its days as a row of seven, its start and end in minutes, and its zone.
    #[track_caller]
    fn check(text: &str, days: &str, start: u16, end: u16, zone: &str) {
        let Windows(windows) = text.parse().unwrap();
        let [window] = &*windows else {
            panic!("{text} must be one window");
        };
        let row: String = (0..7)
            .map(|day| {
                if window.days.0 >> day & 1 == 1 {
                    'x'
                } else {
                    '.'
                }
            })
            .collect();
        assert_eq!(row, days, "{text}");
        assert_eq!((window.start, window.end), (start, end), "{text}");
        assert_eq!(window.zone.iana_name(), Some(zone), "{text}");
    }

    #[track_caller]
    fn refuse(text: &str, error: fn(String) -> InvalidWindow, part: &str) {
        let expected = InvalidWindows(vec![error(part.to_owned())]);
        assert_eq!(text.parse::<Windows>(), Err(expected), "{text}");
    }

    #[test]
    fn days_are_lists_and_ranges() {
        check(
            "Mon-Fri 22:00-06:00 Europe/Berlin",
            "xxxxx..",
            1320,
            1800,
            "Europe/Berlin",
        );
        check("22:00-06:00", "xxxxxxx", 1320, 1800, "UTC");
        check("daily 22:00-06:00", "xxxxxxx", 1320, 1800, "UTC");
        check("mon,WED 1:00-2:00", "x.x....", 60, 120, "UTC");
        check("Sat-Mon 1:00-2:00", "x....xx", 60, 120, "UTC");
        check("Tue-Tue,Fri-Sun 1:00-2:00", ".x..xxx", 60, 120, "UTC");
        check("Mon, Tue - Thu 1:00-2:00", "xxxx...", 60, 120, "UTC");
        check("Sun-Sat 1:00-2:00", "xxxxxxx", 60, 120, "UTC");
        for (text, part) in [
            ("Mo", "Mo"),
            ("Mon,", ""),
            ("Mon-", ""),
            ("Mon-Tue-Wed", "Tue-Wed"),
            ("Monday", "Monday"),
        ] {
            refuse(&format!("{text} 1:00-2:00"), InvalidWindow::Day, part);
        }
    }

    #[test]
    fn hours_run_from_midnight_to_midnight() {
        check("00:00-24:00", "xxxxxxx", 0, 1440, "UTC");
        check("22:00-24:00", "xxxxxxx", 1320, 1440, "UTC");
        check("22:00-00:00", "xxxxxxx", 1320, 1440, "UTC");
        check("23:59-23:58", "xxxxxxx", 1439, 2878, "UTC");
        for hours in [
            "24:00-06:00",
            "22:00-24:01",
            "22:60-23:00",
            "25:00-26:00",
            "1:0-2:00",
            "001:00-2:00",
            ":00-2:00",
            "1:00",
            "1:00-",
            "-1:00-2:00",
            "1:00-2:00-3:00",
            "+1:00-2:00",
            "1:00:00-2:00:00",
            "1:00–2:00",
        ] {
            refuse(hours, InvalidWindow::Hours, hours);
        }
        refuse("1:00-01:00", InvalidWindow::Nothing, "1:00-01:00");
        refuse("0:00-0:00", InvalidWindow::Nothing, "0:00-0:00");
    }

    #[test]
    fn zones_are_iana_names() {
        check(
            "1:00-2:00 America/New_York",
            "xxxxxxx",
            60,
            120,
            "America/New_York",
        );
        check("Mon 1:00-2:00 UTC", "x......", 60, 120, "UTC");
        for zone in [
            "Europe/Berln",
            "CEST",
            "+02",
            "Etc/Unknown",
            "../etc/passwd",
        ] {
            refuse(&format!("1:00-2:00 {zone}"), InvalidWindow::Zone, zone);
        }
    }

    #[test]
    fn each_of_several_windows_is_whole() {
        let Windows(windows) = "Mon 1:00-2:00 ; Tue 3:00-4:00 Europe/Berlin"
            .parse()
            .unwrap();
        assert_eq!(windows.len(), 2);
        refuse("", InvalidWindow::NoHours, "");
        refuse("Mon 1:00-2:00;", InvalidWindow::NoHours, "");
        refuse("Mon-Fri", InvalidWindow::NoHours, "Mon-Fri");
        refuse(
            "1:00-2:00 Mon Europe/Berlin",
            InvalidWindow::Order,
            "1:00-2:00 Mon Europe/Berlin",
        );
        refuse("Mon Tue 1:00-2:00", InvalidWindow::Day, "MonTue");
    }

    #[track_caller]
    fn tell(text: &str, expected: &str) {
        let error = text.parse::<Windows>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        let day = "is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily";
        let hours = "are not two times from 00:00 to 24:00 joined by a dash, the first below 24:00";
        let zone = "is not in the IANA database; Europe/Berlin and UTC are";
        tell(
            "Mo 25:00-3:00 Europe/Berln",
            &format!(
                "day \"Mo\" {day}, hours \"25:00-3:00\" {hours}, time zone \"Europe/Berln\" {zone}"
            ),
        );
        let both = format!("day \"Mo\" {day}, day \"Tu\" {day}");
        tell("Mo 1:00-2:00; Wed 1:00-2:00; Tu 1:00-2:00", &both);
        let four = [both.as_str(); 2].join(", ");
        let window = "Mo 1:00-2:00; Tu 1:00-2:00;";
        tell([window; 2].concat().trim_end_matches(';'), &four);
        tell(&[window; 3].concat(), &format!("{four}, and 3 more"));
    }
}
