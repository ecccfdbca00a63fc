//! A cluster that a test before used is made as new.

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use super::{
    kube::{OURS, eventually},
    world::{HOME, World},
};

impl World {
    /// Takes away what an earlier world has left on a real cluster.
    pub(super) async fn clear(&self) {
        let namespaces: Api<Namespace> = Api::all(self.kube.0.clone());
        let (label, value) = OURS;
        let ours = ListParams::default().labels(&format!("{label}={value}"));
        for namespace in namespaces.list(&ours).await.unwrap() {
            namespaces
                .delete(&namespace.name_any(), &DeleteParams::default())
                .await
                .unwrap();
        }
        eventually("the last world to vanish", || async {
            namespaces
                .list(&ours)
                .await
                .unwrap()
                .items
                .is_empty()
                .then_some(())
        })
        .await;
        // A leader that was killed would be waited for.
        let leases = self.kube.api::<Lease>(HOME);
        if let Err(error) = leases.delete("podrefresh", &DeleteParams::default()).await {
            assert!(
                matches!(&error, kube::Error::Api(status) if status.code == 404),
                "{error}"
            );
        }
    }
}
