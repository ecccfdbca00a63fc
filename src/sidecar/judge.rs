//! The verdict on the watched container, with the manifests read where the digests alone do not settle it.

use super::platform;
use crate::{
    policy::{
        Container, Digest, Verdict,
        verdict::{evidence, verdict},
    },
    registry::{Compared, Lookup, LookupError, Read, Resolver},
};

/// Returns the verdict on `container`, which counts and whose tag means `target`.
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
    if !verdict.is_preliminary(true) {
        return Ok(verdict);
    }
    let mut reads = [None, None, None];
    for (read, digest) in reads.iter_mut().zip(evidence(container, target)) {
        if let Some(digest) = digest {
            *read = Some(Read::from(resolver.manifest(lookup, digest).await));
        }
    }
    let compared = Compared::new(container, target, reads);
    let verdict = compared.verdict(Some(&platform::own()));
    match compared.doubts(verdict).next() {
        Some(error) => Err(error),
        None => Ok(verdict),
    }
}
