//! Why pods are refreshed, or are not: found out by reading alone, for `podrefresh explain` and `podrefresh status`.
//!
//! It applies the same rules as the controller to what one user may see at one moment. What only the controller
//! remembers is taken from the Events that it has told, or named as unknown. Nothing is watched or written.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    cluster::{CallError, Look, Nodes, Owners, Server},
    policy::gate::Limits,
    registry::Resolver,
};

mod blind;
mod case;
mod gate;
mod group;
mod judge;
mod left;
mod list;
mod next;
mod one;
pub mod report;
mod sight;
mod span;
pub mod table;
pub mod text;
mod why;

pub use blind::Part;
pub use case::Open;

/// How long one answer of the API server is waited for; pages of lists may take longer.
const CALL_TIME: Duration = Duration::from_secs(10);

/// What is known of the controller from outside.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its limits.
    pub limits: Limits,
    /// The namespace of its Lease.
    pub home: String,
}

/// One who finds out.
#[derive(Debug, Clone)]
pub struct Explainer {
    look: Look,
    owners: Owners,
    nodes: Nodes,
    resolver: Resolver,
    settings: Settings,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such pod.
    #[error("there is no pod {name:?} in the namespace {namespace:?}")]
    NoPod {
        /// The namespace.
        namespace: String,
        /// The pod's name.
        name: String,
    },
    /// There is no such namespace.
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    /// The pods cannot be read, without which there is nothing to tell.
    #[error("cannot read {what}")]
    Unread {
        /// What was to be read.
        what: String,
        /// Why it was not.
        source: CallError,
    },
}

impl Explainer {
    /// Returns one who asks `server` and, by `resolver`, the registries.
    pub fn new(server: &Server, resolver: Resolver, settings: Settings) -> Self {
        Self {
            look: Look::new(server.clone(), CALL_TIME),
            owners: Owners::new(server.clone(), CALL_TIME),
            nodes: Nodes::new(server.clone(), CALL_TIME),
            resolver: resolver.for_nodes(),
            settings,
        }
    }

    /// Explains what becomes of the pod `name` of `namespace` at `now`.
    pub async fn explain(
        &self,
        namespace: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<report::Explanation, ExplainError> {
        one::explain(self, namespace, name, now).await
    }

    /// Tells of the containers of all pods in opted-in namespaces, or of those in one `namespace`, at `now`.
    pub async fn status(
        &self,
        namespace: Option<&str>,
        now: Timestamp,
    ) -> Result<report::Status, ExplainError> {
        list::status(self, namespace, now).await
    }
}

/// Returns the wall clock's `at` without what is below a second: nobody reads that far.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Returns `kind/name`, as kubectl writes objects.
fn object(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}
