//! The server's operations for code in the same process: controllers, the kubelet and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::admission::Webhooks;
use super::write::{Options, Target};
use super::{ApiError, Key, Resource, Store, Subscription, object, resource};

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// `system:serviceaccount:shop:default`, `system:anonymous`, ….
    pub name: String,
    /// Uid of the ServiceAccount, empty for others.
    pub uid: String,
    /// Groups, `system:masters` among them for administrators.
    pub groups: Vec<String>,
    /// Further facts, such as the token's id.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The administrator, who may do everything.
    pub fn admin() -> Self {
        let groups = vec![
            "system:masters".to_owned(),
            "system:authenticated".to_owned(),
        ];
        Self {
            name: "kubernetes-admin".to_owned(),
            groups,
            ..Self::default()
        }
    }

    /// One of the cluster's own components, such as `kube-system/replicaset-controller`.
    pub fn component(name: &str) -> Self {
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ];
        Self {
            name: format!("system:serviceaccount:kube-system:{name}"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A ServiceAccount with its uid.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups,
            extra: BTreeMap::new(),
        }
    }
}

/// What becomes of the objects that a deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it: it waits with the finalizer `foregroundDeletion`.
    Foreground,
    /// They stay: it waits with the finalizer `orphan`.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    /// Seconds to stop in; the pod's own when there is none.
    pub grace_seconds: Option<i64>,
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only the object at this resourceVersion.
    pub resource_version: Option<String>,
    /// Answer as if, but delete nothing.
    pub dry_run: bool,
    /// What becomes of dependents.
    pub propagation: Option<Propagation>,
}

impl Delete {
    /// Delete at once, as the kubelet does when a pod's containers have stopped.
    pub fn now() -> Self {
        Self {
            grace_seconds: Some(0),
            ..Self::default()
        }
    }

    /// The same with the precondition that the object is the one with this uid.
    #[must_use]
    pub fn only(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }
}

/// The API server for code in the same process: a cheap handle that acts as one user.
///
/// Writes go through defaults, admission webhooks and validation exactly as an HTTP client's do;
/// permissions are not checked, and nothing is written in the journal. What a deleted object owned,
/// and what lies in a deleted namespace, is for controllers to remove.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) store: Store,
    pub(crate) webhooks: Webhooks,
    user: Arc<User>,
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}

impl Api {
    /// An empty server, acted on as the administrator. It holds the namespaces that every cluster has.
    pub fn new() -> Self {
        let (store, webhooks) = (Store::new(), Webhooks::default());
        let api = Self {
            store,
            webhooks,
            user: Arc::new(User::admin()),
        };
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            api.seed_namespace(namespace);
        }
        api
    }

    /// Returns the same server for another user.
    pub fn acting_as(&self, user: User) -> Self {
        Self {
            user: Arc::new(user),
            ..self.clone()
        }
    }

    /// Returns who this handle acts as.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Returns the objects of a resource, in one namespace or in all.
    pub fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.store.list(resource, namespace).0
    }

    /// Returns an object. The namespace is ignored for cluster-scoped resources.
    pub fn get(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        self.store.get(&self.key(resource, namespace, name))
    }

    /// Returns all changes from now on, of all resources.
    pub fn subscribe(&self) -> Subscription {
        self.store.subscribe()
    }

    /// Creates an object: defaults, mutating webhooks, validation, validating webhooks.
    pub async fn create(
        &self,
        resource: &'static Resource,
        namespace: &str,
        object: Value,
    ) -> Result<Arc<Value>, ApiError> {
        let options = Options::default();
        self.create_object(&self.target(resource, namespace, "", &options), object)
            .await
            .map(|done| done.object)
    }

    /// Changes an object, again and again until no other write came in between. A change that changes nothing makes no event.
    ///
    /// Status cannot be changed this way, and of a pod's specification only what Kubernetes allows.
    pub async fn update(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value) + Send,
    ) -> Result<Arc<Value>, ApiError> {
        let options = Options::default();
        let changed = |current: &Value| {
            let mut next = current.clone();
            change(&mut next);
            Ok(next)
        };
        self.update_object(&self.target(resource, namespace, name, &options), changed)
            .await
            .map(|done| done.object)
    }

    /// Changes an object's status, again and again until no other write came in between.
    pub fn update_status(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value),
    ) -> Result<Arc<Value>, ApiError> {
        let key = self.key(resource, namespace, name);
        loop {
            let current = self
                .store
                .get(&key)
                .ok_or_else(|| ApiError::not_found(resource, name))?;
            let mut next = (*current).clone();
            let mut status = next["status"].take();
            change(&mut status);
            next["status"] = status;
            if let Some(stored) = self.store.replace(&key, &current, next) {
                return Ok(stored);
            }
        }
    }

    /// Deletes an object: gracefully for pods on a node, after its finalizers for others. Returns its last state.
    pub fn delete(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        options: &Delete,
    ) -> Result<Arc<Value>, ApiError> {
        self.delete_object(&self.key(resource, namespace, name), options)
            .map(|(object, _)| object)
    }

    /// Puts a pod on a node: its name, the labels of the node's zone and region, and the condition PodScheduled.
    pub fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<Arc<Value>, ApiError> {
        self.bind_pod(namespace, pod, node)
    }

    /// Lets a terminating namespace go, once a controller has emptied it.
    pub fn finalize_namespace(&self, name: &str) -> Result<(), ApiError> {
        self.finalize(name)
    }

    pub(crate) fn key(&self, resource: &'static Resource, namespace: &str, name: &str) -> Key {
        Key::new(
            resource,
            if resource.namespaced { namespace } else { "" },
            name,
        )
    }

    fn target<'a>(
        &'a self,
        resource: &'static Resource,
        namespace: &'a str,
        name: &'a str,
        options: &'a Options,
    ) -> Target<'a> {
        let namespace = if resource.namespaced { namespace } else { "" };
        Target {
            resource,
            namespace,
            name,
            subresource: "",
            options,
            user: &self.user,
        }
    }

    /// Returns the labels of a namespace; none when it does not exist.
    pub(crate) fn namespace_labels(&self, name: &str) -> BTreeMap<String, String> {
        self.get(&resource::NAMESPACES, "", name)
            .map(|namespace| object::labels(&namespace))
            .unwrap_or_default()
    }
}
