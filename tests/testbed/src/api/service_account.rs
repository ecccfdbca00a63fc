//! The ServiceAccount of a pod: who it is, what it may pull with, and its token volume.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Api, ApiError, object, resource, strategy};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Api {
    /// Puts into a new namespace what controllers put there: the ServiceAccount `default` and the ConfigMap
    /// `kube-root-ca.crt`. It happens at once, so that no pod has to wait for it.
    pub(crate) fn furnish_namespace(&self, namespace: &str) {
        let furniture = [
            (
                &resource::SERVICE_ACCOUNTS,
                json!({ "metadata": { "name": "default" } }),
            ),
            (
                &resource::CONFIG_MAPS,
                json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": {} }),
            ),
        ];
        for (resource, mut object) in furniture {
            object["apiVersion"] = json!(resource.api_version());
            object["kind"] = json!(resource.kind);
            object["metadata"]["namespace"] = json!(namespace);
            let name = object::name(&object).to_owned();
            strategy::before_create(resource, &mut object, Timestamp::now());
            self.store
                .insert(&self.key(resource, namespace, &name), object);
        }
    }

    /// Makes a namespace without asking anybody.
    pub(crate) fn seed_namespace(&self, name: &str) {
        let mut namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        strategy::before_create(&resource::NAMESPACES, &mut namespace, Timestamp::now());
        self.store
            .insert(&self.key(&resource::NAMESPACES, "", name), namespace);
        self.furnish_namespace(name);
    }

    /// Does to a new pod what the admission plugin ServiceAccount does.
    pub(crate) fn give_service_account(
        &self,
        namespace: &str,
        pod: &mut Value,
    ) -> Result<(), ApiError> {
        let pod_name = object::name(pod).to_owned();
        let is_mirror = object::annotation(pod, "kubernetes.io/config.mirror").is_some();
        let Some(spec) = pod
            .get_mut("spec")
            .and_then(Value::as_object_mut)
            .filter(|_| !is_mirror)
        else {
            return Ok(());
        };
        let name = spec
            .get("serviceAccountName")
            .and_then(Value::as_str)
            .filter(|n| !n.is_empty());
        let name = name.unwrap_or("default").to_owned();
        let account = self.get(&resource::SERVICE_ACCOUNTS, namespace, &name).ok_or_else(|| {
            let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
            ApiError::forbidden(&resource::PODS, &pod_name, &why)
        })?;
        spec.insert("serviceAccountName".to_owned(), json!(name));
        spec.insert("serviceAccount".to_owned(), json!(name));
        let has_secrets = spec
            .get("imagePullSecrets")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if let Some(secrets) = account.get("imagePullSecrets").filter(|_| !has_secrets) {
            spec.insert("imagePullSecrets".to_owned(), secrets.clone());
        }
        let mounts = spec
            .get("automountServiceAccountToken")
            .or_else(|| account.get("automountServiceAccountToken"))
            .and_then(Value::as_bool)
            .unwrap_or(true);
        if mounts {
            mount_token(spec);
        }
        Ok(())
    }
}

fn mount_token(spec: &mut Map<String, Value>) {
    let volume = format!("kube-api-access-{}", object::new_suffix(5));
    let mut mounted = false;
    for key in ["initContainers", "containers"] {
        for container in spec
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            if mounts.iter().all(|mount| mount["mountPath"] != MOUNT_PATH) {
                mounts.push(json!({ "name": volume, "readOnly": true, "mountPath": MOUNT_PATH }));
                mounted = true;
            }
        }
    }
    if !mounted {
        return;
    }
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        let namespace = json!({ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } });
        volumes.push(json!({
            "name": volume,
            "projected": {
                "sources": [
                    { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
                    { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                    { "downwardAPI": { "items": [namespace] } },
                ],
                "defaultMode": 420,
            },
        }));
    }
}
