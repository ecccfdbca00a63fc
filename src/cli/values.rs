//! The values of flags: how each is written, and what is allowed.

use std::{net::SocketAddr, time::Duration};

use crate::policy::{ImageRef, InvalidImage};

/// Parses an address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let allowed = "must be an IP address with a port, such as [::]:8443 or 127.0.0.1:8080";
    text.parse().map_err(|_| allowed.to_owned())
}

/// Parses an image reference.
pub(super) fn image(text: &str) -> Result<ImageRef, String> {
    text.parse()
        .map_err(|error: InvalidImage| error.fault.to_string())
}

/// Parses `NAME`, `pod/NAME` and what else kubectl calls a pod.
pub(super) fn pod(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("pod" | "pods" | "po", name)) => name,
        Some((kind, _)) => return Err(format!("{kind} is no pod: must be NAME or pod/NAME")),
    };
    match name {
        "" => Err("must be the name of a pod".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Parses `90s`, `5m`, `1h30m`, `200ms` and `0s`, up to a year.
///
/// Sums of a clock's time and any of these are far from overflowing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    match span(text)? {
        time if LONGEST < time => Err("must be at most 8760h, which is 365 days".to_owned()),
        time => Ok(time),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let allowed = "a time such as 500ms, 30s, 5m or 1h30m";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| format!("not {allowed}"))?;
    Duration::try_from(parsed).map_err(|_| format!("negative: allowed is {allowed}"))
}

/// Parses a duration longer than nothing.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than 0s".to_owned()),
        time => Ok(time),
    }
}

/// Parses a number of things, at least `LEAST` of them.
pub(super) fn count<const LEAST: u32>(text: &str) -> Result<u32, String> {
    const MOST: u32 = 100_000;
    let count = text.parse().ok();
    count
        .filter(|count| (LEAST..=MOST).contains(count))
        .ok_or_else(|| format!("must be a number from {LEAST} to {MOST}"))
}

/// Parses a certificate's validity: `365d`, or hours and minutes as in [`duration`].
pub(super) fn validity(text: &str) -> Result<Duration, String> {
    const HOUR: Duration = Duration::from_secs(3600);
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let time = match days {
        Some(days) => HOUR.saturating_mul(24).saturating_mul(days),
        None => span(text).map_err(|_| "not a time such as 365d or 8760h".to_owned())?,
    };
    if time < HOUR || HOUR * 24 * 3650 < time {
        return Err("must be from 1h to 3650d".to_owned());
    }
    Ok(time)
}

/// Parses what a server may be called: a DNS name or an IP address.
pub(super) fn host(text: &str) -> Result<String, String> {
    match rustls::pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be a DNS name or an IP address".to_owned()),
    }
}

/// Parses a Lease's duration: whole seconds, as the Lease object has no others; long enough to renew twice.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_secs(3) || time > Duration::from_secs(3600) || time.subsec_nanos() != 0
    {
        return Err("must be whole seconds from 3s to 1h".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parser: fn(&str) -> Result<Duration, String>, text: &str, milliseconds: Option<u64>) {
        assert_eq!(
            parser(text).ok(),
            milliseconds.map(Duration::from_millis),
            "{text:?}"
        );
    }

    #[test]
    fn durations_have_units() {
        check(duration, "0s", Some(0));
        check(duration, "200ms", Some(200));
        check(duration, "1h30m", Some(5_400_000));
        check(duration, "30", None);
        check(duration, "-5s", None);
        check(duration, "", None);
        check(positive, "0s", None);
        check(positive, "1ms", Some(1));
    }

    #[test]
    fn a_year_is_the_longest() {
        for parser in [duration, positive] {
            check(parser, "8760h", Some(365 * 86_400_000));
            check(parser, "8760h1ns", None);
            check(parser, "200000000h", None);
            check(parser, "9223372036854775807s", None);
            let refusal = parser("8761h").unwrap_err();
            assert_eq!(refusal, "must be at most 8760h, which is 365 days");
        }
    }

    #[test]
    fn a_pod_is_named_as_kubectl_names_it() {
        for text in ["web-1", "pod/web-1", "pods/web-1", "po/web-1"] {
            assert_eq!(pod(text), Ok("web-1".to_owned()));
        }
        for text in ["", "pod/", "deployment/web", "/web"] {
            assert!(pod(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_is_a_number_in_its_limits() {
        for (text, from_none, from_one) in [
            ("0", Some(0), None),
            ("1", Some(1), Some(1)),
            ("100000", Some(100_000), Some(100_000)),
            ("100001", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("many", None, None),
            ("", None, None),
        ] {
            assert_eq!(count::<0>(text).ok(), from_none, "{text:?}");
            assert_eq!(count::<1>(text).ok(), from_one, "{text:?}");
        }
        let allowed = "must be a number from 1 to 100000";
        assert_eq!(count::<1>("many").unwrap_err(), allowed);
    }

    #[test]
    fn a_certificate_is_valid_for_an_hour_to_ten_years() {
        check(validity, "59m", None);
        check(validity, "1h", Some(3_600_000));
        check(validity, "1d", Some(86_400_000));
        check(validity, "3650d", Some(315_360_000_000));
        check(validity, "3651d", None);
        check(validity, "87600h", Some(315_360_000_000));
        check(validity, "87601h", None);
        check(validity, "4294967295d", None);
        check(validity, "d", None);
        check(validity, "1y2", None);
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["a", "a.b.svc", "10.0.0.1", "fd00::1"] {
            assert_eq!(host(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "*.a", "https://a", "a:443", "[::1]"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_lease_lasts_whole_seconds() {
        check(lease, "2s", None);
        check(lease, "3s", Some(3_000));
        check(lease, "3500ms", None);
        check(lease, "1h", Some(3_600_000));
        check(lease, "3601s", None);
    }
}
