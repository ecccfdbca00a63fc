//! A token service as docker-registry trusts one: it signs JWTs, and the registry verifies them by its authority.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::get,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::form_urlencoded;

use super::authority::Authority;

const AUDIENCE: &str = "docker-registry";
const ISSUER: &str = "the tests' tokens";

/// How long a token is good for, in seconds.
const LIFETIME: i64 = 300;

/// A running token service; it ends with this value.
pub(crate) struct TokenService {
    address: SocketAddr,
    clerk: Arc<Clerk>,
    task: JoinHandle<()>,
}

/// Who may do what, and what it is signed with.
struct Clerk {
    authority: Authority,
    certificate: String,
    key: KeyPair,
    grants: Vec<Grant>,
    asked: Mutex<Vec<(String, String)>>,
}

/// What one user may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    /// The name and the password; `None` for nobody in particular.
    pub(crate) user: Option<(&'static str, &'static str)>,
    /// How the names of the repositories begin.
    pub(crate) repositories: &'static str,
    /// `pull`, `push`.
    pub(crate) actions: &'static [&'static str],
}

impl TokenService {
    /// Starts a service that gives tokens by `grants`.
    pub(crate) async fn start(grants: &[Grant]) -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.certificate(&["tokens.test"]);
        let clerk = Arc::new(Clerk {
            certificate: der(&certificate),
            key: KeyPair::from_pem(&key).unwrap(),
            authority,
            grants: grants.to_vec(),
            asked: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/token", get(issue))
            .with_state(Arc::clone(&clerk));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            clerk,
            task,
        }
    }

    /// Returns where tokens are asked for.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Returns whom its tokens are for.
    pub(crate) fn audience(&self) -> &'static str {
        AUDIENCE
    }

    /// Returns whom its tokens are from.
    pub(crate) fn issuer(&self) -> &'static str {
        ISSUER
    }

    /// Returns the certificate that its own is signed by.
    pub(crate) fn authority_pem(&self) -> String {
        self.clerk.authority.pem()
    }

    /// Returns who asked for which scope since the last time.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.clerk.asked.lock().unwrap())
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers a question for a token: 401 for a wrong password, else one that allows what the grants allow.
async fn issue(
    State(clerk): State<Arc<Clerk>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let login = login(&headers);
    let known = |grant: &Grant| grant.user.map(|(name, word)| format!("{name}:{word}"));
    if login.is_some() && !clerk.grants.iter().any(|grant| known(grant) == login) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let query = query.unwrap_or_default();
    let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
    let scopes: Vec<String> = scopes.map(|(_, scope)| scope.into_owned()).collect();
    let name = login
        .as_deref()
        .map_or("", |login| &login[..login.find(':').unwrap()]);
    let mut asked = clerk.asked.lock().unwrap();
    asked.extend(scopes.iter().map(|scope| (name.to_owned(), scope.clone())));
    drop(asked);
    let mut access = Vec::new();
    for scope in &scopes {
        let [kind, name, actions] = scope.splitn(3, ':').collect::<Vec<_>>()[..] else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let grants = clerk.grants.iter().filter(|grant| {
            (grant.user.is_none() || known(grant) == login) && name.starts_with(grant.repositories)
        });
        let allowed: Vec<&str> = grants
            .flat_map(|grant| grant.actions.iter().copied())
            .collect();
        let actions: Vec<&str> = actions
            .split(',')
            .filter(|it| allowed.contains(it))
            .collect();
        access.push(json!({"type": kind, "name": name, "actions": actions}));
    }
    let token = clerk.sign(name, &json!(access));
    Ok(json!({"token": token, "expires_in": LIFETIME}).to_string())
}

/// Returns the user and password of `Authorization: Basic`.
fn login(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().unwrap();
    let text = text.strip_prefix("Basic ").unwrap();
    Some(String::from_utf8(STANDARD.decode(text).unwrap()).unwrap())
}

impl Clerk {
    /// Returns a JWT that carries the certificate of its key, as docker-registry wants it.
    fn sign(&self, user: &str, access: &Value) -> String {
        let now = Timestamp::now().as_second();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": user, "aud": AUDIENCE, "iat": now, "nbf": now - 10,
            "exp": now + LIFETIME, "jti": fastrand::u64(..).to_string(), "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = fixed(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Returns an ECDSA signature as JOSE has it, two numbers of 32 bytes, from the DER of X.509 (RFC 7518, section 3.4).
fn fixed(der: &[u8]) -> [u8; 64] {
    let mut fixed = [0; 64];
    // SEQUENCE, length; then twice INTEGER, length, bytes, with a zero before a first bit that is set.
    let mut rest = &der[2..];
    for half in fixed.chunks_mut(32) {
        let (number, behind) = rest[2..].split_at(usize::from(rest[1]));
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        half[32 - number.len()..].copy_from_slice(number);
        rest = behind;
    }
    fixed
}

/// Returns the base64 of a certificate in PEM.
fn der(pem: &str) -> String {
    pem.lines()
        .filter(|line| !line.starts_with("---"))
        .collect()
}
