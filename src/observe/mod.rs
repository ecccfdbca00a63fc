//! What podrefresh says of itself: logs, metrics and the admin port.

pub mod admin;
pub mod asked;
pub mod exposition;
pub mod failure;
pub mod log;
pub mod metrics;
