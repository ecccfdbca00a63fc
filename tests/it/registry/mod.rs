//! What a tag means: asked of Debian's docker-registry, and of one that misbehaves.

mod accounts;
mod client_certificates;
mod crowd;
mod faults;
mod login;
mod mirror;
mod nodes;
mod pod;
mod private;
mod proxy_project;
mod real;
mod tokens;
