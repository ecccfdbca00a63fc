//! Leases: times to the microsecond, durations above zero.

use serde_json::Value;

use super::invalid;
use crate::api::{ApiError, Cause, object};

/// Returns what is wrong with a Lease. A time in another form cannot even be decoded.
pub(super) fn check(lease: &Value) -> Result<Vec<Cause>, ApiError> {
    for key in ["acquireTime", "renewTime"] {
        if let Some(time) = lease["spec"][key].as_str() {
            check_micro_time("Lease", "v1", time)?;
        }
    }
    let mut causes = Vec::new();
    if let Some(seconds) = object::number(lease, "/spec/leaseDurationSeconds").filter(|s| *s <= 0) {
        causes.push(invalid(
            "spec.leaseDurationSeconds",
            &seconds.into(),
            "must be greater than 0",
        ));
    }
    if let Some(count) = object::number(lease, "/spec/leaseTransitions").filter(|count| *count < 0)
    {
        causes.push(invalid(
            "spec.leaseTransitions",
            &count.into(),
            "must be greater than or equal to 0",
        ));
    }
    Ok(causes)
}

/// Refuses a time that has not exactly six digits after the second.
pub(super) fn check_micro_time(kind: &str, version: &str, time: &str) -> Result<(), ApiError> {
    // "2026-01-01T00:00:00" has 19 characters; the fraction follows.
    let rest = time.get(19..).unwrap_or("");
    let digits = rest
        .strip_prefix('.')
        .map(|r| r.chars().take_while(char::is_ascii_digit).count());
    if digits == Some(6) && time.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: parsing time {time:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {rest:?} as \".000000\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_time(time: &str, expected: Result<(), &str>) {
        let given = check_micro_time("Lease", "v1", time).map_err(|error| error.message.clone());
        assert_eq!(
            given.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|e| *e)
        );
    }

    #[test]
    fn a_micro_time_has_six_digits() {
        check_time("2026-01-01T00:00:00.000001Z", Ok(()));
        check_time(
            "2026-01-01T00:00:00Z",
            Err(
                "Lease in version \"v1\" cannot be handled as a Lease: parsing time \"2026-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\"",
            ),
        );
        check_time(
            "2026-01-01T00:00:00.123Z",
            Err(
                "Lease in version \"v1\" cannot be handled as a Lease: parsing time \"2026-01-01T00:00:00.123Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \".123Z\" as \".000000\"",
            ),
        );
    }
}
