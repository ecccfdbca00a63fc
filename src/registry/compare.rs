//! The verdict on a container by what stands in manifests.

use std::sync::Arc;

use super::Manifest;
use crate::{
    cluster::Platform,
    policy::{Children, Container, Digest, Verdict, verdict},
};

/// Returns the verdict on a container whose tag means `target`, by the manifests of the target, the stamp and the
/// running image, in this order, as far as they are known; and on a node of `platform`, where that is known.
pub fn by_manifests(
    container: &Container,
    target: &Digest,
    manifests: &[Option<Arc<Manifest>>; 3],
    platform: Option<&Platform>,
) -> Verdict {
    let [of_target, ..] = manifests;
    let images = manifests
        .each_ref()
        .map(|manifest| manifest.as_ref()?.image_for(platform));
    let children = Children {
        of_target: of_target.as_ref().map_or(&[], |it| it.children()),
        target: images[0],
        stamp: images[1],
        running: images[2],
        unfit: (of_target.as_ref().zip(platform)).is_some_and(|(it, node)| it.is_unfit_for(node)),
    };
    verdict(container, Some(target), Some(children))
}
