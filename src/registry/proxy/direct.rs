//! Which hosts are asked without a proxy: the entries of `NO_PROXY`, as Go reads them.

use std::net::IpAddr;

use url::{Host, Url};

/// Hosts that are asked without a proxy: an entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Direct {
    All,
    /// An address and the bits of it that count.
    Network(IpAddr, u8),
    Address(IpAddr, Option<String>),
    Domain {
        /// How its names end: with the dot before it.
        end: String,
        /// Whether it is meant, too, or only what is below it.
        with_itself: bool,
        port: Option<String>,
    },
}

/// What a request is sent to.
#[derive(Debug)]
pub(super) struct Target {
    /// The text of its address, if it has one.
    name: String,
    address: Option<IpAddr>,
    port: String,
}

impl Target {
    /// Returns what requests to `url` are sent to; `None` where that is no host.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let (name, address) = match url.host()? {
            Host::Domain(name) => (name.to_owned(), None),
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(address))),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(address))),
        };
        Some(Self {
            name,
            address: address.map(|address| address.to_canonical()),
            port: url.port_or_known_default()?.to_string(),
        })
    }

    /// Says whether that is this machine.
    pub(super) fn is_here(&self) -> bool {
        self.name == "localhost" || self.address.is_some_and(|it| it.is_loopback())
    }
}

impl Direct {
    /// Reads an entry; `None` for one that means no host.
    pub(super) fn read(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some(network) = Self::network(&entry) {
            return Some(network);
        }
        let (host, port) = match split_port(&entry) {
            Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
            None => (&*entry, None),
        };
        let port = port.map(str::to_owned);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        if host.is_empty() {
            return None;
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let domain = below.unwrap_or(host);
        let end = match Host::parse(domain) {
            // As it is written in URLs.
            Ok(Host::Domain(ascii)) if !domain.is_ascii() => format!(".{ascii}"),
            _ => format!(".{domain}"),
        };
        Some(Self::Domain {
            end,
            with_itself: below.is_none(),
            port,
        })
    }

    fn network(entry: &str) -> Option<Self> {
        let (address, bits) = entry.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits
            .strip_prefix('+')
            .is_none()
            .then(|| bits.parse().ok())??;
        let (most, mapped) = match address {
            IpAddr::V4(_) => (32, false),
            IpAddr::V6(it) => (128, it.to_ipv4_mapped().is_some()),
        };
        match bits {
            96..=128 if mapped => Some(Self::Network(address.to_canonical(), bits - 96)),
            bits if bits <= most => Some(Self::Network(address, bits)),
            _ => None,
        }
    }

    /// Says whether it means `target`.
    pub(super) fn covers(&self, target: &Target) -> bool {
        let is_at = |port: &Option<String>| port.as_ref().is_none_or(|it| *it == target.port);
        let (name, address) = (&*target.name, target.address);
        match self {
            Self::All => true,
            Self::Network(network, bits) => {
                address.is_some_and(|address| begins_as(address, *network, *bits))
            }
            Self::Address(wanted, port) => address == Some(*wanted) && is_at(port),
            Self::Domain {
                end,
                with_itself,
                port,
            } => (name.ends_with(&**end) || *with_itself && name == &end[1..]) && is_at(port),
        }
    }
}

/// Says whether the first `bits` of both are the same.
fn begins_as(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (differ, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    differ.checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

/// Splits a port off a host, and the brackets off an IPv6 address, which has them only before a port; `None` where there
/// is no port.
fn split_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match inner {
        Some(inner) => Some((inner, port)),
        None => (!host.contains([':', '[', ']'])).then_some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks whether `NO_PROXY` with this `list` means the host of `url`.
    #[track_caller]
    fn check(list: &str, url: &str, expected: bool) {
        let target = Target::of(&Url::parse(url).unwrap()).unwrap();
        let mut entries = list.split(',').filter_map(Direct::read);
        let found = entries.any(|entry| entry.covers(&target));
        assert_eq!(found, expected, "{list} {url}");
    }

    #[test]
    fn this_machine_has_a_name_and_many_addresses() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.9.9.9:5000", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]", true),
            ("my.localhost", false),
            ("128.0.0.1", false),
            ("[::2]", false),
        ] {
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(Target::of(&url).unwrap().is_here(), expected, "{host}");
        }
    }

    #[test]
    fn a_domain_means_what_is_below_it_too() {
        for list in ["corp.io", "Corp.IO", " b.io , corp.io", "corp.io:443"] {
            check(list, "https://corp.io/", true);
            check(list, "https://reg.corp.io/", true);
            check(list, "https://a.reg.corp.io/", true);
            check(list, "https://mycorp.io/", false);
            check(list, "https://corp.io.evil.io/", false);
        }
        for list in [".corp.io", "*.corp.io"] {
            check(list, "https://corp.io/", false);
            check(list, "https://reg.corp.io/", true);
        }
        check("bücher.io", "https://reg.bücher.io/", true);
    }

    #[test]
    fn a_port_must_be_that_of_the_request() {
        check("reg.io:5000", "http://reg.io:5000/", true);
        check("reg.io:5000", "https://a.reg.io:5000/", true);
        check("reg.io:5000", "http://reg.io/", false);
        check("reg.io:5000", "http://reg.io:5001/", false);
        check("reg.io:", "http://reg.io:5001/", true);
        check("*.reg.io:80", "http://a.reg.io/", true);
        check("*.reg.io:80", "https://a.reg.io/", false);
        check("reg.io:443", "https://reg.io/", true);
        check("10.0.0.1:5000", "http://10.0.0.1:5000/", true);
        check("10.0.0.1:5000", "http://10.0.0.1/", false);
        check("[fd00::1]:5000", "http://[fd00::1]:5000/", true);
        check("[fd00::1]:5000", "http://[fd00::1]/", false);
    }

    #[test]
    fn addresses_and_networks_are_known() {
        check("10.0.0.1", "https://10.0.0.1:5000/", true);
        check("10.0.0.1", "https://10.0.0.11/", false);
        check("fd00::1", "https://[fd00::1]:5000/", true);
        check("::ffff:10.0.0.1", "https://10.0.0.1/", true);
        check("10.1.2.3/8", "https://10.9.9.9:5000/", true);
        check("10.0.0.0/8", "https://11.0.0.0/", false);
        check("10.0.0.0/31", "https://10.0.0.1/", true);
        check("10.0.0.0/31", "https://10.0.0.2/", false);
        check("0.0.0.0/0", "https://10.0.0.2/", true);
        check("0.0.0.0/0", "https://[fd00::1]/", false);
        check("::/0", "https://[fd00::1]/", true);
        check("::/0", "https://10.0.0.2/", false);
        check("::ffff:10.0.0.0/104", "https://10.0.0.2/", true);
        check("fd00::/16", "https://[fd00:1::1]/", true);
        check("fd00::/16", "https://[fd01::1]/", false);
        check("10.0.0.0/33", "https://10.0.0.0/", false);
        check("10.0.0.0/8", "https://reg.io/", false);
        // Names are compared by their ends, and an address has a text, too.
        check("0.0.1", "https://10.0.0.1/", true);
    }

    #[test]
    fn a_star_alone_means_all() {
        check("a.io,*", "https://b.io/", true);
        check("*", "http://10.0.0.1:5000/", true);
        check("*:443", "https://b.io/", false);
        check("b*", "https://b.io/", false);
    }

    #[test]
    fn what_means_no_host_is_passed_over() {
        for list in ["", ",", " , ", ":80", "[]:80", "[fd00::1]", "10.0.0.1/x"] {
            check(list, "https://b.io/", false);
            check(&format!("{list},b.io"), "https://b.io/", true);
        }
        check("[fd00::1]", "https://[fd00::1]/", false);
    }
}
