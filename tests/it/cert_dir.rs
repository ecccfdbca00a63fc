//! `--cert-dir` serves what `podrefresh certs` writes, follows the kubelet's way to replace files, and leaves Secret and
//! caBundle to their owner.

use std::{fs, os::unix::fs::symlink, path::Path};

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::support::{
    folder::Folder,
    kube::eventually,
    look::on_testbed,
    program::Program,
    world::{HOME, World},
};

const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// A Secret as the kubelet mounts it: files that lead through the link `..data`, which is replaced as one.
struct Volume(Folder);

impl Volume {
    fn new() -> Self {
        let folder = Folder::new();
        for file in FILES {
            symlink(Path::new("..data").join(file), folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    /// Brings the files of `from` in as a new version.
    fn update(&self, version: &str, from: &Path) {
        let root = self.0.path();
        fs::create_dir(root.join(version)).unwrap();
        for file in FILES {
            fs::copy(from.join(file), root.join(version).join(file)).unwrap();
        }
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }
}

/// Runs `podrefresh certs` into a new folder.
async fn certs() -> Folder {
    let folder = Folder::new();
    let outcome = Program::new(["certs", "--out", folder.path().to_str().unwrap()])
        .run()
        .await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    folder
}

fn authority(certs: &Folder) -> ByteString {
    ByteString(fs::read(certs.path().join("ca.crt")).unwrap())
}

fn webhooks(world: &World) -> Api<MutatingWebhookConfiguration> {
    Api::all(world.kube.0.clone())
}

async fn trust(world: &World, bundle: &ByteString) {
    trust_by(&webhooks(world), bundle).await;
    let validating = Api::<ValidatingWebhookConfiguration>::all(world.kube.0.clone());
    trust_by(&validating, bundle).await;
}

/// Writes the caBundle of the two webhooks of one configuration.
async fn trust_by<K: Clone + std::fmt::Debug + DeserializeOwned>(
    all: &Api<K>,
    bundle: &ByteString,
) {
    let path = |nth: usize| format!("/webhooks/{nth}/clientConfig/caBundle");
    let patch = [0, 1].map(|nth| json!({"op": "add", "path": path(nth), "value": bundle}));
    let patch = Patch::<()>::Json(serde_json::from_value(json!(patch)).unwrap());
    all.patch("podrefresh", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn bundle(world: &World) -> Option<ByteString> {
    let configuration = webhooks(world).get("podrefresh").await.unwrap();
    configuration.webhooks.unwrap()[0]
        .client_config
        .ca_bundle
        .clone()
}

/// Waits until a new pod gets its stamp.
async fn check_stamps(world: &World) {
    let (image, _) = world.push("shop/web", "stable", "1");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-"},
        "spec": {"containers": [{"name": "app", "image": image}]},
    });
    eventually("a stamped pod", || async {
        let path = "/api/v1/namespaces/shop/pods?dryRun=All";
        let (_, _, pod) = world.send("POST", path, &pod).await;
        pod["metadata"]["annotations"].is_object().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_and_followed_and_nothing_of_others_is_written() {
    let mut world = World::start().await;
    world.kube.opted_in("shop").await;
    let (first, second) = (certs().await, certs().await);
    let volume = Volume::new();
    volume.update("..1", first.path());
    let flag = format!("--cert-dir={}", volume.0.path().display());
    world.unready(&[&flag]).await;
    // Nobody trusts it yet, and it does not help itself.
    let unready = world.controllers()[0].readiness(503).await;
    assert!(unready.contains("[-]certificate failed: "), "{unready}");
    trust(&world, &authority(&first)).await;
    world.controllers()[0].readiness(200).await;
    check_stamps(&world).await;

    // New files come first, and wait for their authority.
    volume.update("..2", second.path());
    check_stamps(&world).await;
    let both = [authority(&first).0, authority(&second).0].concat();
    trust(&world, &ByteString(both)).await;
    check_stamps(&world).await;
    trust(&world, &authority(&second)).await;
    world.controllers()[0].readiness(200).await;
    check_stamps(&world).await;

    // A bundle that is neither's makes us unready, and stays.
    let foreign = authority(&certs().await);
    trust(&world, &foreign).await;
    world.controllers()[0].readiness(503).await;
    assert_eq!(bundle(&world).await, Some(foreign));
    trust(&world, &authority(&second)).await;
    world.controllers()[0].readiness(200).await;

    let secret = world
        .kube
        .api::<Secret>(HOME)
        .get_opt("podrefresh-tls")
        .await;
    assert_eq!(secret.unwrap(), None);
    if on_testbed() {
        let ours = |entry: &testbed::journal::Entry| {
            entry.user.contains("serviceaccount:podrefresh")
                && entry.is("patch", "mutatingwebhookconfigurations")
        };
        assert_eq!(world.testbed().cluster.journal().count(ours), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_signs_itself_is_ready_once_it_is_the_ca_bundle() {
    let mut world = World::start().await;
    let name = format!("podrefresh.{HOME}.svc");
    let mut params = CertificateParams::new([name]).unwrap();
    // As `openssl req -x509` makes them.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let folder = Folder::new();
    folder.write("tls.crt", &certificate);
    folder.write("tls.key", &key.serialize_pem());
    let flag = format!("--cert-dir={}", folder.path().display());
    world.unready(&[&flag]).await;
    world.controllers()[0].readiness(503).await;
    trust(&world, &ByteString(certificate.into_bytes())).await;
    world.controllers()[0].readiness(200).await;
}
