//! All that speaks Kubernetes: watches, owners, secrets, evictions, the lease and Events.

mod cache;
mod call;
#[cfg(test)]
mod fake;
mod intern;
mod lenient;
mod listing;
mod record;
mod refusal;
#[cfg(test)]
mod samples;
mod view;
mod watch;
mod wire;

pub mod accounts;
pub mod budgets;
pub mod connect;
pub mod events;
pub mod evict;
pub mod lease;
pub mod look;
pub mod namespaces;
pub mod nodes;
pub mod own;
pub mod owners;
pub mod pod;
pub mod pods;
pub mod secrets;
pub mod told;
pub mod workload;

pub use accounts::{AccountError, Accounts};
pub use budgets::Budgets;
pub use call::Server;
pub use connect::{Choice, ConnectError, Connection, connect};
pub use events::{About, EventReason, NOTE_LIMIT, Notice, Recorder};
pub use evict::{Eviction, Evictor};
pub use lease::{Leader, Leadership, Reins, elect};
pub use look::{Holder, Home, Look, Seen};
pub use namespaces::Namespaces;
pub use nodes::{Nodes, Platform};
pub use own::{Known, OwnPod, OwnPodError};
pub use owners::{OwnerError, Owners, Restart};
pub use pod::{PodError, read_pod};
pub use pods::{Pods, Scope};
pub use refusal::{CallError, Cause, Refusal, is_transient};
pub use secrets::Secrets;
pub use told::Told;
pub use watch::WatchError;
pub use workload::{Workload, WorkloadKind};
