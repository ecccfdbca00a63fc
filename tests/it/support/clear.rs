//! A cluster that a test before used is made as new.

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use super::{
    files::root,
    kube::{OURS, SYSTEM, eventually},
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
        let deployments = self.kube.api::<Deployment>(SYSTEM);
        for deployment in deployments.list(&ours).await.unwrap() {
            // Its pods go before it.
            let foreground = DeleteParams::foreground();
            gone(
                deployments
                    .delete(&deployment.name_any(), &foreground)
                    .await,
            );
        }
        eventually("the last world's Deployments to vanish", || async {
            let left = deployments.list(&ours).await.unwrap().items;
            left.is_empty().then_some(())
        })
        .await;
        self.home(|home| home.is_none_or(|home| home.metadata.deletion_timestamp.is_none()))
            .await;
        // A leader that was killed would be waited for.
        let leases = self.kube.api::<Lease>(HOME);
        gone(leases.delete("podrefresh", &DeleteParams::default()).await);
    }

    /// Takes podrefresh away from a real cluster, whichever world has installed it.
    pub(super) async fn uninstall(&self) {
        for folder in ["manifests", "manifests/components/cronjob"] {
            for object in testbed::manifests::load(&root().join(folder)).unwrap() {
                let (api, name, _) = self.dynamic(object);
                gone(api.delete(&name, &DeleteParams::default()).await);
            }
        }
        self.home(|home| home.is_none()).await;
    }

    /// Waits until podrefresh's namespace, which may be going, is as it should be.
    async fn home(&self, is_right: impl Fn(Option<Namespace>) -> bool) {
        let namespaces: Api<Namespace> = Api::all(self.kube.0.clone());
        eventually("podrefresh's namespace to come or go", || async {
            let home = namespaces.get_opt(HOME).await.unwrap();
            is_right(home).then_some(())
        })
        .await;
    }
}

/// Checks that an object is being deleted, or was not there.
#[track_caller]
fn gone<T>(deleted: Result<T, kube::Error>) {
    if let Err(error) = deleted {
        let is_missing = matches!(&error, kube::Error::Api(status) if status.code == 404);
        assert!(is_missing, "{error}");
    }
}
