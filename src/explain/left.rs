//! Why pods are left alone and containers do not count, in words.

use super::case::Case;
use crate::policy::{Ineligible, Uncounted, names::ENABLED};

/// Returns why a pod is left alone.
pub(super) fn left_alone(case: &Case<'_>, reason: Ineligible) -> String {
    let namespace = &case.seen.pod.namespace;
    match reason {
        Ineligible::NamespaceNotEnabled => match case.idle_label {
            None => format!("the namespace {namespace} is not labelled {ENABLED}=true"),
            Some(value) => format!(
                "the namespace {namespace} is labelled {ENABLED}={value:?}, which means nothing: only \"true\" opts in"
            ),
        },
        Ineligible::NamespaceTerminating => {
            format!("the namespace {namespace} is being deleted: nothing would replace the pod")
        }
        Ineligible::OptedOut => "its label podrefresh.io/enabled=false says so".to_owned(),
        Ineligible::Mirror => {
            "it is a static pod's mirror: only the node's files change it".to_owned()
        }
        Ineligible::Terminating => "it is being deleted".to_owned(),
        Ineligible::NotRunning => "it has ended".to_owned(),
        Ineligible::NoController => match &case.seen.foreign {
            None => "nothing controls it, so nothing would replace it".to_owned(),
            Some(owner) => format!(
                "{owner} controls it; only pods of ReplicaSets, StatefulSets, DaemonSets and \
                 ReplicationControllers are refreshed"
            ),
        },
        Ineligible::BadWishes => match &case.wishes {
            Err(bad) => bad.to_string(),
            Ok(_) => "one of its annotations makes no sense".to_owned(),
        },
        Ineligible::NothingCounts => "none of its containers counts".to_owned(),
    }
}

/// Returns why a container does not count.
pub(super) const fn uncounted(reason: Uncounted) -> &'static str {
    match reason {
        Uncounted::BadImage => "its image is no reference",
        Uncounted::OwnDigest => "its image has a digest of its own, which cannot change",
        Uncounted::NotPulled => {
            "a new pod may run the same old image: imagePullPolicy is not Always, and the pod is not pinned, or its \
             successor would not be"
        }
        Uncounted::LeftOut => "the annotation podrefresh.io/containers leaves it out",
    }
}
