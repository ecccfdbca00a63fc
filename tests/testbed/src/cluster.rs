//! A whole cluster in this process: the harness that tests start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{Api, ApiError, object, resource};
use crate::faults::Faults;
use crate::journal::Journal;
use crate::pki::Authority;
use crate::server::{self, Server};

// A token handed out by the harness outlives any test.
const TOKEN_SECONDS: i64 = 86_400;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An API server on a port of 127.0.0.1. It stops when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    server: Arc<Server>,
    authority: Authority,
    address: SocketAddr,
    admin_token: String,
    task: JoinHandle<std::io::Result<()>>,
}

impl Cluster {
    /// Starts an API server on a free port.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts an API server on an address of loopback.
    pub async fn start_on(address: SocketAddr) -> Result<Self, Failure> {
        let authority = Authority::new("testbed")?;
        let tls = authority.server(&[
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default.svc",
        ])?;
        let server = Arc::new(Server::new(Api::new()));
        seed(&server.api).await?;
        let listener = server::serve(address)?;
        let address = listener.local_addr()?;
        let admin_token = server.tokens.admin();
        let task = tokio::spawn(server::run(server.clone(), tls, listener));
        Ok(Self {
            server,
            authority,
            address,
            admin_token,
            task,
        })
    }

    /// Returns the server for code in this process.
    pub fn api(&self) -> &Api {
        &self.server.api
    }

    /// Returns the address the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Returns the certificate of the server's authority as PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// Returns the administrator's token.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Returns a kubeconfig for the administrator, as JSON, which is YAML as well.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with(&self.admin_token, "default")
    }

    /// Returns a kubeconfig for a ServiceAccount, which must exist.
    pub fn kubeconfig_for(
        &self,
        namespace: &str,
        service_account: &str,
    ) -> Result<String, ApiError> {
        Ok(self.kubeconfig_with(&self.token_for(namespace, service_account)?, namespace))
    }

    /// Returns a token for a ServiceAccount, which must exist.
    pub fn token_for(&self, namespace: &str, service_account: &str) -> Result<String, ApiError> {
        let server = &self.server;
        server
            .tokens
            .service_account(&server.api, namespace, service_account, TOKEN_SECONDS)
            .map(|(token, _)| token)
    }

    /// Makes all tokens of a ServiceAccount worthless, as when they expire.
    pub fn revoke_tokens(&self, namespace: &str, service_account: &str) {
        self.server.tokens.revoke(namespace, service_account);
    }

    fn kubeconfig_with(&self, token: &str, namespace: &str) -> String {
        let cluster = json!({
            "server": self.url(), "certificate-authority-data": STANDARD.encode(self.ca_pem()),
        });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
            "clusters": [{ "name": "testbed", "cluster": cluster }],
            "users": [{ "name": "testbed", "user": { "token": token } }],
            "contexts": [{
                "name": "testbed",
                "context": { "cluster": "testbed", "user": "testbed", "namespace": namespace },
            }],
        })
        .to_string()
    }

    /// Returns the requests answered so far.
    pub fn journal(&self) -> &Journal {
        &self.server.journal
    }

    /// Returns the switches for faults.
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// Forgets the history of all objects: watches and pages of old revisions answer 410 from now on.
    pub fn compact_history(&self) {
        self.server.api.store.compact();
    }

    /// Ends all watches and forgets the history, so that their clients must list again.
    pub fn expire_watches(&self) {
        self.compact_history();
        self.faults().drop_watches();
    }

    /// Changes how often watches that ask for bookmarks get one; a minute from the start.
    pub fn set_bookmark_interval(&self, interval: Duration) {
        self.server.set_bookmark_interval(interval);
    }

    /// Says where the connections to a Service's port go: to these addresses in turn. Without addresses they are refused.
    pub fn route_service(&self, namespace: &str, name: &str, port: u16, addresses: &[SocketAddr]) {
        self.server
            .api
            .webhooks
            .route(namespace, name, port, addresses);
    }

    /// Returns the requests so far that need a part of Kubernetes that is not modelled.
    pub fn unmodelled(&self) -> Vec<String> {
        self.server.unmodelled()
    }

    /// Fails the test if a request needed a part of Kubernetes that is not modelled.
    #[track_caller]
    pub fn assert_clean(&self) {
        let unmodelled = self.unmodelled();
        assert!(
            unmodelled.is_empty(),
            "the testbed does not model: {unmodelled:#?}"
        );
    }

    /// Creates objects in the order given, each in its own namespace; those that exist already are replaced.
    pub async fn install(&self, objects: Vec<Value>) -> Result<(), ApiError> {
        for object in objects {
            self.install_one(object).await?;
        }
        Ok(())
    }

    async fn install_one(&self, object: Value) -> Result<(), ApiError> {
        let (version, kind) = (
            object::text(&object, "/apiVersion"),
            object::text(&object, "/kind"),
        );
        let resource = resource::of_kind(version, kind)
            .ok_or_else(|| ApiError::unmodelled(&format!("{kind} of {version}")))?;
        let namespace = match object::namespace(&object) {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let (api, name) = (self.api(), object::name(&object).to_owned());
        if api.get(resource, &namespace, &name).is_none() {
            return api.create(resource, &namespace, object).await.map(drop);
        }
        let replace = |current: &mut Value| {
            let metadata = current["metadata"].take();
            *current = object.clone();
            for (key, value) in metadata.as_object().into_iter().flatten() {
                object::default(object::metadata(current), key, value.clone());
            }
        };
        api.update(resource, &namespace, &name, replace)
            .await
            .map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// What every cluster has, as far as clients may look for it.
async fn seed(api: &Api) -> Result<(), ApiError> {
    let all = json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] });
    let paths = json!({ "nonResourceURLs": ["*"], "verbs": ["*"] });
    let role = json!({ "metadata": { "name": "cluster-admin" }, "rules": [all, paths] });
    api.create(&resource::CLUSTER_ROLES, "", role).await?;
    let binding = json!({
        "metadata": { "name": "cluster-admin" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:masters" }],
    });
    api.create(&resource::CLUSTER_ROLE_BINDINGS, "", binding)
        .await?;
    let service = json!({
        "metadata": { "name": "kubernetes" },
        "spec": { "clusterIP": "10.96.0.1", "ports": [{ "name": "https", "port": 443, "targetPort": 6443 }] },
    });
    api.create(&resource::SERVICES, "default", service)
        .await
        .map(drop)
}
