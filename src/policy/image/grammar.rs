//! The grammar of image references, and what runtimes read into the short ones.

use super::{Digest, ImageFault, ImageRef, excerpt};

/// Docker Hub, as references name it.
pub(in crate::policy) const DOCKER_HUB: &str = "docker.io";
// What Docker Hub was called in references before 2014; runtimes still take it for docker.io.
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
// The distribution library's limit for the path below the registry.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
// A name in the DNS has at most 255 octets (RFC 1035, 3.1); the longest port stands behind it. The distribution
// library has no limit here, but nothing can be pulled from a host with a longer name.
const LONGEST_REGISTRY: usize = 255 + ":65535".len();

/// Returns the reference that `text` spells, with the registry and the tag that a short one leaves out.
pub(super) fn parse(text: &str) -> Result<ImageRef, ImageFault> {
    if text.is_empty() {
        return Err(ImageFault::Empty);
    }
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ImageFault::Identifier);
    }
    let (registry, rest) = split_registry(text);
    let (named, digest) = match rest.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (rest, None),
    };
    let (path, tag) = match named.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (named, None),
    };
    let repository = if registry == DOCKER_HUB && !path.contains('/') {
        format!("library/{path}")
    } else {
        path.to_owned()
    };
    if !is_registry(registry) {
        return Err(ImageFault::Registry(excerpt(registry)));
    }
    check_repository(path, &repository)?;
    if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
        return Err(ImageFault::Tag(excerpt(tag)));
    }
    let digest = digest.map(str::parse::<Digest>).transpose()?;
    Ok(ImageRef {
        registry: registry.into(),
        repository: repository.into(),
        tag: match (tag, &digest) {
            (None, None) => Some("latest".into()),
            (tag, _) => tag.map(Into::into),
        },
        digest,
    })
}

/// Returns the registry and what follows it; Docker Hub where the first component does not look like a host.
///
/// A component with upper-case letters is a host, as no repository may have them; so `Foo/bar` is not sought at the Hub.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((DOCKER_HUB_LEGACY, rest)) => (DOCKER_HUB, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, text),
    }
}

/// Says whether `text` is a host name or an address, and perhaps a port, and not longer than these are.
pub(in crate::policy) fn is_registry(text: &str) -> bool {
    if LONGEST_REGISTRY < text.len() {
        return false;
    }
    // The colons of an IPv6 address stand inside its brackets, so the port's is the last one outside.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(is_host_label),
    };
    is_host && port.is_none_or(is_port)
}

/// Says whether `text` is a number that a port can have; zeros before it change nothing, as for runtimes.
fn is_port(text: &str) -> bool {
    let number = text.parse::<u16>();
    // The number's parser takes a sign as well.
    text.bytes().all(|b| b.is_ascii_digit()) && number.is_ok_and(|port| port != 0)
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Checks the repository, whose part `written` is the user's own.
fn check_repository(written: &str, repository: &str) -> Result<(), ImageFault> {
    if written.chars().any(char::is_uppercase) {
        return Err(ImageFault::UpperCase(excerpt(written)));
    }
    if let Some(component) = written.split('/').find(|c| !is_component(c)) {
        return Err(ImageFault::Component(excerpt(component)));
    }
    if LONGEST_REPOSITORY < repository.len() {
        return Err(ImageFault::Length(repository.len()));
    }
    Ok(())
}

/// Says whether `text` is runs of letters and digits with one separator between each two of them.
fn is_component(text: &str) -> bool {
    let is_separator = |between: &str| {
        matches!(between, "." | "_" | "__")
            || (!between.is_empty() && between.bytes().all(|b| b == b'-'))
    };
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
        && text
            .split(is_alphanumeric)
            .filter(|between| !between.is_empty())
            .all(is_separator)
}

fn is_tag(text: &str) -> bool {
    (1..=LONGEST_TAG).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::InvalidDigest;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Checks that `text` stands for `full`, in which the registry ends at the first slash.
    #[track_caller]
    fn check(text: &str, full: &str) {
        let image = parse(text).unwrap();
        let (registry, rest) = full.split_once('/').unwrap();
        assert_eq!(image.to_string(), full, "{text}");
        assert_eq!(image.registry(), registry, "{text}");
        assert!(rest.starts_with(image.repository()), "{text}");
        assert_eq!(parse(full), Ok(image), "the full form stands for itself");
    }

    #[track_caller]
    fn refuse(text: &str, fault: ImageFault) {
        assert_eq!(parse(text), Err(fault), "{text}");
    }

    #[test]
    fn short_names_are_docker_hubs() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("library/nginx:1.27", "docker.io/library/nginx:1.27"),
            ("docker.io/nginx:1.27", "docker.io/library/nginx:1.27"),
            ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("index.docker.io/org/app", "docker.io/org/app:latest"),
            ("org/app", "docker.io/org/app:latest"),
            ("a/b/c:d", "docker.io/a/b/c:d"),
            ("localhost", "docker.io/library/localhost:latest"),
            ("ghcr.io", "docker.io/library/ghcr.io:latest"),
        ] {
            check(text, full);
        }
    }

    #[test]
    fn a_first_component_that_looks_like_a_host_is_the_registry() {
        // Hosts are compared as written: `Docker.io` is not Docker Hub.
        let hosts = "localhost localhost:5000 ghcr.io host:5000 10.0.0.1:5000 [::1]:5000 [fe80::A] \
                     Registry registry-1.docker.io my-host:80 Docker.io";
        for host in hosts.split_whitespace() {
            check(&format!("{host}/app"), &format!("{host}/app:latest"));
            check(&format!("{host}/a/b:1"), &format!("{host}/a/b:1"));
        }
    }

    #[test]
    fn a_host_has_labels_and_a_port_of_digits() {
        let hosts = "-a.b a-.b a..b .b a. a.b: a.b:80a a.b:-1 a_b.c [::1 ::1 []:80 [g::]:1 [::1]80 [::1]: :80 \
                     höst.de https: a.b:1:2";
        for host in hosts.split_whitespace() {
            refuse(
                &format!("{host}/app"),
                ImageFault::Registry(host.to_owned()),
            );
        }
    }

    #[test]
    fn a_port_is_a_number_from_1_to_65535() {
        for port in ["1", "65535", "0080"] {
            check(&format!("a.b:{port}/app:1"), &format!("a.b:{port}/app:1"));
        }
        for port in ["0", "000", "65536", "4294967297", "+80"] {
            let host = format!("a.b:{port}");
            refuse(&format!("{host}/app:1"), ImageFault::Registry(host));
        }
    }

    #[test]
    fn a_registry_is_no_longer_than_a_host_and_a_port() {
        let longest = format!("{}.io:65535", "a".repeat(252));
        assert_eq!(longest.len(), LONGEST_REGISTRY);
        check(&format!("{longest}/app:1"), &format!("{longest}/app:1"));
        for longer in [format!("a{longest}"), format!("{}.io", "a".repeat(1 << 20))] {
            let fault = ImageFault::Registry(excerpt(&longer));
            refuse(&format!("{longer}/app:1"), fault);
        }
    }

    #[test]
    fn components_are_runs_joined_by_one_separator() {
        for component in "a 0 a.b a_b a__b a-b a---b a.b_c__d-e".split_whitespace() {
            let text = format!("h.io/x/{component}:1");
            check(&text, &text);
        }
        for component in [
            "", "-a", "a-", ".a", "a.", "_a", "a_", "a..b", "a___b", "a._b", "a-_b", "a b", "a\n",
            "ä", "~",
        ] {
            let fault = ImageFault::Component(component.to_owned());
            refuse(&format!("h.io/x/{component}:1"), fault.clone());
            refuse(&format!("h.io/{component}/x:1"), fault);
        }
        for text in ["h.io/", "/x", ":1", "@", "/"] {
            refuse(text, ImageFault::Component(String::new()));
        }
        refuse(" nginx", ImageFault::Component(" nginx".to_owned()));
    }

    #[test]
    fn repositories_are_lower_case() {
        for (text, repository) in [
            ("Nginx", "Nginx"),
            ("org/App:V1", "org/App"),
            ("h.io/Org/a", "Org/a"),
        ] {
            refuse(text, ImageFault::UpperCase(repository.to_owned()));
        }
        check("org/app:V1", "docker.io/org/app:V1");
    }

    #[test]
    fn a_repository_has_at_most_255_characters() {
        let longest = "a".repeat(255);
        check(&format!("h.io/{longest}:1"), &format!("h.io/{longest}:1"));
        refuse(&format!("h.io/{longest}a"), ImageFault::Length(256));
        // The Hub's own `library/` counts.
        check(
            &longest[..247],
            &format!("docker.io/library/{}:latest", &longest[..247]),
        );
        refuse(&longest[..248], ImageFault::Length(256));
    }

    #[test]
    fn a_tag_has_1_to_128_word_characters() {
        let longest = "x".repeat(128);
        for tag in ["1", "_", "v1.2-rc_3", "1.", "1-", &longest] {
            check(&format!("a:{tag}"), &format!("docker.io/library/a:{tag}"));
        }
        let longer = format!("{longest}x");
        for tag in ["", ".1", "-1", "a b", "a/b", "a:b", "a+b", "ä", &longer] {
            refuse(&format!("h.io/a:{tag}"), ImageFault::Tag(tag.to_owned()));
        }
    }

    #[test]
    fn a_digest_stands_last_and_makes_no_default_tag() {
        let digest = format!("sha256:{HEX}");
        check(
            &format!("a@{digest}"),
            &format!("docker.io/library/a@{digest}"),
        );
        check(
            &format!("h:5000/a:1@{digest}"),
            &format!("h:5000/a:1@{digest}"),
        );
        for wrong in ["", "sha256:12", &format!("{digest}@{digest}")] {
            refuse(
                &format!("a@{wrong}"),
                InvalidDigest::Encoding(wrong.to_owned()).into(),
            );
        }
        refuse(
            &format!("a@md5:{HEX}"),
            InvalidDigest::Algorithm("md5".to_owned()).into(),
        );
    }

    #[test]
    fn an_id_is_no_name() {
        refuse(HEX, ImageFault::Identifier);
        check(
            &HEX[1..],
            &format!("docker.io/library/{}:latest", &HEX[1..]),
        );
        refuse("", ImageFault::Empty);
    }
}
