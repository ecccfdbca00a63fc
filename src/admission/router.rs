//! The webhooks' HTTP interface: `POST /mutate` and `POST /validate`.

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
    body::{Refusal, check_json},
    deadline,
    mutate::Mutator,
    outcome::{Hook, Reply},
    validate::Validator,
};
use crate::{
    observe::metrics::{Metrics, observe},
    server::body::{BodyLimits, Intake},
};

/// What the handlers share.
struct Webhook {
    mutator: Mutator,
    validator: Validator,
    metrics: Metrics,
    intake: Intake,
}

/// Returns the routes of the webhooks.
pub fn router(mutator: Mutator, metrics: Metrics, limits: BodyLimits) -> Router {
    let webhook = Webhook {
        validator: Validator {
            namespaces: mutator.namespaces.clone(),
        },
        mutator,
        metrics,
        intake: Intake::new(limits),
    };
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .with_state(Arc::new(webhook))
}

async fn mutate(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    webhook.answer(Hook::Mutate, request).await
}

async fn validate(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    webhook.answer(Hook::Validate, request).await
}

impl Webhook {
    async fn answer(&self, hook: Hook, request: Request) -> Response {
        let (outcome, response) = match self.review(hook, request).await {
            Ok(reply) => {
                self.measure(&reply);
                let json_type = [(header::CONTENT_TYPE, "application/json")];
                (reply.outcome, (json_type, reply.json).into_response())
            }
            Err(refusal) => {
                let (status, outcome) = refusal.class();
                debug!("Refused a request: {refusal}");
                (outcome, (status, refusal.text()).into_response())
            }
        };
        self.metrics.count_review(hook.label(), outcome.label());
        response
    }

    async fn review(&self, hook: Hook, request: Request) -> Result<Reply, Refusal> {
        let deadline = Instant::now() + deadline::budget(request.uri().query());
        let (head, body) = request.into_parts();
        check_json(&head.headers)?;
        let body = self.intake.read(&head.headers, body, deadline).await?;
        let started = Instant::now();
        let bytes = u32::try_from(body.bytes.len()).unwrap_or(u32::MAX);
        self.metrics.admission_review_bytes.observe(bytes.into());
        let reply = match hook {
            Hook::Mutate => self.mutator.review(&body.bytes, deadline).await,
            Hook::Validate => self.validator.review(&body.bytes).await,
        };
        observe(&self.metrics.admission_review_duration, started.elapsed());
        Ok(reply?)
    }

    fn measure(&self, reply: &Reply) {
        if let Some(resolving) = reply.resolving {
            observe(&self.metrics.admission_resolve_duration, resolving);
        }
        self.metrics.admission_deadline_hits.inc_by(reply.late);
    }
}

#[cfg(test)]
mod tests;
