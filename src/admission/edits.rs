//! What is changed in a pod: its stamps, and the images that are pinned.

use std::collections::BTreeMap;

use super::{pod::Place, review::Strings};
use crate::policy::names::stamped_part;

/// What Kubernetes lets all annotations of one object add up to.
///
/// Source: `k8s.io/apimachinery/pkg/api/validation`, `TotalAnnotationSizeLimitB`. A pod must not be refused
/// because of our stamps.
pub(super) const ANNOTATIONS_BYTES: usize = 256 * 1024;

/// One change to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Write an annotation, over an old value or not.
    Annotate {
        /// The annotation.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Take an annotation that is there away.
    Strip {
        /// The annotation.
        key: String,
    },
    /// Write another image into a container or volume that has one.
    SetImage {
        /// The container or volume.
        place: Place,
        /// Its new image.
        image: String,
    },
}

/// Returns whether the annotations stay below what Kubernetes allows once [`of`] has made the stamps among them equal to
/// `stamps`.
pub fn fit(
    present: &Strings<'_>,
    stamps: &BTreeMap<String, String>,
    is_about: impl Fn(&str) -> bool,
) -> bool {
    let kept = present
        .iter()
        .filter(|(key, _)| !stamped_part(key).is_some_and(&is_about))
        .map(|(key, value)| key.len() + value.len());
    let added = stamps.iter().map(|(key, value)| key.len() + value.len());
    kept.chain(added).sum::<usize>() <= ANNOTATIONS_BYTES
}

/// Returns what makes the stamps among the annotations `present` equal to `stamps`, as far as `is_about` wants the
/// part of the pod that they are for looked at.
///
/// Whatever else looks like a stamp is none of ours: a template or a user forged it, or it names a container that
/// has no answer now.
pub fn of(
    present: &Strings<'_>,
    stamps: BTreeMap<String, String>,
    is_about: impl Fn(&str) -> bool,
) -> Vec<Edit> {
    let strip = present
        .keys()
        .filter(|key| stamped_part(key).is_some_and(&is_about) && !stamps.contains_key(&***key))
        .map(|key| Edit::Strip {
            key: key.to_string(),
        })
        .collect::<Vec<_>>();
    let annotate = stamps
        .into_iter()
        .filter(|(key, value)| present.get(key.as_str()).is_none_or(|old| **old != **value))
        .map(|(key, value)| Edit::Annotate { key, value });
    strip.into_iter().chain(annotate).collect()
}
