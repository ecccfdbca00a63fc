//! An image reference, normalised as container runtimes do.

use std::{fmt, str::FromStr};

use super::{Digest, InvalidDigest, excerpt::excerpt};

mod grammar;

pub(super) use grammar::{DOCKER_HUB, is_registry};

/// Longer than every text that is a reference, with a tag and a digest.
pub const LONGEST_IMAGE: usize = 1024;

/// A parsed reference: `docker.io/library/nginx:1.27`, with a tag, a digest, or both.
///
/// Displays in full, normalised form. A reference with neither tag nor digest has the tag `latest`.
/// Source: distribution's reference grammar and its `familiar` normalisation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    registry: Box<str>,
    repository: Box<str>,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

/// Why a text is no image reference; names the part that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {text:?}: {fault}")]
pub struct InvalidImage {
    /// The text as it was given; one of more than 256 characters is cut.
    pub text: String,
    /// What is wrong with it, and what is allowed.
    pub fault: ImageFault,
}

/// The part of a reference that is wrong, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    /// There is nothing.
    #[error("an image must not be empty")]
    Empty,
    /// The whole is 64 hex digits.
    #[error("64 hex digits are an image's id; a name must be written")]
    Identifier,
    /// The part before the first slash; one of more than 256 characters is cut, as all parts are.
    #[error(
        "registry {0:?} must be a host name of at most 255 characters, an IPv4 address or an IPv6 address in brackets, and may have a port from 1 to 65535"
    )]
    Registry(String),
    /// The repository has upper-case letters.
    #[error("repository {0:?} must be lower case")]
    UpperCase(String),
    /// A component of the repository's path.
    #[error(
        "repository component {0:?} must be lower-case letters and digits, with one '.', one or two '_' or some '-' between them"
    )]
    Component(String),
    /// The repository's path has this many characters.
    #[error("repository has {0} characters, at most 255 are allowed")]
    Length(usize),
    /// The part behind the colon.
    #[error(
        "tag {0:?} must be 1 to 128 letters, digits, '_', '.' or '-', and not begin with '.' or '-'"
    )]
    Tag(String),
    /// A digest stands where a tag is wanted.
    #[error("it has a digest alone, which means the same for ever: the tag must be written")]
    Untagged,
    /// The part behind the `@`.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

impl ImageRef {
    /// Returns the registry's host and port as written in references: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository's path below the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if the reference has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the reference has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns this reference without its digest; `None` when it has no tag.
    pub fn tagged(&self) -> Option<Self> {
        self.tag.is_some().then(|| Self {
            digest: None,
            ..self.clone()
        })
    }

    /// Returns the reference of what has `digest` in the same repository, whatever its tags.
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Says whether `text` spells this reference without its digest, in full or in a shorter form.
    pub fn is_named(&self, text: &str) -> bool {
        // The full form is what we write ourselves; it is compared in place, as every pass asks this of every pod.
        self.is_full_name(text)
            || text.parse::<Self>().is_ok_and(|named| {
                named.digest.is_none()
                    && (&named.registry, &named.repository, &named.tag)
                        == (&self.registry, &self.repository, &self.tag)
            })
    }

    fn is_full_name(&self, text: &str) -> bool {
        let tag = text
            .strip_prefix(&*self.registry)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_prefix(&*self.repository))
            .and_then(|rest| rest.strip_prefix(':'));
        tag.is_some() && tag == self.tag()
    }

    /// Returns this reference with `digest` written behind it, as a pin.
    pub fn pinned_to(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        grammar::parse(text).map_err(|fault| InvalidImage {
            text: excerpt(text),
            fault,
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_keeps_the_tag() {
        let image: ImageRef = "nginx:1.27".parse().unwrap();
        let pinned = image.pinned_to(Digest::of_sha256([0xab; 32]));
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            pinned.to_string(),
            format!("docker.io/library/nginx:1.27@{digest}")
        );
        assert_eq!(pinned.tagged(), Some(image));
        let untagged: ImageRef = format!("nginx@{digest}").parse().unwrap();
        assert_eq!(untagged.tagged(), None);
    }

    #[test]
    fn an_error_names_the_image_the_part_and_what_is_allowed() {
        let error = "h.io/a:-1".parse::<ImageRef>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "image \"h.io/a:-1\": tag \"-1\" must be 1 to 128 letters, digits, '_', '.' or '-', \
             and not begin with '.' or '-'"
        );
    }
}
