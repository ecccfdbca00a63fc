//! All that speaks Kubernetes: watches, owners, secrets, evictions, the lease and Events.

mod cache;
mod call;
#[cfg(test)]
mod fake;
mod intern;
mod lenient;
mod record;
mod refusal;
#[cfg(test)]
mod samples;
mod view;
mod watch;
mod wire;

pub mod connect;
pub mod events;
pub mod evict;
pub mod lease;
pub mod namespaces;
pub mod nodes;
pub mod owners;
pub mod pods;
pub mod secrets;
pub mod workload;

pub use call::Server;
pub use connect::{Choice, ConnectError, Connection, connect};
pub use events::{About, EventReason, Notice, Recorder};
pub use evict::{Eviction, Evictor};
pub use lease::{Leadership, elect};
pub use namespaces::Namespaces;
pub use nodes::{Nodes, Platform};
pub use owners::{OwnerError, Owners, Restart};
pub use pods::{Pods, Scope};
pub use refusal::{CallError, Cause, Refusal, is_transient};
pub use secrets::Secrets;
pub use watch::WatchError;
pub use workload::{Workload, WorkloadKind};
