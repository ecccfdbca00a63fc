//! The binary under real sockets, TLS and an API server; and the house's own rules.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like tests do"
)]

mod admission;
mod cli;
mod content;
mod controller;
mod flags;
mod kubectl;
mod layering;
mod leader;
mod manifests;
mod observe;
mod rbac;
mod readme;
mod refresh;
mod registry;
mod support;
mod tls;
