//! The names of our labels and annotations, as users read and write them.

/// What the wishes' annotations begin with: `podrefresh.io/mode`.
pub const PREFIX: &str = "podrefresh.io/";

/// The label of namespaces that opt in (`true`), and of pods that opt out (`false`).
pub const ENABLED: &str = "podrefresh.io/enabled";

/// Returns the value of the label [`ENABLED`] if it is one that means nothing: neither `true` nor `false`.
pub fn idle_label(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !matches!(*value, "true" | "false"))
}

/// The annotation on an owner's pod template that a restart writes.
pub const REFRESHED: &str = "podrefresh.io/refreshed";

/// What the stamped digests' annotations begin with; the container's name follows, or `volume.` and a volume's.
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

/// Returns what stands for the image volume `volume` in the names of its stamps.
///
/// No container's name has a dot, so that it is never taken for one.
pub fn volume_part(volume: &str) -> String {
    format!("volume.{volume}")
}

/// Returns which part of the pod the stamp `annotation` is for: `app`, `volume.model`; `None` if it is no stamp.
pub fn stamped_part(annotation: &str) -> Option<&str> {
    annotation
        .strip_prefix(DIGEST_PREFIX)
        .or_else(|| annotation.strip_prefix(IMAGE_PREFIX))
}

/// Says whether `annotation` is a stamp, of whichever part.
pub fn is_stamp(annotation: &str) -> bool {
    stamped_part(annotation).is_some()
}

/// Says whether `name` can be that of a Secret, a ServiceAccount or a namespace: an RFC 1123 subdomain.
///
/// Source: `k8s.io/apimachinery/pkg/util/validation`, `IsDNS1123Subdomain`.
pub fn is_object_name(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    (1..=253).contains(&name.len()) && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_name_is_a_subdomain() {
        for name in ["pull", "a.b-c.9", "0", &"x".repeat(253)] {
            assert!(is_object_name(name), "{name}");
        }
        let longer = "x".repeat(254);
        for name in [
            "", ".", "..", "a..b", ".a", "a.", "-a", "a-", "a.-b", "a/b", "../x", "Pull", "a?b",
            "a%2fb", "a_b", "ä", &longer,
        ] {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn two_values_of_the_label_mean_something() {
        for value in [None, Some("true"), Some("false")] {
            assert_eq!(idle_label(value), None);
        }
        for value in ["True", "yes", "1", "", " true"] {
            assert_eq!(idle_label(Some(value)), Some(value));
        }
    }

    #[test]
    fn stamps_are_told_from_wishes() {
        assert!(is_stamp(&digest_annotation("app")));
        assert!(is_stamp(&image_annotation("app")));
        let volume = digest_annotation(&volume_part("model"));
        assert_eq!(volume, "digest.podrefresh.io/volume.model");
        assert_eq!(stamped_part(&volume), Some("volume.model"));
        for other in ["podrefresh.io/mode", REFRESHED, "digest.example.io/app"] {
            assert!(!is_stamp(other), "{other}");
        }
    }
}
