//! The program as its users run it: wrong usage, no cluster, no rights, and what must never be printed.

mod certs;
mod cluster;
mod discreet;
mod log;
mod printing;
mod usage;
mod which;
