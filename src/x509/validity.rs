//! From when until when a certificate is good.

use std::time::Duration;

use jiff::civil::{self, DateTime};
use rustls::{
    CertificateError, Error,
    pki_types::{CertificateDer, UnixTime},
};

use super::Fields;

/// The tags of the two forms of a time, and how long their values are: with two digits of the year, and with four.
const UTC_TIME: [u8; 2] = [0x17, 13];
const GENERALIZED_TIME: [u8; 2] = [0x18, 15];

/// The first and the last second of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When it begins.
    pub begin: UnixTime,
    /// When it ends.
    pub end: UnixTime,
}

impl Validity {
    /// Returns that of a certificate in DER, if it is one.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        Fields::of(certificate)?.validity()
    }

    /// Returns whether it has begun and not ended at the time `at`.
    pub fn includes(&self, at: UnixTime) -> bool {
        self.check(at).is_ok()
    }

    /// Fails in the verifier's words when it has not begun, or has ended at the time `at`.
    pub fn check(&self, at: UnixTime) -> Result<(), Error> {
        let Self { begin, end } = *self;
        if at < begin {
            return Err(CertificateError::NotValidYetContext {
                time: at,
                not_before: begin,
            }
            .into());
        }
        if end < at {
            return Err(CertificateError::ExpiredContext {
                time: at,
                not_after: end,
            }
            .into());
        }
        Ok(())
    }

    /// Reads two times in DER (RFC 5280, section 4.1.2.5).
    pub(super) fn read(begin: &[u8], end: &[u8]) -> Option<Self> {
        Some(Self {
            begin: time(begin)?,
            end: time(end)?,
        })
    }
}

/// Reads a time: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`. What is before 1970 is long ago, and told as its beginning.
fn time(der: &[u8]) -> Option<UnixTime> {
    let (head, text) = der.split_first_chunk()?;
    let digits = text.strip_suffix(b"Z")?;
    if text.len() != usize::from(head[1]) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut pairs = digits.chunks(2).map(|pair| {
        let [tens, ones] = pair else { return None };
        i8::try_from((tens - b'0') * 10 + (ones - b'0')).ok()
    });
    let mut next = || pairs.next().flatten();
    let year = match *head {
        GENERALIZED_TIME => i16::from(next()?) * 100 + i16::from(next()?),
        UTC_TIME => match i16::from(next()?) {
            year @ 50.. => 1900 + year,
            year => 2000 + year,
        },
        _ => return None,
    };
    let time = DateTime::new(year, next()?, next()?, next()?, next()?, next()?, 0).ok()?;
    let since = time.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0));
    let since = Duration::try_from(since).unwrap_or(Duration::ZERO);
    Some(UnixTime::since_unix_epoch(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tag: u8, text: &str, expected: Option<u64>) {
        let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let found = time(&der).map(|time| time.as_secs());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn times_are_read_in_both_forms() {
        check(0x17, "700101000000Z", Some(0));
        check(0x17, "200229123456Z", Some(1_582_979_696));
        check(0x17, "491231235959Z", Some(2_524_607_999));
        check(0x17, "500101000000Z", Some(0));
        check(0x18, "20500101000000Z", Some(2_524_608_000));
        check(0x18, "19691231235959Z", Some(0));
        check(0x18, "99991231235959Z", Some(253_402_300_799));
    }

    #[test]
    fn what_is_no_time_is_told() {
        check(0x17, "", None);
        check(0x17, "7001010000Z", None);
        check(0x17, "700101000000", None);
        check(0x17, "7001010000000", None);
        check(0x17, "700101000000+0000", None);
        check(0x17, "70010100000-Z", None);
        check(0x17, "701301000000Z", None);
        check(0x17, "210229000000Z", None);
        check(0x17, "700101240000Z", None);
        check(0x17, "20500101000000Z", None);
        check(0x18, "500101000000Z", None);
        check(0x16, "700101000000Z", None);
        assert_eq!(time(&[]), None);
        assert_eq!(time(&[0x17]), None);
        assert_eq!(time(b"\x17\x0d700101000000"), None);
    }

    #[test]
    fn both_ends_are_in_it() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (begin, end) = (at(5), at(7));
        let validity = Validity { begin, end };
        let included: Vec<u64> = (4..=8).filter(|s| validity.includes(at(*s))).collect();
        assert_eq!(included, [5, 6, 7]);
    }
}
