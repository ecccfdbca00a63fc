//! Images whose pods never become ready, on nodes of any kind.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    kube::{Kube, image_id, is_ready, name},
    world::World,
};

/// What the test has to open before a pod on a real cluster becomes ready.
const GATE: &str = "podrefresh.test/image";

/// Says which images are broken; it ends with this value.
///
/// The testbed's nodes are told. Those of a real cluster cannot be, so that its pods have a readiness gate, which is opened
/// for all but the broken ones.
pub(crate) struct Breaker {
    broken: Arc<Mutex<BTreeSet<String>>>,
    gatekeeper: Option<JoinHandle<()>>,
}

impl Breaker {
    /// Returns one for the pods of a namespace; nothing is broken yet.
    pub(crate) fn of(world: &World, namespace: &str) -> Self {
        let broken: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let gatekeeper = world.simulated.is_none().then(|| {
            let (kube, namespace) = (world.kube.clone(), namespace.to_owned());
            tokio::spawn(keep(kube, namespace, Arc::clone(&broken)))
        });
        Self { broken, gatekeeper }
    }

    /// Returns a workload whose images can be broken.
    pub(crate) fn breakable(&self, mut workload: Value) -> Value {
        if self.gatekeeper.is_some() {
            let gates = json!([{"conditionType": GATE}]);
            workload["spec"]["template"]["spec"]["readinessGates"] = gates;
        }
        workload
    }

    /// Has pods that start with an image from now on stay unready.
    pub(crate) fn breaks(&self, world: &World, digest: &str) {
        let mut broken = self.broken.lock().unwrap();
        broken.insert(digest.to_owned());
        if let Some(simulated) = &world.simulated {
            simulated.kubelet.set_bad_digests(broken.iter());
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if let Some(gatekeeper) = &self.gatekeeper {
            gatekeeper.abort();
        }
    }
}

/// Opens the gates of pods that run what is not broken.
async fn keep(kube: Kube, namespace: String, broken: Arc<Mutex<BTreeSet<String>>>) {
    let pods: Api<Pod> = kube.api(&namespace);
    // A kubelet says at its next look that the pod is ready; who only plays one may not look again.
    let conditions = ["Ready", GATE].map(|it| json!({"type": it, "status": "True"}));
    let open = Patch::Strategic(json!({"status": {"conditions": conditions}}));
    loop {
        for pod in kube.pods(&namespace).await {
            let runs = image_id(&pod);
            let is_broken = |digest: &String| runs.ends_with(digest.as_str());
            let is_broken = broken.lock().unwrap().iter().any(is_broken);
            if !runs.is_empty() && !is_broken && !is_ready(&pod) {
                // It may have gone meanwhile.
                let _ = pods
                    .patch_status(name(&pod), &PatchParams::default(), &open)
                    .await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
