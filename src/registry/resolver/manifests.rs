//! Reads manifests by their digest: what has been read once never changes.

use std::{sync::Arc, time::Duration};

use super::{Inner, Key, Place, Resolver, Told, or_aborted};
use crate::{
    credentials::Candidates,
    memo::Hit,
    policy::{Digest, ImageRef},
    registry::{Lookup, LookupError, Manifest, session::Session},
};

impl Resolver {
    /// Returns the manifest with `digest` in the repository of `lookup`, from memory or from its registry.
    ///
    /// A registry that has it no more answers [`Fault::NotFound`](super::super::Fault::NotFound). It costs a request that counts against rate
    /// limits, once; where little is left of such a limit, [`Fault::AllowanceLow`](super::super::Fault::AllowanceLow) is the answer.
    pub async fn manifest(
        &self,
        lookup: &Lookup,
        digest: &Digest,
    ) -> Result<Arc<Manifest>, LookupError> {
        let inner = &self.inner;
        let image = Arc::new(lookup.image.at_digest(digest.clone()));
        let place = inner.places.of(image.registry()).await;
        let candidates = self.candidates(&image, lookup, self.secrets_max_age).await;
        let hit = inner.read(&image, digest, &place, &candidates).await;
        let (hit, candidates) = match self.fresher(&image, lookup, &hit, &candidates).await {
            Some(fresh) => (inner.read(&image, digest, &place, &fresh).await, fresh),
            None => (hit, candidates),
        };
        let Told { host, answer } = hit.value;
        answer.map_err(|fault| LookupError {
            image,
            host,
            fault,
            candidates,
        })
    }
}

impl Inner {
    async fn read(
        &self,
        image: &Arc<ImageRef>,
        digest: &Digest,
        place: &Arc<Place>,
        candidates: &Arc<Candidates>,
    ) -> Hit<Told<Manifest>> {
        let key = Key {
            image: Arc::clone(image),
            credentials: candidates.fingerprint(),
        };
        let ask = |_| {
            let round = self.places.round(place, image, candidates);
            let (candidates, digest) = (Arc::clone(candidates), digest.clone());
            async move {
                let ask = |session: Arc<Session>| {
                    let (candidates, digest) = (Arc::clone(&candidates), digest.clone());
                    async move { session.manifest(&candidates, &digest).await }
                };
                round.take(ask).await
            }
        };
        or_aborted(self.manifests.get(&key, Duration::MAX, ask).await, place)
    }
}
