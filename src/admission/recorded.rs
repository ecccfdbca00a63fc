//! Reviews as a real 1.36 API server sends them, byte for byte: `tests/data/admission`.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    edits::Edit,
    patch,
    pod::Part,
    review::{PodChange, Request},
    stamps::{self, Answers, Plan},
    validate,
    wants::{self, Want, Wanted},
};
use crate::policy::{
    objections::Objections,
    wishes::{Mode, OnUnresolved, Selection},
};

const DIGEST: &str = "sha256:5c7d18428cb695330c7b321a0ab796235620944d7db21099644f1762bb9e09cf";

/// Returns the bodies by their file's name.
fn bodies() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/admission");
    let bodies: BTreeMap<_, _> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "json"))
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    assert!(bodies.len() > 30, "the recorded reviews must be there");
    bodies
}

/// Returns what the registry says when it knows all images: one digest.
fn answers(wants: &[Wanted<'_>]) -> Answers {
    let stamped = wants.iter().filter_map(|wanted| match &wanted.want {
        Want::Stamp(image) | Want::Pin { image, .. } => Some(image),
        Want::Nothing | Want::Unreadable { .. } => None,
    });
    stamped
        .map(|image| (Arc::clone(image), Ok(DIGEST.parse().unwrap())))
        .collect()
}

/// Returns the object of the review after our patch, and the edits.
#[track_caller]
fn mutated(body: &[u8]) -> (Value, Vec<Edit>) {
    let request = Request::decode(body).unwrap();
    let pod = request.pod().unwrap();
    let wants = wants::of(
        &pod,
        &crate::admission::pod::Pod::default(),
        pod.parts(),
        Mode::Stamp,
        &Selection::default(),
    );
    let plan = stamps::plan(
        &pod,
        &wants,
        &answers(&wants),
        OnUnresolved::Warn,
        PodChange::Created,
    );
    let Plan::Admit { edits, .. } = plan else {
        panic!("must be admitted");
    };
    let mut object = serde_json::from_slice::<Value>(body).unwrap()["request"]["object"].take();
    if let Some(encoded) = patch::encode(&pod, &edits).unwrap() {
        let patch = BASE64_STANDARD.decode(encoded).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    (object, edits)
}

#[test]
fn every_review_is_read_and_new_pods_are_told_apart() {
    for (file, body) in bodies() {
        let request = Request::decode(&body).unwrap();
        let whole: Value = serde_json::from_slice(&body).unwrap();
        let whole = &whole["request"];
        assert_eq!(whole["uid"], *request.uid, "{file}");
        assert_eq!(whole["name"].as_str(), request.name.as_deref(), "{file}");
        assert_eq!(whole["dryRun"].as_bool(), request.dry_run, "{file}");
        let names_a_new_pod = file.contains("-pod-") && !file.contains("update");
        assert_eq!(
            request.pod_change() == Some(PodChange::Created),
            names_a_new_pod || file.contains("after-deployment-update"),
            "{file}"
        );
    }
}

#[test]
fn every_new_pod_is_stamped_and_nothing_else_of_it_changes() {
    let mut pods = 0;
    for (file, body) in bodies() {
        let request = Request::decode(&body).unwrap();
        if request.pod_change() != Some(PodChange::Created) {
            continue;
        }
        pods += 1;
        let (mut object, edits) = mutated(&body);
        let container = &object["spec"]["containers"][0];
        let name = container["name"].as_str().unwrap();
        let stamp = &object["metadata"]["annotations"][format!("digest.podrefresh.io/{name}")];
        // One of them was created without an image.
        let expected = container.get("image").map(|_| DIGEST);
        assert_eq!(stamp.as_str(), expected, "{file}");

        // Asked again, with our stamps on it, we want no change.
        let mut again: Value = serde_json::from_slice(&body).unwrap();
        again["request"]["object"] = object.clone();
        let (unchanged, none) = mutated(again.to_string().as_bytes());
        assert_eq!((&unchanged, &none[..]), (&object, &[][..]), "{file}");

        let mut received: Value = serde_json::from_slice(&body).unwrap();
        let received = &mut received["request"]["object"];
        for object in [&mut object, received] {
            let metadata = object["metadata"].as_object_mut().unwrap();
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.retain(|key, _| !key.contains(".podrefresh.io/"));
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
        assert_eq!(object, *received, "{file}: {edits:?}");
    }
    assert!(pods > 15, "{pods} pods");
}

#[track_caller]
fn check_annotations(file: &str, expected: Value) {
    let (object, _) = mutated(&bodies()[file]);
    assert_eq!(object["metadata"]["annotations"], expected);
}

#[test]
fn init_containers_sidecars_and_image_volumes_are_stamped_and_digests_are_not() {
    check_annotations(
        "36-pod-rich-create.mutate.json",
        json!({
            "digest.podrefresh.io/migrate": DIGEST,
            "image.podrefresh.io/migrate": "127.0.0.1:5000/rec/init:v1",
            "digest.podrefresh.io/proxy": DIGEST,
            "image.podrefresh.io/proxy": "127.0.0.1:5000/rec/sidecar:latest",
            "digest.podrefresh.io/app": DIGEST,
            "image.podrefresh.io/app": "127.0.0.1:5000/rec/app:v2",
            "digest.podrefresh.io/tagless": DIGEST,
            "image.podrefresh.io/tagless": "127.0.0.1:5000/rec/app:latest",
            "digest.podrefresh.io/short": DIGEST,
            "image.podrefresh.io/short": "docker.io/library/nginx:1.27",
            "digest.podrefresh.io/volume.data": DIGEST,
            "image.podrefresh.io/volume.data": "127.0.0.1:5000/rec/data:latest",
        }),
    );
}

#[test]
fn a_template_keeps_its_wishes() {
    check_annotations(
        "09-pod-create-by-replicaset.mutate.json",
        json!({
            "podrefresh.io/mode": "stamp",
            "podrefresh.io/window": "Mon-Fri 22:00-06:00 Europe/Berlin",
            "digest.podrefresh.io/app": DIGEST,
            "image.podrefresh.io/app": "127.0.0.1:5000/rec/app:latest",
        }),
    );
}

#[test]
fn a_pod_without_an_image_is_left_to_the_api_server() {
    check_annotations("52-pod-empty-image.mutate.json", Value::Null);
}

#[test]
fn the_annotation_that_made_a_pod_invalid_is_stripped() {
    check_annotations(
        "53-pod-bad-annotation-key.mutate.json",
        json!({
            "digest.podrefresh.io/app": DIGEST,
            "image.podrefresh.io/app": "127.0.0.1:5000/rec/app:v2",
        }),
    );
}

#[test]
fn the_pull_secrets_are_those_the_kubelet_would_use() {
    let bodies = bodies();
    let request = Request::decode(&bodies["36-pod-rich-create.mutate.json"]).unwrap();
    let pod = request.pod().unwrap();
    let identity = wants::identity(&pod, request.namespace.as_deref().unwrap());
    assert_eq!(&*identity.namespace, "rec-adm");
    assert_eq!(&*identity.service_account, "puller");
    let secrets: Vec<_> = identity.secrets.iter().map(|s| &**s).collect();
    assert_eq!(secrets, ["pull"]);
}

#[track_caller]
fn check_update(file: &str, changed: &[&str], added: &[&str]) {
    let body = &bodies()[file];
    let request = Request::decode(body).unwrap();
    let (pod, old) = (request.pod().unwrap(), request.old_pod().unwrap());
    let names = |parts: Vec<Part<'_>>| {
        let names = parts
            .into_iter()
            .filter_map(|part| part.name.map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(wants::changed(&pod, &old)), changed, "{file}");
    assert_eq!(names(wants::added(&pod, &old)), added, "{file}");
}

#[test]
fn of_an_update_the_new_images_are_told() {
    check_update(
        "26-pod-update-by-job-finalizer-removed.mutate.json",
        &[],
        &[],
    );
    check_update("41-pod-update-annotate.mutate.json", &[], &[]);
    check_update("44-pod-update-image.mutate.json", &["bare"], &[]);
    check_update(
        "45-pod-ephemeralcontainers-update.mutate.json",
        &[],
        &["dbg"],
    );
}

/// Returns what is said of the object of a review in an opted-in namespace.
fn said(body: &[u8]) -> Option<Objections> {
    validate::objections(&Request::decode(body).unwrap(), |_| true).unwrap()
}

#[test]
fn nothing_is_wrong_with_what_people_and_controllers_do() {
    let mut judged = 0;
    for (file, body) in bodies() {
        let said = said(&body);
        judged += usize::from(said.is_some());
        assert_eq!(said.unwrap_or_default(), Objections::default(), "{file}");
    }
    assert!(judged > 30, "{judged} objects");
}

#[test]
fn a_wish_is_found_wherever_an_object_has_it() {
    let told = |file: &str, old: &str, new: &str| {
        let body = String::from_utf8(bodies()[file].clone()).unwrap();
        assert!(body.contains(old), "{file}");
        said(body.replace(old, new).as_bytes())
            .unwrap()
            .faults
            .len()
    };
    let evict = (
        r#""podrefresh.io/strategy":"evict""#,
        r#""podrefresh.io/strategy":"evct""#,
    );
    assert_eq!(
        told("02-namespace-create.validate.json", evict.0, evict.1),
        1
    );
    // It was as bad before.
    assert_eq!(
        told("04-namespace-update-label.validate.json", evict.0, evict.1),
        0
    );
    let mode = (
        r#""podrefresh.io/mode":"stamp""#,
        r#""podrefresh.io/mode":"stmp""#,
    );
    for (file, faults) in [
        ("08-deployment-create.validate.json", 1),
        ("28-cronjob-create.validate.json", 1),
        ("31-cronjob-update.mutate.json", 0),
        // A ReplicaSet's.
        ("09-pod-create-by-replicaset.mutate.json", 0),
    ] {
        assert_eq!(told(file, mode.0, mode.1), faults, "{file}");
    }
}
