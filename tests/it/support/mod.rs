//! What several tests lean on: real programs, skips, the product's command line, our own sources.

pub(crate) mod account;
pub(crate) mod authority;
mod clear;
pub(crate) mod crew;
pub(crate) mod docker_registry;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod hands;
pub(crate) mod help;
pub(crate) mod history;
pub(crate) mod installed;
pub(crate) mod kube;
pub(crate) mod kubectl;
pub(crate) mod look;
pub(crate) mod markdown;
pub(crate) mod oci;
pub(crate) mod paths;
pub(crate) mod plugin;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod resolver;
pub(crate) mod simulated;
pub(crate) mod skip;
pub(crate) mod skopeo;
pub(crate) mod token_service;
pub(crate) mod world;
pub(crate) mod yaml;
