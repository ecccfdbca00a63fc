//! Which bodies are reviews, and what is answered to those that are none.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};

use super::outcome::Outcome;
use crate::{
    error::Chain,
    server::body::{BodyLimits, Unread},
};

/// What reviews may hold of the memory.
pub const REVIEWS: BodyLimits = BodyLimits {
    // etcd takes objects of 1.5 MiB; a review of an update holds two, and the encoding may grow them.
    one: 8 << 20,
    // Five thousand usual reviews, and a quarter of what the manifests grant the container.
    all: 64 << 20,
    // Twenty times a usual one. Larger ones are few, and must not have all the room there is.
    small: 256 << 10,
    // An API server sends a body at once, whatever it grants for the answer. Who asks says how long that is, and could
    // keep others out of the room for as long.
    arrival: Duration::from_secs(2),
};

/// Why a request is not answered with a review.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It says that its body is something else.
    #[error("the body must be application/json")]
    NotJson,
    /// The body is not there.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The body is no review.
    #[error(transparent)]
    Invalid(#[from] super::review::InvalidReview),
}

impl Refusal {
    /// Returns the status of the answer, and how the review ended.
    pub(super) const fn class(&self) -> (StatusCode, Outcome) {
        match self {
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Outcome::Invalid),
            Self::Unread(unread) => (
                unread.status(),
                match unread {
                    Unread::TooLarge(_) => Outcome::TooLarge,
                    Unread::TooSlow => Outcome::TooSlow,
                    Unread::Busy => Outcome::Busy,
                    Unread::Broken(_) => Outcome::Invalid,
                },
            ),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, Outcome::Invalid),
        }
    }

    /// Returns the text of the answer.
    pub(super) fn text(&self) -> String {
        format!("{}\n", Chain(self))
    }
}

/// Refuses a body that says it is something else than JSON; one that says nothing may be.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let media_type = value.as_bytes().split(|b| *b == b';').next();
    let is_json =
        media_type.is_some_and(|t| t.trim_ascii().eq_ignore_ascii_case(b"application/json"));
    is_json.then_some(()).ok_or(Refusal::NotJson)
}
