//! One pod as the rules see it: whether it is ours to refresh, and what becomes of its containers.

use crate::{
    cluster::Seen,
    policy::{
        BadWishes, Container, Digest, Ineligible, Namespace, Running, Scope, Uncounted, Verdict,
        Wishes, eligible,
    },
    registry::LookupError,
};

use super::{
    blind::{Blind, Part},
    judge::Judged,
    sight::Sight,
};

/// One pod.
#[derive(Debug)]
pub(super) struct Case<'s> {
    /// The pod.
    pub(super) seen: &'s Seen,
    /// Its namespace, if that could be read.
    pub(super) namespace: Option<&'s Namespace>,
    /// The value of its namespace's label `podrefresh.io/enabled`, where that means nothing.
    pub(super) idle_label: Option<&'s str>,
    /// Its wishes.
    pub(super) wishes: Result<Wishes, BadWishes>,
    /// Why it is left alone, if it is.
    pub(super) left_alone: Option<Ineligible>,
    /// For each of its containers what was found out, where anything was.
    pub(super) judged: Vec<Option<Judged>>,
}

/// Why the verdict on a container is unknown though T is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Its image has not been pulled yet.
    NotStarted,
    /// What its status says cannot be compared, and there is no stamp.
    Unusable,
    /// T has no image for its node's platform.
    Unfit,
}

impl Open {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NotStarted, Self::Unusable, Self::Unfit];

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Unusable => "unusable",
            Self::Unfit => "unfit",
        }
    }

    /// Returns why it is not known whether `container` is outdated, if T is known and it is not.
    const fn of(container: &Container, judged: &Judged) -> Option<Self> {
        match (&judged.target, judged.verdict, &container.running) {
            (Some(_), Verdict::Unknown, _) if judged.unfit => Some(Self::Unfit),
            (Some(_), Verdict::Unknown, Running::NotStarted) => Some(Self::NotStarted),
            (Some(_), Verdict::Unknown, Running::Unusable) => Some(Self::Unusable),
            _ => None,
        }
    }
}

/// A container that makes its pod outdated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved<'c> {
    /// The container.
    pub(super) container: &'c Container,
    /// What was found out.
    pub(super) judged: &'c Judged,
    /// What it should run.
    pub(super) target: &'c Digest,
}

impl<'s> Case<'s> {
    /// Returns the case of a pod, not judged yet.
    pub(super) fn new(seen: &'s Seen, sight: &'s Sight, blind: &Blind) -> Self {
        let pod = &seen.pod;
        let namespace = sight.namespaces.get(&pod.namespace);
        let defaults = namespace.map_or(&[][..], |it| &it.annotations);
        let wishes = Wishes::parse(&pod.annotations, defaults);
        let scope = if blind.sees(Part::Namespaces) {
            Scope::OptedIn
        } else {
            Scope::All
        };
        let left_alone = eligible(pod, namespace, scope, &wishes).err();
        Self {
            seen,
            namespace,
            idle_label: sight.idle_labels.get(&pod.namespace).map(|value| &**value),
            wishes,
            left_alone,
            judged: pod.containers.iter().map(|_| None).collect(),
        }
    }

    /// Returns why a container does not count, if it does not; `None` also where no wishes can be read.
    pub(super) fn uncounted(&self, container: &Container) -> Option<Uncounted> {
        match &self.wishes {
            Ok(wishes) => container.uncounted(wishes),
            Err(_) => container.uncounted(&Wishes::default()),
        }
    }

    /// Says whether the controller looks a container's tag up.
    pub(super) fn is_looked_up(&self, container: &Container) -> bool {
        matches!(self.left_alone, None | Some(Ineligible::NothingCounts))
            && container.is_looked_up(self.counts(container))
    }

    /// Says whether a container counts, and so does its pod.
    pub(super) fn counts(&self, container: &Container) -> bool {
        self.left_alone.is_none() && self.uncounted(container).is_none()
    }

    /// Returns what the registry does not say, for which the controller holds the pod back: it does not ask for other
    /// containers than these, and compares the images of those alone that count.
    pub(super) fn faults(&self) -> impl Iterator<Item = &LookupError> {
        let containers = self.seen.pod.containers.iter().zip(&self.judged);
        containers.filter_map(|(container, judged)| {
            let judged = judged.as_ref().filter(|_| self.is_looked_up(container))?;
            let doubt = judged.doubt.as_ref().filter(|_| self.counts(container));
            judged.fault.as_ref().or(doubt)
        })
    }

    /// Returns the label of why nothing is known of a container, if it counts and nothing is.
    pub(super) fn open(&self, container: &Container, judged: &Judged) -> Option<&'static str> {
        if !self.counts(container) {
            return None;
        }
        let fault = judged.fault.as_ref().map(LookupError::label);
        fault.or_else(|| Open::of(container, judged).map(Open::label))
    }

    /// Returns the label of why nothing is known of the pod, by the first container that counts and is unknown.
    pub(super) fn first_open(&self) -> Option<&'static str> {
        let mut containers = self.seen.pod.containers.iter().zip(&self.judged);
        containers.find_map(|(container, judged)| self.open(container, judged.as_ref()?))
    }

    /// Says whether T has nothing for the pod's node, so that too little is known of a container that counts.
    pub(super) fn is_unfit(&self) -> bool {
        let mut containers = self.seen.pod.containers.iter().zip(&self.judged);
        containers.any(|(container, judged)| {
            self.counts(container) && judged.as_ref().is_some_and(|it| it.unfit)
        })
    }

    /// Returns the containers that make the pod outdated; none of a pod that is left alone.
    pub(super) fn moved(&self) -> impl Iterator<Item = Moved<'_>> {
        let containers = self.seen.pod.containers.iter().zip(&self.judged);
        containers.filter_map(|(container, judged)| {
            let judged = judged.as_ref()?;
            let target = judged.target.as_ref()?;
            (self.counts(container) && judged.verdict == Verdict::Outdated).then_some(Moved {
                container,
                judged,
                target,
            })
        })
    }

    /// Says whether the pod is outdated.
    pub(super) fn is_outdated(&self) -> bool {
        self.moved().next().is_some()
    }

    /// Says whether the pod is known to run what its tags mean.
    pub(super) fn is_current(&self) -> bool {
        let mut containers = self.seen.pod.containers.iter().zip(&self.judged);
        self.left_alone.is_none()
            && containers.all(|(container, judged)| {
                self.uncounted(container).is_some()
                    || judged.as_ref().is_some_and(|it| it.verdict.runs_target())
            })
    }

    /// Returns the wish `name` as it was written, on the pod or on its namespace.
    pub(super) fn wish(&self, name: &str) -> Option<&str> {
        let own = self.seen.pod.annotations.iter();
        let defaults = self.namespace.iter().flat_map(|it| it.annotations.iter());
        let mut wishes = own.chain(defaults);
        wishes.find_map(|(wish, value)| (**wish == *name).then_some(&**value))
    }
}
