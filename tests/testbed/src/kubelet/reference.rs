//! An image reference as nodes read it.

/// `docker.io/library/nginx:1.27@sha256:…`, taken apart and completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) host: String,
    pub(super) repository: String,
    /// Empty when there is only a digest.
    pub(super) tag: String,
    pub(super) digest: Option<String>,
}

impl Reference {
    /// Reads a reference; `None` when it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (host, rest) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => ("docker.io", name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, tag),
            None if digest.is_some() => (rest, ""),
            None => (rest, "latest"),
        };
        let is_short = host == "docker.io" && !repository.contains('/');
        let repository = if is_short {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        let is_fine =
            !rest.is_empty() && repository.chars().all(fine) && !repository.ends_with('/');
        is_fine.then(|| Self {
            host: host.into(),
            repository,
            tag: tag.into(),
            digest,
        })
    }

    /// Returns the reference in full, as containerd reports it.
    pub(super) fn normal(&self) -> String {
        let mut text = format!("{}/{}", self.host, self.repository);
        if !self.tag.is_empty() {
            text.push_str(&format!(":{}", self.tag));
        }
        if let Some(digest) = &self.digest {
            text.push_str(&format!("@{digest}"));
        }
        text
    }

    /// Says whether the registry is on this machine: such ones speak plain http unless told otherwise.
    pub(super) fn is_loopback(&self) -> bool {
        let host = match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.host,
        };
        host == "localhost"
            || host == "[::1]"
            || host
                .parse::<std::net::Ipv4Addr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            Reference::parse(text)
                .map(|reference| reference.normal())
                .as_deref(),
            expected
        );
    }

    #[test]
    fn short_names_are_completed() {
        check("nginx", Some("docker.io/library/nginx:latest"));
        check("team/app:v1", Some("docker.io/team/app:v1"));
        check("ghcr.io/team/app", Some("ghcr.io/team/app:latest"));
        check("127.0.0.1:5000/app", Some("127.0.0.1:5000/app:latest"));
        check(
            "localhost/app:v1@sha256:00",
            Some("localhost/app:v1@sha256:00"),
        );
        check("nginx@sha256:00", Some("docker.io/library/nginx@sha256:00"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        check("", None);
        check("Team/App", None);
        check("127.0.0.1:5000/", None);
    }

    #[test]
    fn the_port_does_not_hide_the_loopback() {
        for (text, expected) in [
            ("127.9.0.1:5000/a", true),
            ("localhost/a", true),
            ("10.0.0.1:5000/a", false),
            ("a", false),
        ] {
            assert_eq!(
                Reference::parse(text).unwrap().is_loopback(),
                expected,
                "{text}"
            );
        }
    }
}
