//! The verdict on the watched container, with the manifests read where the digests alone do not settle it.

use super::platform;
use crate::{
    policy::{
        Container, Digest, Verdict,
        verdict::{evidence, verdict},
    },
    registry::{Compared, Lookup, LookupError, Read, Resolver},
};

/// What is found out about the container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// The verdict.
    pub(super) verdict: Verdict,
    /// Whether it is unknown as what the tag means has nothing for this node.
    pub(super) unfit: bool,
}

/// Judges `container`, which counts and whose tag means `target`.
///
/// # Errors
/// It seems outdated, and the registry does not say whether the images differ.
pub(super) async fn judge(
    resolver: &Resolver,
    lookup: &Lookup,
    container: &Container,
    target: &Digest,
) -> Result<Judged, LookupError> {
    let verdict = verdict(container, Some(target), None);
    if !verdict.is_preliminary(true) {
        return Ok(Judged {
            verdict,
            unfit: false,
        });
    }
    let mut reads = [None, None, None];
    for (read, digest) in reads.iter_mut().zip(evidence(container, target)) {
        if let Some(digest) = digest {
            *read = Some(Read::from(resolver.manifest(lookup, digest).await));
        }
    }
    let compared = Compared::new(container, target, reads);
    let node = platform::own();
    let verdict = compared.verdict(Some(&node));
    let unfit = verdict == Verdict::Unknown && compared.is_unfit(Some(&node));
    match compared.doubts(verdict).next() {
        Some(error) => Err(error),
        None => Ok(Judged { verdict, unfit }),
    }
}
