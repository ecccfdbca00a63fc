//! What registries send when a tag was pushed, read into one form: which tags of which repositories.
//!
//! Only that is read. A digest in a payload is not looked at, and a push of a digest without a tag is none to us.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::policy::{ImageFault, InvalidImage, Push};

mod cloud;
mod forge;
mod registry;

/// The most pushes that one payload can tell of; a registry sends one, or some tags of one image.
pub const MOST: usize = 256;

/// Who sends payloads of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// CNCF distribution, and all registries that are made of it.
    Distribution,
    /// Docker Hub.
    DockerHub,
    /// Harbor.
    Harbor,
    /// Quay.
    Quay,
    /// GitHub packages, which is ghcr.io; Gitea and Forgejo.
    Forge,
    /// Azure Container Registry.
    Azure,
    /// Amazon ECR, by EventBridge.
    Ecr,
    /// Google Artifact Registry, by Pub/Sub.
    Google,
    /// Anybody else: a pipeline, a person.
    Plain,
}

/// What a payload tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload {
    /// By its form.
    pub sender: Sender,
    /// What was pushed; at most [`MOST`].
    pub pushes: BTreeSet<Push>,
    /// How many pushes it tells of that cannot be read, or are too many.
    pub lost: usize,
}

/// Why a payload tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON object.
    #[error("the body must be one JSON object")]
    NotJson(#[source] serde_json::Error),
    /// It is of no known form.
    #[error(
        "{0} make no known notification; known are those of distribution, Docker Hub, Harbor, Quay, GitHub packages, Gitea, Azure, Amazon ECR by EventBridge and Google by Pub/Sub, and {{\"image\": \"registry/repository:tag\"}}"
    )]
    Unknown(Fields),
    /// It looks like one of a sender, but is not.
    #[error("read as a notification of {0}")]
    Malformed(Sender, #[source] serde_json::Error),
    /// The data in it is not base64.
    #[error("read as a notification of {0}: message.data is not base64")]
    Encoding(Sender, #[source] base64::DecodeError),
    /// Somebody wrote an image that is none.
    #[error(transparent)]
    Image(#[from] InvalidImage),
}

/// The fields that forms are told apart by; the first one that fits counts.
const FORMS: [(&[&str], Sender); 14] = [
    (&["events"], Sender::Distribution),
    (&["push_data"], Sender::DockerHub),
    (&["event_data"], Sender::Harbor),
    (&["specversion", "data"], Sender::Harbor),
    (&["docker_url"], Sender::Quay),
    (&["registry_package"], Sender::Forge),
    (&["package"], Sender::Forge),
    // What GitHub sends to see whether we are there.
    (&["zen", "hook_id"], Sender::Forge),
    (&["detail-type", "detail"], Sender::Ecr),
    (&["message"], Sender::Google),
    (&["action", "target"], Sender::Azure),
    (&["action", "digest"], Sender::Google),
    (&["image"], Sender::Plain),
    (&["images"], Sender::Plain),
];

/// Reads a request's body.
///
/// What is not about a pushed tag (a pull, a deleted image, a layer) is understood, and tells of no push.
pub fn read(body: &[u8]) -> Result<Payload, Unreadable> {
    let fields: Fields = serde_json::from_slice(body).map_err(Unreadable::NotJson)?;
    let form = FORMS.iter().find(|(names, _)| fields.have(names));
    let Some(&(_, sender)) = form else {
        return Err(Unreadable::Unknown(fields));
    };
    let mut tags = Tags::default();
    match sender {
        Sender::Distribution => registry::distribution(body, &mut tags)?,
        Sender::DockerHub => registry::docker_hub(body, &mut tags)?,
        Sender::Harbor => registry::harbor(body, &mut tags)?,
        Sender::Quay => registry::quay(body, &mut tags)?,
        Sender::Forge => forge::package(body, &mut tags)?,
        Sender::Azure => registry::azure(body, &mut tags)?,
        Sender::Ecr => cloud::ecr(body, &mut tags)?,
        Sender::Google => cloud::google(body, &mut tags)?,
        Sender::Plain => plain(body, &mut tags)?,
    }
    Ok(Payload {
        sender,
        pushes: tags.pushes,
        lost: tags.lost,
    })
}

/// The plain form: `{"image": "ghcr.io/acme/web:stable"}`, or `images` with several.
///
/// Whoever writes it by hand is told what is wrong; `*` stands for a registry whose name is not known.
#[derive(Deserialize)]
struct Plain {
    image: Option<String>,
    #[serde(default)]
    images: Vec<String>,
}

fn plain(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let plain: Plain = parse(Sender::Plain, body)?;
    for image in plain.image.iter().chain(&plain.images) {
        tags.add(Ok(image.parse()?));
    }
    Ok(())
}

/// Reads `body` as what `sender` sends.
fn parse<'a, T: Deserialize<'a>>(sender: Sender, body: &'a [u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| Unreadable::Malformed(sender, error))
}

/// The pushes that a payload tells of.
#[derive(Debug, Default)]
struct Tags {
    pushes: BTreeSet<Push>,
    lost: usize,
}

impl Tags {
    /// Takes in one more. One that cannot be read is no reason to send the payload again and again.
    fn add(&mut self, push: Result<Push, ImageFault>) {
        match push {
            Ok(push) if self.pushes.len() < MOST || self.pushes.contains(&push) => {
                self.pushes.insert(push);
            }
            _ => self.lost += 1,
        }
    }

    /// Takes in a reference, perhaps with a scheme before it; one without a tag tells of nothing.
    fn add_reference(&mut self, text: &str) {
        let schemes = ["https://", "http://"];
        let bare = schemes.iter().find_map(|it| text.strip_prefix(it));
        match bare.unwrap_or(text).parse::<crate::policy::ImageRef>() {
            Ok(image) => {
                if let Some(push) = Push::of(&image) {
                    self.add(Ok(push));
                }
            }
            Err(error) => self.add(Err(error.fault)),
        }
    }
}

/// The names of a payload's fields, of which some tell its form.
#[derive(Debug, Default)]
pub struct Fields {
    known: BTreeSet<&'static str>,
    /// The first of all, for a message.
    first: Vec<String>,
    more: usize,
}

impl Fields {
    /// How many are named in a message, and how much of each.
    const SHOWN: (usize, usize) = (8, 40);

    fn have(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.known.contains(name))
    }

    fn add(&mut self, name: &str) {
        let names = FORMS.iter().flat_map(|(names, _)| *names);
        self.known.extend(names.filter(|known| **known == name));
        if self.first.len() < Self::SHOWN.0 {
            let shown = name.chars().take(Self::SHOWN.1).collect();
            self.first.push(shown);
        } else {
            self.more += 1;
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((name, _)) = map.next_entry::<Cow<'_, str>, IgnoredAny>()? {
                    fields.add(&name);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.first[..], self.more) {
            ([], _) => f.write_str("no fields"),
            (first, 0) => write!(f, "the fields {first:?}"),
            (first, more) => write!(f, "the fields {first:?} and {more} more"),
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distribution => "a distribution registry",
            Self::DockerHub => "Docker Hub",
            Self::Harbor => "Harbor",
            Self::Quay => "Quay",
            Self::Forge => "GitHub packages or Gitea",
            Self::Azure => "Azure Container Registry",
            Self::Ecr => "Amazon ECR",
            Self::Google => "Google Artifact Registry",
            Self::Plain => "the plain form",
        })
    }
}

#[cfg(test)]
mod tests;
