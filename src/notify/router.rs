//! The HTTP interface: `POST /push` with what a registry sends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use super::{
    PATH,
    outcome::{Outcome, Refusal},
    payload,
    relay::{FORWARDED, Relay},
    token::{Shown, TokenFile},
};
use crate::{
    cluster::Leadership,
    error::Chain,
    observe::metrics::{Metrics, count},
    policy::Push,
    server::body::{BodyLimits, Intake},
};

/// How long a body may take to arrive: it is small.
const DEADLINE: Duration = Duration::from_secs(10);

/// What bodies may hold of the memory. Harbor and GitHub send some ten kilobytes, all others less.
pub(super) const BODIES: BodyLimits = BodyLimits {
    one: 1 << 20,
    all: 4 << 20,
    small: 64 << 10,
    arrival: DEADLINE,
};

/// What the handlers share.
pub(super) struct Desk {
    /// Takes what the leader is to look at.
    pub(super) pushes: mpsc::Sender<Push>,
    /// Whether that is us.
    pub(super) leadership: Leadership,
    pub(super) relay: Relay,
    /// What senders must show; nothing without.
    pub(super) token: Option<TokenFile>,
    pub(super) metrics: Metrics,
    pub(super) intake: Intake,
}

pub(super) fn router(desk: Desk) -> Router {
    Router::new()
        .route(PATH, post(push))
        .with_state(Arc::new(desk))
}

async fn push(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let answered = desk.take(request).await;
    let label = match &answered {
        Ok((outcome, _)) => outcome.label(),
        Err(refusal) => refusal.label(),
    };
    count(&desk.metrics.notify_requests, label);
    match answered {
        Ok((_, text)) => (StatusCode::ACCEPTED, text).into_response(),
        Err(refusal) => {
            debug!(
                reason = label,
                "Refused a notification: {}",
                Chain(&refusal)
            );
            refusal.into_response()
        }
    }
}

impl Desk {
    /// Takes what a request tells; returns the answer's text.
    async fn take(&self, request: Request) -> Result<(Outcome, String), Refusal> {
        let deadline = Instant::now() + DEADLINE;
        let (head, body) = request.into_parts();
        let signature = self.signature(&head).await?;
        let body = self.intake.read(&head.headers, body, deadline).await?;
        if let (Some(token), Some(signature)) = (&self.token, signature) {
            let is_signed = token.current().await.signed(&body.bytes, &signature);
            is_signed.then_some(()).ok_or(Refusal::Unauthorized)?;
        }
        let told = payload::read(&body.bytes)?;
        let images: Vec<String> = told.pushes.iter().map(Push::to_string).collect();
        let images = images.join(", ");
        let (sender, lost) = (told.sender, told.lost);
        debug!("{sender} told of pushes of {images:?}, and of {lost} that cannot be looked at");
        let outcome = match told.pushes.is_empty() {
            true => Outcome::Nothing,
            false => {
                let is_forwarded = head.headers.contains_key(FORWARDED);
                self.deliver(&told.pushes, is_forwarded).await?
            }
        };
        let mut text = match outcome {
            Outcome::Nothing => format!("read as a notification of {sender}: no tag was pushed\n"),
            _ => format!("read as a notification of {sender}: {images}\n"),
        };
        if 0 < lost {
            text += &format!("{lost} more cannot be read or are too many\n");
        }
        Ok((outcome, text))
    }

    /// Checks that the sender shows the token; returns the signature of the body if it shows that instead.
    async fn signature(&self, head: &Parts) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        match token.current().await.shown(&head.headers, head.uri.query()) {
            Shown::Token => Ok(None),
            Shown::Signature(signature) => Ok(Some(signature)),
            Shown::Nothing => Err(Refusal::Unauthorized),
        }
    }

    /// Has `pushes` looked at by whoever leads. What another replica passes on is passed on no further.
    async fn deliver(
        &self,
        pushes: &BTreeSet<Push>,
        is_forwarded: bool,
    ) -> Result<Outcome, Refusal> {
        if self.leads() {
            return self.enqueue(pushes);
        }
        if is_forwarded {
            return Err(Refusal::NoLeader);
        }
        if self.relay.tell(pushes).await {
            return Ok(Outcome::Forwarded);
        }
        // Another one may have begun to lead, or we.
        self.relay.change().await;
        if self.leads() {
            return self.enqueue(pushes);
        }
        match self.relay.tell(pushes).await {
            true => Ok(Outcome::Forwarded),
            false => Err(Refusal::NoLeader),
        }
    }

    fn leads(&self) -> bool {
        self.leadership.leads(Instant::now())
    }

    /// Hands all of `pushes` on, or none.
    fn enqueue(&self, pushes: &BTreeSet<Push>) -> Result<Outcome, Refusal> {
        let places = self.pushes.try_reserve_many(pushes.len());
        for (place, push) in places.map_err(|_| Refusal::Busy)?.zip(pushes) {
            place.send(push.clone());
        }
        Ok(Outcome::Taken)
    }
}

#[cfg(test)]
mod tests;
