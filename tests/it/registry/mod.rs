//! What a tag means: asked of Debian's docker-registry, and of one that misbehaves.

mod crowd;
mod faults;
mod login;
mod private;
mod real;
