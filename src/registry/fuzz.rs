//! Doors for the fuzz targets to parsers that nothing else outside needs.

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::{
    challenge::{Challenge, Scheme},
    endpoint::Endpoint,
    hosts,
};

/// Reads `headers` as those of an answer by `registry` are read.
///
/// # Panics
/// If a password would go where it must not.
pub fn challenge(registry: &str, headers: &[&[u8]]) {
    let Some(endpoint) = Endpoint::of(registry) else {
        return;
    };
    let values = headers
        .iter()
        .filter_map(|value| HeaderValue::from_bytes(value).ok());
    let headers: HeaderMap = values.map(|value| (WWW_AUTHENTICATE, value)).collect();
    if let Ok(Some(challenge)) = Challenge::choose(&headers, &endpoint)
        && let Scheme::Bearer(bearer) = challenge.scheme
    {
        assert!(endpoint.trusts(&bearer.realm), "{}", bearer.realm);
    }
}

/// Reads `text` as a `hosts.toml`.
///
/// # Panics
/// If a refusal has no place in the text.
pub fn hosts(text: &str) {
    if let Err(error) = hosts::check(text) {
        assert!(error.to_string().starts_with("line "), "{error}");
    }
}
