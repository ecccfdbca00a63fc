//! The webhooks: a review in; stamps for its pod, or a refusal in words, out.

pub mod answer;
pub mod body;
pub mod deadline;
pub mod edits;
pub mod few;
pub mod mutate;
pub mod outcome;
pub mod patch;
pub mod pod;
pub mod review;
pub mod router;
pub mod stamps;
pub mod templates;
pub mod validate;
pub mod wants;

#[cfg(test)]
mod recorded;
