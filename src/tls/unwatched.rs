//! Why a watch of kube's does not show its object.

use std::fmt;

use kube::{core::Status, runtime::watcher};

use crate::error::Chain;

/// Says it in the API server's own words where there are any: kube adds the whole answer, as Rust sees it.
pub(super) struct Unwatched<'a>(pub(super) &'a watcher::Error);

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
}
