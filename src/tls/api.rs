//! Calls to the API server that end in time, and errors that say whether to try again.

use std::time::Duration;

use super::{chain::Unusable, material::InvalidNames};

/// How long the API server has for one answer; the client has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no certificate, or nobody trusts it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The API server will not have it, now or later.
    #[error("could not {action}")]
    Refused {
        /// What was tried.
        action: String,
        /// The API server's words.
        source: Cause,
    },
    /// There is no answer, or one that says to try later.
    #[error("could not {action} yet")]
    Unanswered {
        /// What was tried.
        action: String,
        /// What came instead.
        source: Cause,
    },
    /// A certificate could not be made.
    #[error("could not make a certificate")]
    Making(#[from] rcgen::Error),
    /// The files or the Secret cannot be served.
    #[error("cannot serve the certificate in {place}")]
    Unusable {
        /// The folder or Secret.
        place: String,
        /// What is wrong with it.
        source: Unusable,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Someone else keeps the caBundle, and would write theirs again.
    #[error(
        "the caBundle of webhook configuration {name} is kept by someone else, as its annotation {annotation} says: serve their certificate with --cert-dir, or take the annotation away"
    )]
    Foreign {
        /// The webhook configuration.
        name: String,
        /// What says so.
        annotation: String,
    },
    /// There can be no such Service.
    #[error(transparent)]
    Names(#[from] InvalidNames),
    /// rustls refuses to be configured so.
    #[error("cannot set TLS up")]
    Setup(#[source] rustls::Error),
}

/// What lies behind a failed call.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// An answer with an error in it.
    #[error("{message}")]
    Status {
        /// Its status code.
        code: u16,
        /// Its text.
        message: String,
    },
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// No answer for another reason.
    #[error("no answer")]
    Client(#[source] kube::Error),
}

impl TlsError {
    /// Returns whether the same may work a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }

    /// Returns the API server's status code, if there is one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } | Self::Unanswered { source, .. } => match source {
                Cause::Status { code, .. } => Some(*code),
                Cause::Timeout | Cause::Client(_) => None,
            },
            _ => None,
        }
    }
}

/// Awaits `call`, whose purpose is to `action`.
pub async fn call<T>(
    action: &str,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, TlsError> {
    let source = match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Cause::Status {
            code: status.code,
            message: status.message,
        },
        Ok(Err(error)) => Cause::Client(error),
        Err(_) => Cause::Timeout,
    };
    let action = action.to_owned();
    Err(if heals(&source) {
        TlsError::Unanswered { action, source }
    } else {
        TlsError::Refused { action, source }
    })
}

/// Returns whether time alone can change the answer.
fn heals(cause: &Cause) -> bool {
    match cause {
        Cause::Timeout | Cause::Client(_) => true,
        // 409: someone else was faster. 429: the server is busy. 5xx: it is starting, or broken for now.
        Cause::Status { code, .. } => matches!(code, 409 | 429 | 500..),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[track_caller]
    fn check(result: Result<(), TlsError>, transient: bool, expected: &str) {
        let error = result.expect_err("must fail");
        assert_eq!(crate::error::Chain(&error).to_string(), expected);
        assert_eq!(error.is_transient(), transient);
    }

    async fn answered(code: u16) -> Result<(), TlsError> {
        let status = Status::failure("because", "Reason").with_code(code);
        call("read Secret x", async {
            Err(kube::Error::Api(status.boxed()))
        })
        .await
    }

    #[tokio::test]
    async fn what_time_heals_is_told_from_what_it_does_not() {
        for code in [409, 429, 500, 503, 504] {
            check(
                answered(code).await,
                true,
                "could not read Secret x yet: because",
            );
        }
        for code in [400, 401, 403, 404, 422] {
            check(
                answered(code).await,
                false,
                "could not read Secret x: because",
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_not_waited_for() {
        let silent = call("read Secret x", std::future::pending::<kube::Result<()>>());
        check(
            silent.await,
            true,
            "could not read Secret x yet: no answer within 10 s",
        );
    }
}
