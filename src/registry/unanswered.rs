//! Requests without an answer, and what was shown meanwhile to a host that asked for a client certificate.
//!
//! With TLS 1.3 a connection stands before the host has judged the certificate. What comes of its refusal may
//! be its alert, or just the end of the connection, which says nothing to people.

use std::{cell::RefCell, error::Error, fmt, io, path::Path, sync::Arc};

tokio::task_local! {
    /// What was shown for the request that is watched.
    static SHOWN: RefCell<Option<Shown>>;
}

/// The file of the client certificate that a host was shown; `None` if it was shown none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown(pub(super) Option<Arc<Path>>);

/// Why a request got no answer.
#[derive(Debug)]
pub struct Unanswered {
    error: reqwest::Error,
    /// What was shown to the host, if it asked for a client certificate and that may be why.
    shown: Option<Shown>,
}

/// Makes a request; returns what was shown on the connection that was made for it, if the host asked.
pub(super) async fn watch<F: Future>(request: F) -> (F::Output, Option<Shown>) {
    let watched = async {
        let output = request.await;
        (output, SHOWN.with(RefCell::take))
    };
    SHOWN.scope(RefCell::default(), watched).await
}

impl Shown {
    /// Tells whoever watches the request.
    pub(super) fn tell(self) {
        // Connections are made by the task that needs them. Another's are of no interest.
        let _ = SHOWN.try_with(|shown| shown.replace(Some(self)));
    }
}

impl Unanswered {
    /// Returns what became of a request that failed with `error` after the host was `shown` that.
    pub(super) fn new(error: reqwest::Error, shown: Option<Shown>) -> Self {
        // URLs name scopes and services; the error names the host already.
        let error = error.without_url();
        // What we have against the host has nothing to do with what it has against us.
        let is_ours = match tls_fault(&error) {
            Some(rustls::Error::AlertReceived(_)) => false,
            Some(_) => true,
            None => error.is_timeout(),
        };
        Self {
            error,
            shown: shown.filter(|_| !is_ours),
        }
    }

    /// Says whether TLS came to nothing.
    pub(super) fn is_tls(&self) -> bool {
        self.shown == Some(Shown(None)) || tls_fault(&self.error).is_some()
    }

    /// Says whether there was no connection.
    pub(super) fn is_connect(&self) -> bool {
        self.error.is_connect()
    }

    /// Says whether it took too long.
    pub(super) fn is_timeout(&self) -> bool {
        self.error.is_timeout()
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Shown(file)) = &self.shown else {
            return self.error.fmt(f);
        };
        f.write_str("it asked for a client certificate and was shown ")?;
        match file {
            Some(file) => file.display().fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl Error for Unanswered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self.shown {
            Some(_) => Some(&self.error),
            None => self.error.source(),
        }
    }
}

fn tls_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    // An io::Error's source is its content's source: the content itself has to be asked for.
    let content = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error
        .downcast_ref()
        .or_else(|| content.and_then(|content| tls_fault(content)))
        .or_else(|| error.source().and_then(tls_fault))
}
