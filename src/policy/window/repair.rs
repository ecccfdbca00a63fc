//! The windows that somebody may have meant who wrote none.

use jiff::tz::TimeZoneDatabase;

use super::{
    Windows,
    grammar::{DAY_NAMES, minutes},
};

// Nobody writes more by hand, and what is quoted back must be short.
const LONGEST: usize = 256;

/// Returns the windows nearest to `text`, which is none; `None` when there is no telling.
///
/// Whole hours without minutes, hours of the clock with am and pm, other names of days, other dashes and zones
/// without their region are understood.
pub(in crate::policy) fn repaired(text: &str) -> Option<String> {
    if LONGEST < text.len() {
        return None;
    }
    let text = text.replace(['–', '—'], "-").replace(" - ", "-");
    let windows = text.split(';').filter(|window| !window.trim().is_empty());
    let repaired = windows.map(window).collect::<Option<Vec<_>>>()?.join("; ");
    let is_sound = repaired
        .parse::<Windows>()
        .is_ok_and(|windows| !windows.0.is_empty());
    is_sound.then_some(repaired)
}

fn window(text: &str) -> Option<String> {
    let mut parts = text.split_whitespace().peekable();
    let mut named = Vec::new();
    while let Some(part) = parts.next_if(|part| !part.contains(|c: char| c.is_ascii_digit())) {
        named.push(part);
    }
    let hours = hours(parts.next()?)?;
    let zone = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some(zone), None) => Some(nearest_zone(zone)?),
        (Some(_), Some(_)) => return None,
    };
    let days = (!named.is_empty()).then(|| days(&named.concat()));
    let days = match days {
        Some(days) => Some(days?),
        None => None,
    };
    let parts = [days, Some(hours), zone].into_iter().flatten();
    Some(parts.collect::<Vec<_>>().join(" "))
}

fn days(text: &str) -> Option<String> {
    match &*text.to_lowercase() {
        "daily" | "everyday" | "always" => return Some("daily".to_owned()),
        "weekdays" | "workdays" => return Some("Mon-Fri".to_owned()),
        "weekend" | "weekends" => return Some("Sat,Sun".to_owned()),
        _ => {}
    }
    let entries = text.split(',').filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| {
        let days = entry.split('-').map(day).collect::<Option<Vec<_>>>()?;
        Some(days.join("-"))
    });
    Some(entries.collect::<Option<Vec<_>>>()?.join(","))
}

/// Returns the day that `text` begins or abbreviates.
fn day(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    // No two days share their first two letters.
    let mut names = DAY_NAMES.iter();
    let name = names
        .find(|name| 2 <= text.len() && (name.starts_with(&*text) || text.starts_with(**name)))?;
    Some(format!("{}{}", name[..1].to_uppercase(), &name[1..]))
}

fn hours(text: &str) -> Option<String> {
    let (start, end) = text.split_once('-')?;
    let (start, end) = (clock(start)?, clock(end)?);
    let end = if start == end && start == "00:00" {
        "24:00".to_owned()
    } else {
        end
    };
    Some(format!("{start}-{end}"))
}

/// Returns the time of the day as `HH:MM`.
fn clock(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    let (text, is_afternoon) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(text), _) => (text, Some(false)),
        (_, Some(text)) => (text, Some(true)),
        (None, None) => (&*text, None),
    };
    let text = text
        .strip_suffix('h')
        .unwrap_or(text)
        .replace(['.', 'h'], ":");
    let text = if text.contains(':') {
        text
    } else {
        format!("{text}:00")
    };
    let minutes = minutes(&text)?;
    let minutes = match (is_afternoon, minutes / 60) {
        (None, _) | (Some(true), 13..) => minutes,
        // Twelve is the first hour of its half.
        (Some(half), hour) => minutes - hour / 12 * 720 + u16::from(half) * 720,
    };
    Some(format!("{:02}:{:02}", minutes / 60, minutes % 60))
}

/// Returns the zone called `text`, or the one city of that name.
fn nearest_zone(text: &str) -> Option<String> {
    let zones = TimeZoneDatabase::bundled();
    if zones.get(text).is_ok_and(|zone| !zone.is_unknown()) {
        return Some(text.to_owned());
    }
    let names = zones.available();
    let mut cities = names.filter(|zone| {
        let city = zone.as_str().rsplit('/').next().unwrap_or_default();
        city.eq_ignore_ascii_case(text)
    });
    match (cities.next(), cities.next()) {
        (Some(zone), None) => Some(zone.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(repaired(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn days_are_known_by_other_names() {
        check("Mo-Fr 22:00-06:00", Some("Mon-Fri 22:00-06:00"));
        check("monday, Thurs 1:00-2:00", Some("Mon,Thu 01:00-02:00"));
        check("weekdays 1:00-2:00", Some("Mon-Fri 01:00-02:00"));
        check("weekend 1:00-2:00", Some("Sat,Sun 01:00-02:00"));
        check("always 0:00-0:00", Some("daily 00:00-24:00"));
        check("M 1:00-2:00", None);
        check("never 1:00-2:00", None);
    }

    #[test]
    fn hours_are_known_in_other_forms() {
        check("22-6", Some("22:00-06:00"));
        check("Mon – Fri 22.30–6h UTC", Some("Mon-Fri 22:30-06:00 UTC"));
        check("10pm-6am", Some("22:00-06:00"));
        check("12am-12pm", Some("00:00-12:00"));
        check("12:30pm-1:30pm", Some("12:30-13:30"));
        check("25:00-26:00", None);
        check("22:00", None);
        check("1:00-1:00", None);
        check("Mon", None);
        check("", None);
        check(";", None);
    }

    #[test]
    fn zones_are_known_by_their_city() {
        check("1:00-2:00 Berlin", Some("01:00-02:00 Europe/Berlin"));
        check("1:00-2:00 new_york", Some("01:00-02:00 America/New_York"));
        check("1:00-2:00 Nowhere", None);
        check("1:00-2:00 Europe/Berlin UTC", None);
        check(
            "22-6; Sa 0-24 Berlin;",
            Some("22:00-06:00; Sat 00:00-24:00 Europe/Berlin"),
        );
        check(&"1:00-2:00;".repeat(26), None);
    }
}
