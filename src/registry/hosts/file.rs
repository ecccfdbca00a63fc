//! containerd's `hosts.toml`: at which addresses a registry is asked, in which order, and how.

use std::{path::PathBuf, time::Duration};

use reqwest::header::HeaderMap;
use serde::Deserialize;
use url::Url;

use super::fields::{Address, Capability, DialTimeout, Headers, Pairs, Paths, Tables};

/// One address, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// The root of the API, with a slash at its end; `None` for the registry's own.
    pub(super) root: Option<Url>,
    /// Whether it may say what a tag means, and give it.
    pub(super) resolves: bool,
    pub(super) authorities: Vec<PathBuf>,
    /// Certificates and their keys, each two perhaps in one file.
    pub(super) clients: Vec<(PathBuf, PathBuf)>,
    pub(super) skip_verify: bool,
    pub(super) headers: HeaderMap,
    pub(super) dial_timeout: Option<Duration>,
}

/// A file is no `hosts.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct NotHosts {
    line: usize,
    column: usize,
    message: Box<str>,
}

/// A whole file. What containerd knows besides is of no interest to lookups.
#[derive(Deserialize)]
struct File {
    server: Option<Address>,
    #[serde(default)]
    host: Tables<Table>,
    // The fields of a table, for `server`. Flattened, their errors would lose their lines.
    #[serde(default)]
    capabilities: Vec<Capability>,
    ca: Option<Paths>,
    #[serde(default)]
    client: Pairs,
    skip_verify: Option<bool>,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: Headers,
    #[serde(default)]
    dial_timeout: DialTimeout,
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    capabilities: Vec<Capability>,
    ca: Option<Paths>,
    #[serde(default)]
    client: Pairs,
    skip_verify: Option<bool>,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: Headers,
    #[serde(default)]
    dial_timeout: DialTimeout,
}

/// Reads a file: its hosts in order, and behind them the server.
pub(super) fn parse(text: &str) -> Result<Vec<Written>, NotHosts> {
    let file: File = toml::from_str(text).map_err(|error| NotHosts::at(text, &error))?;
    let server = Table {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        override_path: file.override_path,
        header: file.header,
        dial_timeout: file.dial_timeout,
    };
    let hosts = file.host.0.into_iter();
    let mut all: Vec<Written> = hosts
        .map(|(address, table)| table.at(Some(address)))
        .collect();
    all.push(server.at(file.server));
    Ok(all)
}

impl Table {
    fn at(self, address: Option<Address>) -> Written {
        // As containerd asks for a tag: at hosts that may both. Nothing said is everything; and what is said of the
        // registry's own address does not count where that is not written.
        let wanted = [Capability::Pull, Capability::Resolve];
        let resolves = self.capabilities.is_empty()
            || address.is_none()
            || wanted.iter().all(|word| self.capabilities.contains(word));
        Written {
            root: address.map(|address| address.root(self.override_path)),
            resolves,
            authorities: self.ca.map(|Paths(paths)| paths).unwrap_or_default(),
            clients: self.client.0,
            skip_verify: self.skip_verify.unwrap_or(false),
            headers: self.header.0,
            dial_timeout: self.dial_timeout.0,
        }
    }
}

impl NotHosts {
    fn at(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(text.len(), |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.len() - line_start + 1,
            message: error.message().replace('\n', ", ").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the roots in order, `-` for the registry's own and `!` before those that resolve nothing.
    fn roots(text: &str) -> String {
        let roots = parse(text).unwrap().into_iter().map(|written| {
            let root = written.root.map_or("-".to_owned(), |root| root.to_string());
            match written.resolves {
                true => root,
                false => format!("!{root}"),
            }
        });
        roots.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn hosts_come_in_order_and_the_server_last() {
        assert_eq!(roots(""), "-");
        let file = r#"
            server = "https://registry-1.docker.io"
            [host."https://z.test"]
            capabilities = ["pull", "Resolve"]
            [host."http://a.test:5000/v2"]
            [host."https://z.test".header]
            x = "1"
            [host."m.test/hub/"]
            capabilities = ["pull"]
        "#;
        assert_eq!(
            roots(file),
            "https://z.test/v2/ http://a.test:5000/v2/ !https://m.test/hub/v2/ https://registry-1.docker.io/v2/"
        );
        // Docker Hub does not answer under its own name; files that give it as the server abound.
        assert_eq!(
            roots("server = 'https://docker.io'"),
            "https://registry-1.docker.io/v2/"
        );
    }

    #[test]
    fn a_tag_is_looked_up_at_hosts_that_pull_and_resolve() {
        for (words, expected) in [
            ("", ""),
            ("'pull', 'resolve'", ""),
            ("'Resolve', 'push', 'referrers', 'PULL'", ""),
            ("'pull'", "!"),
            ("'resolve'", "!"),
            ("'push', 'resolve'", "!"),
            ("'push', 'referrers'", "!"),
        ] {
            let capabilities = format!("capabilities = [{words}]");
            let host = format!("[host.'m.test']\n{capabilities}");
            assert_eq!(roots(&host), format!("{expected}https://m.test/v2/ -"));
            let server = format!("server = 's.test'\n{capabilities}");
            assert_eq!(roots(&server), format!("{expected}https://s.test/v2/"));
            // Without a server, they say nothing of the registry's own address.
            assert_eq!(roots(&capabilities), "-");
        }
    }

    #[track_caller]
    fn check_dial_timeout(text: &str, expected: Option<Duration>) {
        let text = format!("dial_timeout = '{text}'");
        assert_eq!(parse(&text).unwrap()[0].dial_timeout, expected, "{text}");
    }

    #[test]
    fn a_dial_timeout_is_written_as_in_go() {
        check_dial_timeout("1s", Some(Duration::from_secs(1)));
        check_dial_timeout("1m1.5s", Some(Duration::from_millis(61_500)));
        check_dial_timeout("200us", Some(Duration::from_micros(200)));
        for none in ["", "0", "0s"] {
            check_dial_timeout(none, None);
        }
        for bad in ["5", "-1s", "PT5S", "5 seconds", "5s 1ms"] {
            check(&format!("dial_timeout = '{bad}'"), 1, "such as 5s");
        }
    }

    #[test]
    fn a_path_may_be_the_root_itself() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("/api/hub", "/api/hub/"),
            ("/v2/x", "/v2/x/"),
        ] {
            let file = format!("[host.'https://m.test{path}']\noverride_path = true");
            assert_eq!(roots(&file), format!("https://m.test{expected} -"));
        }
    }

    #[test]
    fn every_spelling_of_certificates_is_read() {
        let of = |text: &str| parse(text).unwrap().remove(0);
        assert_eq!(of("ca = 'a.pem'").authorities, [PathBuf::from("a.pem")]);
        assert_eq!(of("ca = ['a', 'b']").authorities.len(), 2);
        assert_eq!(of("ca = []").authorities.len(), 0);
        assert!(of("skip_verify = true").skip_verify);
        let headers = of("[header]\nx-a = ['1', '2']\nx-b = 'hunter2'").headers;
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert_eq!(headers.len(), 3);
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[track_caller]
    fn check_clients(value: &str, expected: &[(&str, &str)]) {
        let pairs: Vec<(PathBuf, PathBuf)> = (expected.iter())
            .map(|(certificate, key)| (certificate.into(), key.into()))
            .collect();
        let text = format!("[host.'a.test']\nclient = {value}");
        let all = parse(&text).unwrap();
        assert_eq!((&all[0].clients, &all[1].clients), (&pairs, &vec![]));
        let server = parse(&format!("client = {value}")).unwrap().remove(0);
        assert_eq!(server.clients, pairs);
    }

    #[test]
    fn client_certificates_are_files_and_pairs_of_files_in_order() {
        let both = ("a.pem", "a.pem");
        check_clients("'a.pem'", &[both]);
        check_clients("['a.pem']", &[both]);
        check_clients("['a.pem', '/b']", &[both, ("/b", "/b")]);
        let (b, c) = (("b.crt", "b.key"), ("c.crt", "/c.key"));
        check_clients("[['b.crt', 'b.key']]", &[b]);
        check_clients("[['c.crt', '/c.key'], ['b.crt', 'b.key']]", &[c, b]);
        check_clients("[['b.crt', 'b.key'], 'a.pem']", &[b, both]);
        check_clients("['a.pem', ['b.crt', 'b.key']]", &[both, b]);
        check_clients("[]", &[]);
        check_clients("[['a.pem', 'a.pem']]", &[both]);
    }

    #[track_caller]
    fn check(text: &str, line: usize, words: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(words), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        check("server = \n", 1, "");
        check("\nserver = 'ftp://a.test'", 2, "expected a host");
        check(
            "server = 'https://ann:hunter2@a.test'",
            1,
            "expected a host",
        );
        check("\n\n[host.'https://']", 3, "expected a host");
        let fly = "[host.'a.test']\ncapabilities = ['pull', 'fly']";
        check(fly, 2, "pull, resolve, push or referrers");
        check("[host.'a.test']\nskip_verify = 'yes'", 2, "boolean");
        check("[host.'a.test']\nca = 5", 2, "a string or a list");
        check("client = [['a']]", 1, "pairs of a certificate");
        check("\nclient = [['a', 'b'], ['c', 'd', 'e']]", 2, "pairs of");
        check("client = ['a', []]", 1, "pairs of a certificate");
        check("client = 5", 1, "or a list of such files");
        check("client = ['a', 5]", 1, "or a list of such files");
        check("client = [[['a', 'b']]]", 1, "or a list of such files");
        check("dial_timeout = 5", 1, "a string");
        check("[header]\nx = \"hunter2\\n\"", 1, "a header may hold");
        check("[header]\n'a b' = 'hunter2'", 1, "names of headers");
        check("host = 'a.test'", 1, "[host.");
        check("[host.'a.test']\n[host.'a.test']", 2, "");
    }
}
