//! What registries, and whoever else finds the port, send as notifications.

use podrefresh::{
    notify::payload::{self, MOST},
    policy::Push,
};

/// The body of a request.
///
/// # Panics
/// If what it tells is not bounded, or would not be the same once another replica has passed it on.
pub fn notification(data: &[u8]) {
    let Ok(payload) = payload::read(data) else {
        return;
    };
    assert!(payload.pushes.len() <= MOST);
    for push in payload.pushes {
        let text = push.to_string();
        assert!(text.len() < 1024, "{text}");
        assert_eq!(text.parse::<Push>(), Ok(push));
    }
}
