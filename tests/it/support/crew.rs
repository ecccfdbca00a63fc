//! Sidecars of all pods of a namespace, each begun with its pod and ended with it, as kubelets would.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser as _;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    config::Kubeconfig,
};
use podrefresh::{
    app::{PodName, Sidecar},
    cli::{Cli, Command},
    cluster::{Choice, connect},
};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use super::{
    files::{read, tempfile},
    kube::eventually,
    world::World,
};

/// The account that `manifests/components/sidecar` makes.
pub(crate) const ACCOUNT: &str = "podrefresh-sidecar";

/// Flags that make a sidecar as quick as a test wants it.
const QUICK: [&str; 4] = [
    "--poll-interval=300ms",
    "--confirm-after=100ms",
    "--lookup-timeout=5s",
    "--container=app",
];

/// The sidecars of a namespace; they end when this is dropped.
pub(crate) struct Crew {
    task: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// How many have begun.
    begun: usize,
    /// Why some have ended by themselves.
    ended: Vec<String>,
}

impl World {
    /// Creates a namespace that no controller of ours cares for, with the account and rights of sidecars.
    pub(crate) async fn sidecar_namespace(&self, name: &str) {
        let label = json!({"podrefresh.io/enabled": "false"});
        self.kube.namespace(name, label, json!({})).await;
        let path = "manifests/components/sidecar/rbac/rbac.yaml";
        for object in testbed::manifests::parse(&read(path)).unwrap() {
            self.put(name, object).await;
        }
    }

    /// Creates an object of any namespaced kind.
    pub(crate) async fn put(&self, namespace: &str, mut object: Value) {
        for subject in object["subjects"].as_array_mut().into_iter().flatten() {
            if subject["namespace"].is_null() {
                subject["namespace"] = json!(namespace);
            }
        }
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let gvk = object.types.clone().unwrap().try_into().unwrap();
        let resource = ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.kube.0.clone(), namespace, &resource);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Returns a kubeconfig of a ServiceAccount.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str) -> String {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = self.kube.api(namespace);
        let created = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let token = created.unwrap().status.unwrap().token;
        let admin = std::fs::read_to_string(self.kubeconfig().path()).unwrap();
        let mut config: Value =
            serde_json::to_value(Kubeconfig::from_yaml(&admin).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": token});
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        config.to_string()
    }

    /// Has a sidecar run in each pod of `namespace` from now on, as the account of the manifests, with `flags` on
    /// top of quick ones that watch the container `app`.
    pub(crate) async fn crew(&self, namespace: &str, flags: &[&str]) -> Crew {
        let kubeconfig = self.kubeconfig_of(namespace, ACCOUNT).await;
        self.crew_as(namespace, &kubeconfig, flags)
    }

    /// Does the same as somebody else.
    pub(crate) fn crew_as(&self, namespace: &str, kubeconfig: &str, flags: &[&str]) -> Crew {
        let named = |flag: &str| flag.split('=').next().unwrap().to_owned();
        let quick =
            (QUICK.into_iter()).filter(|it| !flags.iter().any(|flag| named(flag) == named(it)));
        let line = ["podrefresh", "sidecar"].into_iter().chain(quick);
        let line: Vec<String> = line
            .chain(flags.iter().copied())
            .map(str::to_owned)
            .collect();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let pods: Api<Pod> = self.kube.api(namespace);
        let task = tokio::spawn(man(pods, kubeconfig.to_owned(), line, seen.clone()));
        Crew { task, seen }
    }
}

impl Crew {
    /// Waits until so many sidecars have begun.
    pub(crate) async fn begun(&self, count: usize) {
        let begun = async || (count <= self.seen.lock().unwrap().begun).then_some(());
        eventually(&format!("{count} sidecars"), begun).await;
    }

    /// Checks that none has ended by itself.
    #[track_caller]
    pub(crate) fn assert_well(&self) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.ended.is_empty(), "{:?}", seen.ended);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a sidecar for each pod that runs and is not being deleted.
async fn man(pods: Api<Pod>, kubeconfig: String, line: Vec<String>, seen: Arc<Mutex<Seen>>) {
    let mut sidecars = JoinSet::new();
    let mut manned: HashMap<String, tokio::task::AbortHandle> = HashMap::new();
    loop {
        // The API server may be away for a moment.
        if let Ok(list) = pods.list(&ListParams::default()).await {
            let living: HashMap<String, String> = (list.items.iter())
                .filter(|pod| pod.metadata.deletion_timestamp.is_none() && runs(pod))
                .map(|pod| (pod.uid().unwrap(), pod.name_any()))
                .collect();
            manned.retain(|uid, sidecar| {
                let lives = living.contains_key(uid);
                if !lives {
                    sidecar.abort();
                }
                lives
            });
            for (uid, name) in living {
                manned.entry(uid).or_insert_with(|| {
                    seen.lock().unwrap().begun += 1;
                    sidecars.spawn(sidecar(name, kubeconfig.clone(), line.clone()))
                });
            }
        }
        while let Some(ended) = sidecars.try_join_next() {
            if let Ok(why) = ended {
                seen.lock().unwrap().ended.push(why);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn runs(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

/// Runs one sidecar; returns why it has ended.
async fn sidecar(pod: String, kubeconfig: String, line: Vec<String>) -> String {
    let file = tempfile(&kubeconfig);
    let Command::Sidecar(flags) = Cli::try_parse_from(line).unwrap().command else {
        unreachable!("the subcommand must be the sidecar")
    };
    let choice = Choice {
        kubeconfig: Some(file.path().to_owned()),
        context: None,
    };
    let connection = connect(&choice).await.unwrap();
    let settings = flags.settings(&connection.namespace, PodName::told(pod));
    let sidecar = Sidecar::bind(settings, &connection).await.unwrap();
    match sidecar.run().await {
        Ok(never) => match never {},
        Err(error) => format!("{error:#}"),
    }
}
