//! How requests that tell of pushes end.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::payload::Unreadable;
use crate::{error::Chain, server::body::Unread};

/// What is asked of a sender whose request could not be taken now.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// How a request was answered that told of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This replica leads, and looks at the images.
    Taken,
    /// The leader has been told.
    Forwarded,
    /// It was understood, and tells of no pushed tag.
    Nothing,
}

impl Outcome {
    /// Returns the stable, documented name of the outcome.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Forwarded => "forwarded",
            Self::Nothing => "nothing",
        }
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It does not show the token.
    #[error(
        "the token is missing or wrong: it is expected in Authorization (Bearer, or Basic with any user), as ?token=, or as the key of X-Hub-Signature-256"
    )]
    Unauthorized,
    /// Its body is not there.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Its body tells nothing.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// More pushes are told of than can be looked at.
    #[error("too many pushes at once")]
    Busy,
    /// This replica does not lead, and cannot tell the one that does.
    #[error("the leading replica cannot be told now")]
    NoLeader,
}

impl Refusal {
    /// Returns the stable, documented name of the reason.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Unread(Unread::TooLarge(_)) => "too_large",
            Self::Unread(Unread::TooSlow) => "too_slow",
            Self::Unread(Unread::Broken(_)) | Self::Unreadable(_) => "invalid",
            Self::Unread(Unread::Busy) | Self::Busy => "busy",
            Self::NoLeader => "no_leader",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unread(unread) => unread.status(),
            Self::Unreadable(Unreadable::NotJson(_)) => StatusCode::BAD_REQUEST,
            Self::Unreadable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy | Self::NoLeader => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, format!("{}\n", Chain(&self))).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer, Basic realm=\"podrefresh\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}
