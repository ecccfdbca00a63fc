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

/// Parses `90s`, `5m`, `1h30m`, `200ms` and `0s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
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
    fn a_lease_lasts_whole_seconds() {
        check(lease, "2s", None);
        check(lease, "3s", Some(3_000));
        check(lease, "3500ms", None);
        check(lease, "1h", Some(3_600_000));
        check(lease, "3601s", None);
    }
}
