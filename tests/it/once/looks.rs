//! What a run asks registries for: as little as will do, and twice before it acts.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use testbed::registry::{Auth, Bearer, Seen, Target, User};

use super::{check, namespace, program, run, states, world};
use crate::support::{
    kube::{eventually, name, workload},
    simulated::Setup,
    world::World,
};

/// Returns what podrefresh has asked for.
fn asked(world: &World, target: &Target) -> Vec<Seen> {
    let mut asked = world.registry.requests(target);
    asked.retain(|it| it.agent.starts_with("podrefresh/"));
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pods_of_an_image_are_one_question_by_head_with_one_token() {
    let user = User::new("ann", "a-password");
    let auth = Auth::Bearer(Bearer::new([user]));
    let world = world(Setup {
        auth,
        ..Setup::default()
    })
    .await;
    let (image, digest) = world.push("team/app", "stable", "1");
    let home = "once-head";
    namespace(&world, home).await;
    let host = world.registry.host();
    let kube = &world.kube;
    kube.pull_secret(home, "pull", &host, "ann", "a-password")
        .await;
    let template = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let spec = json!({"replicas": 3, "template": template});
    for name in ["one", "two"] {
        let object = workload(name, &image, spec.clone());
        kube.create::<k8s_openapi::api::apps::v1::Deployment>(home, object)
            .await;
    }
    kube.running(home, 6, &digest).await;
    let outcome = run(&world, &["-n", home]).await;
    check(&outcome, 0, &json!({"checked": 6, "current": 6}));
    let manifests = asked(&world, &Target::manifests());
    let manifests: Vec<_> = (manifests.iter())
        .map(|it| (&it.method, it.status))
        .collect();
    assert_eq!(manifests, [(&Method::HEAD, Some(200))], "{outcome}");
    assert_eq!(asked(&world, &Target::tokens()).len(), 1, "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_moved_to_and_fro_evicts_nothing() {
    let world = world(Setup::default()).await;
    let home = "once-fro";
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, home).await;
    world.kube.deployment(home, "web", 1, &image).await;
    let before = world.kube.running(home, 1, &old).await;
    world.push("shop/web", "stable", "2");
    let flags = ["-n", home, "--confirm-after=3s"];
    let process = program(&world, &flags).await.start();
    let heads = Target::manifests().method(Method::HEAD);
    eventually("the first look", async || {
        let asked = asked(&world, &heads);
        asked.iter().any(|it| it.status == Some(200)).then_some(())
    })
    .await;
    // Who acts at first sight has the time to.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.push("shop/web", "stable", "1");
    let outcome = process.ended().await;
    let expected = json!({"evicted": 0, "left": 0, "failed": 0, "end": "done"});
    check(&outcome, 0, &expected);
    // It was outdated for a moment.
    assert_eq!(states(&outcome), ["settled"], "{outcome}");
    let after = world.kube.running(home, 1, &old).await;
    assert_eq!(name(&after[0]), name(&before[0]));
}
