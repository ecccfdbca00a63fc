//! What is installed in a world's cluster, and the accounts that it runs as.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    config::Kubeconfig,
};
use serde_json::{Value, json};

use super::{
    files::root,
    world::{HOME, World},
};

impl World {
    /// Returns a kubeconfig of a ServiceAccount in podrefresh's namespace.
    pub(crate) async fn account_kubeconfig(&self, account: &str) -> String {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = self.kube.api(HOME);
        let created = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let token = created.unwrap().status.unwrap().token;
        let mut config: Value =
            serde_json::to_value(Kubeconfig::from_yaml(self.kubeconfig_text()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        config["contexts"][0]["context"]["namespace"] = json!(HOME);
        config.to_string()
    }

    /// Installs a folder of manifests, but for Deployments: what they would run, tests run themselves.
    pub(crate) async fn apply(&self, folder: &str) {
        let folder = root().join(folder);
        self.install(testbed::manifests::load(&folder).unwrap())
            .await;
    }

    /// Installs objects, but for Deployments; what is there already is changed, as `kubectl apply` does.
    pub(crate) async fn install(&self, objects: Vec<Value>) {
        for object in objects {
            if object["kind"] == "Deployment" {
                continue;
            }
            let (api, name, object) = self.dynamic(object);
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                    let (params, patch) = (PatchParams::default(), Patch::Merge(&object));
                    api.patch(&name, &params, &patch).await.unwrap();
                }
                created => drop(created.unwrap()),
            }
        }
    }

    /// Returns an object of any kind, with its name and the API of its kind where it belongs.
    pub(super) fn dynamic(&self, object: Value) -> (Api<DynamicObject>, String, DynamicObject) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let gvk = object.types.clone().unwrap().try_into().unwrap();
        let resource = ApiResource::from_gvk(&gvk);
        let client = self.kube.0.clone();
        let api = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client, &namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        (api, object.name_any(), object)
    }
}
