//! A container that pulls its image again while its pod stays, as after a crash.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{kube::name, world::World};

impl World {
    /// Has the only pod of a namespace pull `repository:tag` again, and waits until it runs what that means now.
    ///
    /// Nodes do so when the image in a pod's specification changes, so it is changed there and back.
    pub(crate) async fn pull_anew(&self, namespace: &str, repository: &str, tag: &str) {
        let (aside, other) = self.push(repository, "aside", "aside");
        let image = self.registry.reference(repository, tag);
        let digest = self.registry.digest(repository, tag).unwrap();
        let pods = self.kube.pods(namespace).await;
        let pod = name(&pods[0]);
        for (image, digest) in [(aside, other), (image, digest)] {
            let patch =
                json!([{"op": "replace", "path": "/spec/containers/0/image", "value": image}]);
            let patch = serde_json::from_value(patch).unwrap();
            let patch = kube::api::Patch::Json::<()>(patch);
            let (pods, params) = (self.kube.api::<Pod>(namespace), Default::default());
            pods.patch(pod, &params, &patch).await.unwrap();
            let running = self.kube.running(namespace, 1, &digest).await;
            assert_eq!(name(&running[0]), pod);
        }
    }
}
