//! What a restart writes into an owner's pod template.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::Digest;

/// Returns the value of `podrefresh.io/refreshed` for the digests that an owner's containers are to run.
///
/// It is a fingerprint of 16 hex digits, the same for the same pairs in whichever order and however often each
/// comes: so all who restart an owner for the same reason write the same value and make one rollout.
pub fn refreshed_value<'a>(targets: impl IntoIterator<Item = (&'a str, &'a Digest)>) -> String {
    let mut targets: Vec<_> = targets.into_iter().collect();
    targets.sort_unstable();
    targets.dedup();
    let mut hash = Sha256::new();
    for (container, digest) in targets {
        // Neither a container's name nor a digest can hold a space or a newline.
        hash.update(format!("{container} {digest}\n"));
    }
    hash.finalize()[..8]
        .iter()
        .fold(String::new(), |mut value, byte| {
            // Writing to a String cannot fail.
            let _ = write!(value, "{byte:02x}");
            value
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::digest;

    #[test]
    fn order_and_repetition_do_not_matter() {
        let (one, two) = (digest(1), digest(2));
        let value = refreshed_value([("app", &one), ("proxy", &two)]);
        assert_eq!(value, refreshed_value([("proxy", &two), ("app", &one)]));
        assert_eq!(
            value,
            refreshed_value([("app", &one), ("proxy", &two), ("app", &one)])
        );
    }

    #[test]
    fn another_container_or_digest_is_another_value() {
        let (one, two) = (digest(1), digest(2));
        let values = [
            refreshed_value([("app", &one), ("proxy", &two)]),
            refreshed_value([("app", &two), ("proxy", &one)]),
            refreshed_value([("app", &one)]),
            refreshed_value([("proxy", &one)]),
            refreshed_value([]),
        ];
        for (nth, value) in values.iter().enumerate() {
            assert!(!values[..nth].contains(value), "{value}");
        }
    }

    #[test]
    fn it_stays_the_same_across_releases() {
        let digest = digest(1);
        // printf 'app sha256:0101…01\n' | sha256sum | cut -c1-16
        assert_eq!(refreshed_value([("app", &digest)]), "3cdfd64aa25d1afa");
    }
}
