//! The rules: data in, data out. No clock, no I/O, no Kubernetes types.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod digest;
pub mod disruption;
pub mod eligible;
mod excerpt;
#[cfg(test)]
pub(crate) mod fixture;
pub mod gate;
pub mod go_duration;
pub mod identity;
pub mod image;
pub mod names;
pub mod objections;
pub mod pod;
pub mod push;
pub mod restart;
pub mod solo;
pub mod stamp;
pub mod verdict;
pub mod window;
pub mod wishes;

pub use digest::{Digest, InvalidDigest};
pub use eligible::{Ineligible, Scope, Uncounted, eligible};
pub use excerpt::excerpt;
pub use identity::PullIdentity;
pub use image::{ImageFault, ImageRef, InvalidImage};
pub use pod::{
    Container, ContainerKind, Namespace, Owner, OwnerKind, Phase, Pod, PullPolicy, Running,
};
pub use push::Push;
pub use restart::{Template, carried, is_for, refreshed_value, value_over};
pub use stamp::Stamp;
pub use verdict::{Children, Verdict, verdict};
pub use window::Windows;
pub use wishes::{BadWishes, Wishes};
