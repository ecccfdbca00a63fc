//! What a pod on its way in asks of us: which images to look up, as whom, and what to do without an answer.

use std::{borrow::Cow, collections::HashSet, str::FromStr, sync::Arc};

use super::pod::{List, Part, Place, Pod};
use crate::policy::{
    Digest, ImageRef, PullIdentity, Stamp, names,
    pod::Annotations,
    wishes::{LONGEST_WISH, Mode, OnUnresolved, Selection},
};

/// The longest name that an annotation may have behind its prefix.
///
/// Source: `k8s.io/apimachinery/pkg/util/validation`, `IsQualifiedName`.
const NAME_BYTES: usize = 63;

/// A container or an image volume, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'p> {
    /// Its name.
    pub name: &'p str,
    /// What stands for it in the names of its stamps.
    pub stamp: Cow<'p, str>,
    /// Where it stands in the pod.
    pub place: Place,
    /// Its image as it was given.
    pub text: &'p str,
    /// What it wants.
    pub want: Want,
    /// Whether nobody misses a stamp of it, welcome as one is: nothing would ever be done for its sake.
    pub is_optional: bool,
}

/// What an image asks of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Write down what its tag means.
    Stamp(Arc<ImageRef>),
    /// Write down what its tag means, and the digest behind the tag in its image.
    Pin {
        /// The reference by its tag.
        image: Arc<ImageRef>,
        /// What stands behind the tag already.
        present: Present,
    },
    /// Its digest was chosen by the user and never changes.
    Nothing,
    /// There is no telling, and why.
    Unreadable {
        /// The image as it was given.
        image: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// The digest that an earlier call of ours has written behind a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// There is none.
    Nothing,
    /// It is what the tag meant a moment ago.
    Ours(Digest),
    /// It is what the tag meant in another repository, which somebody has replaced since: here it may mean anything.
    Moved(Digest),
}

impl Present {
    /// Returns the digest.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Nothing => None,
            Self::Ours(digest) | Self::Moved(digest) => Some(digest),
        }
    }
}

/// Returns the wish `podrefresh.io/on-unresolved`: the pod's, else that of its namespace's `defaults`.
///
/// One that makes no sense counts as none: it must not keep a pod out.
pub fn on_unresolved(pod: &Pod<'_>, defaults: &Annotations) -> OnUnresolved {
    wish(pod, defaults, "on-unresolved").unwrap_or_default()
}

/// Returns the wish `podrefresh.io/mode`, likewise.
pub fn mode(pod: &Pod<'_>, defaults: &Annotations) -> Mode {
    wish(pod, defaults, "mode").unwrap_or_default()
}

/// Returns the wish `podrefresh.io/containers`, likewise.
pub fn containers(pod: &Pod<'_>, defaults: &Annotations) -> Selection {
    wish(pod, defaults, "containers").unwrap_or_default()
}

fn wish<T: FromStr>(pod: &Pod<'_>, defaults: &Annotations, name: &str) -> Option<T> {
    let default = || defaults.iter().find(|(key, _)| &**key == name);
    let own = pod.annotation(&format!("{}{name}", names::PREFIX));
    let value = own.or_else(|| default().map(|(_, value)| &**value))?;
    // A longer one makes no sense either, and costs little.
    let value = Some(value).filter(|value| value.len() <= LONGEST_WISH)?;
    value.parse().ok()
}

/// Returns whether `pod` is to be let in as it is, stamps and all.
///
/// An opted-out pod and the mirror of a static pod are never evicted, so nothing on them is believed. The API
/// server's objectSelector keeps the former away already; a stamp could not be taken off there either.
pub fn is_left_alone(pod: &Pod<'_>) -> bool {
    is_opted_out(pod) || pod.is_mirror()
}

/// Returns whether `pod` says itself that it is to be left alone.
pub fn is_opted_out(pod: &Pod<'_>) -> bool {
    pod.label(names::ENABLED) == Some("false")
}

/// Returns what each of `parts` of `pod` wants in `mode`, in their order. One that is never pulled is stamped at most, and
/// so is a container that `containers` leaves out: nothing would ever replace its pin by a newer one.
///
/// Image volumes are no containers, so that wish says nothing of them. What stood on `old`, which the pod was before this
/// request, no call of ours has written for it.
///
/// One without a valid name is skipped: the API server is about to refuse the pod, and an annotation for it would
/// only add a second complaint that is not the user's.
pub fn of<'p>(
    pod: &'p Pod<'_>,
    old: &Pod<'_>,
    parts: impl Iterator<Item = Part<'p>>,
    mode: Mode,
    containers: &Selection,
) -> Vec<Wanted<'p>> {
    parts
        .filter_map(|part| {
            let name = part.name.filter(|name| is_label(name))?;
            let text = part.image.unwrap_or_default();
            let stamp = match part.place.list {
                List::Volumes => Cow::Owned(names::volume_part(name)),
                _ => Cow::Borrowed(name),
            };
            let left_out = part.place.list != List::Volumes && !containers.takes(name);
            // A node that may not pull need not have the image under the digest that its registry says, nor need any
            // registry know an image that was loaded by hand.
            let is_optional = part.never_pulled || left_out;
            let mode = if is_optional { Mode::Stamp } else { mode };
            let want = match stamp.len() {
                // There is no room for the name of a volume this long.
                length if NAME_BYTES < length => Want::Nothing,
                _ => want([pod, old], &stamp, text, mode),
            };
            Some(Wanted {
                name,
                stamp,
                place: part.place,
                text,
                want,
                is_optional,
            })
        })
        .collect()
}

/// Returns the parts of `pod` whose image is another one than in `old`, or that are not in `old` at all.
pub fn changed<'p>(pod: &'p Pod<'_>, old: &Pod<'_>) -> Vec<Part<'p>> {
    let before: HashSet<_> = old.parts().map(|part| told_by(&part)).collect();
    let is_same = |part: &Part<'_>| before.contains(&told_by(part));
    pod.parts().filter(|part| !is_same(part)).collect()
}

/// Returns the ephemeral containers of `pod` that are not in `old`: the others can be changed by nobody.
pub fn added<'p>(pod: &'p Pod<'_>, old: &Pod<'_>) -> Vec<Part<'p>> {
    let before: HashSet<_> = old.ephemeral().map(|part| part.name).collect();
    let is_old = |part: &Part<'_>| before.contains(&part.name);
    pod.ephemeral().filter(|part| !is_old(part)).collect()
}

/// Returns what tells a part from those of other images.
const fn told_by<'p>(part: &Part<'p>) -> (List, Option<&'p str>, Option<&'p str>) {
    (part.place.list, part.name, part.image)
}

/// Returns what an image wants whose stamps on the pod, and on what it was before this request, end in `stamp`.
fn want([pod, old]: [&Pod<'_>; 2], stamp: &str, text: &str, mode: Mode) -> Want {
    let image = match text.parse::<ImageRef>() {
        Ok(image) => image,
        Err(error) => {
            return Want::Unreadable {
                image: text.to_owned(),
                cause: error.fault.to_string(),
            };
        }
    };
    match (mode, image.digest()) {
        (_, None) if image.tag().is_none() => Want::Nothing,
        (Mode::Stamp, None) => Want::Stamp(Arc::new(image)),
        (Mode::Pin, None) => Want::Pin {
            image: Arc::new(image),
            present: Present::Nothing,
        },
        (Mode::Stamp, Some(_)) => Want::Nothing,
        // Called again we find our own pin, which the stamps tell from a user's own digest. Forged ones do no
        // harm: they make the image a pin of ours.
        (Mode::Pin, Some(digest)) => {
            let stamped = stamp_on(pod, stamp);
            let present = match &stamped {
                Some(it) if it.is_for(&image) => Present::Ours(digest.clone()),
                // A webhook behind us has written another registry into it. The stamps that a running pod had before are
                // of the image before, and say nothing of the digest in a new one.
                Some(it) if it.is_elsewhere(&image) && stamped != stamp_on(old, stamp) => {
                    Present::Moved(digest.clone())
                }
                _ => return Want::Nothing,
            };
            match image.tagged() {
                Some(tagged) => Want::Pin {
                    image: Arc::new(tagged),
                    present,
                },
                None => Want::Nothing,
            }
        }
    }
}

/// Returns the stamp on `pod` whose annotations end in `stamp`.
fn stamp_on(pod: &Pod<'_>, stamp: &str) -> Option<Stamp> {
    Stamp::read(
        pod.annotation(&names::digest_annotation(stamp)),
        pod.annotation(&names::image_annotation(stamp)),
    )
}

/// Returns whether `name` is a DNS label, as a container's name must be.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Returns whose pull secrets the images of `pod` in `namespace` are asked for with.
///
/// The ServiceAccount's secrets are in the pod's own list already: that admission plugin runs before us.
pub fn identity(pod: &Pod<'_>, namespace: &str) -> PullIdentity {
    let spec = pod.spec.as_ref();
    let secrets = spec.and_then(|spec| spec.image_pull_secrets.as_deref());
    let account = spec.and_then(|spec| spec.service_account_name.as_deref());
    let names = (secrets.unwrap_or_default().iter()).filter_map(|secret| secret.name.as_deref());
    PullIdentity::new(namespace.into(), names, account, |name| name.into())
}

#[cfg(test)]
mod tests;
