//! How reviews end, and what is told of it besides the answer.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tracing::error;

use super::answer::Answer;

/// Which of the two webhooks was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `/mutate`.
    Mutate,
    /// `/validate`.
    Validate,
}

impl Hook {
    /// Returns the stable, documented name of the webhook.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something was changed, and nothing is missing.
    Stamped,
    /// All was as it should be.
    Unchanged,
    /// The pod was let in, though an image has no digest.
    Unresolved,
    /// The object was refused: an image of the pod has no digest and it wished so, or a wish makes no sense.
    Denied,
    /// All wishes make sense.
    Valid,
    /// The object may be stored, though something about it is told its author.
    Warned,
    /// Nothing of ours, or a pod that is left alone.
    Ignored,
    /// Not a review that can be answered.
    Invalid,
    /// More bytes than a review may have.
    TooLarge,
    /// The request's body did not arrive in time.
    TooSlow,
    /// There was no room for the request's body in time.
    Busy,
    /// A fault of ours; the pod was let in as it is.
    Fault,
}

impl Outcome {
    /// Returns the stable, documented name of the outcome.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stamped => "stamped",
            Self::Unchanged => "unchanged",
            Self::Unresolved => "unresolved",
            Self::Denied => "denied",
            Self::Valid => "valid",
            Self::Warned => "warned",
            Self::Ignored => "ignored",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::Fault => "fault",
        }
    }
}

/// An answer, and what is measured of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How the review ended.
    pub outcome: Outcome,
    /// The answer as JSON.
    pub json: Vec<u8>,
    /// How long its lookups took, if there were any.
    pub resolving: Option<Duration>,
    /// How many of them the deadline cut off.
    pub late: u64,
}

impl Reply {
    /// Returns the reply that says `answer` without a lookup.
    pub fn new(outcome: Outcome, answer: &Answer<'_>) -> Self {
        Self {
            outcome,
            json: answer.to_json(),
            resolving: None,
            late: 0,
        }
    }
}

/// Returns what `answering` returns; if it panics, the object of request `uid` is let in as it is.
pub(super) async fn or_allow(uid: &str, answering: impl Future<Output = Reply>) -> Reply {
    // Nothing of ours outlives the panic but the resolver, whose state is behind its own locks.
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(reply) => reply,
        Err(_) => {
            error!(
                review.uid = uid,
                "Let an object in as it is: its review panicked"
            );
            Reply::new(Outcome::Fault, &Answer::allow(uid))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_panic_lets_the_object_in() {
        let reply = or_allow("u", async { panic!("on purpose") }).await;
        assert_eq!(reply.outcome, Outcome::Fault);
        assert_eq!(
            serde_json::from_slice::<Value>(&reply.json).unwrap()["response"],
            json!({"uid": "u", "allowed": true})
        );
    }

    #[tokio::test]
    async fn an_answer_passes_as_it_is() {
        let reply = Reply::new(Outcome::Stamped, &Answer::allow("u"));
        assert_eq!(or_allow("u", async { reply.clone() }).await, reply);
    }
}
