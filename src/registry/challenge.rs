//! How a registry wants to be logged in to: its `WWW-Authenticate` headers.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

use super::{Fault, endpoint::Endpoint};

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    /// User and password.
    Basic,
    /// A token from a token service, as the distribution project's token specification says.
    Bearer(Box<Bearer>),
}

/// Where tokens come from, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
}

/// One answer of "log in first": how, and what for if it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: Scheme,
    pub(super) scope: Option<String>,
}

/// Headers have no business being longer. What is behind is not read.
const MAX_BYTES: usize = 8192;

/// A challenge as it is written.
#[derive(Debug)]
struct Written {
    /// In lower case.
    scheme: String,
    /// Names in lower case.
    params: Vec<(String, String)>,
}

impl Challenge {
    /// Returns the way to log in that `endpoint` offers in `headers`: Bearer where it can be used, else Basic.
    pub(super) fn choose(headers: &HeaderMap, endpoint: &Endpoint) -> Result<Option<Self>, Fault> {
        let (mut basic, mut refused) = (false, None);
        for header in headers.get_all(WWW_AUTHENTICATE) {
            for written in parse(header.as_bytes()) {
                match written.scheme.as_str() {
                    "basic" => basic = true,
                    "bearer" => match Bearer::of(&written, endpoint) {
                        Ok(bearer) => {
                            return Ok(Some(Self {
                                scheme: Scheme::Bearer(Box::new(bearer)),
                                scope: written.param("scope").map(str::to_owned),
                            }));
                        }
                        Err(fault) => refused = Some(fault),
                    },
                    _ => {}
                }
            }
        }
        match (basic, refused) {
            (true, _) => Ok(Some(Self {
                scheme: Scheme::Basic,
                scope: None,
            })),
            (false, Some(fault)) => Err(fault),
            (false, None) => Ok(None),
        }
    }
}

impl Bearer {
    fn of(written: &Written, endpoint: &Endpoint) -> Result<Self, Fault> {
        let realm = written
            .param("realm")
            .ok_or(Fault::Malformed("its Bearer challenge names no realm"))?;
        let realm = Url::parse(realm)
            .map_err(|_| Fault::Malformed("the realm of its Bearer challenge is not a URL"))?;
        // A realm gets passwords.
        if !endpoint.trusts(&realm)
            || !realm.has_host()
            || !realm.username().is_empty()
            || realm.password().is_some()
        {
            return Err(Fault::Malformed(
                "the realm of its Bearer challenge is not an https address",
            ));
        }
        Ok(Self {
            realm,
            service: written.param("service").map(str::to_owned),
        })
    }
}

impl Written {
    fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header as far as it makes sense (RFC 9110, section 11.6.1).
fn parse(header: &[u8]) -> Vec<Written> {
    let mut rest = &header[..header.len().min(MAX_BYTES)];
    let mut challenges: Vec<Written> = Vec::new();
    loop {
        rest = skip(rest, |c| c == b',' || is_space(c));
        let (word, behind) = split(rest, is_token);
        if word.is_empty() {
            return challenges;
        }
        let name = String::from_utf8_lossy(word).to_ascii_lowercase();
        let value = skip(behind, is_space).strip_prefix(b"=");
        // A word without a value begins the next challenge; a value without a challenge is nothing.
        match (value, challenges.last_mut()) {
            (Some(value), challenge) => {
                let (value, behind) = read_value(skip(value, is_space));
                rest = behind;
                if let Some(challenge) = challenge {
                    challenge.params.push((name, value));
                }
            }
            (None, _) => {
                rest = behind;
                challenges.push(Written {
                    scheme: name,
                    params: Vec::new(),
                });
            }
        }
    }
}

/// Reads a quoted string, or what stands before the next comma or space: some registries forget the quotes.
fn read_value(text: &[u8]) -> (String, &[u8]) {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let (value, rest) = split(text, |c| c != b',' && !is_space(c));
        return (String::from_utf8_lossy(value).into_owned(), rest);
    };
    let mut value = Vec::new();
    loop {
        match rest {
            [] => break,
            [b'"', behind @ ..] => {
                rest = behind;
                break;
            }
            [b'\\', c, behind @ ..] | [c, behind @ ..] => {
                value.push(*c);
                rest = behind;
            }
        }
    }
    (String::from_utf8_lossy(&value).into_owned(), rest)
}

fn skip(text: &[u8], drop: impl Fn(u8) -> bool) -> &[u8] {
    split(text, drop).1
}

fn split(text: &[u8], take: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|c| !take(*c)).unwrap_or(text.len()))
}

fn is_space(c: u8) -> bool {
    c == b' ' || c == b'\t'
}

fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&c)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    /// Shows challenges as `scheme{name=value,…}`.
    #[track_caller]
    fn check(header: &str, expected: &str) {
        let shown: Vec<String> = parse(header.as_bytes())
            .into_iter()
            .map(|challenge| {
                let params = challenge.params.iter();
                let params: Vec<_> = params
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!("{}{{{}}}", challenge.scheme, params.join(","))
            })
            .collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn challenges_are_read_with_their_parameters() {
        check("Basic realm=\"a b\"", "basic{realm=a b}");
        check("BASIC", "basic{}");
        check(
            r#"Bearer realm="https://auth.test/token",service="reg",scope="repository:a/b:pull,push""#,
            "bearer{realm=https://auth.test/token,service=reg,scope=repository:a/b:pull,push}",
        );
        check(
            "Bearer realm = \"x\" ,\tservice\t=y",
            "bearer{realm=x,service=y}",
        );
        check(
            "Bearer realm=https://auth.test/t,service=y",
            "bearer{realm=https://auth.test/t,service=y}",
        );
    }

    #[test]
    fn one_header_may_hold_several() {
        check(
            r#"Basic realm="a", Bearer realm="b", service="c""#,
            "basic{realm=a} bearer{realm=b,service=c}",
        );
        check("Negotiate, Basic realm=\"a\"", "negotiate{} basic{realm=a}");
        check(
            r#"Digest realm="Basic realm=\"x\", y", Basic"#,
            r#"digest{realm=Basic realm="x", y} basic{}"#,
        );
    }

    #[test]
    fn nonsense_is_read_as_far_as_it_goes() {
        check("", "");
        check(",,, ,", "");
        check("=\"x\"", "");
        check("realm=\"x\"", "");
        check("Bearer realm=\"open", "bearer{realm=open}");
        check("Bearer realm=\"back\\", "bearer{realm=back\\}");
        check("Bearer realm=", "bearer{realm=}");
        check("Bearer \u{e9}", "bearer{}");
        check(&"a,".repeat(1 << 20), &["a{}"; MAX_BYTES / 2].join(" "));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        let alphabet = b"Bb =,\"\\\t\xffarealm:/";
        for _ in 0..20_000 {
            let length = random.usize(..40);
            let text: Vec<u8> = (0..length)
                .map(|_| *random.choice(alphabet).unwrap())
                .collect();
            let params: usize = parse(&text).iter().map(|c| c.params.len() + 1).sum();
            assert!(params <= length);
        }
    }

    fn choose(registry: &str, headers: &[&str]) -> Result<Option<Scheme>, &'static str> {
        let lines = headers
            .iter()
            .map(|text| (WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap()));
        let endpoint = Endpoint::of(registry).unwrap();
        let chosen = Challenge::choose(&lines.collect(), &endpoint);
        chosen
            .map(|c| c.map(|c| c.scheme))
            .map_err(|fault| fault.label())
    }

    #[test]
    fn bearer_is_preferred_and_basic_is_the_way_out() {
        let bearer = "Bearer realm=\"https://auth.test/token\"";
        let insecure = "Bearer realm=\"http://auth.test/token\"";
        assert!(matches!(
            choose("a.io", &["Basic realm=x", bearer]),
            Ok(Some(Scheme::Bearer(_)))
        ));
        assert_eq!(
            choose("a.io", &[insecure, "Basic realm=x"]),
            Ok(Some(Scheme::Basic))
        );
        assert_eq!(choose("a.io", &["Negotiate"]), Ok(None));
        assert_eq!(choose("a.io", &[]), Ok(None));
    }

    #[test]
    fn a_realm_must_be_safe() {
        let realm = |registry, realm| {
            let header = format!("Bearer realm=\"{realm}\"");
            choose(registry, &[&header]).map(|scheme| scheme.is_some())
        };
        assert_eq!(realm("a.io", "https://auth.test/token"), Ok(true));
        assert_eq!(realm("127.0.0.1:5000", "https://auth.test/token"), Ok(true));
        assert_eq!(
            realm("127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            Ok(true)
        );
        assert_eq!(
            realm("127.0.0.1:5000", "http://localhost:5001/token"),
            Ok(true)
        );
        assert_eq!(
            realm("127.0.0.1:5000", "http://auth.test/token"),
            Err("malformed")
        );
        assert_eq!(
            realm("a.io", "http://127.0.0.1:5001/token"),
            Err("malformed")
        );
        assert_eq!(realm("a.io", "file:///etc/passwd"), Err("malformed"));
        assert_eq!(realm("a.io", "https://ann:pw@auth.test/"), Err("malformed"));
        assert_eq!(realm("a.io", "/token"), Err("malformed"));
        assert_eq!(realm("a.io", ""), Err("malformed"));
    }
}
