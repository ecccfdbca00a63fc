//! The verdict on the watched container, with the manifests read where the digests alone say that it is outdated.

use std::sync::Arc;

use super::platform;
use crate::{
    policy::{Container, Digest, Running, Verdict, verdict},
    registry::{Fault, Lookup, LookupError, Manifest, Resolver, by_manifests},
};

/// Returns the verdict on `container`, whose tag means `target`.
///
/// # Errors
/// It seems outdated, and the registry does not say whether the images differ.
pub(super) async fn judge(
    resolver: &Resolver,
    lookup: &Lookup,
    container: &Container,
    target: &Digest,
) -> Result<Verdict, LookupError> {
    let verdict = verdict(container, Some(target), None);
    if verdict != Verdict::Outdated {
        return Ok(verdict);
    }
    let of_target = Some(resolver.manifest(lookup, target).await?);
    let stamp = container.valid_stamp().map(|stamp| &stamp.digest);
    let of_stamp = read(resolver, lookup, stamp).await?;
    let of_running = read(resolver, lookup, running(container)).await?;
    let manifests = [of_target, of_stamp, of_running];
    Ok(by_manifests(
        container,
        target,
        &manifests,
        Some(&platform::own()),
    ))
}

/// Returns the digest that the container runs, as far as its imageID tells.
pub(super) const fn running(container: &Container) -> Option<&Digest> {
    match &container.running {
        Running::Manifest(digest) => Some(digest),
        Running::NotStarted | Running::Unusable => None,
    }
}

/// Reads a manifest that the registry need not have any more: what nobody can pull is not what a new pod would get.
async fn read(
    resolver: &Resolver,
    lookup: &Lookup,
    digest: Option<&Digest>,
) -> Result<Option<Arc<Manifest>>, LookupError> {
    let Some(digest) = digest else {
        return Ok(None);
    };
    match resolver.manifest(lookup, digest).await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if matches!(error.fault, Fault::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
