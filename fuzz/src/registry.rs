//! What registries and their administrators write.

use std::str;

use podrefresh::registry::fuzz;

/// `WWW-Authenticate` headers, one a line.
pub fn challenge(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    for registry in ["registry.example", "127.0.0.1:5000"] {
        fuzz::challenge(registry, &headers);
    }
}

/// A `hosts.toml`.
pub fn hosts(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        fuzz::hosts(text);
    }
}
