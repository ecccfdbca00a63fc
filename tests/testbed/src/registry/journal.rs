//! Every request the registry was sent, in order of arrival.

use std::sync::Mutex;
use std::time::Instant;

use hyper::Method;

use super::lock;
use super::target::{Kind, Route, Target};

/// How a request identified itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// No Authorization header.
    Anonymous,
    /// User name and password.
    Basic,
    /// A token.
    Bearer,
    /// A scheme that the registry does not know.
    Unknown,
}

/// One request, as it arrived, and the status it got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its head had been read.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// What its path was about.
    pub kind: Kind,
    /// The repository, or empty.
    pub repository: String,
    /// Tag, digest or upload id, or empty.
    pub reference: String,
    /// The query string without `?`, or empty.
    pub query: String,
    /// Its User-Agent, or empty.
    pub agent: String,
    /// Its Accept headers, joined by commas.
    pub accept: String,
    /// How it identified itself.
    pub scheme: Scheme,
    /// The user that credentials or token stood for, if they were right.
    pub user: Option<String>,
    /// The answer's status; `None` while there is none, or when a fault kept it back.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
struct Pages {
    seen: Vec<Seen>,
    /// How many requests were forgotten: the place of the first one in `seen`.
    forgotten: usize,
    in_flight: usize,
    peak: usize,
    connections: usize,
}

/// The list of requests, with the highest number that were open at once.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Pages>);

impl Journal {
    /// Notes an arrival and returns its place in the list.
    pub(super) fn arrived(&self, seen: Seen) -> usize {
        let mut pages = lock(&self.0);
        pages.in_flight += 1;
        pages.peak = pages.peak.max(pages.in_flight);
        pages.seen.push(seen);
        pages.forgotten + pages.seen.len() - 1
    }

    pub(super) fn answered(&self, place: usize, status: u16, user: Option<String>) {
        let mut pages = lock(&self.0);
        // A request that was forgotten while it was open has no place any more.
        let Some(place) = place.checked_sub(pages.forgotten) else {
            return;
        };
        if let Some(seen) = pages.seen.get_mut(place) {
            seen.status = Some(status);
            seen.user = user;
        }
    }

    pub(super) fn left(&self) {
        lock(&self.0).in_flight -= 1;
    }

    pub(super) fn connected(&self) {
        lock(&self.0).connections += 1;
    }

    pub(super) fn connections(&self) -> usize {
        lock(&self.0).connections
    }

    pub(super) fn peak(&self) -> usize {
        lock(&self.0).peak
    }

    pub(super) fn matching(&self, target: &Target) -> Vec<Seen> {
        let matches = |seen: &&Seen| target.matches(&seen.method, &seen.route(), &seen.agent);
        lock(&self.0).seen.iter().filter(matches).cloned().collect()
    }

    pub(super) fn count(&self, target: &Target) -> usize {
        lock(&self.0)
            .seen
            .iter()
            .filter(|seen| target.matches(&seen.method, &seen.route(), &seen.agent))
            .count()
    }

    /// Forgets the requests and the peak, not the connections.
    pub(super) fn clear(&self) {
        let mut pages = lock(&self.0);
        pages.forgotten += pages.seen.len();
        pages.seen.clear();
        pages.peak = pages.in_flight;
    }
}

impl Seen {
    fn route(&self) -> Route {
        Route {
            kind: self.kind,
            repository: self.repository.clone(),
            reference: self.reference.clone(),
        }
    }
}
