//! The secret that those share who may tell of pushes.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac::{self, HMAC_SHA256};
use tracing::warn;
use url::form_urlencoded;

use crate::{
    error::Chain,
    memo::{Keep, Memo},
};

/// How old a reading of the file may be: a rotated token is good, and the old one is not, this much later.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The longest token: it must fit into a header.
const LONGEST: u64 = 4096;

/// The headers in which forges send the HMAC of the body: `sha256=` and hex digits.
const SIGNATURE: &str = "x-hub-signature-256";

/// A file with a token; a clone shares the last reading.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: Arc<Path>,
    first: Arc<Token>,
    memo: Arc<Memo<(), Arc<Token>>>,
}

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("token file {path} could not be read", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is no token.
    #[error(
        "token file {path} must hold one line of 1 to {LONGEST} visible ASCII characters without spaces",
        path = .path.display()
    )]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// A token; it shows itself to nobody.
pub struct Token {
    /// Nobody shows it where there is none yet.
    secret: Option<Secret>,
    /// Why the file gives no token, if it does not: this is the last one then.
    fault: Option<Box<str>>,
}

#[derive(Clone)]
struct Secret {
    text: Box<str>,
    key: hmac::Key,
    /// The token by its own key: what is compared takes the same time wherever two tokens differ.
    own: hmac::Tag,
}

/// What a request shows of a token before its body is read.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// The token.
    Token,
    /// What claims to be a signature of the body.
    Signature(Vec<u8>),
    /// Neither.
    Nothing,
}

impl TokenFile {
    /// Reads the file at `path`. Should it be of no use later, what it held last counts.
    ///
    /// One that is not there may come: it is often a Secret that is made after us. Until then nobody shows the token.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let first = match read(path) {
            Ok(text) => Token::new(text),
            Err(error) if error.is_missing() => {
                let fault = Chain(&error).to_string();
                warn!(error = %fault, "Nobody may tell of pushes until there is a token: {fault}");
                Token {
                    secret: None,
                    fault: Some(fault.into()),
                }
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            first: Arc::new(first),
            path: path.into(),
            memo: Arc::new(Memo::new(1, 100 * MAX_AGE, |_| Keep::Good(MAX_AGE))),
        })
    }

    /// Returns the token that the file holds.
    pub async fn current(&self) -> Arc<Token> {
        let ask = |last: Option<Arc<Token>>| {
            let last = last.unwrap_or_else(|| Arc::clone(&self.first));
            let (path, known) = (Arc::clone(&self.path), Arc::clone(&last));
            async move {
                let reading = tokio::task::spawn_blocking(move || known.again(&path));
                // A reading that panicked brought no news.
                reading.await.unwrap_or(last)
            }
        };
        let read = self.memo.get(&(), MAX_AGE, ask).await;
        read.map_or_else(|_| Arc::clone(&self.first), |hit| hit.value)
    }
}

impl TokenError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Token {
    fn new(text: Box<str>) -> Self {
        let key = hmac::Key::new(HMAC_SHA256, text.as_bytes());
        let own = hmac::sign(&key, text.as_bytes());
        Self {
            secret: Some(Secret { text, key, own }),
            fault: None,
        }
    }

    /// Reads the file again.
    fn again(self: Arc<Self>, path: &Path) -> Arc<Self> {
        match read(path) {
            Ok(text) if Some(&*text) == self.text() && self.fault.is_none() => self,
            Ok(text) => Arc::new(Self::new(text)),
            Err(error) => {
                let fault = Chain(&error).to_string();
                if self.fault.as_deref() == Some(&*fault) {
                    return self;
                }
                warn!(error = %fault, "The token stays as it was: {fault}");
                Arc::new(Self {
                    secret: self.secret.clone(),
                    fault: Some(fault.into()),
                })
            }
        }
    }

    /// Returns the token, for who is to show it.
    pub(super) fn text(&self) -> Option<&str> {
        self.secret.as_ref().map(|secret| &*secret.text)
    }

    /// Looks for the token where senders can put it: in `Authorization`, as a Bearer token, as the password of
    /// anybody or as it is, or as `token` in the query, as some can set nothing but a URL.
    pub fn shown(&self, headers: &HeaderMap, query: Option<&str>) -> Shown {
        let by_header = headers.get_all(header::AUTHORIZATION).iter();
        let mut by_query = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .filter(|(name, _)| name == "token");
        let is_shown = by_header.into_iter().any(|it| self.is_in(it.as_bytes()))
            || by_query.any(|(_, value)| self.is(value.as_bytes()));
        if is_shown {
            return Shown::Token;
        }
        let signature = headers.get(SIGNATURE).and_then(|it| it.to_str().ok());
        let signature = signature.and_then(|it| from_hex(it.strip_prefix("sha256=")?));
        signature.map_or(Shown::Nothing, Shown::Signature)
    }

    /// Says whether the value of an `Authorization` header shows the token.
    fn is_in(&self, value: &[u8]) -> bool {
        let (scheme, rest) = match value.iter().position(|byte| *byte == b' ') {
            Some(end) => (&value[..end], value[end..].trim_ascii()),
            None => (&b""[..], value),
        };
        match scheme.to_ascii_lowercase().as_slice() {
            b"" | b"bearer" => self.is(rest),
            b"basic" => STANDARD.decode(rest).is_ok_and(|pair| {
                let colon = pair.iter().position(|byte| *byte == b':');
                colon.is_some_and(|colon| self.is(&pair[colon + 1..]))
            }),
            _ => false,
        }
    }

    fn is(&self, text: &[u8]) -> bool {
        (self.secret.as_ref())
            .is_some_and(|it| hmac::verify(&it.key, text, it.own.as_ref()).is_ok())
    }

    /// Says whether `signature` is that of `body` by the token.
    pub fn signed(&self, body: &[u8], signature: &[u8]) -> bool {
        (self.secret.as_ref()).is_some_and(|it| hmac::verify(&it.key, body, signature).is_ok())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    bytes.collect()
}

fn read(path: &Path) -> Result<Box<str>, TokenError> {
    let unreadable = |source| TokenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    // A line's end may stand behind the longest one.
    let file = fs::File::open(path).map_err(unreadable)?;
    (file.take(LONGEST + 3).read_to_end(&mut bytes)).map_err(unreadable)?;
    let token = bytes.trim_ascii();
    let fits = u64::try_from(token.len()).is_ok_and(|length| (1..=LONGEST).contains(&length));
    match std::str::from_utf8(token) {
        Ok(text) if fits && token.iter().all(u8::is_ascii_graphic) => Ok(text.into()),
        _ => Err(TokenError::NoToken {
            path: path.to_owned(),
        }),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn token() -> Token {
        Token::new("s3cret/+=".into())
    }

    /// Checks what a request with this header or this query shows.
    #[track_caller]
    fn check(value: Option<&str>, query: Option<&str>, expected: bool) {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let shown = token().shown(&headers, query) == Shown::Token;
        assert_eq!(shown, expected, "{value:?} {query:?}");
    }

    #[test]
    fn a_token_is_shown_in_the_ways_that_senders_have() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        check(Some("Bearer s3cret/+="), None, true);
        check(Some("bearer  s3cret/+="), None, true);
        check(Some("s3cret/+="), None, true);
        check(Some(&basic("anybody:s3cret/+=")), None, true);
        check(Some(&basic(":s3cret/+=")), None, true);
        check(None, Some("token=s3cret%2F%2B%3D"), true);
        check(None, Some("a=b&token=s3cret/%2B="), true);
    }

    #[test]
    fn nothing_else_is_the_token() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for wrong in [
            "Bearer s3cret/+",
            "Bearer s3cret/+==",
            "Bearer ",
            "Bearer",
            "",
        ] {
            check(Some(wrong), None, false);
        }
        check(Some("Digest s3cret/+="), None, false);
        check(Some(&basic("s3cret/+=")), None, false);
        check(Some(&basic("s3cret/+=:")), None, false);
        check(Some("Basic s3cret/+="), None, false);
        check(None, Some("token="), false);
        check(None, Some("token=s3cret/+="), false);
        check(None, Some("tokens=s3cret%2F%2B%3D"), false);
        check(None, None, false);
    }

    #[test]
    fn a_signature_is_that_of_the_body_by_the_token() {
        let mut headers = HeaderMap::new();
        let shown = |headers: &HeaderMap| token().shown(headers, None);
        // The example of GitHub's documentation, and its secret.
        let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        headers.insert(SIGNATURE, value.parse().unwrap());
        let Shown::Signature(signature) = shown(&headers) else {
            panic!("there is one")
        };
        let github = Token::new("It's a Secret to Everybody".into());
        assert!(github.signed(b"Hello, World!", &signature));
        assert!(!github.signed(b"Hello, World?", &signature));
        assert!(!github.signed(b"Hello, World!", &signature[1..]));
        assert!(!github.signed(b"Hello, World!", &[]));
        assert!(!token().signed(b"Hello, World!", &signature));
        for wrong in ["", "sha256=7", "sha256=xx", "sha1=75", "75"] {
            headers.insert(SIGNATURE, wrong.parse().unwrap());
            assert_eq!(shown(&headers), Shown::Nothing, "{wrong:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_and_the_last_token_outlives_it() {
        let path = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
        let write = |text: &str| {
            let mut file = fs::File::create(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let file = TokenFile::open(&path).unwrap();
        let nobody = file.current().await;
        assert_eq!((nobody.text(), nobody.is(b"")), (None, false));
        assert!(!nobody.signed(
            b"",
            hmac::sign(&hmac::Key::new(HMAC_SHA256, b""), b"").as_ref()
        ));
        for (now, expected) in [
            ("first\n", "first"),
            ("second", "second"),
            ("", "second"),
            ("third\r\n", "third"),
        ] {
            write(now);
            tokio::time::advance(MAX_AGE * 2).await;
            assert_eq!(file.current().await.text(), Some(expected));
        }
        fs::remove_file(&path).unwrap();
        tokio::time::advance(MAX_AGE * 2).await;
        assert_eq!(file.current().await.text(), Some("third"));
        assert!(!format!("{file:?}").contains("third"));
        let folder = TokenFile::open(&std::env::temp_dir()).unwrap_err();
        assert!(matches!(folder, TokenError::Unreadable { .. }), "{folder}");
        let longest = "x".repeat(4096);
        write(&longest);
        assert!(TokenFile::open(&path).is_ok());
        for wrong in ["", " \n", "a b", "a\nb", "ä", &format!("{longest}x")] {
            write(wrong);
            let error = TokenFile::open(&path).unwrap_err();
            assert!(matches!(error, TokenError::NoToken { .. }), "{wrong:?}");
        }
        fs::remove_file(&path).unwrap();
    }
}
