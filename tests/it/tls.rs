//! The certificate heals whatever is done to its Secret and to the webhook configuration.

use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::pki::Authority;

use crate::support::{
    kube::eventually,
    look::on_testbed,
    world::{HOME, World},
};

const SECRET: &str = "podrefresh-tls";

fn webhooks(world: &World) -> Api<MutatingWebhookConfiguration> {
    Api::all(world.kube.0.clone())
}

/// Returns the authorities that the API server trusts the webhook by.
async fn bundle(world: &World) -> Option<ByteString> {
    let configuration = webhooks(world).get("podrefresh").await.unwrap();
    configuration.webhooks.unwrap()[0]
        .client_config
        .ca_bundle
        .clone()
}

async fn set_bundle(world: &World, bundle: serde_json::Value) {
    let patch =
        json!([{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
    webhooks(world)
        .patch("podrefresh", &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// Checks that the API server gets stamps from the webhook: names, certificate and caBundle fit.
async fn check_trusted(world: &World) {
    let (image, _) = world.push("shop/web", "stable", "1");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "try-"},
        "spec": {"containers": [{"name": "app", "image": image}]},
    });
    let stamped = async || {
        let path = "/api/v1/namespaces/shop/pods?dryRun=All";
        let (_, _, pod) = world.send("POST", path, &pod).await;
        pod["metadata"]["annotations"].is_object().then_some(())
    };
    eventually("a stamped pod", stamped).await;
}

async fn world() -> World {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    check_trusted(&world).await;
    world
}

async fn secret(world: &World) -> Option<Secret> {
    world
        .kube
        .api::<Secret>(HOME)
        .get_opt(SECRET)
        .await
        .unwrap()
}

/// Waits until the Secret holds a certificate other than `before`'s and the same authority as the caBundle.
async fn healed(world: &World) -> Secret {
    eventually("a Secret that is whole", || async {
        let found = secret(world).await?;
        let data = found.data.as_ref()?;
        let text = |key: &str| {
            data.get(key)
                .map(|value| String::from_utf8_lossy(&value.0).into_owned())
        };
        let whole = text("tls.crt")?.contains("BEGIN CERTIFICATE")
            && text("tls.key")?.contains("BEGIN PRIVATE KEY");
        whole.then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_made_again() {
    let world = world().await;
    let before = secret(&world).await.unwrap();
    let secrets = world.kube.api::<Secret>(HOME);
    secrets
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    let after = healed(&world).await;
    assert_ne!(before.metadata.uid, after.metadata.uid);
    check_trusted(&world).await;
    world.controllers()[0].readiness(200).await;
}

/// Checks that a Secret that is of no use any more is made whole again, and keeps what is none of ours.
async fn check_heals(data: serde_json::Value) {
    let world = world().await;
    let patch = json!({"metadata": {"labels": {"kept": "yes"}}, "data": data});
    world.kube.patch::<Secret>(HOME, SECRET, patch).await;
    let after = healed(&world).await;
    let labels = after.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("kept").map(String::as_str), Some("yes"));
    check_trusted(&world).await;
    world.controllers()[0].readiness(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_certificate_is_replaced() {
    check_heals(json!({"tls.crt": "Z2FyYmFnZQ=="})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbled_key_is_replaced() {
    check_heals(json!({"tls.key": "Z2FyYmFnZQ=="})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_secret_is_filled() {
    // Its type demands the two keys, not that they hold anything.
    check_heals(json!({"tls.crt": "", "tls.key": "", "ca.crt": null})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_bundle_is_replaced() {
    let world = world().await;
    let ours = bundle(&world).await;
    let foreign = ByteString(Authority::new("foreign").unwrap().pem().into_bytes());
    set_bundle(&world, serde_json::to_value(&foreign).unwrap()).await;
    let back = async || (bundle(&world).await == ours).then_some(());
    eventually("our caBundle", back).await;
    check_trusted(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_taken_away_comes_back() {
    let world = world().await;
    let ours = bundle(&world).await;
    let name = "podrefresh";
    let patch = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch).unwrap());
    webhooks(&world)
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let back = async || (bundle(&world).await == ours).then_some(());
    eventually("our caBundle", back).await;
    check_trusted(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_configuration_that_is_made_later_is_trusted() {
    let mut world = World::start().await;
    let mut configuration = webhooks(&world).get("podrefresh").await.unwrap();
    webhooks(&world)
        .delete("podrefresh", &DeleteParams::default())
        .await
        .unwrap();
    // Without a configuration nobody can trust us, and nobody need.
    world.kube.opted_in("shop").await;
    world.unready(&[]).await;
    world.controllers()[0].readiness(503).await;
    configuration.metadata = kube::api::ObjectMeta {
        name: Some("podrefresh".to_owned()),
        ..Default::default()
    };
    for webhook in configuration.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = None;
    }
    webhooks(&world)
        .create(&Default::default(), &configuration)
        .await
        .unwrap();
    world.controllers()[0].readiness(200).await;
    check_trusted(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_unready_while_the_bundle_is_foreign() {
    if !on_testbed() {
        return;
    }
    use testbed::faults::Effect;
    let world = world().await;
    let controller = &world.controllers()[0];
    assert!(
        controller
            .readiness(200)
            .await
            .contains("[+]certificate ok")
    );
    // Its repair is refused for a while.
    let faults = world.testbed().cluster.faults();
    let guard = faults.inject(Effect::InternalError, |seen| {
        seen.verb == "patch"
            && seen.resource == "mutatingwebhookconfigurations"
            && seen.user.contains("podrefresh")
    });
    let foreign = ByteString(Authority::new("foreign").unwrap().pem().into_bytes());
    set_bundle(&world, serde_json::to_value(&foreign).unwrap()).await;
    let text = controller.readiness(503).await;
    assert!(text.contains("[-]certificate failed: "), "{text}");
    drop(guard);
    controller.readiness(200).await;
    check_trusted(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_shares_the_certificate() {
    if !on_testbed() {
        return;
    }
    let mut world = world().await;
    let (before, trusted) = (secret(&world).await, bundle(&world).await);
    world.controller(&[]).await;
    assert_eq!(secret(&world).await, before);
    assert_eq!(bundle(&world).await, trusted);
    // The second one alone is trusted as well.
    world.stop_first().await;
    check_trusted(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_start_together_agree() {
    if !on_testbed() {
        return;
    }
    let mut world = World::start().await;
    world.kube.opted_in("shop").await;
    world.unready(&[]).await;
    world.unready(&[]).await;
    for controller in world.controllers() {
        controller.readiness(200).await;
    }
    // Calls alternate between the two.
    for _ in 0..4 {
        check_trusted(&world).await;
    }
}
