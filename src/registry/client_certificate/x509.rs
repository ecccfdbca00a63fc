//! Two fields of an X.509 certificate: who issued it, and which key it is for.
//!
//! The verifier's parser takes version 3 only. Certificates made by hand often have version 1, for `openssl x509`
//! makes those, and container runtimes show them.

/// The tags of what leads to the fields (RFC 5280, section 4.1).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

/// The fields, each a whole DER value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) public_key: &'a [u8],
}

/// What is left to be read of DER values behind each other.
struct Reader<'a>(&'a [u8]);

/// A value: all of it, and what it holds.
struct Value<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads them from a certificate in DER; `None` when it is none.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let certificate = Reader(certificate).next(SEQUENCE)?;
        let signed = Reader(certificate.content).next(SEQUENCE)?;
        let mut fields = Reader(signed.content);
        // Version 1 is not written.
        let _ = fields.next(VERSION);
        let _serial = fields.next(INTEGER)?;
        let _algorithm = fields.next(SEQUENCE)?;
        let issuer = fields.next(SEQUENCE)?.whole;
        let _validity = fields.next(SEQUENCE)?;
        let _subject = fields.next(SEQUENCE)?;
        let public_key = fields.next(SEQUENCE)?.whole;
        Some(Self { issuer, public_key })
    }
}

impl<'a> Reader<'a> {
    /// Takes the next value, if it has `tag`.
    fn next(&mut self, tag: u8) -> Option<Value<'a>> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            // Short, or the number of bytes that have it.
            ..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                let add = |sum, byte: &u8| sum << 8 | usize::from(*byte);
                (length.iter().fold(0, add), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Value { whole, content })
    }
}

#[cfg(test)]
mod tests {
    use rustls::{RootCertStore, server::ParsedCertificate};

    use super::{super::tests::Authority, *};

    #[test]
    fn they_are_what_other_parsers_find() {
        let (authority, other) = (Authority::new("ours"), Authority::new(&"long ".repeat(60)));
        for issuer in [&authority, &other] {
            let chain = issuer.sign(&rcgen::PKCS_ECDSA_P256_SHA256).0;
            let fields = Fields::of(&chain).unwrap();
            let mut store = RootCertStore::empty();
            store.add(issuer.der()).unwrap();
            assert_eq!(fields.issuer, store.subjects()[0].as_ref());
            let parsed = ParsedCertificate::try_from(&chain).unwrap();
            assert_eq!(fields.public_key, &*parsed.subject_public_key_info());
        }
    }

    /// Returns a short value.
    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], &*content].concat()
    }

    #[test]
    fn version_1_is_read() {
        let [issuer, key] = [b'i', b'k'].map(|byte| value(SEQUENCE, &[&[byte]]));
        let (serial, any) = (value(INTEGER, &[&[7]]), value(SEQUENCE, &[]));
        let version = value(VERSION, &[&value(INTEGER, &[&[2]])]);
        for version in [&[], &version[..]] {
            let signed = [version, &serial, &any, &issuer, &any, &any, &key];
            let certificate = value(SEQUENCE, &[&value(SEQUENCE, &signed), &any]);
            let fields = Fields::of(&certificate).unwrap();
            assert_eq!((fields.issuer, fields.public_key), (&*issuer, &*key));
        }
    }

    #[test]
    fn what_is_cut_or_bent_is_no_certificate_and_no_panic() {
        let certificate = Authority::new("ours")
            .sign(&rcgen::PKCS_ECDSA_P256_SHA256)
            .0;
        for end in 0..certificate.len() {
            assert_eq!(Fields::of(&certificate[..end]), None, "{end}");
        }
        for index in 0..certificate.len() {
            let mut bent = certificate.to_vec();
            bent[index] ^= 0xff;
            let _ = Fields::of(&bent);
        }
        assert_eq!(Fields::of(&[SEQUENCE, 0x84, 0, 0, 0, 0]), None);
        assert_eq!(Fields::of(&[SEQUENCE, 0x83, 0xff, 0xff, 0xff]), None);
    }
}
