//! podrefresh keeps Kubernetes pods on the image their tag names now, within PodDisruptionBudgets.
//!
//! Two ways lead through the house and never meet: *admission* stamps new pods with the digests their
//! tags resolve to, *refresh* asks the registry again and evicts what is outdated. `ARCHITECTURE.md`
//! draws both, and says where a change goes.

pub mod admission;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod credentials;
pub mod error;
pub mod explain;
pub mod memo;
pub mod notify;
pub mod observe;
pub mod policy;
pub mod refresh;
pub mod registry;
pub mod server;
pub mod sidecar;
pub mod tls;
pub mod x509;
