//! The webhook: a review in, stamps for its pod out.

pub mod answer;
pub mod body;
pub mod deadline;
pub mod edits;
pub mod mutate;
pub mod patch;
pub mod review;
pub mod router;
pub mod server;
pub mod stamps;
pub mod wants;

#[cfg(test)]
mod recorded;
