//! The fields of a `hosts.toml`, each in all the forms that containerd takes.

use std::{collections::BTreeMap, fmt, marker::PhantomData, path::PathBuf, time::Duration};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use url::Url;

use crate::policy::go_duration;

/// An address as a file has it: a host, or a URL with https or http.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(Url);

/// What a host is good for.
#[derive(Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(super) enum Capability {
    /// To give manifests and what they list.
    Pull,
    /// To say what a tag means.
    Resolve,
    /// Nothing that matters here.
    Other,
}

/// The paths of one or several files.
#[derive(Deserialize)]
#[serde(from = "Strings")]
pub(super) struct Paths(pub(super) Vec<PathBuf>);

/// The paths of client certificates and their keys, perhaps in one file.
#[derive(Default, Deserialize)]
#[serde(try_from = "OneOrMany")]
pub(super) struct Pairs(pub(super) Vec<(PathBuf, PathBuf)>);

/// Headers that go with each request.
#[derive(Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, Strings>")]
pub(super) struct Headers(pub(super) HeaderMap);

/// How long a connection may take to stand, if that is limited.
#[derive(Default, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct DialTimeout(pub(super) Option<Duration>);

/// The tables under `host`, in the order of the file.
pub(super) struct Tables<T>(pub(super) Vec<(Address, T)>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum Strings {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a file with a certificate and its key, or a list of such files and of pairs"
)]
enum OneOrMany {
    One(String),
    Many(Vec<Strings>),
}

impl Address {
    /// Returns the root of the API: below `/v2`, unless the path is meant to be the root itself.
    pub(super) fn root(self, is_root: bool) -> Url {
        let mut url = self.0;
        let path = url.path().trim_end_matches('/').to_owned();
        let behind = match is_root || path.ends_with("/v2") {
            true => "/",
            false => "/v2/",
        };
        url.set_path(&format!("{path}{behind}"));
        url
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const ALLOWED: &str = "expected a host or an address such as https://mirror.example:5000";

        let full = match text.contains("://") {
            true => text,
            false => format!("https://{text}"),
        };
        let mut url = Url::parse(&full).map_err(|_| ALLOWED)?;
        if url.host_str() == Some("docker.io") {
            url.set_host(Some("registry-1.docker.io"))
                .map_err(|_| ALLOWED)?;
        }
        let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        match plain && matches!(url.scheme(), "http" | "https") && url.has_host() {
            true => Ok(Self(url)),
            false => Err(ALLOWED),
        }
    }
}

impl TryFrom<String> for Capability {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.to_ascii_lowercase().as_str() {
            "pull" => Ok(Self::Pull),
            "resolve" => Ok(Self::Resolve),
            "push" | "referrers" => Ok(Self::Other),
            _ => Err("expected pull, resolve, push or referrers"),
        }
    }
}

impl Strings {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

impl From<Strings> for Paths {
    fn from(strings: Strings) -> Self {
        Self(strings.into_vec().into_iter().map(PathBuf::from).collect())
    }
}

impl TryFrom<OneOrMany> for Pairs {
    type Error = &'static str;

    fn try_from(written: OneOrMany) -> Result<Self, Self::Error> {
        let pairs = match written {
            OneOrMany::One(file) => vec![Strings::One(file)],
            OneOrMany::Many(pairs) => pairs,
        };
        let pairs = pairs.into_iter().map(|pair| match pair {
            Strings::One(file) => Ok((PathBuf::from(&file), file.into())),
            Strings::Many(files) => {
                let files: Result<[String; 2], _> = files.try_into();
                let [certificate, key] =
                    files.map_err(|_| "expected pairs of a certificate and its key")?;
                Ok((certificate.into(), key.into()))
            }
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<BTreeMap<String, Strings>> for Headers {
    type Error = &'static str;

    /// Reads headers. What is wrong with a value is not repeated: it may be a secret.
    fn try_from(written: BTreeMap<String, Strings>) -> Result<Self, Self::Error> {
        let mut headers = HeaderMap::new();
        for (name, values) in written {
            let name = HeaderName::try_from(name).map_err(|_| "expected names of headers")?;
            for value in values.into_vec() {
                let value = HeaderValue::try_from(value);
                let mut value = value.map_err(|_| "expected values that a header may hold")?;
                value.set_sensitive(true);
                headers.append(name.clone(), value);
            }
        }
        Ok(Self(headers))
    }
}

impl TryFrom<String> for DialTimeout {
    type Error = &'static str;

    /// Reads a time. To Go, nothing and no time at all are no limit.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        const ALLOWED: &str = "expected a time such as 5s or 500ms";

        if text.is_empty() {
            return Ok(Self(None));
        }
        let time = go_duration::parse(&text).map_err(|_| ALLOWED)?;
        let time = Duration::try_from(time).map_err(|_| ALLOWED)?;
        Ok(Self((!time.is_zero()).then_some(time)))
    }
}

impl<T> Default for Tables<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Tables<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Tables<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables such as [host.\"https://mirror.example\"]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tables = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    tables.push(entry);
                }
                Ok(Tables(tables))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}
