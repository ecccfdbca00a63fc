//! Does a container run what its tag means now?

use super::{Container, Digest, PullPolicy, Running};

/// What there is to say of a container, given what its tag means now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It runs what the tag means.
    Current {
        /// Only its stamp says so; the runtime reports another digest, which for a pull that
        /// happened at the start can only be an alias of the same image.
        ambiguous: bool,
    },
    /// The tag already meant this at admission, but the node took an older image from its cache.
    StaleCache,
    /// The tag has moved, but on this node's platform to the very same image.
    Identical,
    /// The tag means something else now.
    Outdated,
    /// Too little is known; never a reason to act.
    Unknown,
}

impl Verdict {
    const CURRENT: Self = Self::Current { ambiguous: false };

    /// One of each kind.
    pub const ALL: [Self; 5] = [
        Self::CURRENT,
        Self::StaleCache,
        Self::Identical,
        Self::Outdated,
        Self::Unknown,
    ];

    /// Returns the stable, documented name of the verdict.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Current { .. } => "current",
            Self::StaleCache => "stale_cache",
            Self::Identical => "identical",
            Self::Outdated => "outdated",
            Self::Unknown => "unknown",
        }
    }

    /// Says whether the container's content is what the tag means, as far as this verdict goes.
    pub const fn runs_target(self) -> bool {
        matches!(self, Self::Current { .. } | Self::Identical)
    }

    /// Says whether the verdict by digests alone is to be given again by the manifests of [`evidence`]: where something is
    /// done for it, or told. Of a container that does not count only a stale image is told.
    pub const fn is_preliminary(self, counts: bool) -> bool {
        match self {
            Self::Outdated => counts,
            Self::StaleCache => true,
            Self::Current { .. } | Self::Identical | Self::Unknown => false,
        }
    }
}

/// Returns T, S and I: what the tag of a container means, its stamp if that holds, and what its imageID says.
pub fn digests<'a>(container: &'a Container, target: &'a Digest) -> [Option<&'a Digest>; 3] {
    let stamp = container.valid_stamp().map(|stamp| &stamp.digest);
    [Some(target), stamp, container.running.digest()]
}

/// Returns those of T, S and I whose manifests tell more of a container than the digests do.
pub fn evidence<'a>(container: &'a Container, target: &'a Digest) -> [Option<&'a Digest>; 3] {
    match digests(container, target) {
        // All that is left to know is whether it runs one of T's images.
        [target, stamp, _] if target == stamp => [target, None, None],
        all => all,
    }
}

/// What the manifests behind the digests say, as far as they have been fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Children<'a> {
    /// The digests of all platform manifests in the target, if it is an index.
    pub of_target: &'a [Digest],
    /// The target's manifest for the node's platform; the target itself if it is no index.
    pub target: Option<&'a Digest>,
    /// The stamp's manifest for the node's platform.
    pub stamp: Option<&'a Digest>,
    /// The running image's manifest for the node's platform.
    pub running: Option<&'a Digest>,
    /// Whether the target is an index without anything for the node's platform: nobody could start there.
    pub unfit: bool,
}

/// Returns the verdict on a container whose tag means `target` now; `None` when nobody knows.
///
/// Both the stamp and the imageID can mislead alone. The stamp ages when the container restarts in
/// place and pulls anew. The imageID is whichever of the image's known digests its runtime happens to
/// list first, which need not be the one that was pulled. So one of them agreeing is enough.
pub fn verdict(
    container: &Container,
    target: Option<&Digest>,
    children: Option<Children<'_>>,
) -> Verdict {
    let Some(target) = target else {
        return Verdict::Unknown;
    };
    let stamp = container
        .valid_stamp()
        .map(|stamp| &stamp.digest)
        .filter(|stamp| comparable(stamp, target));
    // A replacement could not start on this node: what runs is better than what would not.
    let outdated = match children.is_some_and(|children| children.unfit) {
        true => Verdict::Unknown,
        false => Verdict::Outdated,
    };
    let pinned = container.is_pinned();
    let running = match &container.running {
        Running::Manifest(running) if comparable(running, target) => running,
        // The kubelet will pull what the tag means when it comes to that.
        Running::NotStarted if !pinned => return Verdict::Unknown,
        _ => {
            return match stamp {
                Some(stamp) if stamp == target => Verdict::CURRENT,
                Some(_) if is_identical(children, false) => Verdict::Identical,
                Some(_) => outdated,
                None => Verdict::Unknown,
            };
        }
    };
    let children_of_target = children.map_or(&[][..], |children| children.of_target);
    if running == target || children_of_target.contains(running) {
        return Verdict::CURRENT;
    }
    if stamp == Some(target) {
        return if pinned || container.pull == PullPolicy::Always {
            Verdict::Current { ambiguous: true }
        } else {
            Verdict::StaleCache
        };
    }
    if is_identical(children, true) {
        return Verdict::Identical;
    }
    outdated
}

/// Says whether two digests would be equal if they were of the same content.
fn comparable(one: &Digest, other: &Digest) -> bool {
    one.algorithm() == other.algorithm()
}

/// Says whether the target holds, for the node's platform, what the stamp or the running image holds.
fn is_identical(children: Option<Children<'_>>, running_is_usable: bool) -> bool {
    children.is_some_and(|children| {
        children.target.is_some()
            && (children.target == children.stamp
                || running_is_usable && children.target == children.running)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        Stamp,
        fixture::{container, digest},
    };

    const CURRENT: Verdict = Verdict::CURRENT;
    const AMBIGUOUS: Verdict = Verdict::Current { ambiguous: true };
    // What the tag means now, in every test but those without an answer.
    const T: u8 = 1;

    fn manifest(byte: u8) -> Running {
        Running::Manifest(digest(byte))
    }

    fn stamped(stamp: Option<u8>, running: Running, pull: PullPolicy) -> Container {
        let mut container = container("nginx:1");
        container.stamp = stamp.map(|byte| Stamp::new(&"nginx:1".parse().unwrap(), digest(byte)));
        (container.running, container.pull) = (running, pull);
        container
    }

    /// A container that we pinned to its stamp.
    fn pinned(stamp: u8, running: Running) -> Container {
        let mut container = container(&format!("nginx:1@{}", digest(stamp)));
        container.stamp = Some(Stamp::new(&"nginx:1".parse().unwrap(), digest(stamp)));
        (container.running, container.pull) = (running, PullPolicy::IfNotPresent);
        assert!(container.is_pinned());
        container
    }

    #[track_caller]
    fn judge(container: &Container, expected: Verdict) {
        assert_eq!(verdict(container, Some(&digest(T)), None), expected);
        assert_eq!(
            verdict(container, None, None),
            Verdict::Unknown,
            "without an answer"
        );
    }

    #[track_caller]
    fn check(stamp: Option<u8>, running: Running, pull: PullPolicy, expected: Verdict) {
        judge(&stamped(stamp, running, pull), expected);
    }

    #[test]
    fn what_runs_the_target_is_current_whatever_its_stamp() {
        for stamp in [None, Some(T), Some(2)] {
            for pull in [
                PullPolicy::Always,
                PullPolicy::IfNotPresent,
                PullPolicy::Never,
            ] {
                check(stamp, manifest(T), pull, CURRENT);
            }
        }
        judge(&pinned(2, manifest(T)), CURRENT);
    }

    #[test]
    fn a_stamp_that_is_the_target_outweighs_another_image_id_where_the_pull_was_sure() {
        check(Some(T), manifest(2), PullPolicy::Always, AMBIGUOUS);
        judge(&pinned(T, manifest(2)), AMBIGUOUS);
        check(
            Some(T),
            manifest(2),
            PullPolicy::IfNotPresent,
            Verdict::StaleCache,
        );
        check(Some(T), manifest(2), PullPolicy::Never, Verdict::StaleCache);
    }

    #[test]
    fn neither_stamp_nor_image_id_being_the_target_is_outdated() {
        check(Some(2), manifest(2), PullPolicy::Always, Verdict::Outdated);
        check(Some(2), manifest(3), PullPolicy::Always, Verdict::Outdated);
        check(None, manifest(2), PullPolicy::Always, Verdict::Outdated);
        judge(&pinned(2, manifest(2)), Verdict::Outdated);
    }

    #[test]
    fn before_the_start_only_a_pin_decides() {
        for stamp in [None, Some(T), Some(2)] {
            check(
                stamp,
                Running::NotStarted,
                PullPolicy::Always,
                Verdict::Unknown,
            );
        }
        judge(&pinned(T, Running::NotStarted), CURRENT);
        judge(&pinned(2, Running::NotStarted), Verdict::Outdated);
    }

    #[test]
    fn an_unusable_image_id_leaves_it_to_the_stamp() {
        check(Some(T), Running::Unusable, PullPolicy::Always, CURRENT);
        check(
            Some(2),
            Running::Unusable,
            PullPolicy::Always,
            Verdict::Outdated,
        );
        check(
            None,
            Running::Unusable,
            PullPolicy::Always,
            Verdict::Unknown,
        );
        judge(&pinned(2, Running::Unusable), Verdict::Outdated);
    }

    #[test]
    fn a_void_stamp_is_no_stamp() {
        let mut moved = stamped(Some(T), manifest(2), PullPolicy::Always);
        moved.stamp = Some(Stamp::new(&"nginx:2".parse().unwrap(), digest(T)));
        judge(&moved, Verdict::Outdated);
        moved.running = Running::Unusable;
        judge(&moved, Verdict::Unknown);
    }

    #[test]
    fn digests_of_different_algorithms_say_nothing_of_each_other() {
        let long = Digest::Sha512(Box::new([7; 64]));
        check(
            None,
            Running::Manifest(long.clone()),
            PullPolicy::Always,
            Verdict::Unknown,
        );
        check(
            Some(T),
            Running::Manifest(long.clone()),
            PullPolicy::Always,
            CURRENT,
        );
        let short = stamped(Some(2), manifest(2), PullPolicy::Always);
        assert_eq!(verdict(&short, Some(&long), None), Verdict::Unknown);
        let same = stamped(None, Running::Manifest(long.clone()), PullPolicy::Always);
        assert_eq!(verdict(&same, Some(&long), None), CURRENT);
    }

    #[track_caller]
    fn check_children(container: &Container, children: Children<'_>, expected: Verdict) {
        assert_eq!(
            verdict(container, Some(&digest(T)), Some(children)),
            expected
        );
    }

    #[test]
    fn a_child_of_the_target_is_current() {
        let children = Children {
            of_target: &[digest(10), digest(11)],
            ..Children::default()
        };
        let runs = |byte| stamped(Some(2), manifest(byte), PullPolicy::Always);
        check_children(&runs(10), children, CURRENT);
        check_children(&runs(11), children, CURRENT);
        check_children(&runs(12), children, Verdict::Outdated);
    }

    #[test]
    fn a_stamp_that_is_the_target_leaves_only_its_children_to_ask_for() {
        let check = |stamp, expected: [Option<u8>; 3]| {
            let (cached, target) = (stamped(stamp, manifest(3), PullPolicy::Never), digest(T));
            let expected = expected.map(|byte| byte.map(digest));
            assert_eq!(evidence(&cached, &target).map(|it| it.cloned()), expected);
        };
        check(Some(T), [Some(T), None, None]);
        check(Some(2), [Some(T), Some(2), Some(3)]);
        check(None, [Some(T), None, Some(3)]);
    }

    #[test]
    fn what_may_be_told_or_acted_on_is_preliminary() {
        let of = |counts| Verdict::ALL.map(|verdict| verdict.is_preliminary(counts));
        assert_eq!(of(true), [false, true, false, true, false]);
        assert_eq!(of(false), [false, true, false, false, false]);
    }

    #[test]
    fn the_same_manifest_for_the_nodes_platform_is_identical() {
        let (same, other) = (digest(10), digest(20));
        let children = |stamp, running| Children {
            of_target: &[],
            target: Some(&same),
            stamp,
            running,
            unfit: false,
        };
        let runs = stamped(Some(2), manifest(3), PullPolicy::Always);
        check_children(
            &runs,
            children(Some(&same), Some(&other)),
            Verdict::Identical,
        );
        check_children(
            &runs,
            children(Some(&other), Some(&same)),
            Verdict::Identical,
        );
        check_children(
            &runs,
            children(Some(&other), Some(&other)),
            Verdict::Outdated,
        );
        check_children(&runs, children(None, None), Verdict::Outdated);
        check_children(&runs, Children::default(), Verdict::Outdated);
        let silent = stamped(Some(2), Running::Unusable, PullPolicy::Always);
        check_children(&silent, children(Some(&same), None), Verdict::Identical);
        check_children(
            &silent,
            children(Some(&other), Some(&same)),
            Verdict::Outdated,
        );
    }

    #[test]
    fn a_target_without_anything_for_the_node_is_no_reason_to_evict() {
        let unfit = |of_target| Children {
            of_target,
            unfit: true,
            ..Children::default()
        };
        let runs = |byte| stamped(Some(2), manifest(byte), PullPolicy::Always);
        check_children(&runs(3), unfit(&[]), Verdict::Unknown);
        check_children(&pinned(2, Running::Unusable), unfit(&[]), Verdict::Unknown);
        check_children(
            &pinned(2, Running::NotStarted),
            unfit(&[]),
            Verdict::Unknown,
        );
        // What runs already needs no image for the node.
        check_children(&runs(T), unfit(&[]), CURRENT);
        check_children(&runs(10), unfit(&[digest(10)]), CURRENT);
    }
}
