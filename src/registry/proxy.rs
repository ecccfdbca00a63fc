//! Which proxy is between us and a host, if any: by Go's rules, as nodes go by these.
//!
//! They are those of `golang.org/x/net/http/httpproxy`, which the kubelet and container runtimes use. Other programs
//! read the same variables otherwise: curl knows neither ports nor `*.` in `NO_PROXY`.

mod direct;

use std::{fmt, sync::Arc};

use reqwest::Proxy;
use url::Url;

use self::direct::{Direct, Target};

/// The proxies of an environment. By default there are none.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

#[derive(Default)]
struct Rules {
    /// For requests by plain http.
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

/// A variable of the environment names no proxy. What it holds is not told: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} must be empty or name a proxy, as `http://proxy.example:3128` or `proxy.example:3128`"
)]
pub struct BadProxy {
    variable: &'static str,
    /// What is wrong, if that is not all there is to say.
    #[source]
    source: Option<BadUrl>,
}

/// What is wrong with the address of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadUrl {
    #[error("it has white space in it")]
    WhiteSpace,
    #[error("a proxy is spoken to by http or https")]
    Scheme,
    #[error(transparent)]
    Url(#[from] url::ParseError),
    #[error("its user or password has characters that must be written as `%` and two hex digits")]
    Characters,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as `variable` tells them, or their names in lower case where
    /// these are not there or empty.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadProxy> {
        let first = |names: [&'static str; 2]| {
            let mut values = names.into_iter().map(|name| (name, variable(name)));
            values.find_map(|(name, value)| Some((name, value.filter(|it| !it.is_empty())?)))
        };
        let proxy = |names| {
            let found = first(names).map(|(variable, value)| {
                read(&value).map_err(|bad| BadProxy {
                    variable,
                    source: Some(bad),
                })
            });
            found.transpose()
        };
        let (http, https) = (
            proxy(["HTTP_PROXY", "http_proxy"])?,
            proxy(["HTTPS_PROXY", "https_proxy"])?,
        );
        if http.is_none() && https.is_none() {
            return Ok(Self::default());
        }
        let direct = first(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
        let direct = direct.iter().flat_map(|list| list.split(','));
        let direct = direct.filter_map(Direct::read).collect();
        Ok(Self(Some(Arc::new(Rules {
            http,
            https,
            direct,
        }))))
    }

    /// Returns them as clients take them; `None` if there are none.
    pub(super) fn for_clients(&self) -> Option<Proxy> {
        let rules = Arc::clone(self.0.as_ref()?);
        Some(Proxy::custom(move |url| rules.proxy(url).cloned()))
    }
}

impl fmt::Debug for Proxies {
    /// Shows nothing of them: there may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Proxies(..)",
            None => "Proxies",
        })
    }
}

/// Reads the address of a proxy; one without a scheme is asked by plain http.
fn read(text: &str) -> Result<Url, BadUrl> {
    // The URL's parser would drop it.
    if text.contains(char::is_whitespace) {
        return Err(BadUrl::WhiteSpace);
    }
    let url = match text.contains("://") {
        true => Url::parse(text)?,
        false => Url::parse(&format!("http://{text}"))?,
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BadUrl::Scheme);
    }
    // The client reads it once more, and would go without the proxy if it could not.
    match url.as_str().parse::<hyper::Uri>() {
        Ok(_) => Ok(url),
        Err(_) => Err(BadUrl::Characters),
    }
}

impl Rules {
    /// Returns the proxy that requests to `url` go through. This machine is never asked through one.
    fn proxy(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        };
        let target = Target::of(url)?;
        let is_direct = target.is_here() || self.direct.iter().any(|entry| entry.covers(&target));
        proxy.filter(|_| !is_direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Chain;

    fn of(variables: &[(&str, &str)]) -> Result<Proxies, BadProxy> {
        Proxies::of(|name| {
            let mut all = variables.iter();
            let found = all.find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Checks which proxy of `variables` is asked for `url`: its host and port.
    #[track_caller]
    fn check_proxy(variables: &[(&str, &str)], url: &str, expected: Option<&str>) {
        let proxies = of(variables).unwrap();
        let url = Url::parse(url).unwrap();
        let found = proxies.0.as_ref().and_then(|rules| rules.proxy(&url));
        let found = found.map(|url| &url[url::Position::BeforeHost..url::Position::AfterPort]);
        assert_eq!(found, expected, "{variables:?} {url}");
    }

    #[test]
    fn the_scheme_of_the_request_chooses_the_proxy() {
        let both = [("HTTP_PROXY", "plain:1"), ("HTTPS_PROXY", "safe:2")];
        check_proxy(&both, "http://a.io/v2/", Some("plain:1"));
        check_proxy(&both, "https://a.io/v2/", Some("safe:2"));
        check_proxy(&both[..1], "https://a.io/v2/", None);
        check_proxy(&both[1..], "http://a.io/v2/", None);
        check_proxy(&[("ALL_PROXY", "all:1")], "https://a.io/v2/", None);
    }

    #[test]
    fn what_is_empty_hides_nothing() {
        let url = "https://a.io/v2/";
        let upper = ("HTTPS_PROXY", "upper:1");
        let lower = ("https_proxy", "lower:2");
        check_proxy(&[upper, lower], url, Some("upper:1"));
        check_proxy(&[("HTTPS_PROXY", ""), lower], url, Some("lower:2"));
        check_proxy(&[("HTTPS_PROXY", "")], url, None);
        let hidden = ("no_proxy", "a.io");
        check_proxy(&[upper, ("NO_PROXY", ""), hidden], url, None);
        check_proxy(&[upper, ("NO_PROXY", "b.io"), hidden], url, Some("upper:1"));
    }

    #[test]
    fn some_hosts_are_asked_without_one() {
        let proxy = ("HTTPS_PROXY", "proxy:1");
        let list = [proxy, ("NO_PROXY", "a.io, b.io:444")];
        for (host, expected) in [
            ("a.io", None),
            ("b.io:444", None),
            ("b.io", Some("proxy:1")),
            ("localhost:5000", None),
            ("127.9.9.9", None),
        ] {
            check_proxy(&list, &format!("https://{host}/v2/"), expected);
        }
        check_proxy(&[proxy], "https://[::1]:5000/v2/", None);
        check_proxy(&[proxy], "https://a.io/v2/", Some("proxy:1"));
    }

    #[test]
    fn a_proxy_is_named_with_or_without_a_scheme() {
        for (text, expected) in [
            ("proxy:3128", "proxy:3128"),
            ("http://proxy:3128", "proxy:3128"),
            ("https://proxy:3128/", "proxy:3128"),
            ("10.0.0.1:3128", "10.0.0.1:3128"),
            ("[fd00::1]:3128", "[fd00::1]:3128"),
            ("proxy.example", "proxy.example"),
            ("ann:p%40ss@proxy:3128", "proxy:3128"),
        ] {
            check_proxy(&[("HTTPS_PROXY", text)], "https://a.io", Some(expected));
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in [
            "http://",
            "http://ann:hunter2@",
            "http://ann:hunter2",
            "ann:hunter2@proxy:port",
            "http://ann:hunter2@pro xy:3128",
            "http://ann:hunter2@proxy:3128\n",
            "socks5://ann:hunter2@proxy:1080",
        ] {
            for variable in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
                let error = of(&[(variable, text)]).unwrap_err();
                let told = format!("{} {error:?}", Chain(&error));
                assert!(told.contains(variable), "{told}");
                assert!(!told.contains("hunter2") && !told.contains("ann"), "{told}");
            }
        }
    }

    #[test]
    fn nothing_of_a_proxy_is_shown() {
        let proxies = of(&[("HTTPS_PROXY", "http://ann:hunter2@proxy:3128")]).unwrap();
        let shown = format!("{proxies:?} {:?}", proxies.for_clients());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
