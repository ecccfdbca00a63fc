//! Tells the replica that leads what another one was told: only the leader looks.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::http::{HeaderName, StatusCode, header};
use serde_json::json;
use tracing::{debug, warn};

use super::{PATH, token::TokenFile};
use crate::{cluster::Leader, error::Chain, policy::Push};

/// What a request has that comes from another replica. Such a one is never passed on again.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("podrefresh-forwarded");

/// How long the leader may take. It is near, and the sender waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Knows who leads, and how to tell it.
#[derive(Debug)]
pub(super) struct Relay {
    http: reqwest::Client,
    leader: Leader,
    token: Option<TokenFile>,
    /// Whether the last try failed, and that has been said.
    trouble: AtomicBool,
}

/// Why the leader has not been told.
#[derive(Debug, thiserror::Error)]
enum Untold {
    #[error("no leader is known that can be told")]
    Nobody,
    #[error("the leader at {0} cannot be reached")]
    Unreachable(SocketAddr, #[source] reqwest::Error),
    #[error("the leader at {0} answered {1}")]
    Refused(SocketAddr, StatusCode),
}

impl Relay {
    /// Returns one that tells `leader`, and shows it the token in the file.
    ///
    /// TLS needs rustls' default provider installed, though none is spoken.
    pub(super) fn new(leader: Leader, token: Option<TokenFile>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            // Another replica may lead by the next time.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self {
            http,
            leader,
            token,
            trouble: AtomicBool::new(false),
        })
    }

    /// Tells the leader of `pushes`; says whether it has taken them.
    pub(super) async fn tell(&self, pushes: &BTreeSet<Push>) -> bool {
        let Err(error) = self.try_to_tell(pushes).await else {
            self.trouble.store(false, Ordering::Relaxed);
            return true;
        };
        let error = Chain(&error);
        // Senders are many and try again: one line tells that it begins.
        if self.trouble.swap(true, Ordering::Relaxed) {
            debug!(error = %error, "Could not tell the leader of pushes: {error}");
        } else {
            warn!(error = %error, "Could not tell the leader of pushes: {error}");
        }
        false
    }

    async fn try_to_tell(&self, pushes: &BTreeSet<Push>) -> Result<(), Untold> {
        let leader = self.leader.address().ok_or(Untold::Nobody)?;
        let images: Vec<String> = pushes.iter().map(Push::to_string).collect();
        let request = (self.http.post(format!("http://{leader}{PATH}")))
            .header(FORWARDED, "true")
            .header(header::CONTENT_TYPE, "application/json")
            .body(json!({"images": images}).to_string());
        let token = match &self.token {
            Some(file) => Some(file.current().await),
            None => None,
        };
        let request = match token.as_ref().and_then(|token| token.text()) {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await;
        let answer = answer.map_err(|error| Untold::Unreachable(leader, error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Untold::Refused(leader, status)),
        }
    }

    /// Waits until another one leads, or the Lease has been read again. Who has not changed may still be told again.
    pub(super) async fn change(&self) {
        self.leader.change(PATIENCE).await;
    }
}
