//! The program as its users run it: wrong usage, no cluster, no rights, and what must never be printed.

mod cluster;
mod discreet;
mod log;
mod usage;
