//! The webhook's HTTP interface: `POST /mutate`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::time::Instant;
use tracing::debug;

use super::{
    body::{BodyLimits, Intake, Refusal},
    deadline,
    mutate::{Mutator, Reply},
};
use crate::observe::metrics::{Metrics, count};

/// What the handlers share.
struct Webhook {
    mutator: Mutator,
    metrics: Metrics,
    intake: Intake,
}

/// Returns the routes of the webhook.
pub fn router(mutator: Mutator, metrics: Metrics, limits: BodyLimits) -> Router {
    let webhook = Webhook {
        mutator,
        metrics,
        intake: Intake::new(limits),
    };
    Router::new()
        .route("/mutate", post(mutate))
        .with_state(Arc::new(webhook))
}

async fn mutate(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    let (outcome, response) = match webhook.review(request).await {
        Ok((outcome, json)) => {
            let json_type = [(header::CONTENT_TYPE, "application/json")];
            (outcome, (json_type, json).into_response())
        }
        Err(refusal) => {
            let (status, outcome) = refusal.class();
            debug!("Refused a request: {refusal}");
            (outcome, (status, refusal.text()).into_response())
        }
    };
    count(&webhook.metrics.admission_reviews, outcome.label());
    response
}

impl Webhook {
    async fn review(&self, request: Request) -> Result<Reply, Refusal> {
        let deadline = Instant::now() + deadline::budget(request.uri().query());
        let (head, body) = request.into_parts();
        let body = self.intake.read(&head.headers, body, deadline).await?;
        let started = Instant::now();
        let reply = self.mutator.review(&body.bytes, deadline).await;
        self.metrics
            .admission_review_duration
            .observe(started.elapsed().as_secs_f64());
        Ok(reply?)
    }
}

#[cfg(test)]
mod tests;
