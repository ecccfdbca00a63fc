//! Who may do what at the registry: anonymous, Basic, or Bearer with tokens from the registry's own endpoint.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;

use super::journal::Scheme;

/// Someone with a password.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    password: String,
    identity_token: Option<String>,
    repositories: Option<Vec<String>>,
}

/// What the registry asks of those who come.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Nothing: everybody may pull and push.
    Anonymous,
    /// A name and a password with every request.
    Basic(Vec<User>),
    /// A token with every request, to be had at `/token`.
    Bearer(Bearer),
}

/// How tokens are given out.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// Who gets a token for more than anonymous pulls.
    pub users: Vec<User>,
    /// Repositories that anybody may pull from, once with a token for it.
    pub public: Vec<String>,
    /// How long a token is good for; `expires_in` says so in whole seconds.
    pub lifetime: Duration,
}

impl User {
    /// Returns a user who may pull from and push to all repositories.
    pub fn new(name: &str, password: &str) -> Self {
        Self {
            name: name.into(),
            password: password.into(),
            identity_token: None,
            repositories: None,
        }
    }

    /// Limits the user to these repositories; a trailing `*` stands for any rest.
    #[must_use]
    pub fn only(mut self, repositories: &[&str]) -> Self {
        self.repositories = Some(repositories.iter().map(|name| (*name).into()).collect());
        self
    }

    /// Lets the user also exchange `token` (`identitytoken` in a docker config) at the token endpoint.
    #[must_use]
    pub fn identity_token(mut self, token: &str) -> Self {
        self.identity_token = Some(token.into());
        self
    }

    fn may_use(&self, repository: &str) -> bool {
        self.repositories
            .as_ref()
            .is_none_or(|names| covers(names, repository))
    }
}

impl Bearer {
    /// Returns tokens of five minutes for `users`, and nothing public.
    pub fn new(users: impl IntoIterator<Item = User>) -> Self {
        Self {
            users: users.into_iter().collect(),
            public: Vec::new(),
            lifetime: Duration::from_secs(300),
        }
    }
}

fn covers(names: &[String], repository: &str) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => repository.starts_with(start),
        None => name == repository,
    })
}

/// Who a request comes from, as far as its Authorization header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    None,
    Basic { name: String, password: String },
    Bearer(String),
    Unknown,
}

impl Claim {
    pub(super) fn of(header: Option<&str>) -> Self {
        let Some(header) = header else {
            return Self::None;
        };
        match header.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => {
                Self::basic(rest.trim()).unwrap_or(Self::Unknown)
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
                Self::Bearer(rest.trim().into())
            }
            _ => Self::Unknown,
        }
    }

    fn basic(encoded: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some(Self::Basic {
            name: name.into(),
            password: password.into(),
        })
    }

    pub(super) const fn scheme(&self) -> Scheme {
        match self {
            Self::None => Scheme::Anonymous,
            Self::Basic { .. } => Scheme::Basic,
            Self::Bearer(_) => Scheme::Bearer,
            Self::Unknown => Scheme::Unknown,
        }
    }
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// 401 with `WWW-Authenticate: Basic`.
    WantsBasic,
    /// 401 with `WWW-Authenticate: Bearer` for this scope, with `error=` where a token was there but would not do.
    WantsBearer {
        scope: String,
        error: Option<&'static str>,
    },
    /// 403: known, but not allowed here.
    Forbidden,
}

#[derive(Debug)]
struct Token {
    user: Option<String>,
    /// (repository, action)
    access: Vec<(String, String)>,
    expires: Instant,
}

/// The door: settings and the tokens given out.
#[derive(Debug)]
pub(super) struct Door {
    auth: Auth,
    tokens: HashMap<String, Token>,
    issued: usize,
}

/// A token as the endpoint gives it out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) expires_in: u64,
    pub(super) user: Option<String>,
}

impl Door {
    pub(super) fn new(auth: Auth) -> Self {
        Self {
            auth,
            tokens: HashMap::new(),
            issued: 0,
        }
    }

    /// Changes the settings; tokens given out stay good where the new settings take tokens.
    pub(super) fn replace(&mut self, auth: Auth) {
        self.auth = auth;
    }

    pub(super) fn revoke_all(&mut self) {
        self.tokens.clear();
    }

    /// Returns the user, or `None` for an anonymous one, if the request may pass.
    pub(super) fn admit(
        &self,
        claim: &Claim,
        method: &Method,
        repository: &str,
        now: Instant,
    ) -> Result<Option<String>, Denied> {
        match &self.auth {
            Auth::Anonymous => Ok(None),
            Auth::Basic(users) => {
                let user = known(users, claim).ok_or(Denied::WantsBasic)?;
                let may = repository.is_empty() || user.may_use(repository);
                if may {
                    Ok(Some(user.name.clone()))
                } else {
                    Err(Denied::Forbidden)
                }
            }
            Auth::Bearer(_) => self.admit_token(claim, method, repository, now),
        }
    }

    fn admit_token(
        &self,
        claim: &Claim,
        method: &Method,
        repository: &str,
        now: Instant,
    ) -> Result<Option<String>, Denied> {
        let reads = method == Method::GET || method == Method::HEAD;
        let actions: &[&str] = if reads { &["pull"] } else { &["pull", "push"] };
        let scope = if repository.is_empty() {
            String::new()
        } else {
            format!("repository:{repository}:{}", actions.join(","))
        };
        let Claim::Bearer(token) = claim else {
            return Err(Denied::WantsBearer { scope, error: None });
        };
        let Some(token) = self.tokens.get(token).filter(|token| now < token.expires) else {
            return Err(Denied::WantsBearer {
                scope,
                error: Some("invalid_token"),
            });
        };
        let may = |action: &&str| {
            token
                .access
                .iter()
                .any(|(name, has)| name == repository && has == action)
        };
        if repository.is_empty() || actions.iter().all(may) {
            return Ok(token.user.clone());
        }
        Err(Denied::WantsBearer {
            scope,
            error: Some("insufficient_scope"),
        })
    }

    /// Gives out a token for as much of `scopes` as the claim allows; `None` when name and password are wrong.
    pub(super) fn issue(
        &mut self,
        claim: &Claim,
        refresh: Option<&str>,
        scopes: &[String],
        now: Instant,
    ) -> Option<Issued> {
        let Auth::Bearer(bearer) = &self.auth else {
            return None;
        };
        let by_token =
            |user: &&User| refresh.is_some() && user.identity_token.as_deref() == refresh;
        let user = match (claim, refresh) {
            (_, Some(_)) => Some(bearer.users.iter().find(by_token)?),
            (Claim::None, None) => None,
            _ => Some(known(&bearer.users, claim)?),
        };
        let mut access = Vec::new();
        for (repository, action) in scopes.iter().flat_map(|scope| asked(scope)) {
            let public = action == "pull" && covers(&bearer.public, &repository);
            if public || user.is_some_and(|user| user.may_use(&repository)) {
                access.push((repository, action));
            }
        }
        self.issued += 1;
        let token = format!("testbed-token-{}", self.issued);
        let user = user.map(|user| user.name.clone());
        let expires = now + bearer.lifetime;
        let issued = Issued {
            token: token.clone(),
            expires_in: bearer.lifetime.as_secs(),
            user: user.clone(),
        };
        self.tokens.insert(
            token,
            Token {
                user,
                access,
                expires,
            },
        );
        Some(issued)
    }
}

fn known<'a>(users: &'a [User], claim: &Claim) -> Option<&'a User> {
    let Claim::Basic { name, password } = claim else {
        return None;
    };
    users
        .iter()
        .find(|user| user.name == *name && user.password == *password)
}

/// Takes `repository:team/app:pull,push` apart; a registry in front (`host:5000/app`) stays part of the repository.
fn asked(scope: &str) -> Vec<(String, String)> {
    let parts = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    let Some((repository, actions)) = parts else {
        return Vec::new();
    };
    actions
        .split(',')
        .map(|action| (repository.to_owned(), action.to_owned()))
        .collect()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
