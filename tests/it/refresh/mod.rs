//! Outdated pods go, as fast as they may, and nothing else does.

use k8s_openapi::api::core::v1::Pod;

use crate::support::{
    kube::{annotation, image_id, name},
    world::World,
};

mod budgets;
mod faults;
mod left_alone;
mod pace;
mod requests;
mod secrets;
mod wishes;

/// Returns the pods' uids, in the order of their names.
fn uids(pods: &[Pod]) -> Vec<&str> {
    pods.iter()
        .filter_map(|pod| pod.metadata.uid.as_deref())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_turns_all_pods_over_within_the_budget() {
    let world = World::running(&[]).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.budget("shop", "web", "web", 2).await;
    world.kube.deployment("shop", "web", 3, &image).await;
    for pod in world.kube.running("shop", 3, &old).await {
        assert_eq!(
            annotation(&pod, "digest.podrefresh.io/app"),
            old,
            "{}",
            name(&pod)
        );
        assert_eq!(
            annotation(&pod, "image.podrefresh.io/app"),
            image,
            "{}",
            name(&pod)
        );
    }

    let (_, new) = world.push("shop/web", "stable", "2");
    for pod in world.kube.running("shop", 3, &new).await {
        assert_eq!(
            annotation(&pod, "digest.podrefresh.io/app"),
            new,
            "{}",
            name(&pod)
        );
        assert!(image_id(&pod).ends_with(&new));
    }
}
