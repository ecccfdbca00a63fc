//! Tokens: a credential exchanged for the right to read one repository, for a while.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::{
    Fault, KEEP_FAILURE,
    challenge::Bearer,
    retry_after,
    transport::{Transport, read_body},
};
use crate::{
    credentials::{Candidate, Credential, Fingerprint},
    memo::{Keep, Memo},
};

/// As the token specification says where the answer says nothing.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// No token is used for longer, whatever it says: rights may be taken away.
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Tokens stop being used this long before their end, or a quarter of their life if that is less.
const MARGIN: Duration = Duration::from_secs(30);

/// Tokens are a few KiB; those with many claims reach 16. Few servers take a header that is longer.
const LONGEST_TOKEN: usize = 32 << 10;

/// Room for a token under both of its names, and as much besides.
const MAX_BODY: usize = 4 * LONGEST_TOKEN;

/// What the remembered tokens take together: about 5,000 of them.
const CAPACITY: u64 = 16 << 20;

/// Gets tokens and remembers them.
#[derive(Debug)]
pub(super) struct Tokens {
    memo: Memo<Key, Result<Token, Fault>>,
    transport: Transport,
    timeout: Duration,
}

/// All that a token depends on. The fingerprint keeps one namespace's token from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: Url,
    service: Option<String>,
    scope: String,
    credential: Fingerprint,
}

/// The value of an `Authorization` header.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    lifetime: Duration,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// A number; some services write it as text.
    expires_in: Option<serde_json::Value>,
}

impl Tokens {
    pub(super) fn new(transport: Transport, timeout: Duration) -> Self {
        let keep = |token: &Result<Token, Fault>| match token {
            Ok(token) => Keep::Good(token.lifetime - MARGIN.min(token.lifetime / 4)),
            Err(_) => Keep::Bad(KEEP_FAILURE),
        };
        Self {
            memo: Memo::weighed(CAPACITY, LONGEST_LIFETIME, keep, bytes),
            transport,
            timeout,
        }
    }

    /// Returns a token for `scope`, and whether it is an older one: such a one may have been revoked.
    pub(super) async fn get(
        &self,
        bearer: &Bearer,
        scope: &str,
        candidate: &Candidate,
        max_age: Duration,
    ) -> Result<(HeaderValue, bool), Fault> {
        let key = Key {
            realm: bearer.realm.clone(),
            service: bearer.service.clone(),
            scope: scope.to_owned(),
            credential: candidate.fingerprint,
        };
        let ask = |_| {
            let (transport, limit) = (self.transport.clone(), self.timeout);
            let (first, second) = requests(&key, &candidate.credential);
            let host: Arc<str> = key.realm.host_str().unwrap_or_default().into();
            async move {
                let asked = timeout(limit, exchange(&transport, first, second)).await;
                let found = asked.unwrap_or(Err(Fault::Timeout { after: limit }));
                found.map_err(|source| Fault::TokenService {
                    host,
                    source: Box::new(source),
                })
            }
        };
        let hit = self.memo.get(&key, max_age, ask).await;
        let hit = hit.map_err(|_| Fault::Aborted)?;
        hit.value.map(|token| (token.header, hit.cached))
    }
}

/// Returns how many bytes a question and its answer have; the registry has a say in both.
fn bytes(key: &Key, token: &Result<Token, Fault>) -> usize {
    let service = key.service.as_ref().map_or(0, String::len);
    let token = token.as_ref().map_or(0, |token| token.header.len());
    key.realm.as_str().len() + service + key.scope.len() + token
}

/// Returns the request that exchanges `credential` for a token, and the one for services that do not know the first.
fn requests(key: &Key, credential: &Credential) -> (Request, Option<Request>) {
    match credential {
        Credential::Identity(token) => {
            // As containerd has it: whoever takes no form may take the token for a password.
            let password = Credential::Basic {
                username: "".into(),
                password: token.clone(),
            };
            (by_form(key, token), Some(by_query(key, &password)))
        }
        credential => (by_query(key, credential), None),
    }
}

/// Returns a request by OAuth2, as the distribution project's oauth specification has it.
fn by_form(key: &Key, token: &str) -> Request {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("scope", &key.scope);
    form.extend_pairs(key.service.as_deref().map(|service| ("service", service)));
    form.extend_pairs([
        ("grant_type", "refresh_token"),
        ("client_id", "podrefresh"),
        ("refresh_token", token),
    ]);
    let mut request = Request::new(Method::POST, key.realm.clone());
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    *request.body_mut() = Some(form.finish().into());
    request
}

fn by_query(key: &Key, credential: &Credential) -> Request {
    // The token specification has one parameter for each scope, where OAuth2 has one for all.
    let scopes = key.scope.split_ascii_whitespace();
    let service = key.service.as_deref().map(|service| ("service", service));
    let query = scopes.map(|scope| ("scope", scope)).chain(service);
    let mut url = key.realm.clone();
    url.query_pairs_mut().extend_pairs(query);
    let mut request = Request::new(Method::GET, url);
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(ACCEPT, json);
    if let Some(header) = basic(credential) {
        request.headers_mut().insert(AUTHORIZATION, header);
    }
    request
}

/// Asks by the first request, or by the second where the service does not understand the first.
async fn exchange(
    transport: &Transport,
    first: Request,
    second: Option<Request>,
) -> Result<Token, Fault> {
    let mut response = transport.send(first).await?;
    // containerd's list of what registries answer that take no form.
    if let (400 | 401 | 404, Some(second)) = (response.status().as_u16(), second) {
        response = transport.send(second).await?;
    }
    match response.status() {
        StatusCode::OK => Token::decode(&read_body(response, MAX_BODY).await?),
        // Some services answer a wrong password so.
        StatusCode::BAD_REQUEST => Err(Fault::Unauthorized),
        // The address of the service came from the registry: a mistake there is no missing image.
        StatusCode::NOT_FOUND => Err(Fault::Refused(404)),
        _ => Err(retry_after::fault_of(response).await),
    }
}

impl Token {
    fn decode(body: &[u8]) -> Result<Self, Fault> {
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|_| Fault::Malformed("its body is not a token in JSON"))?;
        let token = [answer.token, answer.access_token].into_iter().flatten();
        let token = token.into_iter().find(|token| !token.is_empty());
        let token = token.ok_or(Fault::Malformed("its body holds no token"))?;
        if LONGEST_TOKEN < token.len() {
            return Err(Fault::Malformed("its token is longer than 32 KiB"));
        }
        // A line end here would let the service write headers of its own.
        if !token.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(Fault::Malformed(
                "its token holds characters no header may hold",
            ));
        }
        let seconds = answer.expires_in.and_then(|value| match value {
            serde_json::Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        });
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        let lifetime = seconds.map(Duration::try_from_secs_f64);
        // What overflows is long.
        let lifetime = lifetime.map_or(DEFAULT_LIFETIME, |d| d.unwrap_or(LONGEST_LIFETIME));
        Ok(Self {
            header: secret(format!("Bearer {token}"))?,
            lifetime: lifetime.min(LONGEST_LIFETIME),
        })
    }
}

/// Returns the `Authorization` header for Basic; `None` for credentials that have no such form.
pub(super) fn basic(credential: &Credential) -> Option<HeaderValue> {
    match credential {
        Credential::Basic { username, password } => {
            let text = STANDARD.encode(format!("{username}:{password}"));
            secret(format!("Basic {text}")).ok()
        }
        Credential::Anonymous | Credential::Identity(_) => None,
    }
}

fn secret(text: String) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::try_from(text);
    let mut value = value.map_err(|_| Fault::Malformed("it cannot be put into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?})", self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credentials::Candidates;

    #[track_caller]
    fn check(body: &str, expected: Result<(&str, u64), &str>) {
        let found = Token::decode(body.as_bytes());
        let found = found.as_ref().map(|token| {
            let header = token.header.to_str().unwrap();
            (header, token.lifetime.as_secs())
        });
        assert_eq!(found.map_err(Fault::label), expected, "{body}");
    }

    #[test]
    fn both_names_of_a_token_are_read() {
        check(r#"{"token": "a.b-c"}"#, Ok(("Bearer a.b-c", 60)));
        check(
            r#"{"access_token": "x", "expires_in": 300}"#,
            Ok(("Bearer x", 300)),
        );
        check(
            r#"{"token": "", "access_token": "x"}"#,
            Ok(("Bearer x", 60)),
        );
        check(
            r#"{"token": "a", "access_token": "b", "issued_at": "now"}"#,
            Ok(("Bearer a", 60)),
        );
    }

    #[test]
    fn a_life_is_bounded_and_never_nonsense() {
        check(
            r#"{"token": "a", "expires_in": "90"}"#,
            Ok(("Bearer a", 90)),
        );
        check(
            r#"{"token": "a", "expires_in": "soon"}"#,
            Ok(("Bearer a", 60)),
        );
        check(
            r#"{"token": "a", "expires_in": 3600}"#,
            Ok(("Bearer a", 3600)),
        );
        check(
            r#"{"token": "a", "expires_in": 3601}"#,
            Ok(("Bearer a", 3600)),
        );
        check(
            r#"{"token": "a", "expires_in": 1e300}"#,
            Ok(("Bearer a", 3600)),
        );
        check(r#"{"token": "a", "expires_in": 0}"#, Ok(("Bearer a", 60)));
        check(r#"{"token": "a", "expires_in": -5}"#, Ok(("Bearer a", 60)));
        check(
            r#"{"token": "a", "expires_in": null}"#,
            Ok(("Bearer a", 60)),
        );
    }

    #[test]
    fn a_token_has_at_most_32_kib() {
        let body = |length| json!({"token": "x".repeat(length)}).to_string();
        let longest = format!("Bearer {}", "x".repeat(32 << 10));
        check(&body(32 << 10), Ok((&longest, 60)));
        check(&body((32 << 10) + 1), Err("malformed"));
        // Some services write it under both names.
        let token = "x".repeat(32 << 10);
        let twice = json!({"token": token, "access_token": token}).to_string();
        assert!(twice.len() < MAX_BODY);
    }

    #[test]
    fn all_that_others_choose_is_weighed() {
        let key = Key {
            realm: Url::parse("https://h.io/token").unwrap(),
            service: Some("reg".to_owned()),
            scope: "scope".to_owned(),
            credential: Candidates::anonymous().get(0).unwrap().fingerprint,
        };
        let token = Token::decode(br#"{"token": "abc"}"#);
        assert_eq!(bytes(&key, &token), 18 + 3 + 5 + "Bearer abc".len());
        assert_eq!(bytes(&key, &Err(Fault::Unauthorized)), 18 + 3 + 5);
    }

    #[test]
    fn what_is_no_token_is_an_error_and_no_panic() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"token": ""}"#,
            r#"{"token": 7}"#,
            r#"{"token": "a\nX-Evil: 1"}"#,
            r#"{"token": "a\u0000"}"#,
            r#"{"token": "é"}"#,
            r#"{"token": "a b"}"#,
        ] {
            check(body, Err("malformed"));
        }
    }

    #[test]
    fn each_scope_is_a_parameter_of_its_own_but_for_oauth() {
        let key = Key {
            realm: Url::parse("https://h.io/token?a=b").unwrap(),
            service: Some("reg".to_owned()),
            scope: "repository:a:pull repository:b:pull".to_owned(),
            credential: Candidates::anonymous().get(0).unwrap().fingerprint,
        };
        let asked = requests(&key, &Credential::Anonymous).0;
        assert_eq!(
            asked.url().query(),
            Some("a=b&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull&service=reg")
        );
        let asked = requests(&key, &Credential::Identity("t".into())).0;
        let body = asked.body().and_then(|body| body.as_bytes()).unwrap();
        let begin = b"scope=repository%3Aa%3Apull+repository%3Ab%3Apull&service=reg&grant_type";
        assert!(body.starts_with(begin), "{body:?}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let token = Token::decode(br#"{"token": "hunter2"}"#).unwrap();
        assert_eq!(
            format!("{token:?} {:?}", token.header),
            "Token(60s) Sensitive"
        );
    }
}
