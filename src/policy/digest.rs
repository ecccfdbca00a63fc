//! A content digest, as the OCI image specification defines it.

use std::{fmt, str::FromStr};

use super::excerpt::excerpt;

/// A digest of an image manifest or index: `sha256:` and 64 lower-case hex digits, or `sha512:` and 128.
///
/// Source: OCI image-spec `descriptor.md`, "Digests".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// The algorithm every registry speaks.
    Sha256([u8; 32]),
    /// The other registered algorithm; rare.
    Sha512(Box<[u8; 64]>),
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// The algorithm is not one we can compare.
    #[error("digest algorithm {0:?} is not sha256 or sha512")]
    Algorithm(String),
    /// The part behind the colon has the wrong length or alphabet.
    #[error("digest {0:?} must be sha256: and 64, or sha512: and 128, lower-case hex digits")]
    Encoding(String),
}

impl Digest {
    /// Returns the digest of a content whose SHA-256 sum is `sum`.
    pub const fn of_sha256(sum: [u8; 32]) -> Self {
        Self::Sha256(sum)
    }

    /// Returns the algorithm's registered name.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Returns the sum itself, 32 or 64 bytes long.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(sum) => sum,
            Self::Sha512(sum) => sum.as_slice(),
        }
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let malformed = || InvalidDigest::Encoding(excerpt(text));
        let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm {
            "sha256" => decode(hex).map(Self::Sha256).ok_or_else(malformed),
            "sha512" => decode(hex)
                .map(|sum| Self::Sha512(Box::new(sum)))
                .ok_or_else(malformed),
            _ => Err(InvalidDigest::Algorithm(excerpt(algorithm))),
        }
    }
}

/// Returns the bytes that `hex` spells in lower-case digits; `None` when it is not exactly `N` of them.
fn decode<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut pairs = hex.as_bytes().chunks_exact(2);
    if pairs.len() != N || !pairs.remainder().is_empty() {
        return None;
    }
    let mut sum = [0; N];
    for (byte, pair) in sum.iter_mut().zip(&mut pairs) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(sum)
}

// Upper case is refused because the specification wants one spelling per digest.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        write!(f, "{}:", self.algorithm())?;
        for byte in self.bytes() {
            for nibble in [byte >> 4, byte & 0x0f] {
                fmt::Write::write_char(f, char::from(DIGITS[usize::from(nibble)]))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[track_caller]
    fn check(text: &str, expected: Result<Digest, InvalidDigest>) {
        assert_eq!(text.parse::<Digest>(), expected, "{text}");
        if let Ok(digest) = expected {
            assert_eq!(digest.to_string(), text, "a digest has one spelling");
        }
    }

    fn malformed(text: &str) -> Result<Digest, InvalidDigest> {
        Err(InvalidDigest::Encoding(text.to_owned()))
    }

    #[test]
    fn sha256_has_64_digits() {
        let sum = sha256(b"abc");
        check(&format!("sha256:{ABC}"), Ok(Digest::of_sha256(sum)));
        for hex in [
            &ABC[1..],
            &ABC[2..],
            &format!("{ABC}0"),
            &format!("{ABC}00"),
            "",
        ] {
            let text = format!("sha256:{hex}");
            check(&text, malformed(&text));
        }
    }

    #[test]
    fn sha512_has_128_digits() {
        check(
            &format!("sha512:{}", "0f".repeat(64)),
            Ok(Digest::Sha512(Box::new([0x0f; 64]))),
        );
        for digits in [64, 127, 129] {
            let text = format!("sha512:{}", "0".repeat(digits));
            check(&text, malformed(&text));
        }
    }

    #[test]
    fn only_lower_case_hex_digits_are_taken() {
        for odd in ["A", "g", "/", ":", "`", "@", " ", "é"] {
            let hex = format!("{}{odd}", "0".repeat(64 - odd.len()));
            let text = format!("sha256:{hex}");
            check(&text, malformed(&text));
        }
        check("", malformed(""));
        check(ABC, malformed(ABC));
    }

    #[test]
    fn other_algorithms_are_named_in_the_error() {
        for algorithm in ["sha384", "SHA256", "md5", "", " sha256", "sha256+b64"] {
            check(
                &format!("{algorithm}:{ABC}"),
                Err(InvalidDigest::Algorithm(algorithm.to_owned())),
            );
        }
    }

    fn sha256(content: &[u8]) -> [u8; 32] {
        use sha2::Digest as _;
        sha2::Sha256::digest(content).into()
    }
}
