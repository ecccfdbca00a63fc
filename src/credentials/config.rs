//! Docker configs, in both forms, read entry by entry: a broken one does not take the others with it.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Credential, Fault, InvalidScope, Scope};
use crate::policy::excerpt;

/// As many broken entries are told one by one, as a secret may hold thousands. With the count of the others they are
/// as many problems as are told of an image.
const MOST_BROKEN: usize = 7;

/// Longer than every credential: those of clouds have up to 8 KiB, and few servers take a header that is longer.
const LONGEST_CREDENTIAL: usize = 32 << 10;

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
            Self::Key(_) | Self::Length => false,
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

#[derive(Deserialize)]
struct ConfigJson<'a> {
    #[serde(borrow, default)]
    auths: Option<Auths<'a>>,
}

/// Entries by key; each is read when its turn comes, as all of them read take many times the room of their text.
type Auths<'a> = BTreeMap<String, &'a RawValue>;

/// As Go decodes, padding is taken or left.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Config {
    /// Reads a `config.json`, also as in secrets of type `kubernetes.io/dockerconfigjson`.
    pub fn from_config_json(json: &[u8]) -> Result<Self, NotAConfig> {
        let config: ConfigJson<'_> = serde_json::from_slice(json)?;
        Ok(Self::from_auths(config.auths.unwrap_or_default()))
    }

    /// Reads a `.dockercfg`, as in secrets of type `kubernetes.io/dockercfg`.
    pub fn from_dockercfg(json: &[u8]) -> Result<Self, NotAConfig> {
        Ok(Self::from_auths(serde_json::from_slice(json)?))
    }

    fn from_auths(auths: Auths<'_>) -> Self {
        let mut config = Self::default();
        for (key, value) in auths {
            // What is nested deeper than is read at all is no entry either.
            let value = serde_json::from_str(value.get()).unwrap_or_default();
            match read_entry(&key, &value) {
                Ok(entry) if entry.credential == Credential::Anonymous => {}
                Ok(entry) => config.entries.push(entry),
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

/// Reads one entry. One without any field, as credential stores leave behind, says nothing: anonymous.
fn read_entry(key: &str, value: &Value) -> Result<Entry, EntryFault> {
    let scope = Scope::parse(key)?;
    let value = value.as_object();
    let field = |name| match value.map(|fields| fields.get(name)) {
        Some(None | Some(Value::Null)) => Ok(""),
        Some(Some(Value::String(text))) => Ok(text.as_str()),
        Some(Some(_)) | None => Err(EntryFault::Shape(name)),
    };
    let (token, auth) = (field("identitytoken")?, field("auth")?);
    let (username, password) = (field("username")?, field("password")?);
    // Registries that hand out identity tokens leave a placeholder in `auth`.
    let credential = if !token.is_empty() {
        Credential::Identity(token.into())
    } else if !auth.is_empty() {
        decode_auth(auth)?
    } else {
        basic(username, password)
    };
    if LONGEST_CREDENTIAL < credential.bytes() {
        return Err(EntryFault::Length);
    }
    Ok(Entry { scope, credential })
}

fn decode_auth(auth: &str) -> Result<Credential, EntryFault> {
    // Line ends come from `base64` and `echo`.
    let auth: String = auth.split_ascii_whitespace().collect();
    let text = BASE64.decode(auth).map_err(|_| EntryFault::Auth)?;
    let text = String::from_utf8(text).map_err(|_| EntryFault::Auth)?;
    let (username, password) = text.split_once(':').ok_or(EntryFault::Auth)?;
    Ok(basic(username, password))
}

/// Returns the credential of a user; of neither name nor password, nobody's.
pub(super) fn basic(username: &str, password: &str) -> Credential {
    if username.is_empty() && password.is_empty() {
        return Credential::Anonymous;
    }
    Credential::Basic {
        username: username.into(),
        password: password.into(),
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
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(entry: Value, expected: Result<(&str, &str), EntryFault>) {
        let found = read_entry("ghcr.io", &entry).map(|entry| match entry.credential {
            Credential::Basic { username, password } => (username.into(), password.into()),
            Credential::Identity(token) => ("<token>".to_owned(), token.into()),
            Credential::Anonymous => (String::new(), String::new()),
        });
        assert_eq!(
            found,
            expected.map(|(a, b)| (a.to_owned(), b.to_owned())),
            "{entry}"
        );
    }

    #[test]
    fn a_user_and_a_password_come_in_two_ways() {
        check(
            json!({"username": "ann", "password": "p:w"}),
            Ok(("ann", "p:w")),
        );
        check(json!({"auth": "YW5uOnA6dw=="}), Ok(("ann", "p:w")));
        // Both: `auth` wins, as for the kubelet.
        check(
            json!({"username": "bob", "password": "x", "auth": "YW5uOnA6dw=="}),
            Ok(("ann", "p:w")),
        );
        check(
            json!({"username": "ann", "password": "pw", "email": "a@b", "auth": ""}),
            Ok(("ann", "pw")),
        );
        check(json!({"username": "ann"}), Ok(("ann", "")));
    }

    #[test]
    fn auth_may_be_wrapped_and_unpadded() {
        check(json!({"auth": "YW5uOnA6dw==\n"}), Ok(("ann", "p:w")));
        check(json!({"auth": " YW5u\r\nOnA6\ndw== "}), Ok(("ann", "p:w")));
        check(json!({"auth": "YW5uOnA6dw"}), Ok(("ann", "p:w")));
    }

    #[test]
    fn an_identity_token_comes_first() {
        let auth = "MDAwMDo=";
        check(
            json!({"auth": auth, "identitytoken": "r3fresh"}),
            Ok(("<token>", "r3fresh")),
        );
        check(json!({"auth": auth, "identitytoken": ""}), Ok(("0000", "")));
    }

    #[test]
    fn entries_without_content_are_no_fault() {
        check(json!({}), Ok(("", "")));
        check(json!({"auth": null, "username": null}), Ok(("", "")));
        check(json!({"auth": "Og=="}), Ok(("", "")));
    }

    #[test]
    fn broken_entries_say_which_field() {
        check(json!({"auth": "YW5u"}), Err(EntryFault::Auth));
        check(json!({"auth": "%%%"}), Err(EntryFault::Auth));
        check(json!({"auth": "/zr/"}), Err(EntryFault::Auth));
        check(json!({"auth": 7}), Err(EntryFault::Shape("auth")));
        check(
            json!({"password": ["x"]}),
            Err(EntryFault::Shape("password")),
        );
        check(json!("ann:pw"), Err(EntryFault::Shape("identitytoken")));
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
    fn a_credential_has_at_most_32_kib() {
        let longest = "x".repeat((32 << 10) - 3);
        let entry = |more: &str| json!({"username": "ann", "password": format!("{longest}{more}")});
        check(entry(""), Ok(("ann", &longest)));
        check(entry("x"), Err(EntryFault::Length));
        let token = |length| json!({"identitytoken": "x".repeat(length)});
        check(token(32 << 10), Ok(("<token>", &"x".repeat(32 << 10))));
        check(token((32 << 10) + 1), Err(EntryFault::Length));
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
