//! What is shown to a registry or its token service, and how two of them are told apart without being kept.

use std::{collections::hash_map::RandomState, fmt, hash::BuildHasher};

use sha2::{Digest, Sha256};

/// A way to say who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nobody in particular.
    Anonymous,
    /// A user and a password.
    Basic {
        /// The user.
        username: Box<str>,
        /// The password.
        password: Box<str>,
    },
    /// A refresh token, to be exchanged by OAuth2 (docker's `identitytoken`).
    Identity(Box<str>),
}

impl Credential {
    /// Returns how many bytes its parts have.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Anonymous => 0,
            Self::Basic { username, password } => username.len() + password.len(),
            Self::Identity(token) => token.len(),
        }
    }
}

/// Stands for a credential, or a list of them, wherever secrets must not be kept or shown.
///
/// Equal for equal content, within this process only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// Makes fingerprints with a key that no other process has.
#[derive(Clone)]
pub(super) struct Fingerprinter {
    key: [u8; 32],
}

impl Fingerprinter {
    /// Returns one with a fresh random key.
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        for (index, chunk) in key.chunks_mut(8).enumerate() {
            // Each state is keyed by the operating system's randomness.
            let word = RandomState::new().hash_one(index);
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Self { key }
    }

    pub(super) fn of_credential(&self, credential: &Credential) -> Fingerprint {
        let parts: [&[u8]; 3] = match credential {
            Credential::Anonymous => [b"anonymous", b"", b""],
            Credential::Basic { username, password } => {
                [b"basic", username.as_bytes(), password.as_bytes()]
            }
            Credential::Identity(token) => [b"identity", token.as_bytes(), b""],
        };
        self.of(parts.into_iter())
    }

    pub(super) fn of_list<'a>(&self, list: impl Iterator<Item = &'a Fingerprint>) -> Fingerprint {
        self.of(list.map(|fingerprint| fingerprint.0.as_slice()))
    }

    fn of<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> Fingerprint {
        let mut hash = Sha256::new_with_prefix(self.key);
        for part in parts {
            // With its length before it no part can run into the next.
            hash.update((part.len() as u64).to_ne_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().into())
    }
}

#[cfg(test)]
impl Fingerprint {
    /// Returns one that stands for a number, for tests.
    pub(crate) fn numbered(number: usize) -> Self {
        Self(Sha256::digest(number.to_ne_bytes()).into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(..)",
            Self::Identity(_) => "Identity(..)",
        })
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(username: &str, password: &str) -> Credential {
        Credential::Basic {
            username: username.into(),
            password: password.into(),
        }
    }

    #[test]
    fn a_fingerprint_stands_for_the_whole_content() {
        let printer = Fingerprinter::new();
        let of = |credential| printer.of_credential(&credential);
        assert_eq!(of(basic("ab", "c")), of(basic("ab", "c")));
        assert_ne!(of(basic("ab", "c")), of(basic("a", "bc")));
        assert_ne!(of(basic("", "")), of(Credential::Anonymous));
        assert_ne!(of(basic("a", "")), of(Credential::Identity("a".into())));
    }

    #[test]
    fn lists_differ_by_order_and_length() {
        let printer = Fingerprinter::new();
        let [a, b] = ["a", "b"].map(|name| printer.of_credential(&basic(name, "x")));
        assert_eq!(
            printer.of_list([a, b].iter()),
            printer.of_list([a, b].iter())
        );
        assert_ne!(
            printer.of_list([a, b].iter()),
            printer.of_list([b, a].iter())
        );
        assert_ne!(printer.of_list([a].iter()), printer.of_list([a, a].iter()));
    }

    #[test]
    fn a_fingerprint_means_nothing_elsewhere() {
        let credential = basic("a", "b");
        let [here, there] = [Fingerprinter::new(), Fingerprinter::new()];
        assert_ne!(
            here.of_credential(&credential),
            there.of_credential(&credential)
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!(
            "{:?} {:?}",
            basic("ann", "pw"),
            Credential::Identity("t0k".into())
        );
        assert_eq!(shown, "Basic(..) Identity(..)");
    }
}
