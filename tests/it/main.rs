//! The binary under real sockets, TLS and an API server; and the house's own rules.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic like tests do"
)]

mod admission;
mod cert_dir;
mod cli;
mod combinations;
mod content;
mod controller;
mod demo;
mod events;
mod explain;
mod flags;
mod image;
mod installs;
mod kubectl;
mod layering;
mod leader;
mod manifests;
mod monitoring;
mod namespaced_secrets;
mod notify;
mod observe;
mod once;
mod open_files;
mod private_registries;
mod rbac;
mod readme;
mod reasons;
mod refresh;
mod registry;
mod rotation;
mod sidecar;
mod snippets;
mod support;
mod tls;
mod troubleshooting;
mod version;
