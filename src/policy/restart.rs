//! What a restart writes into an owner's pod template, and what that says of the pods made from it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{
    Digest, Pod,
    gate::Made,
    names::{PREFIX, REFRESHED},
};

/// An owner's pod template, and what its outdated pods should run.
#[derive(Debug)]
pub struct Template<'a> {
    /// The value of `podrefresh.io/refreshed` in it.
    current: Option<&'a str>,
    /// The value for the digests that the outdated pods should run.
    base: String,
}

impl<'a> Template<'a> {
    /// Returns the template with the value `current`, of an owner whose containers are to run `targets`.
    pub fn new<'t>(
        current: Option<&'a str>,
        targets: impl IntoIterator<Item = (&'t str, &'t Digest)>,
    ) -> Self {
        let base = refreshed_value(targets);
        Self { current, base }
    }

    /// Says whether it was written for the digests that the outdated pods should run.
    pub fn is_restarted(&self) -> bool {
        self.current.is_some_and(|value| is_for(value, &self.base))
    }

    /// Returns whether `pod`, of which the containers `moved` are outdated, was made from it.
    ///
    /// A pod carries its template's annotations. One without a stamp may have come from the restart for its targets
    /// and pulled an old image all the same; a stamp tells that its tag meant something else at that time.
    pub fn made<'m>(&self, pod: &Pod, moved: impl IntoIterator<Item = &'m str>) -> Made {
        let mut moved = moved.into_iter();
        if carried(pod) != self.current {
            Made::Earlier
        } else if self.is_restarted() && !moved.all(|container| is_stamped(pod, container)) {
            Made::InVain
        } else {
            Made::Now
        }
    }

    /// Returns the value to restart the owner with.
    pub fn value(&self) -> String {
        value_over(self.current, &self.base)
    }
}

/// Returns the value that a pod's template carried when it was created.
pub fn carried(pod: &Pod) -> Option<&str> {
    let name = REFRESHED.strip_prefix(PREFIX)?;
    let mut annotations = pod.annotations.iter();
    annotations.find_map(|(key, value)| (**key == *name).then_some(&**value))
}

fn is_stamped(pod: &Pod, container: &str) -> bool {
    let mut containers = pod.containers.iter();
    let container = containers.find(|it| &*it.name == container);
    container.is_some_and(|it| it.valid_stamp().is_some())
}

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

/// Says whether a template that carries `current` was written for the digests whose value is `base`.
pub fn is_for(current: &str, base: &str) -> bool {
    current == base || rounds(current, base).is_some()
}

/// Returns what to write over `current`, to restart an owner for the digests whose value is `base`.
///
/// That is `base`, except where the template carries it already: a tag may move away and back, with pods
/// created in between. Then it is `base` with a count behind it, which all who see the same template derive.
pub fn value_over(current: Option<&str>, base: &str) -> String {
    match current {
        Some(current) if is_for(current, base) => {
            let rounds = rounds(current, base).unwrap_or(1);
            format!("{base}-{}", rounds.saturating_add(1))
        }
        _ => base.to_owned(),
    }
}

/// Returns the 3 of `base-3`.
fn rounds(current: &str, base: &str) -> Option<u32> {
    current.strip_prefix(base)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::digest;

    /// Checks what is written over a template's value to restart for `v`.
    #[track_caller]
    fn check_over(current: Option<&str>, is_for_v: bool, expected: &str) {
        assert_eq!(current.is_some_and(|it| is_for(it, "v")), is_for_v);
        assert_eq!(value_over(current, "v"), expected);
    }

    #[test]
    fn a_value_that_stands_there_already_is_counted_on() {
        check_over(None, false, "v");
        check_over(Some("w"), false, "v");
        check_over(Some("v"), true, "v-2");
        check_over(Some("v-2"), true, "v-3");
        check_over(Some("w-2"), false, "v");
        // What somebody has written by hand is nothing to count on.
        check_over(Some("v-x"), false, "v");
        check_over(Some("v2"), false, "v");
    }

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
