//! What the webhook wrote down for a container at admission, and whether it still holds.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Container, Digest, ImageRef, Pod, PullPolicy, image::LONGEST_IMAGE};

/// How long after it was known what a tag means a stamp may still hold what it meant before: the webhook may have used an
/// answer as old as `--digest-ttl`. Far more than that is by default.
const LAGGING: SignedDuration = SignedDuration::from_secs(600);

/// What the webhook wrote down for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// `digest.podrefresh.io/<container>`: what the tag meant at admission.
    pub digest: Digest,
    /// `image.podrefresh.io/<container>`: the reference that was resolved.
    pub image: Arc<str>,
}

impl Stamp {
    /// Returns the stamp in a container's two annotations; `None` when one is missing, the digest is none or the reference
    /// is longer than any.
    ///
    /// A broken stamp counts as no stamp: it says nothing that could be trusted.
    pub fn read(digest: Option<&str>, image: Option<&str>) -> Option<Self> {
        Some(Self {
            digest: digest?.parse().ok()?,
            image: image.filter(|image| image.len() <= LONGEST_IMAGE)?.into(),
        })
    }

    /// Returns the stamp that says that `image` was resolved to `digest`.
    ///
    /// The reference is written without its digest, so that the tag's stamp stays the same when the pod is pinned.
    pub fn new(image: &ImageRef, digest: Digest) -> Self {
        let resolved = image.tagged().unwrap_or_else(|| image.clone());
        Self {
            digest,
            image: resolved.to_string().into(),
        }
    }

    /// Says whether this stamp was made for `image`, or is the one that `image` was pinned by.
    pub fn is_for(&self, image: &ImageRef) -> bool {
        match image.digest() {
            None => image.is_named(&self.image),
            Some(_) => self.pinned(image),
        }
    }

    /// Says whether `image` is a pin by this stamp of which somebody has rewritten the repository since: tag and digest are
    /// the stamp's.
    pub fn is_elsewhere(&self, image: &ImageRef) -> bool {
        let same_tag =
            |stamped: ImageRef| stamped.digest().is_none() && stamped.tag() == image.tag();
        image.tag().is_some()
            && image.digest() == Some(&self.digest)
            && !image.is_named(&self.image)
            && self.image.parse().is_ok_and(same_tag)
    }

    /// Says whether `image` is a tag and, behind it, the digest that this stamp gives that tag.
    fn pinned(&self, image: &ImageRef) -> bool {
        image.tag().is_some() && image.digest() == Some(&self.digest) && image.is_named(&self.image)
    }
}

impl Container {
    /// Returns the stamp, unless the container's reference has changed since it was made.
    pub fn valid_stamp(&self) -> Option<&Stamp> {
        let image = self.image.as_ref().ok()?;
        self.stamp.as_ref().filter(|stamp| stamp.is_for(image))
    }

    /// Says whether the stamp tells that the tag of a pod created at `created` meant something else than `target` then,
    /// though `target` had been known since `first`: it was moved away and back between two looks at the registry.
    pub fn denies(&self, target: &Digest, first: Timestamp, created: Timestamp) -> bool {
        let stamp = self.valid_stamp();
        stamp.is_some_and(|stamp| stamp.digest != *target)
            && LAGGING <= created.duration_since(first)
    }

    /// Says whether this came in the place of `pinned`, and nobody pinned it: it runs what its node had under the tag,
    /// which is not `target`.
    fn strayed_from(&self, pinned: &Self, target: &Digest) -> bool {
        let stamp = pinned.stamp.as_ref().filter(|_| pinned.is_pinned());
        let (Some(stamp), Ok(image)) = (stamp, &self.image) else {
            return false;
        };
        self.name == pinned.name
            && self.pull != PullPolicy::Always
            && image.digest().is_none()
            && image.is_named(&stamp.image)
            && self
                .running
                .digest()
                .is_some_and(|running| running != target)
    }

    /// Says whether we wrote the digest into the container's reference.
    ///
    /// A user's own `tag@digest` has no such stamp: it cannot change, and is none of our business.
    pub fn is_pinned(&self) -> bool {
        self.image
            .as_ref()
            .is_ok_and(|image| self.stamp.as_ref().is_some_and(|s| s.pinned(image)))
    }
}

impl Pod {
    /// Says whether this pod serves, and a container of it came in the place of `pinned` without being pinned.
    ///
    /// It may run what `target` holds for its node. Even so the next one might run anything.
    pub fn strayed_from(&self, pinned: &Container, target: &Digest) -> bool {
        let mut containers = self.containers.iter();
        self.is_available() && containers.any(|it| it.strayed_from(pinned, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        Running,
        fixture::{container, digest, pod},
    };

    /// Checks whether a stamp of `stamped` with digest 1 holds for a container of `image`, and makes it a pinned one.
    #[track_caller]
    fn check(image: &str, stamped: &str, valid: bool, pinned: bool) {
        let mut container = container(image);
        container.stamp = Stamp::read(Some(&digest(1).to_string()), Some(stamped));
        assert!(container.stamp.is_some());
        assert_eq!(
            container.valid_stamp().is_some(),
            valid,
            "{image} {stamped}"
        );
        assert_eq!(container.is_pinned(), pinned, "{image} {stamped}");
    }

    #[test]
    fn a_pin_is_known_by_its_tag_and_digest_when_its_repository_is_another_one() {
        let check = |image: String, expected| {
            let stamp = Stamp::read(Some(&digest(1).to_string()), Some("nginx:1.27")).unwrap();
            let image: ImageRef = image.parse().unwrap();
            assert_eq!(stamp.is_elsewhere(&image), expected, "{image}");
        };
        check(format!("h.io/nginx:1.27@{}", digest(1)), true);
        check(format!("mirror/nginx:1.27@{}", digest(1)), true);
        check(format!("nginx:1.27@{}", digest(1)), false);
        check(format!("h.io/nginx:1.27@{}", digest(2)), false);
        check(format!("h.io/nginx:1.28@{}", digest(1)), false);
        check(format!("h.io/nginx@{}", digest(1)), false);
        check("h.io/nginx:1.27".to_owned(), false);
    }

    #[test]
    fn a_stamp_tells_what_a_tag_meant_long_after_another_digest_was_known() {
        use crate::policy::fixture::{container, digest};

        let at = |second| Timestamp::from_second(second).unwrap();
        let mut it = container("nginx:1.27");
        assert!(!it.denies(&digest(1), at(0), at(9000)));
        let image = it.image.clone().unwrap();
        it.stamp = Some(Stamp::new(&image, digest(2)));
        assert!(it.denies(&digest(1), at(0), at(600)));
        assert!(!it.denies(&digest(1), at(0), at(599)));
        assert!(!it.denies(&digest(2), at(0), at(9000)));
    }

    #[test]
    fn a_stamp_holds_for_the_reference_it_was_made_for() {
        check("nginx:1.27", "docker.io/library/nginx:1.27", true, false);
        check("nginx", "docker.io/library/nginx:latest", true, false);
        check("docker.io/nginx:1.27", "nginx:1.27", true, false);
        check("nginx:1.28", "docker.io/library/nginx:1.27", false, false);
        check("other:1.27", "docker.io/library/nginx:1.27", false, false);
        check(
            "ghcr.io/library/nginx:1.27",
            "docker.io/library/nginx:1.27",
            false,
            false,
        );
        check("Nginx", "Nginx", false, false);
        check("nginx:1.27", "Nginx", false, false);
        check("nginx:1.27", "", false, false);
    }

    #[test]
    fn a_pin_is_the_stamps_tag_with_the_stamps_digest() {
        let (own, other) = (digest(1), digest(2));
        let tag = "docker.io/library/nginx:1.27";
        check(&format!("nginx:1.27@{own}"), tag, true, true);
        check(&format!("nginx:1.27@{other}"), tag, false, false);
        check(&format!("nginx:1.28@{own}"), tag, false, false);
        check(&format!("nginx@{own}"), tag, false, false);
        check(
            &format!("nginx@{own}"),
            "docker.io/library/nginx",
            false,
            false,
        );
        // A stamp whose reference holds a digest is not one of ours.
        check(
            &format!("nginx:1.27@{own}"),
            &format!("{tag}@{own}"),
            false,
            false,
        );
    }

    #[test]
    fn a_stamp_has_two_sound_halves() {
        let sound = digest(1).to_string();
        assert_eq!(Stamp::read(None, Some("nginx:1")), None);
        assert_eq!(Stamp::read(Some(&sound), None), None);
        assert_eq!(Stamp::read(Some("sha256:12"), Some("nginx:1")), None);
    }

    #[test]
    fn what_the_webhook_writes_holds_before_and_after_pinning() {
        let image: ImageRef = "nginx:1.27".parse().unwrap();
        let stamp = Stamp::new(&image, digest(1));
        assert_eq!(&*stamp.image, "docker.io/library/nginx:1.27");
        assert!(stamp.is_for(&image));
        let pinned = image.pinned_to(digest(1));
        assert!(stamp.is_for(&pinned));
        assert_eq!(Stamp::new(&pinned, digest(1)), stamp);
    }

    #[test]
    fn a_successor_that_was_not_pinned_strays() {
        let pinned = Container {
            stamp: Some(Stamp::new(&"nginx:1".parse().unwrap(), digest(1))),
            pull: PullPolicy::IfNotPresent,
            ..container(&format!("nginx:1@{}", digest(1)))
        };
        let successor = |image: &str, runs| Container {
            pull: PullPolicy::IfNotPresent,
            running: runs,
            ..container(image)
        };
        let runs = |byte| Running::Manifest(digest(byte));
        // The tag means 2 now.
        let strays = |it: &Container| it.strayed_from(&pinned, &digest(2));
        assert!(strays(&successor("nginx:1", runs(1))));
        assert!(strays(&successor("nginx:1", runs(3))));
        assert!(!strays(&successor("nginx:1", runs(2))));
        assert!(!strays(&successor("nginx:1", Running::NotStarted)));
        assert!(!strays(&successor("nginx:2", runs(3))));
        assert!(!strays(&pinned));
        let pulled = Container {
            pull: PullPolicy::Always,
            ..successor("nginx:1", runs(3))
        };
        assert!(!strays(&pulled));
        let other = Container {
            name: "other".into(),
            ..successor("nginx:1", runs(3))
        };
        assert!(!strays(&other));
        // What never was pinned has no pin to lose.
        let tagged = successor("nginx:1", runs(1));
        assert!(!successor("nginx:1", runs(3)).strayed_from(&tagged, &digest(2)));
        let check = |ready, terminating, expected| {
            let pod = pod("web").with(|pod| {
                pod.containers = Box::new([container("b"), successor("nginx:1", runs(3))]);
                (pod.ready, pod.terminating) = (ready, terminating);
            });
            let strays = pod.build().strayed_from(&pinned, &digest(2));
            assert_eq!(strays, expected);
        };
        check(true, false, true);
        check(false, false, false);
        check(true, true, false);
    }
}
