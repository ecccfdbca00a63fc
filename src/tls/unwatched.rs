//! Whether a watch of kube's shows its object, and why it does not.

use std::fmt;

use futures::{Stream, StreamExt as _};
use kube::{core::Status, runtime::watcher};
use tracing::{debug, info, warn};

use crate::error::Chain;

/// Returns what a watch of `what` says, and logs when it fails and when it works again: each once, however often it tries.
pub(super) fn told<K>(
    what: String,
    watch: impl Stream<Item = Result<K, watcher::Error>>,
) -> impl Stream<Item = Result<K, watcher::Error>> {
    let mut sight = Sight::of(what);
    watch.inspect(move |said| match said {
        Ok(_) => sight.seen(),
        Err(error) => {
            sight.lost(error);
        }
    })
}

/// What is followed by a watch.
struct Sight {
    what: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seen,
    Lost,
    /// We may not read it.
    Forbidden,
}

impl Sight {
    /// Returns the sight of `what`, which is there until it is [lost](Self::lost).
    const fn of(what: String) -> Self {
        Self {
            what,
            state: State::Seen,
        }
    }

    /// Notes that the watch shows its object, or that there is none.
    fn seen(&mut self) {
        if self.state != State::Seen {
            info!("Follows {} again", self.what);
            self.state = State::Seen;
        }
    }

    /// Notes that the watch has failed; it tries again by itself. Says whether that is told as news.
    fn lost(&mut self, error: &watcher::Error) -> bool {
        let (what, words) = (&self.what, Unwatched(error));
        let state = match status(error).map(|status| status.code) {
            Some(403) => State::Forbidden,
            // It was away for so long that it begins anew, and nothing is wrong.
            Some(410) => self.state,
            _ => State::Lost,
        };
        let is_news = state != self.state;
        self.state = state;
        if is_news {
            warn!(error = %words, "Could not follow {what}, trying again: {words}");
        } else {
            debug!(error = %words, "Still could not follow {what}: {words}");
        }
        is_news
    }
}

/// Says it in the API server's own words where there are any: kube adds the whole answer, as Rust sees it.
struct Unwatched<'a>(&'a watcher::Error);

impl fmt::Display for Unwatched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match status(error) {
            Some(status) => f.write_str(&status.message),
            None => Chain(*error).fmt(f),
        }
    }
}

/// Returns whether a watch failed because we may not read what it is for.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.code == 403)
}

fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_words_are_told_and_nothing_of_rust() {
        let message = "secrets \"podrefresh-tls\" is forbidden: User \"x\" cannot list resource";
        let status = || {
            let status = Status::failure(message, "Forbidden").with_code(403);
            status.boxed()
        };
        for error in [
            watcher::Error::InitialListFailed(kube::Error::Api(status())),
            watcher::Error::WatchStartFailed(kube::Error::Api(status())),
            watcher::Error::WatchFailed(kube::Error::Api(status())),
            watcher::Error::WatchError(status()),
        ] {
            assert_eq!(Unwatched(&error).to_string(), message);
            assert!(is_forbidden(&error));
        }
        let error = watcher::Error::NoResourceVersion;
        assert_eq!(Unwatched(&error).to_string(), Chain(&error).to_string());
        assert!(!is_forbidden(&error));
    }

    #[test]
    fn what_is_out_of_sight_is_told_once() {
        let refused = |code| {
            let status = Status::failure("no", "").with_code(code);
            watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
        };
        let away = watcher::Error::NoResourceVersion;
        let mut sight = Sight::of("Secret x".to_owned());
        assert!(!sight.lost(&refused(410)), "begins anew");
        assert!(sight.lost(&away));
        assert!(!sight.lost(&refused(500)));
        assert!(!sight.lost(&refused(410)));
        assert!(sight.lost(&refused(403)), "another matter");
        assert!(!sight.lost(&refused(403)));
        sight.seen();
        assert!(sight.lost(&refused(403)));
        sight.seen();
        assert!(!sight.lost(&refused(410)));
    }
}
