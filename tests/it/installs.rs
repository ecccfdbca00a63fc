//! Installing, installing over it and removing, by real kubectl: nothing is lost on the way, and nothing stays.

use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::Secret,
    rbac::v1::ClusterRole,
};
use kube::Api;
use serde_json::Value;

use crate::support::{
    hands::Hands,
    kube::{annotation, eventually},
    kubectl::Kubectl,
    overlay::{Overlay, components},
    skip::{Missing, need},
    world::{HOME, World},
    yaml::list,
};

/// The next version, as an overlay names it.
const NEXT: &str = "9.9.9";

/// Returns kubectl for a test that installs and removes podrefresh, which other tests of a real cluster need.
fn kubectl() -> Result<Kubectl, Missing> {
    match std::env::var_os("PODREFRESH_TEST_KUBECONFIG") {
        None => Kubectl::find(),
        Some(_) => Err(Missing("it wants a cluster of its own".to_owned())),
    }
}

/// Returns the overlay of the next version with all components that ask for nothing of others.
fn next(kubectl: &Kubectl) -> Overlay {
    let is_plain = |name: &String| {
        let objects = Overlay::with(&[name]).render(kubectl);
        let mut versions = objects.iter().map(|it| it["apiVersion"].as_str().unwrap());
        versions.all(|it| !it.contains('.') || it.contains(".k8s.io/"))
    };
    let names: Vec<String> = components().into_iter().filter(is_plain).collect();
    assert!(3 <= names.len(), "{names:?}");
    let lines: Vec<String> = names
        .iter()
        .map(|it| format!("  - '@/components/{it}'\n"))
        .collect();
    Overlay::new(&format!(
        "resources: ['@/base']\ncomponents:\n{}images: [{{name: ghcr.io/podrefresh/podrefresh, newTag: {NEXT}}}]\n",
        lines.concat()
    ))
}

/// Returns the caBundles of all four webhooks.
async fn bundles(world: &World) -> Vec<Vec<u8>> {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(world.kube.0.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(world.kube.0.clone());
    let (mutating, validating) = (
        mutating.get("podrefresh").await.unwrap().webhooks.unwrap(),
        validating
            .get("podrefresh")
            .await
            .unwrap()
            .webhooks
            .unwrap(),
    );
    let mutating = mutating.into_iter().map(|it| it.client_config.ca_bundle);
    let validating = validating.into_iter().map(|it| it.client_config.ca_bundle);
    let bundles = mutating.chain(validating);
    bundles
        .map(|it| it.map(|it| it.0).unwrap_or_default())
        .collect()
}

/// Returns what each object of an overlay is and its version; all of them must be there.
async fn versions(hands: &Hands, folder: &str) -> Vec<String> {
    let found = hands.run(&format!("kubectl get -k {folder} -o json")).await;
    let found: Value = serde_json::from_str(&found).unwrap();
    let version = |object: &Value| {
        let metadata = &object["metadata"];
        format!(
            "{} {} {}",
            object["kind"], metadata["name"], metadata["resourceVersion"]
        )
    };
    list(&found, "/items").iter().map(version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_what_the_controller_wrote_and_a_removal_leaves_nothing() {
    let Some(kubectl) = need(kubectl()) else {
        return;
    };
    let next = next(&kubectl);
    let folder = next.path().display().to_string();
    let mut world = World::untouched().await;
    world.push("podrefresh/podrefresh", NEXT, "theirs");
    let hands = Hands::new(kubectl, &world);
    let rollout = "kubectl -n podrefresh rollout status deployment/podrefresh";
    hands.run("kubectl apply -k manifests").await;
    hands.run(rollout).await;
    world.controller(&[]).await;
    let secrets: Api<Secret> = world.kube.api(HOME);
    let (bundle, secret) = (
        bundles(&world).await,
        secrets.get("podrefresh-tls").await.unwrap(),
    );
    assert!(bundle.iter().all(|it| !it.is_empty()));
    let roles: Api<ClusterRole> = Api::all(world.kube.0.clone());
    let may_read = async || {
        let role = roles.get("podrefresh").await.unwrap();
        let mut rules = role.rules.into_iter().flatten();
        rules.any(|rule| {
            rule.resources
                .is_some_and(|it| it.contains(&"secrets".to_owned()))
        })
    };
    assert!(may_read().await);

    // Installing the next one over it.
    let upgraded = hands.run(&format!("kubectl apply -k {folder}")).await;
    assert!(
        upgraded.contains("deployment.apps/podrefresh configured")
            && upgraded.contains("cronjob.batch/podrefresh-once created"),
        "{upgraded}"
    );
    hands.run(rollout).await;
    let image = "kubectl -n podrefresh get pods -l app.kubernetes.io/component=controller -o jsonpath='{.items[*].spec.containers[0].image}'";
    let image = hands.run(image).await;
    assert!(image.split(' ').all(|it| it.ends_with(NEXT)), "{image}");
    assert_eq!(bundles(&world).await, bundle);
    let kept = secrets.get("podrefresh-tls").await.unwrap();
    assert_eq!(
        kept.metadata.resource_version,
        secret.metadata.resource_version
    );
    assert!(
        !may_read().await,
        "what a component takes away is taken away"
    );

    // Once more changes nothing. The budget counts a moment longer than the rollout.
    let before = eventually("a quiet cluster", async || {
        let before = versions(&hands, &folder).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        (versions(&hands, &folder).await == before).then_some(before)
    })
    .await;
    let again = hands.run(&format!("kubectl apply -k {folder}")).await;
    assert_eq!(again.lines().count(), before.len(), "{again}");
    for line in again.lines() {
        // kubectl replaces a budget's selector by a patch that changes nothing.
        let budget = line.starts_with("poddisruptionbudget.policy/");
        assert!(budget || line.ends_with(" unchanged"), "{again}");
    }
    assert_eq!(versions(&hands, &folder).await, before);
    // What the controller has written is no difference to who compares with what was applied.
    let differs = hands.run(&format!("kubectl diff -k {folder}")).await;
    assert_eq!(differs, "");

    // It works on.
    let (image, digest) = world.push("shop/app", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let pods = world.kube.running("shop", 1, &digest).await;
    assert_eq!(annotation(&pods[0], "digest.podrefresh.io/app"), digest);

    // And all of it goes, for good and at once: no finalizer holds anything up.
    world.kill_first();
    hands
        .run(&format!("kubectl delete -k {folder} --ignore-not-found"))
        .await;
    let left = hands
        .run(&format!(
            "kubectl get -k {folder} --ignore-not-found 2>/dev/null || true"
        ))
        .await;
    assert_eq!(left, "");
    let everywhere = "kubectl get all,secrets,configmaps,roles,rolebindings,clusterroles,clusterrolebindings -A -l app.kubernetes.io/name=podrefresh -o name";
    assert_eq!(hands.run(everywhere).await, "");
    hands.run("kubectl -n shop delete pod --all").await;
    let pods = world.kube.running("shop", 1, &digest).await;
    assert_eq!(annotation(&pods[0], "digest.podrefresh.io/app"), "");
    if let Some(simulated) = &world.simulated {
        simulated.cluster.assert_clean();
    }
}
