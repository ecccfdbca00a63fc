//! The API server over real sockets: answers, bodies and streams as a real 1.36 server gives them.

mod access;
mod evictions;
mod kubectl;
mod support;
mod updates;
mod watches;
mod webhooks;
mod writes;
