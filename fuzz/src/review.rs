//! Bodies of reviews: whatever is decoded, its patch applies, and asked again for the result nothing is left to do.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use podrefresh::{
    admission::{
        patch,
        pod::Pod,
        review::{PodChange, Request},
        stamps::{self, Answers, Plan},
        wants::{self, Want, Wanted},
    },
    policy::wishes::{Mode, OnUnresolved},
};
use serde_json::Value;

const DIGEST: &str = "sha256:5c7d18428cb695330c7b321a0ab796235620944d7db21099644f1762bb9e09cf";

/// An AdmissionReview.
pub fn review(data: &[u8]) {
    let Ok(request) = Request::decode(data) else {
        return;
    };
    let Ok(pod) = request.pod() else {
        return;
    };
    // No API server sends an object without metadata. Its patch would not apply; it is tried, and left out.
    if pod.metadata.is_none() {
        return;
    }
    let _ = wants::is_left_alone(&pod);
    let _ = wants::identity(&pod, request.namespace.as_deref().unwrap_or_default());
    for mode in [Mode::Stamp, Mode::Pin] {
        for on_unresolved in [OnUnresolved::Admit, OnUnresolved::Warn, OnUnresolved::Deny] {
            // Nobody knows an image.
            let wanted = wanted(&pod, mode);
            let plan = stamps::plan(
                &pod,
                &wanted,
                &Answers::new(),
                on_unresolved,
                PodChange::Created,
            );
            encoded(&pod, &plan);
            mutated(data, &pod, mode, on_unresolved);
        }
    }
}

/// Returns what a pod that is created wants.
fn wanted<'p>(pod: &'p Pod<'_>, mode: Mode) -> Vec<Wanted<'p>> {
    let containers = wants::containers(pod, &[]);
    wants::of(pod, &Pod::default(), pod.parts(), mode, &containers)
}

/// Returns a plan's patch, if it has one.
fn encoded(pod: &Pod<'_>, plan: &Plan) -> Option<json_patch::Patch> {
    let Plan::Admit { edits, .. } = plan else {
        return None;
    };
    let patch = patch::encode(pod, edits).expect("a patch must apply to the pod it is made for")?;
    let patch = BASE64_STANDARD
        .decode(patch)
        .expect("a patch must be base64");
    Some(serde_json::from_slice(&patch).expect("a patch must be JSON"))
}

/// Applies the patch that a pod gets when all its images are known, as the API server would, and reviews the result.
fn mutated(data: &[u8], pod: &Pod<'_>, mode: Mode, on_unresolved: OnUnresolved) {
    let planned = |pod: &Pod<'_>| {
        let wanted = wanted(pod, mode);
        stamps::plan(
            pod,
            &wanted,
            &known(&wanted),
            on_unresolved,
            PodChange::Created,
        )
    };
    let Some(patch) = encoded(pod, &planned(pod)) else {
        return;
    };
    // What the API server sends is a tree of its own; some of what we read as text is none.
    let Ok(mut review) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let object = &mut review["request"]["object"];
    json_patch::patch(object, &patch).expect("a patch must apply to the object that was sent");
    let text = review.to_string();
    let request = Request::decode(text.as_bytes()).expect("a mutated review must stay one");
    let pod = request.pod().expect("a mutated pod must stay one");
    if let Plan::Admit { edits, .. } = planned(&pod) {
        assert!(edits.is_empty(), "asked again: {edits:?}");
    }
}

/// Returns what registries that know all images say.
fn known(wanted: &[Wanted<'_>]) -> Answers {
    let digest = || DIGEST.parse().expect("this must be a digest");
    let images = wanted.iter().filter_map(|wanted| match &wanted.want {
        Want::Stamp(image) | Want::Pin { image, .. } => Some(image),
        Want::Nothing | Want::Unreadable { .. } => None,
    });
    images
        .map(|image| (Arc::clone(image), Ok(digest())))
        .collect()
}
