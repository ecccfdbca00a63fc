//! The admin port: `/livez`, `/readyz` and `/metrics`.
//!
//! Plain http for kubelet probes and Prometheus; nothing here changes anything or shows a secret.

use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

use super::{exposition::Form, metrics::Metrics};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};

/// One thing that must hold before reviews may be sent here: its name and why it does not, if so.
pub type Check = (
    &'static str,
    Box<dyn Fn() -> Result<(), String> + Send + Sync>,
);

/// Says no until it is told what must hold; a clone says the same.
#[derive(Clone, Default)]
pub struct Readiness(Arc<OnceLock<Vec<Check>>>);

impl Readiness {
    /// Makes `checks` decide from now on; they are told once.
    pub fn decide_by(&self, checks: Vec<Check>) {
        // Told twice, the first stay.
        let _ = self.0.set(checks);
    }
}

/// What the admin port shows.
struct Shown {
    readiness: Readiness,
    metrics: Metrics,
}

/// Returns the routes of the admin port.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
        .with_state(Arc::new(Shown { readiness, metrics }))
}

/// Answers 200 when every check holds, else 503; either way one line a check.
async fn ready(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let Some(checks) = shown.readiness.0.get() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "[-]running failed: starting\n".to_owned(),
        );
    };
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for (name, check) in checks {
        // Writing to a String cannot fail.
        let _ = match check() {
            Ok(()) => writeln!(text, "[+]{name} ok"),
            Err(why) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                writeln!(text, "[-]{name} failed: {why}")
            }
        };
    }
    (status, text)
}

async fn page(State(shown): State<Arc<Shown>>, headers: HeaderMap) -> impl IntoResponse {
    let checks = shown.readiness.0.get();
    let ready = checks.is_some_and(|checks| checks.iter().all(|(_, check)| check().is_ok()));
    shown.metrics.ready.set(i64::from(ready));
    let accept = headers.get(header::ACCEPT);
    let form = Form::for_client(accept.and_then(|accept| accept.to_str().ok()));
    (
        [
            (header::CONTENT_TYPE, form.content_type()),
            (header::VARY, "accept"),
        ],
        form.page(shown.metrics.render()),
    )
}
