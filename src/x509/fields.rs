//! Fields of a certificate: who issued it, from when until when, which key it is for, and what for.
//!
//! The verifier's parser takes version 3 only. Certificates made by hand often have version 1, for `openssl x509`
//! makes those; nodes show them, and trust authorities by them.

use super::Validity;

/// The tags of what leads to the fields (RFC 5280, section 4.1).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

/// The name of the extension that lists purposes (RFC 5280, section 4.2.1.12).
const PURPOSES: &[u8] = &[0x55, 0x1d, 0x25];

/// The purposes of servers: to be one with TLS, and any at all.
const SERVE: [&[u8]; 2] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    &[0x55, 0x1d, 0x25, 0x00],
];

/// The fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The name of who issued it, a whole DER value.
    pub issuer: &'a [u8],
    /// Its key, a whole DER value.
    pub public_key: &'a [u8],
    /// Two times.
    validity: &'a [u8],
    /// What stands behind the key.
    rest: &'a [u8],
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
    pub fn of(certificate: &'a [u8]) -> Option<Self> {
        let certificate = Reader(certificate).next(SEQUENCE)?;
        let signed = Reader(certificate.content).next(SEQUENCE)?;
        let mut fields = Reader(signed.content);
        // Version 1 is not written.
        let _ = fields.next(VERSION);
        let _serial = fields.next(INTEGER)?;
        let _algorithm = fields.next(SEQUENCE)?;
        let issuer = fields.next(SEQUENCE)?.whole;
        let validity = fields.next(SEQUENCE)?.content;
        let _subject = fields.next(SEQUENCE)?;
        let public_key = fields.next(SEQUENCE)?.whole;
        Some(Self {
            issuer,
            public_key,
            validity,
            rest: fields.0,
        })
    }

    /// Returns from when until when it is good, if that can be read.
    pub fn validity(&self) -> Option<Validity> {
        let mut times = Reader(self.validity);
        Validity::read(times.any()?, times.any()?)
    }

    /// Says whether it may be a server's. One that lists no purposes is good for all; one that cannot be read, for none.
    pub fn may_serve(&self) -> bool {
        let is_listed = |purposes: Option<&[u8]>| match purposes {
            Some(purposes) => includes(purposes, &SERVE),
            None => Some(true),
        };
        self.purposes().and_then(is_listed).unwrap_or(false)
    }

    /// Returns the list of purposes; `None` inside where there is no such list, and outside where nothing can be read.
    fn purposes(&self) -> Option<Option<&'a [u8]>> {
        let mut rest = Reader(self.rest);
        let _ = (rest.next(ISSUER_ID), rest.next(SUBJECT_ID));
        if rest.0.is_empty() {
            return Some(None);
        }
        let list = Reader(rest.next(EXTENSIONS)?.content).next(SEQUENCE)?;
        let mut extensions = Reader(list.content);
        while !extensions.0.is_empty() {
            let mut extension = Reader(extensions.next(SEQUENCE)?.content);
            let name = extension.next(OBJECT_IDENTIFIER)?.content;
            let _is_critical = extension.next(BOOLEAN);
            let value = extension.next(OCTETS)?.content;
            if name == PURPOSES {
                return Some(Some(Reader(value).next(SEQUENCE)?.content));
            }
        }
        Some(None)
    }
}

/// Says whether one of `wanted` is among the object identifiers of `list`.
fn includes(list: &[u8], wanted: &[&[u8]]) -> Option<bool> {
    let mut list = Reader(list);
    while !list.0.is_empty() {
        if wanted.contains(&list.next(OBJECT_IDENTIFIER)?.content) {
            return Some(true);
        }
    }
    Some(false)
}

impl<'a> Reader<'a> {
    /// Takes the next value, whatever its tag, and returns all of it.
    fn any(&mut self) -> Option<&'a [u8]> {
        let tag = *self.0.first()?;
        Some(self.next(tag)?.whole)
    }

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
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Purpose};
    use rustls::{
        RootCertStore,
        pki_types::{CertificateDer, UnixTime},
        server::ParsedCertificate,
    };

    use super::{super::tests::Signer, *};

    #[test]
    fn they_are_what_other_parsers_find() {
        for name in ["ours", &"long ".repeat(60)] {
            let issuer = Signer::new(name);
            let leaf = issuer.sign(CertificateParams::default());
            let fields = Fields::of(&leaf).unwrap();
            let mut store = RootCertStore::empty();
            store.add(issuer.der()).unwrap();
            assert_eq!(fields.issuer, store.subjects()[0].as_ref());
            let parsed = ParsedCertificate::try_from(&leaf).unwrap();
            assert_eq!(fields.public_key, &*parsed.subject_public_key_info());
        }
    }

    /// Returns a short value.
    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], &*content].concat()
    }

    /// Returns what is signed of a certificate with these parts.
    fn certificate(version: &[u8], behind_key: &[u8]) -> Vec<u8> {
        let [issuer, key] = [b'i', b'k'].map(|byte| value(SEQUENCE, &[&[byte]]));
        let (serial, any) = (value(INTEGER, &[&[7]]), value(SEQUENCE, &[]));
        let times = [0x17; 2].map(|tag| value(tag, &[b"700101000001Z"]));
        let validity = value(SEQUENCE, &[&times[0], &times[1]]);
        let parts = [
            version, &serial, &any, &issuer, &validity, &any, &key, behind_key,
        ];
        value(SEQUENCE, &[&value(SEQUENCE, &parts), &any])
    }

    #[test]
    fn version_1_is_read() {
        let version = value(VERSION, &[&value(INTEGER, &[&[2]])]);
        for version in [&[], &version[..]] {
            let certificate = certificate(version, &[]);
            let fields = Fields::of(&certificate).unwrap();
            let [issuer, key] = [b'i', b'k'].map(|byte| value(SEQUENCE, &[&[byte]]));
            assert_eq!((fields.issuer, fields.public_key), (&*issuer, &*key));
            let second = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1));
            let both = Validity {
                begin: second,
                end: second,
            };
            assert_eq!(fields.validity(), Some(both));
            assert!(fields.may_serve());
        }
    }

    #[track_caller]
    fn check_serves(purposes: &[Purpose], expected: bool) {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.extended_key_usages = purposes.to_vec();
        let certificate = Signer::new("ours").sign(params);
        let fields = Fields::of(&certificate).unwrap();
        assert_eq!(fields.may_serve(), expected, "{purposes:?}");
    }

    #[test]
    fn a_list_of_purposes_must_name_servers() {
        check_serves(&[], true);
        check_serves(&[Purpose::ServerAuth], true);
        check_serves(&[Purpose::ClientAuth], false);
        check_serves(&[Purpose::ClientAuth, Purpose::ServerAuth], true);
        check_serves(&[Purpose::Any], true);
        check_serves(&[Purpose::CodeSigning], false);
    }

    #[test]
    fn what_stands_behind_the_key_is_read_or_serves_nothing() {
        let check = |behind: &[u8], expected| {
            let certificate = certificate(&[], behind);
            let fields = Fields::of(&certificate).unwrap();
            assert_eq!(fields.may_serve(), expected, "{behind:x?}");
        };
        let extensions = |parts: &[&[u8]]| value(EXTENSIONS, &[&value(SEQUENCE, parts)]);
        let ids = [ISSUER_ID, SUBJECT_ID].map(|tag| value(tag, &[&[0, 1]]));
        check(&ids.concat(), true);
        check(&extensions(&[]), true);
        let purpose = value(OBJECT_IDENTIFIER, &[&[0x2a]]);
        let list = value(OCTETS, &[&value(SEQUENCE, &[&purpose])]);
        let name = value(OBJECT_IDENTIFIER, &[PURPOSES]);
        let critical = value(BOOLEAN, &[&[0xff]]);
        let odd = value(SEQUENCE, &[&name, &critical, &list]);
        check(&extensions(&[&odd]), false);
        check(&[&*ids.concat(), &*extensions(&[&odd])].concat(), false);
        let other = value(SEQUENCE, &[&purpose, &value(OCTETS, &[])]);
        check(&extensions(&[&other]), true);
        check(&extensions(&[&other, &odd]), false);
        check(&value(OCTETS, &[]), false);
        check(&extensions(&[&name]), false);
    }

    #[test]
    fn what_is_cut_or_bent_is_no_certificate_and_no_panic() {
        let certificate = Signer::new("ours").sign(CertificateParams::default());
        for end in 0..certificate.len() {
            assert_eq!(Fields::of(&certificate[..end]), None, "{end}");
        }
        for index in 0..certificate.len() {
            let mut bent = certificate.to_vec();
            bent[index] ^= 0xff;
            let bent = CertificateDer::from(bent);
            if let Some(fields) = Fields::of(&bent) {
                let _ = (fields.validity(), fields.may_serve());
            }
        }
        assert_eq!(Fields::of(&[SEQUENCE, 0x84, 0, 0, 0, 0]), None);
        assert_eq!(Fields::of(&[SEQUENCE, 0x83, 0xff, 0xff, 0xff]), None);
    }
}
