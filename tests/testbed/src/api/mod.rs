//! The API server's inside: resources, storage and the steps every write goes through.

mod admission;
mod change;
mod defaults;
mod delete;
mod error;
mod field_selector;
mod handle;
mod label_selector;
pub mod object;
pub(crate) mod patch;
pub mod resource;
mod service_account;
mod store;
mod strategy;
mod validate;
mod write;

pub use change::{Change, ChangeKind, Key, Subscription, TooOld};
pub use error::{ApiError, Cause, Refusal};
pub use field_selector::FieldSelector;
pub use handle::{Api, Delete, Propagation, User};
pub use label_selector::{InvalidSelector, LabelSelector};
pub use resource::Resource;
pub use store::Store;

pub use admission::holds as match_condition_holds;
pub(crate) use admission::user_info;
pub(crate) use delete::check_preconditions;
pub(crate) use patch::Owners;
pub(crate) use strategy::{check_kind, creates_on_put};
pub(crate) use validate::storage_conflict;
pub(crate) use write::{Options, Target, Written};
