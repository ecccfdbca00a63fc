//! The YAML of the documents: overlays and patches that render over the manifests as they are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{
    files::{below, read},
    kubectl::Kubectl,
    markdown::{blocks, section},
    overlay::{Overlay, controllers},
    skip::need,
    yaml::{list, title, unknown_fields},
};

/// What a block of YAML is.
#[derive(Debug)]
enum Block {
    /// A kustomization, with `@` for the folder of manifests.
    Overlay(Value),
    /// Objects to add to the base, or to patch it by.
    Objects(Vec<Value>),
    /// Another program's configuration.
    Foreign,
}

impl Block {
    #[track_caller]
    fn read(text: &str) -> Self {
        let mut objects = testbed::manifests::parse(text).unwrap();
        if objects.iter().all(|it| it["metadata"].is_object()) {
            return Self::Objects(objects);
        }
        let [overlay] = &mut objects[..] else {
            panic!("one kustomization: {text}")
        };
        let is = |key: &str| overlay[key].is_array();
        match is("resources") {
            true => {}
            // What is to be added to an overlay that there is.
            false if is("labels") || is("patches") => overlay["resources"] = json!(["../base"]),
            false => return Self::Foreign,
        }
        for key in ["resources", "components"] {
            let paths = overlay.get_mut(key).and_then(Value::as_array_mut);
            for path in paths.into_iter().flatten() {
                *path = here(path.as_str().unwrap()).into();
            }
        }
        Self::Overlay(overlay.take())
    }
}

/// Returns where the manifests that `path` names are in this checkout, if it is the checkout of that version.
#[track_caller]
fn here(path: &str) -> String {
    let remote = "https://github.com/podrefresh/podrefresh//";
    let version = concat!("?ref=v", env!("CARGO_PKG_VERSION"));
    let path = match path.strip_prefix(remote) {
        Some(path) => path.strip_suffix(version).expect("this version"),
        None => path,
    };
    let path = (path.strip_prefix("manifests/")).or_else(|| path.strip_prefix("../"));
    format!("@/{}", path.expect("a folder of manifests"))
}

/// Returns the blocks of YAML of all pages.
fn all() -> Vec<(PathBuf, Block)> {
    let is_page = |path: &Path| path.extension().is_some_and(|it| it == "md");
    let pages = ["docs", "certs", "manifests", "fuzz"]
        .into_iter()
        .flat_map(|folder| below(folder, is_page));
    let more = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(PathBuf::from);
    let pages = pages.chain(more);
    pages
        .flat_map(|page| {
            let blocks = blocks(&read(&page), "yaml");
            let blocks: Vec<_> = blocks.iter().map(|it| Block::read(it)).collect();
            blocks.into_iter().map(move |block| (page.clone(), block))
        })
        .collect()
}

#[test]
fn what_pages_say_to_write_renders_over_the_manifests() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let (mut overlays, mut patches) = (0, 0);
    for (page, block) in all() {
        let page = page.display();
        let rendered = match &block {
            Block::Foreign => continue,
            Block::Overlay(overlay) => {
                overlays += 1;
                Overlay::new(&overlay.to_string()).render(&kubectl)
            }
            Block::Objects(objects) => {
                patches += 1;
                Overlay::patched(&kubectl, objects).render(&kubectl)
            }
        };
        for object in &rendered {
            let unknown = unknown_fields(object).unwrap();
            assert!(unknown.is_empty(), "{page}: {}: {unknown:?}", title(object));
        }
        // The overlay of one namespace alone has no controller.
        if rendered.iter().any(|it| it["kind"] == "Deployment") {
            let [controller] = controllers(&rendered).unwrap() else {
                panic!("{page}: one container: {block:?}")
            };
            assert_eq!(controller["name"], "controller", "{page}");
        }
    }
    assert!(5 < overlays && 1 < patches, "{overlays} and {patches}");
}

/// Returns what the one overlay of docs/operations.md below `heading` renders to; `None` skips the test.
#[track_caller]
fn operations(heading: &str) -> Option<Vec<Value>> {
    let kubectl = need(Kubectl::find())?;
    let page = read("docs/operations.md");
    let blocks = blocks(section(&page, heading), "yaml");
    let [block] = &blocks[..] else {
        panic!("one block: {blocks:?}")
    };
    let Block::Overlay(overlay) = Block::read(block) else {
        panic!("an overlay: {block}")
    };
    Some(Overlay::new(&overlay.to_string()).render(&kubectl))
}

#[test]
fn on_openshift_the_cluster_chooses_the_user() {
    let Some(objects) = operations("### OpenShift") else {
        return;
    };
    let deployment = objects.iter().find(|it| it["kind"] == "Deployment");
    let pod = &deployment.unwrap()["spec"]["template"]["spec"];
    let profile = json!({"type": "RuntimeDefault"});
    assert_eq!(
        pod["securityContext"],
        json!({"runAsNonRoot": true, "seccompProfile": profile})
    );
    assert!(!pod.to_string().contains("runAsUser"), "{pod}");
    // Its DNS is not where it is elsewhere, as a policy sees it.
    let policy = objects.iter().find(|it| it["kind"] == "NetworkPolicy");
    for port in [53, 5353] {
        for protocol in ["UDP", "TCP"] {
            let wanted = json!({"port": port, "protocol": protocol});
            let dns = list(policy.unwrap(), "/spec/egress/0/ports");
            assert!(dns.contains(&wanted), "{wanted}: {dns:?}");
        }
    }
}

#[test]
fn the_webhooks_port_can_be_for_some_and_the_admin_port_for_all() {
    let Some(objects) = operations("### The webhooks' port") else {
        return;
    };
    let policy = objects.iter().find(|it| it["kind"] == "NetworkPolicy");
    let [admission, admin] = &list(policy.unwrap(), "/spec/ingress")[..] else {
        panic!("two rules: {policy:?}")
    };
    assert_eq!(admission["ports"][0]["port"], "admission");
    assert!(admission["from"][0]["ipBlock"]["cidr"].is_string());
    assert_eq!(admin["ports"][0]["port"], "admin");
    assert!(admin["from"].is_null());
}

#[test]
fn a_patch_by_a_wrong_name_is_found() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let patch = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: podrefresh, namespace: podrefresh}\n\
         spec: {template: {spec: {containers: [{name: podrefresh, env: [{name: A, value: b}]}]}}}\n";
    let Block::Objects(objects) = Block::read(patch) else {
        panic!("objects");
    };
    let rendered = Overlay::patched(&kubectl, &objects).render(&kubectl);
    let error = controllers(&rendered).unwrap_err();
    assert_eq!(error, "\"podrefresh\" has no image");
}
