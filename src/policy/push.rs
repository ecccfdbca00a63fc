//! A push that somebody tells of: this tag of that repository may mean something else now.

use std::{borrow::Cow, fmt, str::FromStr};

use super::{
    ImageFault, ImageRef, InvalidImage,
    excerpt::excerpt,
    image::{DOCKER_HUB, is_registry},
};

/// What Docker Hub is called besides: in old references, and by its own servers.
const DOCKER_HUB_TOO: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// What stands for a registry whose name is not known.
const ANY: &str = "*";

/// A registry that is none, under which a repository is read that may lie at any.
const UNKNOWN: &str = "registry.invalid";

/// A tag that was pushed, at a registry that may be known by another name to those who pull from it.
///
/// Displays as `ghcr.io/acme/web:stable`, or as `*/acme/web:stable` where the registry's name is not known, and is
/// parsed from both. Only a hint: whoever tells of it may be wrong.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Push {
    /// In lower case, without the port of https, and `docker.io` for Docker Hub.
    host: Option<Box<str>>,
    repository: Box<str>,
    tag: Box<str>,
}

impl Push {
    /// Returns the push of `tag` to `repository` at `host`, if that is known.
    ///
    /// Fails as [`ImageRef`] does, with the part that is wrong.
    pub fn new(host: Option<&str>, repository: &str, tag: &str) -> Result<Self, ImageFault> {
        let host = host.map(canonical);
        if let Some(host) = host.as_deref()
            && !is_registry(host)
        {
            return Err(ImageFault::Registry(excerpt(host)));
        }
        // Only Docker Hub reads more into a short repository; all other names read the rest alike.
        let registry = match host.as_deref() {
            Some(DOCKER_HUB) => DOCKER_HUB,
            _ => UNKNOWN,
        };
        let image: ImageRef = format!("{registry}/{repository}:{tag}")
            .parse()
            .map_err(|error: InvalidImage| error.fault)?;
        match (image.digest(), image.tag()) {
            (None, Some(tag)) => Ok(Self {
                host: host.as_deref().and_then(known),
                repository: image.repository().into(),
                tag: tag.into(),
            }),
            _ => Err(ImageFault::Tag(excerpt(tag))),
        }
    }

    /// Returns the push of the tag in `image`, whatever digest it names besides; `None` when it has no tag.
    pub fn of(image: &ImageRef) -> Option<Self> {
        let (host, repository) = (canonical(image.registry()), image.repository());
        // Docker Hub has no others, whatever it is called.
        let repository = match host == DOCKER_HUB && !repository.contains('/') {
            true => format!("library/{repository}").into(),
            false => repository.into(),
        };
        Some(Self {
            host: known(&host),
            repository,
            tag: image.tag()?.into(),
        })
    }

    /// Returns the registry, if it is known.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Returns the repository's path and the tag: what is the same under all names of a registry.
    pub fn name(&self) -> (&str, &str) {
        (&self.repository, &self.tag)
    }
}

/// Returns the registry unless it is a name of one word: no reference can name it so, hence nobody pulls by that name.
fn known(host: &str) -> Option<Box<str>> {
    (host == "localhost" || host.contains(['.', ':'])).then(|| host.into())
}

/// Returns the one name for a registry that may be written in several ways.
pub fn canonical(registry: &str) -> Cow<'_, str> {
    let name = registry.strip_suffix(":443").unwrap_or(registry);
    let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    match DOCKER_HUB_TOO.contains(&&*name) {
        true => Cow::Borrowed(DOCKER_HUB),
        false => name,
    }
}

impl FromStr for Push {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let invalid = |fault| InvalidImage {
            text: excerpt(text),
            fault,
        };
        let rest = text
            .strip_prefix(ANY)
            .and_then(|rest| rest.strip_prefix('/'));
        let Some(rest) = rest else {
            let image: ImageRef = text.parse()?;
            return Self::of(&image).ok_or_else(|| invalid(ImageFault::Untagged));
        };
        let image: ImageRef = (format!("{UNKNOWN}/{rest}").parse())
            .map_err(|error: InvalidImage| invalid(error.fault))?;
        let push = Self::of(&image).ok_or_else(|| invalid(ImageFault::Untagged))?;
        Ok(Self { host: None, ..push })
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or(ANY);
        write!(f, "{host}/{}:{}", self.repository, self.tag)
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Digest;

    /// Checks what a push is shown as, and that this is read as the same push.
    #[track_caller]
    fn check(host: Option<&str>, repository: &str, tag: &str, expected: &str) {
        let push = Push::new(host, repository, tag).unwrap();
        assert_eq!(push.to_string(), expected);
        assert_eq!(expected.parse(), Ok(push));
    }

    #[test]
    fn a_registry_has_one_name() {
        check(Some("ghcr.io"), "acme/web", "1", "ghcr.io/acme/web:1");
        check(Some("GHCR.io:443"), "acme/web", "1", "ghcr.io/acme/web:1");
        check(Some("h.io:5000"), "web", "1", "h.io:5000/web:1");
        check(Some("[::1]:5000"), "web", "1", "[::1]:5000/web:1");
        check(Some("registry"), "web", "1", "*/web:1");
        check(Some("localhost"), "web", "1", "localhost/web:1");
        check(None, "acme/web", "1", "*/acme/web:1");
        for hub in ["docker.io", "index.docker.io", "registry-1.docker.io:443"] {
            check(Some(hub), "nginx", "1", "docker.io/library/nginx:1");
            check(Some(hub), "acme/web", "1", "docker.io/acme/web:1");
        }
        check(None, "nginx", "1", "*/nginx:1");
    }

    #[track_caller]
    fn check_text(text: &str, expected: Result<&str, ImageFault>) {
        let found = text.parse::<Push>();
        let found = found.map(|push| push.to_string());
        let found = found.map_err(|error| error.fault);
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn a_text_is_read_as_image_references_are() {
        check_text("nginx", Ok("docker.io/library/nginx:latest"));
        for hub in ["index.docker.io", "registry-1.docker.io", "docker.io:443"] {
            let text = format!("{hub}/web:1");
            check_text(&text, Ok("docker.io/library/web:1"));
        }
        check_text("h.io/web:1", Ok("h.io/web:1"));
        check_text("*/web:1", Ok("*/web:1"));
        check_text("Registry/web:1", Ok("*/web:1"));
        check_text("*/web", Ok("*/web:latest"));
        check_text("*/Web", Err(ImageFault::UpperCase("Web".to_owned())));
        check_text("h.io/web:-1", Err(ImageFault::Tag("-1".to_owned())));
        check_text("", Err(ImageFault::Empty));
    }

    #[test]
    fn a_tag_is_pushed_and_not_a_digest() {
        let digest = Digest::of_sha256([1; 32]);
        check_text(&format!("h.io/web:1@{digest}"), Ok("h.io/web:1"));
        check_text(&format!("*/web:1@{digest}"), Ok("*/web:1"));
        for digest_alone in [format!("h.io/web@{digest}"), format!("*/web@{digest}")] {
            check_text(&digest_alone, Err(ImageFault::Untagged));
        }
        let tag = format!("1@{digest}");
        let found = Push::new(Some("h.io"), "web", &tag);
        assert_eq!(found, Err(ImageFault::Tag(tag)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refuse = |host, repository, tag, fault| {
            assert_eq!(Push::new(host, repository, tag), Err(fault));
        };
        let registry = |host: &str| ImageFault::Registry(host.to_owned());
        for host in ["", "a b", "a/b", "h.io:", "*", "a@b"] {
            refuse(Some(host), "web", "1", registry(host));
        }
        let longest = format!("{}.io:65535", "a".repeat(252));
        check(Some(&longest), "web", "1", &format!("{longest}/web:1"));
        let longer = format!("a{longest}");
        let shown = excerpt(&longer);
        refuse(Some(&longer), "web", "1", ImageFault::Registry(shown));
        refuse(None, "web", "", ImageFault::Tag(String::new()));
        refuse(None, "", "1", ImageFault::Component(String::new()));
        refuse(None, "a:b", "1", ImageFault::Tag("b:1".to_owned()));
    }
}
