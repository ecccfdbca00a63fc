//! Overlays of the manifests, as users write them.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    files::{below, read, root},
    folder::Folder,
    kubectl::Kubectl,
    yaml::list,
};

/// A folder with a kustomization that is gone with this value.
pub(crate) struct Overlay(Folder);

impl Overlay {
    /// Writes the overlay `text`, in which `@` is the folder of manifests.
    pub(crate) fn new(text: &str) -> Self {
        let folder = Folder::new();
        let here = folder.path().canonicalize().unwrap();
        // Kustomize takes no absolute paths.
        let up = "../".repeat(here.components().count() - 1);
        let manifests = root().join("manifests").canonicalize().unwrap();
        let manifests = manifests.strip_prefix("/").unwrap().display().to_string();
        let text = text.replace('@', &format!("{up}{manifests}"));
        fs::write(here.join("kustomization.yaml"), text).unwrap();
        Self(folder)
    }

    /// Writes the overlay of the base with these components, in this order.
    pub(crate) fn with(components: &[&str]) -> Self {
        let components: Vec<String> = (components.iter())
            .map(|name| format!("'@/components/{name}'"))
            .collect();
        let components = components.join(", ");
        Self::new(&format!(
            "resources: ['@/base']\ncomponents: [{components}]\n"
        ))
    }

    /// Writes the overlay of the base with `objects`: what the base has is patched by them, what it has not is added.
    #[track_caller]
    pub(crate) fn patched(kubectl: &Kubectl, objects: &[Value]) -> Self {
        let base = overlay(kubectl, "resources: ['@/base']\n");
        let title = |it: &Value| (it["kind"].clone(), it["metadata"]["name"].clone());
        let (patches, added): (Vec<&Value>, Vec<&Value>) =
            (objects.iter()).partition(|it| base.iter().any(|there| title(there) == title(it)));
        let patches: Vec<Value> = (patches.iter())
            .map(|it| json!({"patch": it.to_string()}))
            .collect();
        let names: Vec<String> = (0..added.len()).map(|n| format!("{n}.yaml")).collect();
        let resources: Vec<&str> = (["@/base"].into_iter())
            .chain(names.iter().map(String::as_str))
            .collect();
        let overlay = Self::new(&json!({"resources": resources, "patches": patches}).to_string());
        for (name, object) in names.iter().zip(added) {
            overlay.0.write(name, &object.to_string());
        }
        overlay
    }

    /// Returns the folder that `kubectl apply -k` takes.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the objects that `kubectl apply -k` would send.
    #[track_caller]
    pub(crate) fn render(&self, kubectl: &Kubectl) -> Vec<Value> {
        let here = self.path().canonicalize().unwrap();
        let text = kubectl.ok(["kustomize", here.to_str().unwrap()]);
        serde_saphyr::from_multiple(&text).unwrap()
    }
}

/// Returns what an overlay renders to; `@` is the folder of manifests.
#[track_caller]
pub(crate) fn overlay(kubectl: &Kubectl, text: &str) -> Vec<Value> {
    Overlay::new(text).render(kubectl)
}

/// Returns the containers of the controller among what an overlay renders to, or says which one has no image.
///
/// A patch by another name than the base's container adds one, which kustomize does not mind and an API server does.
#[track_caller]
pub(crate) fn controllers(objects: &[Value]) -> Result<&[Value], String> {
    let is_ours =
        |it: &&Value| it["kind"] == "Deployment" && it["metadata"]["name"] == "podrefresh";
    let deployment = objects.iter().find(is_ours);
    let deployment = deployment.expect("there must be the controller's Deployment");
    let containers = list(deployment, "/spec/template/spec/containers");
    match containers.iter().find(|it| !it["image"].is_string()) {
        Some(container) => Err(format!("{} has no image", container["name"])),
        None => Ok(containers),
    }
}

/// Returns the components that go with the base, by the names of their folders, in the order in which an overlay lists
/// them: what takes rights away comes last.
pub(crate) fn components() -> Vec<String> {
    let named = |path: &Path| path.ends_with("kustomization.yaml");
    let mut names: Vec<String> = below("manifests/components", named)
        .into_iter()
        .filter(|path| read(path).contains("\nkind: Component\n"))
        // A sidecar's rights belong to the pods of somebody else.
        .filter_map(|path| match path.iter().nth(3)?.to_str()? {
            "kustomization.yaml" => path.iter().nth(2)?.to_str().map(str::to_owned),
            _ => None,
        })
        .collect();
    names.sort_by_key(|name| (name == "namespaced-secrets", name.clone()));
    names
}

#[test]
fn all_components_are_found_and_what_takes_away_is_last() {
    let found = components();
    for name in ["cert-manager", "cronjob"] {
        assert!(found.contains(&name.to_owned()), "{name} of {found:?}");
    }
    assert!(!found.contains(&"sidecar".to_owned()));
    assert_eq!(found.last().unwrap(), "namespaced-secrets");
}
