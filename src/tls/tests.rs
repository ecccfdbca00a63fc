//! Replicas against an API server: what they make, share, heal, and leave alone.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};
use testbed::{
    Cluster,
    api::{Delete, resource},
    faults::Effect,
};
use tokio::task::JoinHandle;

use super::{material::Material, *};

mod rotation;

const NAME: &str = "podrefresh";

/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(20);

async fn cluster() -> Cluster {
    let provider = rustls::crypto::ring::default_provider();
    // Another test may have been first.
    let _ = provider.install_default();
    let cluster = Cluster::start().await.unwrap();
    let webhook = |name: &str, service: &str| {
        json!({"name": name, "clientConfig": {"service": {"namespace": NAME, "name": service, "path": "/mutate"}},
            "rules": [], "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [webhook("a.podrefresh.io", NAME), webhook("b.example.com", "other")],
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}});
    cluster
        .install(vec![namespace, configuration])
        .await
        .unwrap();
    cluster
}

async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    config.default_retry = false;
    config.try_into().unwrap()
}

/// A running replica; it stops when dropped.
struct Replica {
    serving: Serving,
    task: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    async fn start(kubeconfig: &str) -> Result<Self, TlsError> {
        let service = Service {
            namespace: NAME.to_owned(),
            name: NAME.to_owned(),
        };
        let settings = Settings {
            service,
            webhook: NAME.to_owned(),
        };
        let source = Source::SelfManaged {
            secret: "podrefresh-tls".to_owned(),
        };
        let client = client(kubeconfig).await;
        let (serving, task) = start(source, client, settings, Metrics::new()).await?;
        let task = tokio::spawn(task);
        Ok(Self { serving, task })
    }

    async fn trusted(&self) {
        until("trusted", || self.serving.check(UnixTime::now()).is_ok()).await;
    }
}

/// Waits until `fact` is true.
async fn until(what: &str, fact: impl Fn() -> bool) {
    let poll = async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = tokio::time::timeout(SOON, poll).await;
    assert!(outcome.is_ok(), "it must come about: {what}");
}

/// Returns what the Secret holds.
fn stored(cluster: &Cluster) -> Option<Material> {
    let secret = cluster
        .api()
        .get(&resource::SECRETS, NAME, "podrefresh-tls")?;
    let secret: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value((*secret).clone()).unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    Material::read(&secret.data?).ok()
}

/// Returns the bundles of both webhooks, PEM.
fn bundles(cluster: &Cluster) -> [Option<String>; 2] {
    let api = cluster.api();
    let configuration = api.get(&resource::MUTATING_WEBHOOKS, "", NAME).unwrap();
    [0, 1].map(|i| {
        let encoded = configuration["webhooks"][i]["clientConfig"]["caBundle"].as_str()?;
        let pem = BASE64_STANDARD.decode(encoded).unwrap();
        Some(String::from_utf8(pem).unwrap())
    })
}

async fn set_bundle(cluster: &Cluster, bundle: Value) {
    let api = cluster.api();
    let set = |object: &mut Value| {
        object["webhooks"][0]["clientConfig"]["caBundle"] = bundle.clone();
    };
    api.update(&resource::MUTATING_WEBHOOKS, "", NAME, set)
        .await
        .unwrap();
}

async fn set_secret(cluster: &Cluster, key: &str, value: &str) {
    let set = |object: &mut Value| object["data"][key] = json!(BASE64_STANDARD.encode(value));
    let api = cluster.api();
    api.update(&resource::SECRETS, NAME, "podrefresh-tls", set)
        .await
        .unwrap();
}

async fn store(cluster: &Cluster, material: &Material) {
    let write = |object: &mut Value| {
        object["data"] = serde_json::to_value(material.write()).unwrap();
    };
    let api = cluster.api();
    let written = api.update(&resource::SECRETS, NAME, "podrefresh-tls", write);
    written.await.unwrap();
}

#[tokio::test]
async fn replicas_that_start_together_share_one_certificate() {
    let cluster = cluster().await;
    let kubeconfig = cluster.kubeconfig();
    let starts = (0..4).map(|_| Replica::start(&kubeconfig));
    let replicas = futures::future::join_all(starts).await;
    for replica in &replicas {
        replica.as_ref().ok().unwrap().trusted().await;
    }
    let [ours, other] = bundles(&cluster);
    assert_eq!(ours, stored(&cluster).map(|material| material.authorities));
    assert_eq!(other, None);
    let made = |e: &testbed::journal::Entry| e.is("create", "secrets") && e.is_success();
    assert_eq!(cluster.journal().count(made), 1);
    cluster.assert_clean();
}

#[tokio::test]
async fn at_rest_there_are_watches_only() {
    let cluster = cluster().await;
    let replica = Replica::start(&cluster.kubeconfig()).await.unwrap();
    replica.trusted().await;
    let journal = cluster.journal();
    // An answer is noted a moment after it is given.
    assert!(journal.wait_for(1, SOON, |e| e.is("list", "secrets")).await);
    assert!(journal.wait_for(1, SOON, |e| e.verb == "patch").await);
    journal.clear();
    // What is none of ours changes; then something of ours does, and that is all that is mended.
    let label = |object: &mut Value| object["metadata"]["labels"] = json!({"a": "b"});
    let api = cluster.api();
    let changed = api.update(&resource::MUTATING_WEBHOOKS, "", NAME, label);
    changed.await.unwrap();
    let changed = api.update(&resource::SECRETS, NAME, "podrefresh-tls", label);
    changed.await.unwrap();
    set_bundle(&cluster, Value::Null).await;
    until("written again", || bundles(&cluster)[0].is_some()).await;
    let calls = journal.find(|entry| entry.verb != "watch");
    let calls: Vec<_> = calls.iter().map(|e| (e.verb, &*e.resource)).collect();
    assert_eq!(
        calls,
        [
            ("get", "secrets"),
            ("patch", "mutatingwebhookconfigurations")
        ]
    );
}

#[tokio::test]
async fn a_bundle_of_someone_else_is_replaced() {
    let cluster = cluster().await;
    let replica = Replica::start(&cluster.kubeconfig()).await.unwrap();
    replica.trusted().await;
    let ours = bundles(&cluster)[0].clone();
    set_bundle(&cluster, json!(BASE64_STANDARD.encode("not a certificate"))).await;
    until("written again", || bundles(&cluster)[0] == ours).await;
    replica.trusted().await;
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_garbled_heals_without_a_gap() {
    let cluster = cluster().await;
    let replica = Replica::start(&cluster.kubeconfig()).await.unwrap();
    replica.trusted().await;
    let first = stored(&cluster).unwrap();
    let api = cluster.api();
    let options = Delete::default();
    api.delete(&resource::SECRETS, NAME, "podrefresh-tls", &options)
        .unwrap();
    until("made again", || stored(&cluster).is_some()).await;
    let second = stored(&cluster).unwrap();
    assert_eq!(second.authorities, first.authorities);
    for key in ["tls.key", "tls.crt", "ca.crt"] {
        let before = stored(&cluster).unwrap();
        set_secret(&cluster, key, "garbage").await;
        let healed = || {
            stored(&cluster).is_some_and(|now| {
                now.chain != before.chain
                    && now.certified_key().is_ok()
                    && !now.authorities.contains("garbage")
            })
        };
        until(key, healed).await;
        until("served", || serves(&replica, &stored(&cluster).unwrap())).await;
        replica.trusted().await;
    }
}

/// Returns whether `replica` serves the certificate in `material`.
fn serves(replica: &Replica, material: &Material) -> bool {
    let served = replica.serving.certificate().expect("something is served");
    served == chain::certificates(material.chain.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_bundle_that_is_cert_managers_is_not_touched() {
    let cluster = cluster().await;
    let theirs = json!(BASE64_STANDARD.encode("theirs"));
    let annotate = |object: &mut Value| {
        object["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "a/b"});
        object["webhooks"][0]["clientConfig"]["caBundle"] = theirs.clone();
    };
    let api = cluster.api();
    let annotated = api.update(&resource::MUTATING_WEBHOOKS, "", NAME, annotate);
    annotated.await.unwrap();
    let replica = Replica::start(&cluster.kubeconfig()).await.unwrap();
    let check = || replica.serving.check(UnixTime::now());
    until("mismatch", || {
        matches!(check(), Err(Untrusted::Mismatch(_)))
    })
    .await;
    // Whatever happens next; then the annotation goes, and the bundle is ours to keep.
    store(&cluster, &rotation::late()).await;
    until("followed", || {
        stored(&cluster).is_some_and(|m| m.next_key.is_some())
    })
    .await;
    assert_eq!(bundles(&cluster)[0].as_deref(), Some("theirs"));
    let clear = |object: &mut Value| object["metadata"]["annotations"] = json!({});
    let cleared = api.update(&resource::MUTATING_WEBHOOKS, "", NAME, clear);
    cleared.await.unwrap();
    replica.trusted().await;
}

#[tokio::test]
async fn a_start_waits_for_an_api_server_that_is_busy() {
    let cluster = cluster().await;
    let busy = cluster
        .faults()
        .inject(Effect::TooManyRequests(1), |_| true);
    let kubeconfig = cluster.kubeconfig();
    let replica = tokio::spawn(async move { Replica::start(&kubeconfig).await });
    let refused = |e: &testbed::journal::Entry| e.status == 429;
    assert!(cluster.journal().wait_for(2, SOON, refused).await);
    assert!(!replica.is_finished());
    drop(busy);
    replica.await.unwrap().unwrap().trusted().await;
}

#[tokio::test]
async fn a_start_without_rights_says_so_at_once() {
    let cluster = cluster().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": NAME}});
    cluster.install(vec![account]).await.unwrap();
    let kubeconfig = cluster.kubeconfig_for(NAME, "nobody").unwrap();
    let error = Replica::start(&kubeconfig).await.err().unwrap();
    let said = crate::error::Chain(&error).to_string();
    assert!(
        said.starts_with(
            "could not read Secret podrefresh-tls: secrets \"podrefresh-tls\" is forbidden"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn without_a_configuration_there_is_no_readiness_and_with_one_there_is() {
    let cluster = cluster().await;
    let api = cluster.api();
    let configuration = api.get(&resource::MUTATING_WEBHOOKS, "", NAME).unwrap();
    let delete = || {
        let deleted = api.delete(&resource::MUTATING_WEBHOOKS, "", NAME, &Delete::default());
        deleted.unwrap();
    };
    delete();
    let replica = Replica::start(&cluster.kubeconfig()).await.unwrap();
    let check = || replica.serving.check(UnixTime::now());
    until("absent", || matches!(check(), Err(Untrusted::Absent))).await;
    let mut again = (*configuration).clone();
    again["metadata"] = json!({"name": NAME});
    cluster.install(vec![again]).await.unwrap();
    replica.trusted().await;
    delete();
    until("absent", || matches!(check(), Err(Untrusted::Absent))).await;
}
