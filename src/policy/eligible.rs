//! Which pods are ours to refresh, and which of their containers count.

use super::{BadWishes, Container, Namespace, Phase, Pod, PullPolicy, Wishes, wishes::Mode};

/// Whose pods are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of namespaces that have opted in.
    OptedIn,
    /// Those of all namespaces.
    All,
}

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ineligible {
    /// Its namespace has not opted in, or is not known yet.
    NamespaceNotEnabled,
    /// Its namespace is being deleted: nothing would replace it.
    NamespaceTerminating,
    /// Its own label says so, or its namespace's.
    OptedOut,
    /// It is a static pod's mirror: the kubelet owns it.
    Mirror,
    /// It is being deleted.
    Terminating,
    /// It has ended.
    NotRunning,
    /// Nothing controls it, or something that does not replace its pods by like ones.
    NoController,
    /// One of its annotations makes no sense.
    BadWishes,
    /// No container of it counts.
    NothingCounts,
}

impl Ineligible {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 9] = [
        Self::NamespaceNotEnabled,
        Self::NamespaceTerminating,
        Self::OptedOut,
        Self::Mirror,
        Self::Terminating,
        Self::NotRunning,
        Self::NoController,
        Self::BadWishes,
        Self::NothingCounts,
    ];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NamespaceNotEnabled => "namespace_not_enabled",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::OptedOut => "opted_out",
            Self::Mirror => "mirror",
            Self::Terminating => "terminating",
            Self::NotRunning => "not_running",
            Self::NoController => "no_controller",
            Self::BadWishes => "bad_wishes",
            Self::NothingCounts => "nothing_counts",
        }
    }
}

/// Returns the wishes of a pod that may be refreshed, or the first reason why it may not.
///
/// `namespace` is the pod's own, `wishes` what its and its namespace's annotations say.
pub fn eligible<'a>(
    pod: &Pod,
    namespace: Option<&Namespace>,
    scope: Scope,
    wishes: &'a Result<Wishes, BadWishes>,
) -> Result<&'a Wishes, Ineligible> {
    if scope == Scope::OptedIn && !namespace.is_some_and(|namespace| namespace.enabled) {
        return Err(Ineligible::NamespaceNotEnabled);
    }
    if namespace.is_some_and(|namespace| namespace.terminating) {
        return Err(Ineligible::NamespaceTerminating);
    }
    if pod.opted_out || namespace.is_some_and(|namespace| namespace.opted_out) {
        return Err(Ineligible::OptedOut);
    }
    if pod.mirror {
        return Err(Ineligible::Mirror);
    }
    if pod.terminating {
        return Err(Ineligible::Terminating);
    }
    if pod.phase == Phase::Over {
        return Err(Ineligible::NotRunning);
    }
    if !pod.owner.as_ref().is_some_and(|owner| owner.replaces()) {
        return Err(Ineligible::NoController);
    }
    let wishes = wishes.as_ref().map_err(|_| Ineligible::BadWishes)?;
    if !pod.containers.iter().any(|c| c.counts(wishes)) {
        return Err(Ineligible::NothingCounts);
    }
    Ok(wishes)
}

/// Why a container does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Uncounted {
    /// Its reference is none.
    BadImage,
    /// Its reference has a digest of the user's own, so that it cannot change.
    OwnDigest,
    /// Its tag is not pulled at each start, and nobody would pin it: a new pod may well run the same old image.
    NotPulled,
    /// The wish `containers` leaves it out.
    LeftOut,
}

impl Uncounted {
    /// All of them, in the order in which they are checked.
    pub const ALL: [Self; 4] = [
        Self::BadImage,
        Self::OwnDigest,
        Self::NotPulled,
        Self::LeftOut,
    ];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadImage => "bad_image",
            Self::OwnDigest => "own_digest",
            Self::NotPulled => "not_pulled",
            Self::LeftOut => "left_out",
        }
    }
}

impl Namespace {
    /// Says whether pods of it may go that are looked at as `scope` says.
    pub const fn takes_part(&self, scope: Scope) -> bool {
        let asked_for = match scope {
            Scope::OptedIn => self.enabled,
            Scope::All => !self.opted_out,
        };
        asked_for && !self.terminating
    }
}

impl Container {
    /// Says whether a new digest behind this container's tag makes its pod outdated.
    ///
    /// Only where a new pod would get that digest: the kubelet pulls always, or it pulls what the webhook pins, as it
    /// did here and is wished to do again.
    pub fn counts(&self, wishes: &Wishes) -> bool {
        self.uncounted(wishes).is_none()
    }

    /// Says whether this container's tag is looked up where it `counts`, and where it does not: then a stale image is told
    /// of.
    pub fn is_looked_up(&self, counts: bool) -> bool {
        counts || self.valid_stamp().is_some()
    }

    /// Returns the first reason why this container does not count, if it does not.
    pub fn uncounted(&self, wishes: &Wishes) -> Option<Uncounted> {
        let Ok(image) = &self.image else {
            return Some(Uncounted::BadImage);
        };
        let pulls = match self.pull {
            PullPolicy::Always => true,
            PullPolicy::IfNotPresent => self.is_pinned() && wishes.mode == Mode::Pin,
            PullPolicy::Never => false,
        };
        match image.digest() {
            Some(_) if !self.is_pinned() => Some(Uncounted::OwnDigest),
            _ if !pulls => Some(Uncounted::NotPulled),
            _ if !wishes.containers.takes(&self.name) => Some(Uncounted::LeftOut),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        ContainerKind, OwnerKind, Stamp,
        fixture::{Fixture, container, digest, pod},
    };
    use std::sync::Arc;

    fn namespace(enabled: bool, terminating: bool) -> Namespace {
        Namespace {
            name: "shop".into(),
            enabled,
            opted_out: false,
            terminating,
            annotations: Arc::new([]),
        }
    }

    #[track_caller]
    fn check(pod: Fixture, expected: Result<(), Ineligible>) {
        let wishes = Ok(Wishes::default());
        let namespace = namespace(true, false);
        let verdict = eligible(&pod.build(), Some(&namespace), Scope::OptedIn, &wishes);
        assert_eq!(verdict.map(drop), expected);
    }

    #[test]
    fn a_sound_pod_is_eligible() {
        check(pod("web"), Ok(()));
        check(pod("web").with(|pod| pod.phase = Phase::Pending), Ok(()));
        check(pod("web").with(|pod| pod.ready = false), Ok(()));
        for kind in [
            OwnerKind::StatefulSet,
            OwnerKind::DaemonSet,
            OwnerKind::ReplicationController,
        ] {
            check(pod("web").owned_by(kind), Ok(()));
        }
    }

    #[test]
    fn each_reason_alone_leaves_a_pod_alone() {
        check(
            pod("web").with(|pod| pod.opted_out = true),
            Err(Ineligible::OptedOut),
        );
        check(
            pod("web").with(|pod| pod.mirror = true),
            Err(Ineligible::Mirror),
        );
        check(
            pod("web").with(|pod| pod.terminating = true),
            Err(Ineligible::Terminating),
        );
        check(
            pod("web").with(|pod| pod.phase = Phase::Over),
            Err(Ineligible::NotRunning),
        );
        check(
            pod("web").with(|pod| pod.owner = None),
            Err(Ineligible::NoController),
        );
        check(
            pod("web").owned_by(OwnerKind::Other),
            Err(Ineligible::NoController),
        );
        check(
            pod("web").with(|pod| pod.containers = Box::new([])),
            Err(Ineligible::NothingCounts),
        );
    }

    #[test]
    fn the_namespace_must_have_opted_in_unless_all_are_asked_for() {
        let (pod, wishes) = (pod("web").build(), Ok(Wishes::default()));
        let judge = |namespace: Option<Namespace>, scope| {
            eligible(&pod, namespace.as_ref(), scope, &wishes).map(drop)
        };
        let not_enabled = Err(Ineligible::NamespaceNotEnabled);
        assert_eq!(judge(Some(namespace(true, false)), Scope::OptedIn), Ok(()));
        assert_eq!(
            judge(Some(namespace(false, false)), Scope::OptedIn),
            not_enabled
        );
        assert_eq!(judge(None, Scope::OptedIn), not_enabled);
        assert_eq!(judge(Some(namespace(false, false)), Scope::All), Ok(()));
        assert_eq!(judge(None, Scope::All), Ok(()));
        for scope in [Scope::OptedIn, Scope::All] {
            let ending = judge(Some(namespace(true, true)), scope);
            assert_eq!(ending, Err(Ineligible::NamespaceTerminating));
        }
    }

    /// Checks whether a namespace's pods may go: of those that have opted in, and of all.
    #[track_caller]
    fn check_takes_part(namespace: &Namespace, expected: (bool, bool)) {
        let takes_part = |scope| namespace.takes_part(scope);
        let found = (takes_part(Scope::OptedIn), takes_part(Scope::All));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_namespace_can_opt_out_of_all_that_is_asked_for() {
        let opted_out = Namespace {
            opted_out: true,
            ..namespace(false, false)
        };
        let wishes = Ok(Wishes::default());
        let judged = eligible(&pod("web").build(), Some(&opted_out), Scope::All, &wishes);
        assert_eq!(judged.map(drop), Err(Ineligible::OptedOut));
        check_takes_part(&opted_out, (false, false));
        check_takes_part(&namespace(false, false), (false, true));
        check_takes_part(&namespace(true, false), (true, true));
        check_takes_part(&namespace(true, true), (false, false));
    }

    #[test]
    fn unreadable_wishes_leave_a_pod_alone() {
        let wishes = Wishes::parse(&[("mode".into(), "nonsense".into())], &[]);
        let judged = eligible(&pod("web").build(), None, Scope::All, &wishes);
        assert_eq!(judged, Err(Ineligible::BadWishes));
    }

    /// Checks whether a container counts while its pod is to be stamped, and to be pinned.
    #[track_caller]
    fn check_counts(image: &str, pull: PullPolicy, stamp: Option<Stamp>, expected: [bool; 2]) {
        let mut container = container(image);
        (container.pull, container.stamp) = (pull, stamp);
        for kind in [
            ContainerKind::Init,
            ContainerKind::Sidecar,
            ContainerKind::Ordinary,
        ] {
            container.kind = kind;
            let counts = [Mode::Stamp, Mode::Pin].map(|mode| {
                container.counts(&Wishes {
                    mode,
                    ..Wishes::default()
                })
            });
            assert_eq!(counts, expected, "{image} {pull:?} {kind:?}");
        }
    }

    #[test]
    fn a_container_counts_when_its_successor_would_pull_the_tag() {
        let stamp = || Some(Stamp::new(&"nginx:1".parse().unwrap(), digest(1)));
        let (pinned, foreign) = (
            format!("nginx:1@{}", digest(1)),
            format!("nginx:1@{}", digest(2)),
        );
        check_counts("nginx:1", PullPolicy::Always, None, [true; 2]);
        check_counts("nginx", PullPolicy::Always, stamp(), [true; 2]);
        for pull in [PullPolicy::IfNotPresent, PullPolicy::Never] {
            check_counts("nginx:1", pull, stamp(), [false; 2]);
        }
        check_counts(&pinned, PullPolicy::Always, stamp(), [true; 2]);
        check_counts(&pinned, PullPolicy::IfNotPresent, stamp(), [false, true]);
        check_counts(&pinned, PullPolicy::Never, stamp(), [false; 2]);
        for pull in [
            PullPolicy::Always,
            PullPolicy::IfNotPresent,
            PullPolicy::Never,
        ] {
            check_counts(&pinned, pull, None, [false; 2]);
            check_counts(&foreign, pull, stamp(), [false; 2]);
            check_counts(&format!("nginx@{}", digest(1)), pull, stamp(), [false; 2]);
            check_counts("Nginx", pull, stamp(), [false; 2]);
        }
    }

    #[test]
    fn why_a_container_does_not_count_is_told() {
        let judge = |image: &str, pull, containers: &str| {
            let mut container = container(image);
            container.pull = pull;
            container.uncounted(&Wishes {
                containers: containers.parse().unwrap(),
                ..Wishes::default()
            })
        };
        let (always, present) = (PullPolicy::Always, PullPolicy::IfNotPresent);
        let foreign = format!("nginx:1@{}", digest(2));
        assert_eq!(judge("nginx:1", always, "app"), None);
        assert_eq!(judge("nginx:1", always, "!app"), Some(Uncounted::LeftOut));
        assert_eq!(
            judge("nginx:1", present, "!app"),
            Some(Uncounted::NotPulled)
        );
        assert_eq!(judge(&foreign, present, "!app"), Some(Uncounted::OwnDigest));
        assert_eq!(judge("Nginx", present, "!app"), Some(Uncounted::BadImage));
    }

    #[test]
    fn a_container_that_is_left_out_does_not_count() {
        let wishes = |containers: &str| Wishes {
            containers: containers.parse().unwrap(),
            ..Wishes::default()
        };
        assert!(container("nginx").counts(&wishes("app")));
        assert!(!container("nginx").counts(&wishes("!app")));
        assert!(!container("nginx").counts(&wishes("other")));
    }
}
