//! The stamps: what the registries said of a pod's images in, what to change and to say out.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    answer::WARNING_BYTES,
    edits::{self, Edit},
    pod::Pod,
    review::{PodChange, Strings},
    wants::{Present, Want, Wanted},
};
use crate::policy::{
    Digest, ImageRef,
    names::{digest_annotation, image_annotation},
    wishes::OnUnresolved,
};

/// As much of an unreadable image as a warning shows.
const IMAGE_CHARS: usize = 80;

/// What the registries said of the images that were asked about, or why they did not.
pub type Answers = HashMap<Arc<ImageRef>, Result<Digest, String>>;

/// What is to be done with a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Let it in.
    Admit {
        /// What to change; empty when all is as it should be.
        edits: Vec<Edit>,
        /// What to tell its creator.
        warnings: Vec<String>,
        /// What the images mean: the part, and the reference with its digest.
        resolved: Vec<String>,
        /// The images without a stamp that should have one, with the cause.
        unresolved: Vec<(String, String)>,
    },
    /// Refuse it.
    Deny {
        /// What to tell its creator.
        message: String,
        /// The images without an answer, with the cause.
        unresolved: Vec<(String, String)>,
    },
}

/// Decides what happens to `pod`, of which `wants` are the parts that are new or changed.
///
/// Asked again for its own result it wants no change, so it does not matter how often the API server calls.
pub fn plan(
    pod: &Pod<'_>,
    wants: &[Wanted<'_>],
    answers: &Answers,
    on_unresolved: OnUnresolved,
    change: PodChange,
) -> Plan {
    let mut stamps = BTreeMap::new();
    let mut pins = Vec::new();
    let mut resolved = Vec::new();
    let mut unresolved = Vec::new();
    let mut warnings = Vec::new();
    for wanted in wants {
        let (image, cause) = match settle(&wanted.want, answers) {
            Ok(None) => continue,
            Ok(Some((image, digest))) => {
                stamps.insert(digest_annotation(&wanted.stamp), digest.to_string());
                stamps.insert(image_annotation(&wanted.stamp), image.to_string());
                pins.extend(pin(wanted, digest));
                resolved.push(format!("{}={image}@{digest}", wanted.stamp));
                continue;
            }
            // What is left alone, or never pulled, may well be asked for in vain.
            Err(_) if wanted.is_optional => continue,
            Err(why) => why,
        };
        pins.extend(unpin(wanted));
        warnings.push(warning(wanted, &image, &cause));
        // The API server itself refuses a pod without an image, in better words.
        if !image.is_empty() {
            unresolved.push((image, cause));
        }
    }
    // Who debugs a pod does so while things fail, and the pod is there whatever its new container means.
    let may_deny = on_unresolved == OnUnresolved::Deny && change != PodChange::Debugged;
    if let Some((image, cause)) = unresolved.first().filter(|_| may_deny) {
        let message = format!(
            "podrefresh: no digest for image {image:?}, and podrefresh.io/on-unresolved is deny: {cause}"
        );
        return Plan::Deny {
            message,
            unresolved,
        };
    }
    if on_unresolved == OnUnresolved::Admit {
        warnings.clear();
    }
    let none = Strings::default();
    let present = pod
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.annotations.as_ref())
        .unwrap_or(&none);
    let looked_at: HashSet<&str> = wants.iter().map(|wanted| &*wanted.stamp).collect();
    let is_about = |part: &str| match change {
        PodChange::Created => true,
        // The other containers go on with the images that their stamps tell of.
        PodChange::Updated => looked_at.contains(part),
        PodChange::Debugged => false,
    };
    if change == PodChange::Debugged {
        // The API server keeps no annotation that comes with an ephemeral container.
        stamps.clear();
    } else if !edits::fit(present, &stamps, is_about) {
        warnings.push("podrefresh: no stamps: the pod's annotations are too large".to_owned());
        stamps.clear();
        // Without its stamps nobody could tell a pin from a user's own digest.
        pins = wants.iter().filter_map(unpin).collect();
    }
    let edits = edits::of(present, stamps, is_about);
    Plan::Admit {
        edits: edits.into_iter().chain(pins).collect(),
        warnings,
        resolved,
        unresolved,
    }
}

/// Returns the digest to stamp for what a container wants, if it wants one; else the image and why there is none.
fn settle<'w>(
    want: &'w Want,
    answers: &'w Answers,
) -> Result<Option<(&'w ImageRef, &'w Digest)>, (String, String)> {
    let (image, present) = match want {
        Want::Nothing => return Ok(None),
        Want::Stamp(image) => (image, None),
        Want::Pin { image, present } => (image, Some(present)),
        Want::Unreadable { image, cause } => {
            return Err((short(image, IMAGE_CHARS), cause.clone()));
        }
    };
    let cause = match (answers.get(image), present) {
        (Some(Ok(digest)), _) => return Ok(Some((image, digest))),
        // A pin that an earlier call has written stays true when nobody answers this time.
        (_, Some(Present::Ours(digest))) => return Ok(Some((image, digest))),
        (Some(Err(cause)), _) => cause.clone(),
        (None, _) => "it was not looked up".to_owned(),
    };
    Err((image.to_string(), cause))
}

/// Returns the edit that pins a container's image to `digest`, if it wants to be pinned and is not yet: behind the
/// user's own text where that has the tag, else behind the full reference.
fn pin(wanted: &Wanted<'_>, digest: &Digest) -> Option<Edit> {
    let Want::Pin { image, present } = &wanted.want else {
        return None;
    };
    if present.digest() == Some(digest) {
        return None;
    }
    let pinned = image.pinned_to(digest.clone());
    let own = unpinned(wanted.text);
    let short = format!("{own}@{digest}");
    let is_same = short.parse().is_ok_and(|parsed: ImageRef| parsed == pinned);
    Some(Edit::SetImage {
        place: wanted.place,
        image: if is_same { short } else { pinned.to_string() },
    })
}

/// Returns the edit that takes the pin of an earlier call off a container's image, if there is one.
///
/// A digest that no stamp tells of would be taken for the user's own, and kept for ever.
fn unpin(wanted: &Wanted<'_>) -> Option<Edit> {
    let Want::Pin { present, .. } = &wanted.want else {
        return None;
    };
    present.digest().map(|_| Edit::SetImage {
        place: wanted.place,
        image: unpinned(wanted.text).to_owned(),
    })
}

/// Returns an image without its digest, as it was written.
fn unpinned(text: &str) -> &str {
    text.split('@').next().unwrap_or_default()
}

/// Returns the warning that a part's image has no digest; of a long image the end gives way to the cause.
fn warning(wanted: &Wanted<'_>, image: &str, cause: &str) -> String {
    let (noun, name) = (wanted.place.list.noun(), wanted.name);
    let told =
        |image: &str| format!("podrefresh: {noun} {name}: no digest for image {image:?}: {cause}");
    let whole = told(image);
    let over = whole.len().saturating_sub(WARNING_BYTES);
    if over == 0 {
        return whole;
    }
    // What is cut makes room for the ellipsis, too.
    let kept = image.len().saturating_sub(over + '…'.len_utf8());
    told(&short(image, kept.max(IMAGE_CHARS / 2)))
}

/// Returns the beginning of an image that may be anything.
fn short(image: &str, chars: usize) -> String {
    let mut short: String = image.chars().take(chars).collect();
    if short.len() < image.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
