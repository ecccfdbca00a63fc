//! What each port may cost: of the files that the process may have open, that for reviews has half, any other an eighth.
//!
//! A socket is a file. Where a server takes more of them than there are files, none of them makes room any more, and
//! neither registries nor the API server can be called. A quarter stays for those.

use std::{future, time::Duration};

use tokio::net::TcpListener;
use tracing::warn;

use crate::{
    notify,
    observe::{
        admin::{self, Readiness},
        metrics::Metrics,
    },
    server::{self, Limits},
};

/// What a client of the admin port may cost. There is a kubelet, a Prometheus or two, and people.
///
/// All answers are ready at once: so nobody is ever busy for long, and a probe finds its place however many others are
/// there.
const ADMIN: Limits = Limits {
    connections: 64,
    sockets: usize::MAX,
    greeting: Duration::from_secs(10),
    // Prometheus closes its idle connections after 5 min, and should be the first to do so.
    idle: Duration::from_secs(330),
    // There is no HTTP/2 without TLS.
    streams: 1,
    stall: Duration::from_secs(10),
    ping: Duration::from_secs(20),
    // It is served until the process ends.
    linger: Duration::ZERO,
    drain: Duration::ZERO,
};

/// Returns the limits of the port for reviews, of `files` that may be open.
pub(super) fn reviews(files: usize, linger: Duration) -> Limits {
    Limits {
        linger,
        ..Limits::default()
    }
    .within(files / 2)
}

/// Returns those of the port where registries tell of pushes.
pub(super) fn notifications(files: usize, linger: Duration) -> Limits {
    Limits {
        linger,
        ..notify::LIMITS
    }
    .within(files / 8)
}

/// Serves the admin port at `listener` for ever, where `files` may be open.
pub(super) fn admin(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    files: usize,
) -> impl Future<Output = ()> + Send {
    let router = admin::router(readiness, metrics);
    let limits = ADMIN.within(files / 8);
    server::serve_plain(listener, router, limits, future::pending())
}

/// Warns where `files` are too few for as many connections as there may be.
pub(super) fn check(files: usize) {
    let (few, all) = (
        reviews(files, Duration::ZERO).connections,
        Limits::default().connections,
    );
    if few < all {
        warn!(
            "Only {files} files may be open at once: reviews come in over at most {few} connections. For {all} of them the \
             hard limit (ulimit -Hn) must be {}",
            4 * all
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_connections(files: usize, expected: [usize; 2]) {
        let linger = Duration::from_secs(5);
        let limits = [reviews(files, linger), notifications(files, linger)];
        assert_eq!(limits.each_ref().map(|it| it.connections), expected);
        assert_eq!(limits.each_ref().map(|it| it.linger), [linger; 2]);
        if files < usize::MAX {
            assert_eq!(limits.map(|it| it.sockets), [files / 2, files / 8]);
        }
    }

    #[test]
    fn connections_follow_the_files_that_there_may_be() {
        check_connections(usize::MAX, [4096, 256]);
        check_connections(16_384, [4096, 256]);
        check_connections(16_380, [4095, 256]);
        check_connections(4096, [1024, 256]);
        check_connections(4080, [1020, 255]);
        check_connections(256, [64, 16]);
        check_connections(0, [0, 0]);
    }
}
