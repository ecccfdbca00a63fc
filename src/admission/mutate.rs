//! One review from its bytes to its answer: the lookups, the plan and what is told of it.

use std::{collections::BTreeSet, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, warn};

use super::{
    answer::Answer,
    patch::{self, PatchFault},
    review::{InvalidReview, Pod, Request},
    stamps::{self, Answers, Plan},
    wants::{self, Want, Wanted},
};
use crate::{
    cluster::Namespaces,
    error::Chain,
    policy::{Digest, ImageRef, PullIdentity, wishes::Mode},
    registry::{Lookup, Resolver},
};

/// Stamps pods.
#[derive(Debug, Clone)]
pub struct Mutator {
    /// Says what a tag means.
    pub resolver: Resolver,
    /// The namespaces' defaults for wishes.
    pub namespaces: Namespaces,
    /// How old an answer may be to be stamped.
    pub digest_ttl: Duration,
}

/// How a review ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something was changed, and nothing is missing.
    Stamped,
    /// All was as it should be.
    Unchanged,
    /// The pod was let in, though an image has no digest.
    Unresolved,
    /// The pod was refused, as it wished, because an image has no digest.
    Denied,
    /// Not a new pod, or one that is left alone.
    Ignored,
    /// Not a review that can be answered.
    Invalid,
    /// More bytes than a review may have.
    TooLarge,
    /// The request's body did not arrive in time.
    TooSlow,
    /// There was no room for the request's body in time.
    Busy,
    /// A fault of ours; the pod was let in as it is.
    Fault,
}

impl Outcome {
    /// Returns the stable, documented name of the outcome.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stamped => "stamped",
            Self::Unchanged => "unchanged",
            Self::Unresolved => "unresolved",
            Self::Denied => "denied",
            Self::Ignored => "ignored",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Busy => "busy",
            Self::Fault => "fault",
        }
    }
}

/// How old an answer may be to be pinned. An older one of another replica would pin what the tag meant
/// before it moved, and cost the pod a second eviction.
const PIN_AGE: Duration = Duration::from_secs(1);

/// What all lookups for one pod share.
#[derive(Debug, Clone, Copy)]
struct Lookups<'a> {
    namespace: &'a str,
    max_age: Duration,
    deadline: Instant,
}

/// An answer as JSON, and how the review ended.
pub type Reply = (Outcome, Vec<u8>);

impl Mutator {
    /// Answers the review in `body`; images without a digest at `deadline` stay without one.
    ///
    /// A pod is never refused because of a fault of ours, be it a panic.
    pub async fn review(&self, body: &[u8], deadline: Instant) -> Result<Reply, InvalidReview> {
        let request = Request::decode(body)?;
        Ok(or_allow(&request.uid, self.answer(&request, deadline)).await)
    }

    async fn answer(&self, request: &Request<'_>, deadline: Instant) -> Reply {
        let allow = Answer::allow(&request.uid);
        if !request.creates_pod() {
            return (Outcome::Ignored, allow.to_json());
        }
        let pod = match request.pod() {
            Ok(pod) => pod,
            Err(error) => {
                warn!(review.uid = &*request.uid, error = %error, "Let a pod in as it is, it could not be read: {error}");
                let warning = format!("podrefresh: the pod could not be read: {error}");
                return (Outcome::Invalid, allow.warned(&[warning]).to_json());
            }
        };
        if wants::is_left_alone(&pod) {
            return (Outcome::Ignored, allow.to_json());
        }
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let defaults = self.namespaces.get(namespace);
        let defaults = defaults.as_ref().map_or(&[][..], |ns| &ns.annotations);
        let mode = wants::mode(&pod, defaults);
        let wanted = wants::of(&pod, mode);
        let max_age = match mode {
            Mode::Stamp => self.digest_ttl,
            Mode::Pin => self.digest_ttl.min(PIN_AGE),
        };
        let lookups = Lookups {
            namespace,
            max_age,
            deadline,
        };
        let answers = self.resolve(&pod, &wanted, lookups).await;
        let on_unresolved = wants::on_unresolved(&pod, defaults);
        let about = About {
            uid: &request.uid,
            namespace,
            name: pod_name(&pod),
        };
        match stamps::plan(&pod, &wanted, &answers, on_unresolved) {
            Plan::Deny { message } => {
                debug!(review.uid = about.uid, "Refused {about}: {message}");
                let answer = Answer::deny(&request.uid, &message);
                (Outcome::Denied, answer.to_json())
            }
            Plan::Admit {
                edits,
                warnings,
                unresolved,
            } => {
                about.log_unresolved(&unresolved);
                let answer = allow.warned(&warnings);
                match patch::encode(&pod, &edits) {
                    Ok(patch) => {
                        let outcome = match (&patch, unresolved.is_empty()) {
                            (_, false) => Outcome::Unresolved,
                            (Some(_), true) => Outcome::Stamped,
                            (None, true) => Outcome::Unchanged,
                        };
                        (outcome, answer.patched(patch).to_json())
                    }
                    Err(fault) => {
                        about.log_fault(&fault);
                        (Outcome::Fault, answer.to_json())
                    }
                }
            }
        }
    }

    /// Asks for all images of a pod at once, each one once.
    async fn resolve(&self, pod: &Pod<'_>, wants: &[Wanted<'_>], lookups: Lookups<'_>) -> Answers {
        let images: BTreeSet<&Arc<ImageRef>> = wants
            .iter()
            .filter_map(|wanted| match &wanted.want {
                Want::Stamp(image) | Want::Pin { image, .. } => Some(image),
                Want::Nothing | Want::Unreadable { .. } => None,
            })
            .collect();
        let identity = Arc::new(wants::identity(pod, lookups.namespace));
        let asked = images
            .into_iter()
            .map(|image| self.lookup(image, &identity, lookups));
        join_all(asked).await.into_iter().collect()
    }

    async fn lookup(
        &self,
        image: &Arc<ImageRef>,
        identity: &Arc<PullIdentity>,
        Lookups {
            max_age, deadline, ..
        }: Lookups<'_>,
    ) -> (Arc<ImageRef>, Result<Digest, String>) {
        let lookup = Lookup {
            image: image.clone(),
            identity: identity.clone(),
        };
        let found = match timeout_at(deadline, self.resolver.digest(&lookup, max_age)).await {
            Ok(Ok(answer)) => Ok(answer.digest),
            // Whoever reads it is told the image, and a warning has little room.
            Ok(Err(error)) => Err(error.brief()),
            Err(_) => Err(format!("{} did not answer in time", image.registry())),
        };
        (lookup.image, found)
    }
}

/// Returns what `answering` returns; if it panics, the object of request `uid` is let in as it is.
async fn or_allow(uid: &str, answering: impl Future<Output = Reply>) -> Reply {
    // Nothing of ours outlives the panic but the resolver, whose state is behind its own locks.
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(reply) => reply,
        Err(_) => {
            error!(
                review.uid = uid,
                "Let an object in as it is: its review panicked"
            );
            (Outcome::Fault, Answer::allow(uid).to_json())
        }
    }
}

/// Which pod a log line is about.
struct About<'a> {
    uid: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl About<'_> {
    fn log_unresolved(&self, unresolved: &[(String, String)]) {
        for (image, cause) in unresolved {
            warn!(
                pod.namespace = self.namespace,
                pod.name = self.name,
                review.uid = self.uid,
                image = %image,
                error = %cause,
                "Admitted {self} without a digest for {image}: {cause}"
            );
        }
    }

    fn log_fault(&self, fault: &PatchFault) {
        error!(
            pod.namespace = self.namespace,
            pod.name = self.name,
            review.uid = self.uid,
            error = %Chain(fault),
            "Admitted {self} without stamps, a fault of podrefresh: {}", Chain(fault)
        );
    }
}

/// Returns the pod's name, or the beginning of the one it will get.
fn pod_name<'p>(pod: &'p Pod<'_>) -> &'p str {
    let metadata = pod.metadata.as_ref();
    let name = metadata.and_then(|m| m.name.as_deref().or(m.generate_name.as_deref()));
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[tokio::test]
    async fn a_panic_lets_the_object_in() {
        let (outcome, body) = or_allow("u", async { panic!("on purpose") }).await;
        assert_eq!(outcome, Outcome::Fault);
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap()["response"],
            json!({"uid": "u", "allowed": true})
        );
    }

    #[tokio::test]
    async fn an_answer_passes_as_it_is() {
        let reply = (Outcome::Stamped, b"{}".to_vec());
        assert_eq!(or_allow("u", async { reply.clone() }).await, reply);
    }
}
