//! One review from its bytes to its answer: the lookups, the plan and what is told of it.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, warn};

use super::{
    answer::{Answer, Audit},
    outcome::{Outcome, Reply, or_allow},
    patch::{self, PatchFault},
    pod::Pod,
    review::{InvalidReview, PodChange, Request},
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
        let Some(change) = request.pod_change() else {
            return Reply::new(Outcome::Ignored, &allow);
        };
        let (pod, old) = match (request.pod(), request.old_pod()) {
            (Ok(pod), Ok(old)) => (pod, old),
            (Err(error), _) | (_, Err(error)) => {
                warn!(review.uid = &*request.uid, error = %error, "Let a pod in as it is, it could not be read: {error}");
                let warning = format!("podrefresh: the pod could not be read: {error}");
                return Reply::new(Outcome::Invalid, &allow.warned(&[warning]));
            }
        };
        let parts = match change {
            PodChange::Created => pod.parts().collect(),
            PodChange::Updated => wants::changed(&pod, &old),
            PodChange::Debugged => wants::added(&pod, &old),
        };
        let is_idle = change != PodChange::Created && (parts.is_empty() || pod.is_terminating());
        if is_idle || wants::is_left_alone(&pod) {
            return Reply::new(Outcome::Ignored, &allow);
        }
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let defaults = self.namespaces.get(namespace);
        let defaults = defaults.as_ref().map_or(&[][..], |ns| &ns.annotations);
        let mode = wants::mode(&pod, defaults);
        let containers = wants::containers(&pod, defaults);
        let wanted = wants::of(&pod, &old, parts.into_iter(), mode, &containers);
        let max_age = match mode {
            Mode::Stamp => self.digest_ttl,
            Mode::Pin => self.digest_ttl.min(PIN_AGE),
        };
        let lookups = Lookups {
            namespace,
            max_age,
            deadline,
        };
        let begun = Instant::now();
        let (answers, late) = self.resolve(&pod, &wanted, lookups).await;
        let resolving = (!answers.is_empty()).then(|| begun.elapsed());
        let on_unresolved = wants::on_unresolved(&pod, defaults);
        let about = About {
            uid: &request.uid,
            namespace,
            name: pod_name(&pod),
        };
        let plan = stamps::plan(&pod, &wanted, &answers, on_unresolved, change);
        let (outcome, answer) = about.answer(allow, &pod, plan);
        Reply {
            resolving,
            late,
            ..Reply::new(outcome, &answer)
        }
    }

    /// Asks for all images of a pod at once, each one once; returns how many the deadline cut off, too.
    async fn resolve(
        &self,
        pod: &Pod<'_>,
        wants: &[Wanted<'_>],
        lookups: Lookups<'_>,
    ) -> (Answers, u64) {
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
        let mut late = 0;
        let answers = join_all(asked).await.into_iter().map(|(image, found)| {
            late += u64::from(found.is_none());
            let found = found
                .unwrap_or_else(|| Err(format!("{} did not answer in time", image.registry())));
            (image, found)
        });
        (answers.collect(), late)
    }

    /// Asks for one image; returns no answer where the deadline came first.
    async fn lookup(
        &self,
        image: &Arc<ImageRef>,
        identity: &Arc<PullIdentity>,
        Lookups {
            max_age, deadline, ..
        }: Lookups<'_>,
    ) -> (Arc<ImageRef>, Option<Result<Digest, String>>) {
        let lookup = Lookup {
            image: image.clone(),
            identity: identity.clone(),
        };
        let found = timeout_at(deadline, self.resolver.digest(&lookup, max_age)).await;
        // Whoever reads the error is told the image, and a warning has little room.
        let found = found.ok().map(|found| match found {
            Ok(answer) => Ok(answer.digest),
            Err(error) => Err(error.brief()),
        });
        (lookup.image, found)
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
    /// Returns what the API server is told of `plan`, and logs what it leaves out.
    fn answer<'u>(&self, allow: Answer<'u>, pod: &Pod<'_>, plan: Plan) -> (Outcome, Answer<'u>) {
        match plan {
            Plan::Deny {
                message,
                unresolved,
            } => {
                debug!(review.uid = self.uid, "Refused {self}: {message}");
                let answer = allow
                    .denied(&message)
                    .audited(Audit::Unresolved, &told(&unresolved));
                (Outcome::Denied, answer)
            }
            Plan::Admit {
                edits,
                warnings,
                resolved,
                unresolved,
            } => {
                self.log_unresolved(&unresolved);
                let answer = allow
                    .warned(&warnings)
                    .audited(Audit::Unresolved, &told(&unresolved));
                match patch::encode(pod, &edits) {
                    Ok(patch) => {
                        let outcome = match (&patch, unresolved.is_empty()) {
                            (_, false) => Outcome::Unresolved,
                            (Some(_), true) => Outcome::Stamped,
                            (None, true) => Outcome::Unchanged,
                        };
                        (
                            outcome,
                            answer.patched(patch).audited(Audit::Resolved, &resolved),
                        )
                    }
                    Err(fault) => {
                        self.log_fault(&fault);
                        (Outcome::Fault, answer)
                    }
                }
            }
        }
    }

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

/// Returns images and causes as the audit log reads them.
fn told(unresolved: &[(String, String)]) -> Vec<String> {
    let told = unresolved.iter();
    told.map(|(image, cause)| format!("{image}: {cause}"))
        .collect()
}

/// Returns the pod's name, or the beginning of the one it will get.
fn pod_name<'p>(pod: &'p Pod<'_>) -> &'p str {
    let metadata = pod.metadata.as_ref();
    let name = metadata.and_then(|m| m.name.as_deref().or(m.generate_name.as_deref()));
    name.unwrap_or_default()
}
