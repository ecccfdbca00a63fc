//! Where a registry is asked: the address behind the host that references name.

use std::{net::IpAddr, sync::Arc};

use url::{Host, Url};

use crate::policy::ImageRef;

/// One address that a registry is asked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// The host and port that are asked, as errors and logs name it.
    pub(super) host: Arc<str>,
    /// The root of its API, mostly `/v2/`.
    root: Url,
    /// The registry that a mirror is asked about; `None` when it is asked itself.
    namespace: Option<Box<str>>,
}

impl Endpoint {
    /// Returns where `registry` (`docker.io`, `localhost:5000`) is asked; `None` when that is no host.
    ///
    /// Docker Hub answers under another name than its references bear. Registries on this machine
    /// are plain http, as with docker; all others https.
    pub(super) fn of(registry: &str) -> Option<Self> {
        let secure = Self::secure(registry)?;
        if !is_loopback(&secure.root) {
            return Some(secure);
        }
        // Parsed anew, as a port that is https's default is not http's.
        let root = Url::parse(&format!("http://{}/v2/", secure.host)).ok()?;
        Some(Self { root, ..secure })
    }

    /// Returns where `registry` is asked by https, wherever it is.
    pub(super) fn secure(registry: &str) -> Option<Self> {
        let host = alias(registry);
        Some(Self {
            root: Url::parse(&format!("https://{host}/v2/")).ok()?,
            host: host.into(),
            namespace: None,
        })
    }

    /// Returns where `registry` is asked at the API whose root is `root`, which ends in a slash.
    pub(super) fn at(root: Url, registry: &str) -> Self {
        let name = root.host_str().unwrap_or_default();
        let host: Arc<str> = match root.port() {
            Some(port) => format!("{name}:{port}").into(),
            None => name.into(),
        };
        // As container runtimes have it: whoever is not the registry itself is told which one is meant. A port that
        // is the scheme's own is not part of the URL any more.
        let own = |registry| Url::parse(&format!("{}://{registry}/", root.scheme()));
        let is_own = |registry| own(registry).is_ok_and(|own| own.origin() == root.origin());
        let is_home = [registry, alias(registry)].into_iter().any(is_own);
        Self {
            host,
            root,
            namespace: (!is_home).then(|| registry.into()),
        }
    }

    /// Returns the root of its API.
    pub(super) fn root(&self) -> &Url {
        &self.root
    }

    /// Says whether the registry is asked without TLS.
    fn is_plain(&self) -> bool {
        self.root.scheme() == "http"
    }

    /// Says whether passwords may be sent to the token service at `realm`.
    ///
    /// Plain http is for a registry that is asked so itself, and a service on the same host or machine.
    pub(super) fn trusts(&self, realm: &Url) -> bool {
        let beside =
            realm.host() == self.root.host() || is_loopback(realm) && is_loopback(&self.root);
        realm.scheme() == "https" || realm.scheme() == "http" && self.is_plain() && beside
    }

    /// Returns the address that says whether, and how, one has to log in.
    pub(super) fn base(&self) -> Url {
        self.below("")
    }

    /// Returns the address of the manifest that `image` names: by its tag where it has one.
    pub(super) fn manifest(&self, image: &ImageRef) -> Url {
        let repository = image.repository();
        let reference = match (image.tag(), image.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => "latest".to_owned(),
        };
        self.below(&format!("{repository}/manifests/{reference}"))
    }

    /// Returns what the API calls the repository of `image`: a mirror may have it in a folder, as its path says.
    pub(super) fn repository(&self, image: &ImageRef) -> String {
        let folder = self.root.path().split_once("/v2/");
        let folder = folder.map_or("", |(_, folder)| folder);
        format!("{folder}{}", image.repository())
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{path}", self.root.path()));
        if let Some(registry) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }
}

/// Returns the host that answers for `registry`.
fn alias(registry: &str) -> &str {
    match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// Says whether `url` points to this machine: 127.0.0.0/8, `::1` or `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(image: &str, expected: &str) {
        let image: ImageRef = image.parse().unwrap();
        let endpoint = Endpoint::of(image.registry()).unwrap();
        assert_eq!(endpoint.manifest(&image).as_str(), expected);
    }

    #[test]
    fn docker_hub_answers_elsewhere() {
        check(
            "nginx:1.27",
            "https://registry-1.docker.io/v2/library/nginx/manifests/1.27",
        );
        check(
            "index.docker.io/org/app",
            "https://registry-1.docker.io/v2/org/app/manifests/latest",
        );
    }

    #[test]
    fn this_machine_is_plain_http() {
        for host in ["localhost:5000", "127.0.0.1:5000", "127.9.9.9:5000"] {
            check(
                &format!("{host}/app:1"),
                &format!("http://{host}/v2/app/manifests/1"),
            );
        }
        check(
            "localhost:443/app:1",
            "http://localhost:443/v2/app/manifests/1",
        );
        for host in [
            "128.0.0.1:5000",
            "10.0.0.1",
            "localhost.example.com",
            "ghcr.io",
        ] {
            check(
                &format!("{host}/app:1"),
                &format!("https://{host}/v2/app/manifests/1"),
            );
        }
        assert!(Endpoint::of("[::1]:5000").unwrap().is_plain());
        assert!(!Endpoint::of("[::2]:5000").unwrap().is_plain());
    }

    #[test]
    fn a_tag_goes_before_a_digest() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        check(
            &format!("ghcr.io/app:1@{digest}"),
            "https://ghcr.io/v2/app/manifests/1",
        );
        check(
            &format!("ghcr.io/app@{digest}"),
            &format!("https://ghcr.io/v2/app/manifests/{digest}"),
        );
    }

    #[track_caller]
    fn check_at(root: &str, registry: &str, expected: &str) {
        let endpoint = Endpoint::at(Url::parse(root).unwrap(), registry);
        let image: ImageRef = format!("{registry}/org/app:1").parse().unwrap();
        assert_eq!(endpoint.manifest(&image).as_str(), expected);
    }

    #[test]
    fn a_mirror_is_told_whose_image_is_meant() {
        check_at(
            "http://mirror.test:5000/v2/",
            "docker.io",
            "http://mirror.test:5000/v2/org/app/manifests/1?ns=docker.io",
        );
        check_at(
            "https://mirror.test/hub/v2/",
            "ghcr.io:8443",
            "https://mirror.test/hub/v2/org/app/manifests/1?ns=ghcr.io%3A8443",
        );
        for (root, registry) in [
            ("https://registry-1.docker.io/v2/", "docker.io"),
            ("https://ghcr.io/v2/", "ghcr.io"),
            ("http://ghcr.io/v2/", "ghcr.io"),
            ("http://ghcr.io:5000/v2/", "ghcr.io:5000"),
            ("https://ghcr.io/v2/", "ghcr.io:443"),
            ("http://ghcr.io/v2/", "ghcr.io:80"),
        ] {
            check_at(root, registry, &format!("{root}org/app/manifests/1"));
        }
        let other_scheme = Endpoint::at(Url::parse("http://ghcr.io/v2/").unwrap(), "ghcr.io:443");
        assert_eq!(other_scheme.base().query(), Some("ns=ghcr.io%3A443"));
        let elsewhere = Endpoint::at(Url::parse("https://ghcr.io:5000/v2/").unwrap(), "ghcr.io");
        assert_eq!(elsewhere.base().query(), Some("ns=ghcr.io"));
        assert_eq!(&*elsewhere.host, "ghcr.io:5000");
    }

    #[track_caller]
    fn check_repository(root: &str, expected: &str) {
        let image: ImageRef = "reg.test/org/app:1".parse().unwrap();
        let endpoint = Endpoint::at(Url::parse(root).unwrap(), "reg.test");
        assert_eq!(endpoint.repository(&image), expected, "{root}");
    }

    #[test]
    fn a_path_behind_the_version_is_part_of_the_repository() {
        check_repository("https://reg.test/v2/", "org/app");
        check_repository("https://mirror.test/v2/proxy/", "proxy/org/app");
        check_repository("https://mirror.test/v2/a/b/", "a/b/org/app");
        check_repository("https://mirror.test/hub/v2/proxy/", "proxy/org/app");
        check_repository("https://mirror.test/hub/v2/", "org/app");
        // Where the API has its root is not said then.
        check_repository("https://mirror.test/hub/", "org/app");
    }

    #[test]
    fn passwords_go_by_https_or_not_far() {
        let plain = Endpoint::at(Url::parse("http://reg.test:5000/v2/").unwrap(), "reg.test");
        let local = Endpoint::of("127.0.0.1:5000").unwrap();
        let secure = Endpoint::of("ghcr.io").unwrap();
        let trusts = |endpoint: &Endpoint, realm| endpoint.trusts(&Url::parse(realm).unwrap());
        for endpoint in [&plain, &local, &secure] {
            assert!(trusts(endpoint, "https://auth.test/token"));
            assert!(!trusts(endpoint, "http://auth.test/token"));
        }
        assert!(trusts(&plain, "http://reg.test:5001/token"));
        assert!(!trusts(&plain, "http://127.0.0.1:5001/token"));
        assert!(trusts(&local, "http://localhost:5001/token"));
        assert!(!trusts(&secure, "http://ghcr.io/token"));
    }
}
