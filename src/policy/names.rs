//! The names of our labels and annotations, as users read and write them.

/// What the wishes' annotations begin with: `podrefresh.io/mode`.
pub const PREFIX: &str = "podrefresh.io/";

/// The label of namespaces that opt in (`true`), and of pods that opt out (`false`).
pub const ENABLED: &str = "podrefresh.io/enabled";

/// The annotation on an owner's pod template that a restart writes.
pub const REFRESHED: &str = "podrefresh.io/refreshed";

/// What the stamped digests' annotations begin with; the container's name follows.
pub const DIGEST_PREFIX: &str = "digest.podrefresh.io/";

/// What the stamped references' annotations begin with; the container's name follows.
pub const IMAGE_PREFIX: &str = "image.podrefresh.io/";

/// Returns the annotation that holds the digest stamped for `container`.
pub fn digest_annotation(container: &str) -> String {
    format!("{DIGEST_PREFIX}{container}")
}

/// Returns the annotation that holds the reference stamped for `container`.
pub fn image_annotation(container: &str) -> String {
    format!("{IMAGE_PREFIX}{container}")
}

/// Says whether `annotation` is a stamp, of whichever container.
pub fn is_stamp(annotation: &str) -> bool {
    annotation.starts_with(DIGEST_PREFIX) || annotation.starts_with(IMAGE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_told_from_wishes() {
        assert!(is_stamp(&digest_annotation("app")));
        assert!(is_stamp(&image_annotation("app")));
        for other in ["podrefresh.io/mode", REFRESHED, "digest.example.io/app"] {
            assert!(!is_stamp(other), "{other}");
        }
    }
}
