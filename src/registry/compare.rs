//! The verdict on a container by what stands in manifests, for all who give one: what each answer is worth.

use std::sync::Arc;

use super::{Fault, LookupError, Manifest};
use crate::{
    cluster::Platform,
    policy::{self, Children, Container, Digest, Verdict, verdict},
};

/// What came of reading a manifest; `D` says what is missing where it could not be read.
#[derive(Debug, Clone)]
pub enum Read<D> {
    /// What stands in it.
    Found(Arc<Manifest>),
    /// The registry has it no more.
    Gone(D),
    /// Nobody knows what stands in it.
    Failed(D),
}

impl From<Result<Arc<Manifest>, LookupError>> for Read<LookupError> {
    fn from(answer: Result<Arc<Manifest>, LookupError>) -> Self {
        match answer {
            Ok(manifest) => Self::Found(manifest),
            Err(error) if matches!(error.fault, Fault::NotFound) => Self::Gone(error),
            Err(error) => Self::Failed(error),
        }
    }
}

/// A container, and what stands in the manifests of the [`evidence`](crate::policy::verdict::evidence).
#[derive(Debug)]
pub struct Compared<'a, D> {
    container: &'a Container,
    target: &'a Digest,
    manifests: [Option<Arc<Manifest>>; 3],
    doubts: Vec<D>,
}

impl<'a, D> Compared<'a, D> {
    /// Returns what there is to compare of a container whose tag means `target`; `reads` are what came of reading the
    /// manifests of T, S and I, as far as somebody has tried.
    pub fn new(container: &'a Container, target: &'a Digest, reads: [Option<Read<D>>; 3]) -> Self {
        let mut doubts = Vec::new();
        let [of_target, of_stamp, of_running] = reads;
        let mut found = |read: Option<Read<D>>, needed: bool| match read? {
            Read::Found(manifest) => Some(manifest),
            // What nobody can pull any more is not what a new pod would get.
            Read::Gone(_) if !needed => None,
            Read::Gone(doubt) | Read::Failed(doubt) => {
                doubts.push(doubt);
                None
            }
        };
        Self {
            manifests: [
                found(of_target, true),
                found(of_stamp, false),
                found(of_running, false),
            ],
            container,
            target,
            doubts,
        }
    }

    /// Says whether the node's platform matters: any other image is the same on all.
    pub fn has_index(&self) -> bool {
        self.manifests.iter().flatten().any(|it| it.is_index())
    }

    /// Returns the images for a node of `platform` by T, S and I, as far as they are known.
    pub fn images(&self, platform: Option<&Platform>) -> [Option<&Digest>; 3] {
        (self.manifests.each_ref()).map(|manifest| manifest.as_ref()?.image_for(platform))
    }

    /// Says whether T is known to have nothing that a node of `platform` could run.
    pub fn is_unfit(&self, platform: Option<&Platform>) -> bool {
        let of_target = self.manifests[0].as_ref().zip(platform);
        of_target.is_some_and(|(it, node)| it.is_unfit_for(node))
    }

    /// Returns the verdict for a node of `platform`, where that is known.
    pub fn verdict(&self, platform: Option<&Platform>) -> Verdict {
        let [target, stamp, running] = self.images(platform);
        let children = Children {
            of_target: self.manifests[0].as_ref().map_or(&[], |it| it.children()),
            target,
            stamp,
            running,
            unfit: self.is_unfit(platform),
        };
        match verdict(self.container, Some(self.target), Some(children)) {
            // It may run one of T's images.
            Verdict::StaleCache if self.manifests[0].is_none() => Verdict::Unknown,
            verdict => verdict,
        }
    }

    /// Returns what is missing for which `verdict` may be wrong or unknown, in the order of T, S and I: nothing, where
    /// what is there is enough.
    pub fn doubts(self, verdict: Verdict) -> impl Iterator<Item = D> {
        let by_digests = policy::verdict(self.container, Some(self.target), None);
        let counts = match verdict {
            Verdict::Outdated => true,
            Verdict::Unknown => by_digests == Verdict::StaleCache,
            _ => false,
        };
        self.doubts.into_iter().filter(move |_| counts)
    }
}
