//! What a key of a docker config stands for: the images that its credential is good for.

use std::{borrow::Cow, fmt};

/// Longer than every registry with a repository, and with room for globs.
const LONGEST_KEY: usize = 1024;

/// A registry, perhaps with globs in its host, and a prefix of repositories.
///
/// Keys are read as the kubelet reads them: a scheme is dropped, `/v1/` and `/v2/` behind the host
/// stand for the host alone, query and fragment do not count, and `%2F` and the like are the characters they stand for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    key: Box<str>,
    /// Where the path begins in `key`.
    path: usize,
}

/// Why a key of a docker config stands for no registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not a registry like `ghcr.io`, `ghcr.io/org`, `*.azurecr.io` or `host:5000`")]
pub struct InvalidScope;

impl Scope {
    /// Reads a key of a docker config.
    pub fn parse(key: &str) -> Result<Self, InvalidScope> {
        let bare = key.strip_prefix("https://");
        let bare = bare.or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let bare = &bare[..bare.find(['?', '#']).unwrap_or(bare.len())];
        let (host, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
        let path = decoded(path).ok_or(InvalidScope)?;
        let mut path = &*path;
        // A user before the host is not a part of it.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if path.starts_with("/v1/") || path.starts_with("/v2/") {
            path = &path[3..];
        }
        if path == "/" {
            path = "";
        }
        let (name, port) = split_port(host);
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty()
            || LONGEST_KEY < host.len() + path.len()
            || bare.contains("://")
            || host.contains(odd)
            || path.contains(odd)
            || !port.bytes().all(|c| c.is_ascii_digit())
        {
            return Err(InvalidScope);
        }
        Ok(Self {
            key: format!("{host}{path}").into(),
            path: host.len(),
        })
    }

    /// Returns host, port and path as one text; the kubelet's order of preference is its reverse.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Says whether images of `repository` at `registry` (`docker.io`, `localhost:5000`) lie within.
    ///
    /// The port must be the same, each label of the host must match on its own, and the path is
    /// a plain prefix: `ghcr.io/org` covers `ghcr.io/organic`, too, as it does for the kubelet.
    pub fn covers(&self, registry: &str, repository: &str) -> bool {
        let (host, path) = self.key.split_at(self.path);
        let ((glob, glob_port), (name, port)) = (split_port(host), split_port(registry));
        glob_port == port
            && glob.split('.').count() == name.split('.').count()
            && path
                .strip_prefix('/')
                .is_none_or(|prefix| repository.starts_with(prefix))
            && glob
                .split('.')
                .zip(name.split('.'))
                .all(|(glob, label)| matches(glob.as_bytes(), label.as_bytes()))
    }

    /// Says whether this is Docker Hub's key as docker writes it, which serves `docker.io` when nothing else does.
    pub fn is_docker_hub(&self) -> bool {
        &*self.key == "index.docker.io"
    }
}

/// Returns what a path stands for; `None` where a `%` begins no character.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    let Some((begin, rest)) = path.split_once('%') else {
        return Some(path.into());
    };
    let mut bytes = begin.as_bytes().to_vec();
    for part in rest.split('%') {
        let (digits, behind) = part.as_bytes().split_at_checked(2)?;
        let digit = |index: usize| char::from(digits[index]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        bytes.extend_from_slice(behind);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Splits a port off a host, and the brackets off an IPv6 address that has one.
fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port),
        Some((name, port)) if name.starts_with('[') && name.ends_with(']') => {
            (&name[1..name.len() - 1], port)
        }
        _ => (host, ""),
    }
}

/// Says whether `text` matches `glob`, where `*` is any run. (A `?` begins a query and never gets here.)
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == text[t] => (g, t) = (g + 1, t + 1),
            // Let the last star take one more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (g, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, image: &str, expected: bool) {
        let (registry, repository) = image.split_once('/').unwrap();
        let scope = Scope::parse(key).unwrap();
        assert_eq!(
            scope.covers(registry, repository),
            expected,
            "{scope} for {image}"
        );
    }

    #[test]
    fn schemes_and_api_versions_do_not_count() {
        for key in [
            "ghcr.io",
            "ghcr.io/",
            "https://ghcr.io",
            "http://ghcr.io",
            "https://ghcr.io/v1/",
            "https://ghcr.io/v2/",
            "https://ann@ghcr.io/?a=b#c",
        ] {
            check(key, "ghcr.io/org/app", true);
            check(key, "quay.io/org/app", false);
        }
        check("https://ghcr.io/v2/org", "ghcr.io/org/app", true);
        check("ghcr.io/v2", "ghcr.io/org/app", false);
        check("ghcr.io/v2", "ghcr.io/v2/app", true);
    }

    #[test]
    fn the_port_must_be_the_same() {
        check("reg.test:5000", "reg.test:5000/app", true);
        check("reg.test:5000", "reg.test/app", false);
        check("reg.test", "reg.test:5000/app", false);
        check("reg.test:5000", "reg.test:50001/app", false);
        check("*.test:5000", "reg.test:5000/app", true);
        check("[::1]:5000", "[::1]:5000/app", true);
        check("[::1]:5000", "[::1]/app", false);
    }

    #[test]
    fn the_path_is_a_prefix() {
        check("ghcr.io/org", "ghcr.io/org/app", true);
        check("ghcr.io/org", "ghcr.io/org", true);
        check("ghcr.io/org", "ghcr.io/organic/app", true);
        check("ghcr.io/org/", "ghcr.io/organic/app", false);
        check("ghcr.io/org/app", "ghcr.io/org", false);
    }

    #[test]
    fn characters_of_the_path_may_be_written_by_their_numbers() {
        check("ghcr.io/org%2Fapp", "ghcr.io/org/app", true);
        check("ghcr.io/%6frg%2fapp", "ghcr.io/org/app", true);
        check("ghcr.io/org%2Fapp", "ghcr.io/org/other", false);
        check("ghcr.io/%76%32/org", "ghcr.io/org/app", true);
        assert_eq!(Scope::parse("ghcr.io/a%2Db").unwrap().key(), "ghcr.io/a-b");
        for key in [
            "a.io/%", "a.io/%2", "a.io/%2g", "a.io/%+2", "a.io/%ff", "a.io/%0a", "a.io/%20",
        ] {
            assert_eq!(Scope::parse(key), Err(InvalidScope), "{key}");
        }
    }

    #[test]
    fn globs_stay_within_their_label() {
        check("*.azurecr.io", "shop.azurecr.io/app", true);
        check("*.azurecr.io", "a.b.azurecr.io/app", false);
        check("*.azurecr.io", "azurecr.io/app", false);
        check("*", "localhost/app", true);
        check("*", "ghcr.io/app", false);
        check(
            "*.dkr.ecr.*.amazonaws.com",
            "1.dkr.ecr.eu-west-1.amazonaws.com/app",
            true,
        );
        check("pre*x.test", "prefix.test/app", true);
        check("pre*x.test", "prefiy.test/app", false);
        check("*a*b.test", "xaayab.test/app", true);
        check("ghcr.io/*", "ghcr.io/org/app", false);
    }

    #[test]
    fn a_key_has_at_most_1024_characters() {
        let stars = |count| format!("https://{}hcr.io/?{}", "*".repeat(count), "x".repeat(4096));
        let longest = Scope::parse(&stars(1018)).unwrap();
        assert_eq!(longest.key().len(), 1024);
        assert!(longest.covers("ghcr.io", "org/app"));
        assert_eq!(Scope::parse(&stars(1019)), Err(InvalidScope));
    }

    #[test]
    fn only_dockers_own_key_is_docker_hub() {
        for (key, expected) in [
            ("https://index.docker.io/v1/", true),
            ("index.docker.io", true),
            ("https://index.docker.io/v2/", true),
            ("docker.io", false),
            ("index.docker.io/org", false),
            ("index.docker.io:443", false),
        ] {
            assert_eq!(
                Scope::parse(key).unwrap().is_docker_hub(),
                expected,
                "{key}"
            );
        }
    }

    #[test]
    fn what_has_no_host_is_refused() {
        for key in [
            "",
            "/",
            "https://",
            "https:///v1/",
            ":5000",
            "a b.io",
            "reg.test:http",
            "ftp://x.io",
            "\n",
        ] {
            assert_eq!(Scope::parse(key), Err(InvalidScope), "{key:?}");
        }
    }
}
