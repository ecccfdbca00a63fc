//! One address that all registries are asked at, whatever host a reference names.

use std::{fmt, str::FromStr};

use url::Url;

use super::fields::Address;

/// The root of the API that all registries are asked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl(Url);

/// A text is no address of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the address of a registry, such as https://mirror.example:5000")]
pub struct BadEndpoint;

impl RegistryUrl {
    /// Returns the root of the API, with a slash at its end.
    pub(in crate::registry) fn root(&self) -> Url {
        self.0.clone()
    }
}

impl FromStr for RegistryUrl {
    type Err = BadEndpoint;

    /// Reads a host or a URL as `hosts.toml` has it: `/v2` comes behind its path, if it does not end so.
    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let address = Address::try_from(text.to_owned()).map_err(|_| BadEndpoint)?;
        Ok(Self(address.root(false)))
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let url = text.parse::<RegistryUrl>().ok();
        assert_eq!(
            url.map(|url| url.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn an_address_leads_to_its_api() {
        check("https://mirror.example", Some("https://mirror.example/v2/"));
        check(
            "mirror.example:5000",
            Some("https://mirror.example:5000/v2/"),
        );
        check("http://127.0.0.1:5000/", Some("http://127.0.0.1:5000/v2/"));
        check(
            "https://host.example/docker/v2",
            Some("https://host.example/docker/v2/"),
        );
        check(
            "https://host.example/docker",
            Some("https://host.example/docker/v2/"),
        );
        check(
            "https://docker.io",
            Some("https://registry-1.docker.io/v2/"),
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        check("", None);
        check("ftp://mirror.example", None);
        check("https://ann:password@mirror.example", None);
        check("https://mirror.example/?a=b", None);
    }
}
