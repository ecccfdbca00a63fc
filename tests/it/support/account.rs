//! Users who may do little.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
    config::Kubeconfig,
};
use serde_json::{Value, json};

use super::world::World;

impl World {
    /// Returns the administrator's kubeconfig as text.
    pub(crate) fn administrator(&self) -> String {
        std::fs::read_to_string(self.kubeconfig().path()).unwrap()
    }

    /// Creates a ServiceAccount that may `get` and `list` these resources in all namespaces, each written as
    /// `group/resource`, and returns its kubeconfig.
    pub(crate) async fn reader(&self, namespace: &str, name: &str, resources: &[&str]) -> String {
        let accounts: Api<ServiceAccount> = self.kube.api(namespace);
        self.kube
            .create::<ServiceAccount>(namespace, json!({"metadata": {"name": name}}))
            .await;
        let rules: Vec<Value> = (resources.iter())
            .map(|resource| {
                let (group, resource) = resource.split_once('/').unwrap();
                json!({"apiGroups": [group], "resources": [resource], "verbs": ["get", "list"]})
            })
            .collect();
        let roles: Api<ClusterRole> = Api::all(self.kube.0.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(self.kube.0.clone());
        // A real cluster keeps those of an earlier run.
        let _ = roles.delete(name, &DeleteParams::default()).await;
        let _ = bindings.delete(name, &DeleteParams::default()).await;
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        });
        let role = serde_json::from_value(role).unwrap();
        roles.create(&PostParams::default(), &role).await.unwrap();
        let binding = serde_json::from_value(binding).unwrap();
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let created = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await;
        let token = created.unwrap().status.unwrap().token;
        let config = Kubeconfig::from_yaml(&self.administrator()).unwrap();
        let mut config = serde_json::to_value(config).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        config.to_string()
    }
}
