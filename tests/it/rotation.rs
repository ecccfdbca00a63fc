//! Pods are created all the while certificates and authorities are replaced and replicas restart: each gets its stamps.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::Api;
use podrefresh::tls::{
    authority::Authority,
    material::{Material, Names},
};
use rustls_pki_types::UnixTime;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{
    kube::{Kube, eventually},
    world::{HOME, World},
};

const SECRET: &str = "podrefresh-tls";

const DAY: u64 = 24 * 60 * 60;

fn ago(days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - days * DAY))
}

/// Returns what the Secret holds.
async fn stored(world: &World) -> Material {
    let secret = world.kube.api::<Secret>(HOME).get(SECRET).await.unwrap();
    Material::read(&secret.data.unwrap()).unwrap()
}

async fn store(world: &World, material: &Material) {
    let mut data: BTreeMap<String, Value> =
        BTreeMap::from([("next-ca.key".to_owned(), Value::Null)]);
    let bytes = |bytes: ByteString| serde_json::to_value(bytes).unwrap();
    data.extend(
        material
            .write()
            .into_iter()
            .map(|(key, value)| (key, bytes(value))),
    );
    world
        .kube
        .patch::<Secret>(HOME, SECRET, json!({"data": data}))
        .await;
}

/// Returns `material` with a certificate by its authority that was issued 280 days ago: it has 85 more.
fn aged(material: &Material) -> Material {
    let names = Names::of("podrefresh", HOME).unwrap();
    let authority = Authority::restore(material.authority_key.as_ref().unwrap()).unwrap();
    let leaf = authority.issue(&names.all, ago(280)).unwrap();
    Material {
        chain: leaf.certificate,
        key: leaf.key,
        ..material.clone()
    }
}

/// Returns `material`, aged, as if its authority could not sign again and another had been announced two days ago.
fn announced(material: &Material) -> Material {
    let names = Names::of("podrefresh", HOME).unwrap();
    let lost = Material {
        authority_key: Some("lost".to_owned()),
        ..aged(material)
    };
    lost.advanced(&names, ago(2), |_| false).unwrap().unwrap()
}

/// Waits until the Secret holds another certificate than `before`, and every webhook trusts its authorities.
async fn replaced(world: &World, before: &Material) -> Material {
    let configurations = Api::<MutatingWebhookConfiguration>::all(world.kube.0.clone());
    eventually("a new certificate that is trusted", || async {
        let now = stored(world).await;
        let configuration = configurations.get("podrefresh").await.unwrap();
        let mut webhooks = configuration.webhooks.into_iter().flatten();
        let is_trusted = webhooks.all(|webhook| {
            let bundle = webhook.client_config.ca_bundle.unwrap_or_default();
            bundle.0 == now.authorities.as_bytes()
        });
        (now.chain != before.chain && is_trusted).then_some(now)
    })
    .await
}

/// Creates pods without end, and remembers what became of them.
struct Stream {
    stop: Arc<AtomicBool>,
    stamped: Arc<AtomicUsize>,
    /// Returns the answers that were no stamped pod.
    task: JoinHandle<Vec<String>>,
}

impl Stream {
    fn begin(kube: &Kube, image: &str, digest: &str) -> Self {
        let (stop, stamped) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-"},
            "spec": {"containers": [{"name": "app", "image": image}]},
        });
        let creating = {
            let (kube, digest, stop, stamped) = (
                kube.0.clone(),
                digest.to_owned(),
                stop.clone(),
                stamped.clone(),
            );
            async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request =
                        axum::http::Request::post("/api/v1/namespaces/shop/pods?dryRun=All")
                            .header("content-type", "application/json")
                            .body(pod.to_string().into_bytes())
                            .unwrap();
                    match kube.request::<Value>(request).await {
                        Ok(pod)
                            if pod["metadata"]["annotations"]["digest.podrefresh.io/app"]
                                == *digest =>
                        {
                            stamped.fetch_add(1, Ordering::Relaxed);
                        }
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            }
        };
        Self {
            stop,
            stamped,
            task: tokio::spawn(creating),
        }
    }

    /// Waits for so many more stamped pods.
    async fn flows(&self, more: usize) {
        let goal = self.stamped.load(Ordering::Relaxed) + more;
        let reached = async || (goal <= self.stamped.load(Ordering::Relaxed)).then_some(());
        eventually("more stamped pods", reached).await;
    }

    async fn check_all_stamped(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.unwrap();
        let stamped = self.stamped.load(Ordering::Relaxed);
        assert!(
            failed.is_empty(),
            "{} of {} pods were refused or have no stamp, first {}",
            failed.len(),
            failed.len() + stamped,
            failed[0]
        );
    }
}

/// Restarts all replicas, one after the other.
async fn restart(world: &mut World, stream: &Stream) {
    for _ in 0..world.controllers().len() {
        world.replace_first(&[]).await;
        stream.flows(10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pod_is_stamped_while_certificates_rotate_and_replicas_restart() {
    let mut world = World::running(&[]).await;
    world.controller(&[]).await;
    world.kube.opted_in("shop").await;
    let (image, digest) = world.push("shop/web", "stable", "1");
    // On a real control plane the webhook configuration reaches the API server's own copy a moment later.
    let stamped = async || {
        let stream = Stream::begin(&world.kube, &image, &digest);
        stream.stop.store(true, Ordering::Relaxed);
        (stream.task.await.unwrap().is_empty()).then_some(())
    };
    eventually("the first stamped pod", stamped).await;
    let stream = Stream::begin(&world.kube, &image, &digest);
    stream.flows(10).await;

    // The certificate alone.
    let first = stored(&world).await;
    let old = aged(&first);
    store(&world, &old).await;
    let second = replaced(&world, &old).await;
    assert_eq!(second.authorities, first.authorities);
    stream.flows(10).await;
    restart(&mut world, &stream).await;

    // The authority, twice; replicas come and go in the middle of the second time.
    let old = announced(&second);
    store(&world, &old).await;
    let third = replaced(&world, &old).await;
    assert_ne!(third.authority_key, second.authority_key);
    stream.flows(10).await;
    restart(&mut world, &stream).await;
    let old = announced(&third);
    store(&world, &old).await;
    restart(&mut world, &stream).await;
    let fourth = replaced(&world, &old).await;
    // A cluster that was here before may have some already; there are four at most.
    let count = |material: &Material| material.authorities.matches("BEGIN").count();
    assert_eq!(count(&fourth), 4.min(count(&first) + 2));
    stream.flows(10).await;

    stream.check_all_stamped().await;
    for controller in world.controllers() {
        controller.readiness(200).await;
    }
}
