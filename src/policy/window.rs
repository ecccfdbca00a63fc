//! The hours of the week in which pods may be refreshed.

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};

mod grammar;
mod repair;

pub use grammar::{InvalidWindow, InvalidWindows};
pub(super) use repair::repaired;

/// The windows of one wish, of which one must be open; with none of them it is open always.
///
/// Parses from `Mon-Fri 22:00-06:00 Europe/Berlin; Sat,Sun 00:00-24:00`: days, hours and an IANA time zone,
/// several separated by `;`. Without days (or with `daily`) it is every day, without a zone UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(Box<[Window]>);

/// One window: it is open while the wall clock of its zone shows a time in it.
///
/// So hours that a change to summer time skips are missing, and those that a change back repeats come twice.
/// Hours over midnight belong to the day on which they begin. The end is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    days: Days,
    /// In minutes after midnight, below 24 hours.
    start: u16,
    /// In minutes after the midnight before the start, so above it and below 48 hours.
    end: u16,
    zone: TimeZone,
}

/// A set of weekdays, Monday in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(u8);

const DAY: u16 = 24 * 60;

// A change of the clock can skip a weekly window once, so that the next is nearly two weeks off.
const HORIZON_DAYS: i32 = 15;

impl Windows {
    /// Says whether pods may be refreshed at `now`.
    pub fn open(&self, now: Timestamp) -> bool {
        self.0.is_empty() || self.0.iter().any(|window| window.open(now))
    }

    /// Returns when they may be refreshed next; `None` if they may be at `now`.
    pub fn opens_next(&self, now: Timestamp) -> Option<Timestamp> {
        if self.open(now) {
            return None;
        }
        self.0.iter().filter_map(|w| w.opens_next(now)).min()
    }
}

impl Window {
    fn open(&self, now: Timestamp) -> bool {
        let wall = self.zone.to_datetime(now);
        let minute = wall.hour().unsigned_abs() as u16 * 60 + wall.minute().unsigned_abs() as u16;
        let begun_today = self.days.hold(wall.date()) && (self.start..self.end).contains(&minute);
        let begun_yesterday = minute + DAY < self.end
            && wall
                .date()
                .yesterday()
                .is_ok_and(|yesterday| self.days.hold(yesterday));
        begun_today || begun_yesterday
    }

    /// Returns the first instant after `now` at which a closed window is open.
    ///
    /// It opens where the wall clock comes to its start, or where a change of the clock leads into it.
    fn opens_next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(now).date();
        let starts = (-1..=HORIZON_DAYS)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter(|date| self.days.hold(*date))
            .flat_map(|date| self.instants(self.start_on(date)));
        let horizon = SignedDuration::from_hours(24 * i64::from(HORIZON_DAYS));
        let changes = self
            .zone
            .following(now)
            .map(|change| change.timestamp())
            .take_while(|at| at.duration_since(now) <= horizon);
        starts
            .chain(changes)
            .filter(|at| now < *at && self.open(*at))
            .min()
    }

    fn start_on(&self, date: Date) -> DateTime {
        let (hour, minute) = (self.start / 60, self.start % 60);
        date.at(hour as i8, minute as i8, 0, 0)
    }

    /// Returns the instants at which the wall clock shows `wall`: none, one or two.
    fn instants(&self, wall: DateTime) -> impl Iterator<Item = Timestamp> + use<> {
        let (first, second) = match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => (Some(offset), None),
            AmbiguousOffset::Gap { .. } => (None, None),
            AmbiguousOffset::Fold { before, after } => (Some(before), Some(after)),
        };
        first
            .into_iter()
            .chain(second)
            .filter_map(move |offset| offset.to_timestamp(wall).ok())
    }
}

impl Days {
    const ALL: Self = Self(0b111_1111);

    fn hold(self, date: Date) -> bool {
        let bit = date.weekday().to_monday_zero_offset();
        self.0 >> bit & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &str) -> Windows {
        text.parse().unwrap()
    }

    /// Checks whether `text` is open at `now`, and when it opens next; times as RFC 3339.
    #[track_caller]
    fn check(text: &str, now: &str, next: Option<&str>) {
        let windows = windows(text);
        let now: Timestamp = now.parse().unwrap();
        let next: Option<Timestamp> = next.map(|next| next.parse().unwrap());
        assert_eq!(windows.opens_next(now), next, "{text} at {now}");
        assert_eq!(windows.open(now), next.is_none(), "{text} at {now}");
    }

    #[test]
    fn without_a_window_it_is_always_open() {
        assert!(Windows::default().open(Timestamp::UNIX_EPOCH));
        assert_eq!(Windows::default().opens_next(Timestamp::UNIX_EPOCH), None);
    }

    // 2026-11-16 is a Monday.
    #[test]
    fn a_window_is_half_open() {
        let text = "Mon 09:00-17:00";
        check(
            text,
            "2026-11-16T08:59:59.999Z",
            Some("2026-11-16T09:00:00Z"),
        );
        check(text, "2026-11-16T09:00:00Z", None);
        check(text, "2026-11-16T16:59:59.999Z", None);
        check(text, "2026-11-16T17:00:00Z", Some("2026-11-23T09:00:00Z"));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_they_begin_on() {
        let text = "Mon-Fri 22:00-06:00";
        check(text, "2026-11-16T05:00:00Z", Some("2026-11-16T22:00:00Z"));
        check(text, "2026-11-16T23:59:59Z", None);
        check(text, "2026-11-17T05:59:59Z", None);
        check(text, "2026-11-17T06:00:00Z", Some("2026-11-17T22:00:00Z"));
        check(text, "2026-11-21T05:59:59Z", None);
        check(text, "2026-11-21T06:00:00Z", Some("2026-11-23T22:00:00Z"));
    }

    #[test]
    fn a_day_may_be_whole() {
        let text = "Sat-Sun 00:00-24:00";
        check(text, "2026-11-20T23:59:59Z", Some("2026-11-21T00:00:00Z"));
        check(text, "2026-11-21T00:00:00Z", None);
        check(text, "2026-11-22T23:59:59Z", None);
        check(text, "2026-11-23T00:00:00Z", Some("2026-11-28T00:00:00Z"));
    }

    #[test]
    fn one_of_several_windows_is_enough() {
        let text = "Mon 09:00-10:00; Tue 09:00-10:00";
        check(text, "2026-11-16T09:30:00Z", None);
        check(text, "2026-11-17T09:30:00Z", None);
        check(text, "2026-11-16T10:00:00Z", Some("2026-11-17T09:00:00Z"));
        check(text, "2026-11-18T09:30:00Z", Some("2026-11-23T09:00:00Z"));
    }

    #[test]
    fn the_days_and_hours_are_the_zones() {
        // Monday 00:30 in Auckland (+13) is Sunday noon in UTC.
        check(
            "Mon 00:00-01:00 Pacific/Auckland",
            "2026-11-15T11:30:00Z",
            None,
        );
        check(
            "Mon 00:00-01:00 Pacific/Auckland",
            "2026-11-16T00:30:00Z",
            Some("2026-11-22T11:00:00Z"),
        );
        check(
            "daily 09:00-10:00 Europe/Berlin",
            "2026-01-15T08:00:00Z",
            None,
        );
        check(
            "daily 09:00-10:00 Europe/Berlin",
            "2026-07-15T07:00:00Z",
            None,
        );
        check(
            "daily 09:00-10:00 Europe/Berlin",
            "2026-07-15T08:00:00Z",
            Some("2026-07-16T07:00:00Z"),
        );
    }

    // Berlin: on 2026-03-29 at 01:00Z the clock goes from 02:00 to 03:00.
    #[test]
    fn skipped_hours_are_missing() {
        let across = "daily 01:30-02:30 Europe/Berlin";
        check(across, "2026-03-29T00:59:59Z", None);
        check(across, "2026-03-29T01:00:00Z", Some("2026-03-29T23:30:00Z"));
        let begins_inside = "Sun 02:30-03:30 Europe/Berlin";
        check(
            begins_inside,
            "2026-03-29T00:59:59Z",
            Some("2026-03-29T01:00:00Z"),
        );
        check(begins_inside, "2026-03-29T01:00:00Z", None);
        check(begins_inside, "2026-03-29T01:29:59Z", None);
        check(
            begins_inside,
            "2026-03-29T01:30:00Z",
            Some("2026-04-05T00:30:00Z"),
        );
        let within = "Sun 02:10-02:50 Europe/Berlin";
        check(within, "2026-03-22T02:00:00Z", Some("2026-04-05T00:10:00Z"));
    }

    // Berlin: on 2026-10-25 at 01:00Z the clock goes from 03:00 back to 02:00.
    #[test]
    fn repeated_hours_come_twice() {
        let within = "daily 02:10-02:50 Europe/Berlin";
        check(within, "2026-10-25T00:09:59Z", Some("2026-10-25T00:10:00Z"));
        check(within, "2026-10-25T00:49:59Z", None);
        check(within, "2026-10-25T00:50:00Z", Some("2026-10-25T01:10:00Z"));
        check(within, "2026-10-25T01:49:59Z", None);
        check(within, "2026-10-25T01:50:00Z", Some("2026-10-26T01:10:00Z"));
        let begun_before = "daily 01:00-02:30 Europe/Berlin";
        check(
            begun_before,
            "2026-10-25T00:30:00Z",
            Some("2026-10-25T01:00:00Z"),
        );
        check(begun_before, "2026-10-25T01:29:59Z", None);
        check(
            begun_before,
            "2026-10-25T01:30:00Z",
            Some("2026-10-26T00:00:00Z"),
        );
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        for now in [Timestamp::MIN, Timestamp::MAX] {
            let windows =
                windows("Mon 22:00-06:00 Pacific/Auckland; Thu 03:00-04:00 America/New_York");
            assert!(!windows.open(now) || windows.opens_next(now).is_none());
        }
        assert_eq!(windows("Mon 00:00-00:01").opens_next(Timestamp::MAX), None);
    }
}
