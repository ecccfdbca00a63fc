//! One review of the validating webhook from its bytes to its answer: do the wishes make sense, are the stamps ours?

use tracing::{debug, warn};

use super::{
    answer::{Answer, Audit},
    outcome::{Outcome, Reply, or_allow},
    pod::Pod,
    review::{InvalidReview, PodChange, Request, read},
    templates::{Kind, Object},
    wants,
};
use crate::{
    cluster::Namespaces,
    policy::objections::{NewImage, Objections, Stamps},
};

/// Refuses wishes that make no sense, and stamps that are not ours.
#[derive(Debug, Clone)]
pub struct Validator {
    /// Which namespaces are opted in.
    pub namespaces: Namespaces,
}

impl Validator {
    /// Answers the review in `body`.
    ///
    /// An object is never refused because of a fault of ours, be it a panic.
    pub async fn review(&self, body: &[u8]) -> Result<Reply, InvalidReview> {
        let request = Request::decode(body)?;
        Ok(or_allow(&request.uid, async { self.answer(&request) }).await)
    }

    fn answer(&self, request: &Request<'_>) -> Reply {
        let allow = Answer::allow(&request.uid);
        let is_opted_in = |name: &str| self.namespaces.get(name).is_some_and(|ns| ns.enabled);
        let said = match objections(request, is_opted_in) {
            Ok(Some(said)) => said,
            Ok(None) => return Reply::new(Outcome::Ignored, &allow),
            Err(error) => {
                warn!(review.uid = &*request.uid, error = %error, "Let an object in as it is, it could not be read: {error}");
                let warning = format!("podrefresh: the object could not be read: {error}");
                return Reply::new(Outcome::Invalid, &allow.warned(&[warning]));
            }
        };
        let Objections { faults, warnings } = said;
        let warnings: Vec<String> = warnings
            .iter()
            .map(|w| format!("podrefresh: {w}"))
            .collect();
        let outcome = match warnings.is_empty() {
            true => Outcome::Valid,
            false => Outcome::Warned,
        };
        let answer = allow.warned(&warnings).audited(Audit::Faults, &faults);
        if faults.is_empty() {
            return Reply::new(outcome, &answer);
        }
        let message = format!("podrefresh: {}", faults.join("; "));
        debug!(review.uid = &*request.uid, "Refused an object: {message}");
        Reply::new(Outcome::Denied, &answer.denied(&message))
    }
}

/// Returns what is wrong with the object of `request`; `None` where it is none of our business.
pub(super) fn objections(
    request: &Request<'_>,
    is_opted_in: impl Fn(&str) -> bool,
) -> Result<Option<Objections>, serde_json::Error> {
    let Some(kind) = Kind::of(&request.kind.group, &request.kind.kind) else {
        return Ok(None);
    };
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
    if !subresource.is_empty() || !matches!(&*request.operation, "CREATE" | "UPDATE") {
        return Ok(None);
    }
    let (object, old): (Object<'_>, Object<'_>) =
        (read(request.object)?, read(request.old_object)?);
    // What is on its way out must get there: nobody may be kept from taking a finalizer off.
    if old.is_terminating() {
        return Ok(None);
    }
    let pod = match request.pod_change() {
        Some(change) => Some((change, request.pod()?)),
        None => None,
    };
    if (pod.as_ref()).is_some_and(|(_, pod)| wants::is_opted_out(pod)) {
        return Ok(None);
    }
    let mut said = Objections::default();
    let before = old.wishes(kind);
    for ((place, after), (_, before)) in object.wishes(kind).into_iter().zip(before) {
        said.wishes(place, &before, &after);
    }
    if &*request.kind.kind == "Namespace" {
        said.opt_in(old.label(), object.label());
    } else if &*request.operation == "UPDATE" || !object.is_controlled() {
        // What a controller makes somebody else wrote, and nobody reads what it is told.
        said.opt_out(&old.labels(kind), &object.labels(kind));
    }
    // A controller or a kubelet cannot mend what somebody else wrote, and pods must come into being. Once a pod has,
    // its controller leaves its annotations alone.
    let is_made = match &pod {
        Some((PodChange::Created, pod)) => object.is_controlled() || pod.is_mirror(),
        Some((PodChange::Updated | PodChange::Debugged, pod)) => pod.is_mirror(),
        None => object.is_controlled(),
    };
    if is_made {
        said.warnings.append(&mut said.faults);
    }
    let namespace = request.namespace.as_deref().unwrap_or_default();
    if let Some((PodChange::Updated, pod)) = &pod
        && is_opted_in(namespace)
    {
        stamps(pod, &request.old_pod()?, &mut said);
    }
    Ok(Some(said))
}

/// Adds what somebody did to the stamps of `pod`, which was `old`.
fn stamps(pod: &Pod<'_>, old: &Pod<'_>, said: &mut Objections) {
    if pod.is_mirror() {
        return;
    }
    let changed = wants::changed(pod, old);
    let images: Vec<NewImage<'_>> = changed
        .iter()
        .filter_map(|part| {
            Some(NewImage {
                container: part.name?,
                image: part.image.unwrap_or_default(),
            })
        })
        .collect();
    said.stamps(&stamps_on(old), &stamps_on(pod), &images);
}

/// Returns the stamps on `pod`.
fn stamps_on<'p>(pod: &'p Pod<'_>) -> Stamps<'p> {
    let metadata = pod.metadata.as_ref();
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    let pairs = annotations.into_iter().flatten();
    Stamps::of(pairs.map(|(key, value)| (&**key, &**value)))
}

#[cfg(test)]
mod tests;
