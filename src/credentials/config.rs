//! Docker configs, in both forms, read entry by entry: a broken one does not take the others with it.

mod entry;
mod json;

pub(super) use self::entry::basic;
use self::json::{Auths, ConfigJson};
use super::{Credential, Fault, InvalidScope, Scope};
use crate::policy::excerpt;

/// As many broken entries are told one by one, as a secret may hold thousands. With the count of the others they are
/// as many problems as are told of an image.
const MOST_BROKEN: usize = 7;

/// The credentials of one docker config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What can be used, in the order of the keys.
    pub entries: Vec<Entry>,
    /// What cannot: the first of any number.
    pub broken: Vec<BrokenEntry>,
    /// How many more cannot.
    pub untold: usize,
}

/// One credential, and the images it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What its key stands for.
    pub scope: Scope,
    /// The credential.
    pub credential: Credential,
}

/// One entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its entry {key:?} is of no use")]
pub struct BrokenEntry {
    /// The key as it is written, without a user or password before its host; one of more than 256 characters is cut.
    pub key: Box<str>,
    /// What is wrong.
    pub source: EntryFault,
}

/// What can be wrong with an entry. None of it repeats the entry: it is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// The key.
    #[error(transparent)]
    Key(#[from] InvalidScope),
    /// The value or one of its fields has another type.
    #[error("the entry must be an object, and its `{0}` a string")]
    Shape(&'static str),
    /// The field `auth`.
    #[error("`auth` must be the base64 of `user:password`")]
    Auth,
    /// The bytes in the field `auth`, which nodes show as they are.
    #[error("the `user:password` in `auth` must be UTF-8")]
    Bytes,
    /// The credential's length.
    #[error("the credential must not be longer than 32 KiB")]
    Length,
}

impl EntryFault {
    /// Says whether the kubelet decodes no other entry either. It skips keys that make no sense, and knows no identity
    /// tokens.
    pub(super) const fn stops_nodes(&self) -> bool {
        match self {
            Self::Shape(field) => !matches!(field.as_bytes(), b"identitytoken"),
            Self::Auth => true,
            Self::Key(_) | Self::Bytes | Self::Length => false,
        }
    }
}

/// The bytes are no docker config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a docker config in JSON (line {line}, column {column})")]
pub struct NotAConfig {
    line: usize,
    column: usize,
}

impl Config {
    /// Reads a `config.json`, also as in secrets of type `kubernetes.io/dockerconfigjson`.
    pub fn from_config_json(json: &[u8]) -> Result<Self, NotAConfig> {
        let ConfigJson(auths) = serde_json::from_slice(json)?;
        Ok(Self::from_auths(auths))
    }

    /// Reads a `.dockercfg`, as in secrets of type `kubernetes.io/dockercfg`.
    pub fn from_dockercfg(json: &[u8]) -> Result<Self, NotAConfig> {
        let auths: Option<Auths<'_>> = serde_json::from_slice(json)?;
        Ok(Self::from_auths(auths.unwrap_or_default()))
    }

    fn from_auths(auths: Auths<'_>) -> Self {
        let mut config = Self::default();
        for (key, value) in auths {
            match entry::read(&key, value.get()) {
                Ok(entries) => config.entries.extend(entries),
                Err(source) => config.note_broken(&key, source),
            }
        }
        config
    }

    /// Adds that the entry under `key` is of no use.
    pub(super) fn note_broken(&mut self, key: &str, source: EntryFault) {
        if self.broken.len() == MOST_BROKEN {
            self.untold += 1;
            return;
        }
        let key = key.rsplit('@').next().unwrap_or_default();
        let key = excerpt(key).into();
        self.broken.push(BrokenEntry { key, source });
    }

    /// Returns about how many bytes what can be used takes.
    pub(super) fn bytes(&self) -> usize {
        let entry = |it: &Entry| size_of::<Entry>() + it.scope.key().len() + it.credential.bytes();
        self.entries.iter().map(entry).sum()
    }

    /// Returns what is wrong with its entries.
    pub(super) fn faults(&self) -> impl Iterator<Item = Fault> {
        let untold = (0 < self.untold).then_some(Fault::Untold(self.untold));
        let broken = self.broken.iter().cloned().map(Fault::Entry);
        broken.chain(untold)
    }
}

impl From<serde_json::Error> for NotAConfig {
    /// Keeps the place only: the message may repeat what stands there.
    fn from(error: serde_json::Error) -> Self {
        Self {
            line: error.line(),
            column: error.column(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn auths_in_any_case_are_added_up() {
        let keys = |json: &str| {
            let config = Config::from_config_json(json.as_bytes()).unwrap();
            let keys = config.entries.iter().map(|entry| entry.scope.key());
            keys.collect::<Vec<_>>().join(" ")
        };
        let (a, b) = (
            r#"{"a.io": {"username": "ann"}}"#,
            r#"{"b.io": {"username": "ann"}}"#,
        );
        assert_eq!(keys(&format!(r#"{{"Auths": {a}}}"#)), "a.io");
        assert_eq!(
            keys(&format!(r#"{{"auths": {b}, "AUTHS": {a}}}"#)),
            "a.io b.io"
        );
        assert_eq!(keys(&format!(r#"{{"auths": {b}, "Auths": null}}"#)), "");
        assert_eq!(keys(&format!(r#"{{"auths": null, "Auths": {b}}}"#)), "b.io");
    }

    #[test]
    fn a_broken_entry_leaves_the_others() {
        let config = json!({"auths": {
            "a.io": {"username": "ann", "password": "pw"},
            "b.io": {"auth": "%"},
            "https://ann:hunter2@c d": {"username": "ann", "password": "pw"},
            "e.io": {},
        }, "credHelpers": {"x": "y"}});
        let config = Config::from_config_json(config.to_string().as_bytes()).unwrap();
        let keys: Vec<&str> = config.entries.iter().map(|e| e.scope.key()).collect();
        let broken: Vec<&str> = config.broken.iter().map(|b| &*b.key).collect();
        assert_eq!((keys, broken), (vec!["a.io"], vec!["b.io", "c d"]));
    }

    #[test]
    fn a_config_is_weighed_by_its_entries() {
        let bytes = |password: &str| {
            let config = json!({"a.io": {"username": "ann", "password": password}});
            let config = Config::from_dockercfg(config.to_string().as_bytes());
            config.unwrap().bytes()
        };
        assert_eq!(
            bytes("pw"),
            size_of::<Entry>() + "a.io".len() + "annpw".len()
        );
        assert_eq!(Config::default().bytes(), 0);
    }

    #[test]
    fn of_many_broken_entries_the_first_are_told_and_the_others_counted() {
        for (given, told, untold) in [(7, 7, 0), (8, 7, 1), (20_000, 7, 19_993)] {
            let auths: BTreeMap<String, Value> =
                (0..given).map(|n| (format!("{n}"), json!(7))).collect();
            let config = Config::from_dockercfg(json!(auths).to_string().as_bytes()).unwrap();
            assert_eq!((config.broken.len(), config.untold), (told, untold));
            let faults: Vec<String> = config.faults().map(|fault| fault.to_string()).collect();
            assert_eq!(faults.len(), told + usize::from(untold > 0));
            let last = format!("{untold} more of its entries are of no use");
            assert_eq!(faults.contains(&last), untold > 0, "{faults:?}");
        }
        let long = json!({"k".repeat(1 << 19): 7}).to_string();
        let config = Config::from_dockercfg(long.as_bytes()).unwrap();
        assert!(config.broken[0].to_string().len() < 512);
    }

    #[test]
    fn what_is_nested_too_deep_spoils_its_entry_alone() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let text = format!(r#"{{"a.io": {{"username": "ann"}}, "b.io": {deep}}}"#);
        let config = Config::from_dockercfg(text.as_bytes()).unwrap();
        assert_eq!((config.entries.len(), config.broken.len()), (1, 1));
    }

    #[test]
    fn the_two_forms_differ_by_the_outer_object() {
        let inner = r#"{"a.io": {"username": "ann", "password": "pw"}}"#;
        let outer = format!(r#"{{"auths": {inner}}}"#);
        let from_inner = Config::from_dockercfg(inner.as_bytes()).unwrap();
        let from_outer = Config::from_config_json(outer.as_bytes()).unwrap();
        assert_eq!(from_inner, from_outer);
        assert_eq!(from_inner.entries.len(), 1);
    }

    #[test]
    fn what_is_not_json_is_refused_without_being_repeated() {
        for text in [
            "",
            "hunter2",
            r#"{"auths": "hunter2"}"#,
            r#"{"auths": ["hunter2"]}"#,
        ] {
            let error = Config::from_config_json(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(Config::from_config_json(b"{}").unwrap(), Config::default());
        assert_eq!(
            Config::from_config_json(b"{\"auths\":null}").unwrap(),
            Config::default()
        );
    }
}
