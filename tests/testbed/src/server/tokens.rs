//! Who is behind a bearer token?

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};

use crate::api::{Api, ApiError, User, object, resource};

#[derive(Debug, Clone)]
enum Bearer {
    Admin,
    ServiceAccount {
        namespace: String,
        name: String,
        uid: String,
        id: String,
        expires: Timestamp,
    },
}

/// The tokens handed out: a cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<HashMap<String, Bearer>>>);

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bearer>> {
        self.0
            .lock()
            .expect("no holder of the tokens' lock must panic")
    }

    /// Makes a token for the administrator.
    pub(crate) fn admin(&self) -> String {
        self.add(Bearer::Admin)
    }

    /// Makes a token for a ServiceAccount. Returns it and when it expires.
    pub(crate) fn service_account(
        &self,
        api: &Api,
        namespace: &str,
        name: &str,
        seconds: i64,
    ) -> Result<(String, Timestamp), ApiError> {
        let accounts = &resource::SERVICE_ACCOUNTS;
        let account = api
            .get(accounts, namespace, name)
            .ok_or_else(|| ApiError::not_found(accounts, name))?;
        let expires = Timestamp::now() + SignedDuration::from_secs(seconds);
        let token = self.add(Bearer::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: object::uid(&account).to_owned(),
            id: object::new_uid(),
            expires,
        });
        Ok((token, expires))
    }

    fn add(&self, bearer: Bearer) -> String {
        // Opaque on purpose: no client may depend on what is in a token.
        let token = format!("testbed-{}", object::new_uid());
        self.lock().insert(token.clone(), bearer);
        token
    }

    /// Makes every token handed out for a ServiceAccount worthless, as when it expires.
    pub(crate) fn revoke(&self, namespace: &str, name: &str) {
        self.lock().retain(|_, bearer| {
            !matches!(bearer, Bearer::ServiceAccount { namespace: ns, name: n, .. } if ns == namespace && n == name)
        });
    }

    /// Returns who sends a request with this `Authorization` header.
    pub(crate) fn authenticate(
        &self,
        api: &Api,
        authorization: Option<&str>,
    ) -> Result<User, ApiError> {
        let unauthorized = || ApiError::new(401, "Unauthorized", "Unauthorized");
        let Some(header) = authorization else {
            let groups = vec!["system:unauthenticated".to_owned()];
            return Ok(User {
                name: "system:anonymous".to_owned(),
                groups,
                ..User::default()
            });
        };
        let token = header.strip_prefix("Bearer ").ok_or_else(unauthorized)?;
        let bearer = self
            .lock()
            .get(token.trim())
            .cloned()
            .ok_or_else(unauthorized)?;
        match bearer {
            Bearer::Admin => Ok(User::admin()),
            Bearer::ServiceAccount {
                namespace,
                name,
                uid,
                id,
                expires,
            } => {
                let account = api.get(&resource::SERVICE_ACCOUNTS, &namespace, &name);
                let lives = account.is_some_and(|account| object::uid(&account) == uid);
                if !lives || expires <= Timestamp::now() {
                    return Err(unauthorized());
                }
                let mut user = User::service_account(&namespace, &name, &uid);
                let id = vec![format!("JTI={id}")];
                user.extra
                    .insert("authentication.kubernetes.io/credential-id".to_owned(), id);
                Ok(user)
            }
        }
    }
}
