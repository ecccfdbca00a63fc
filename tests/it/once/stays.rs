//! Evicted pods that do not go away: the run ends without them, and says so.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{check, namespace, run, world};
use crate::support::{kube::name, program::Outcome, simulated::Setup, world::World};

/// Has a pod stay when it is deleted, or lets it go.
async fn hold(world: &World, home: &str, pod: &str, finalizers: Value) {
    let patch = json!({"metadata": {"finalizers": finalizers}});
    world.kube.patch::<Pod>(home, pod, patch).await;
}

/// Checks how a run ends whose pod of an owner does not go away once it is evicted.
async fn check_stays(home: &str, owner: Owner, code: i32, expected: Value) -> Outcome {
    let world = world(Setup::default()).await;
    let (image, old) = world.push("shop/web", "stable", "1");
    namespace(&world, home).await;
    match owner {
        Owner::Deployment => world.kube.deployment(home, "web", 1, &image).await,
        Owner::StatefulSet => world.kube.stateful_set(home, "web", 1, &image).await,
    }
    let pod = name(&world.kube.running(home, 1, &old).await[0]).to_owned();
    world.push("shop/web", "stable", "2");
    hold(&world, home, &pod, json!(["example.org/hold"])).await;
    let outcome = run(&world, &["-n", home, "--progress-deadline=3s"]).await;
    hold(&world, home, &pod, Value::Null).await;
    check(&outcome, code, &expected);
    let stays = json!([format!("{home}/{pod}")]);
    let expected = json!({"end": "done", "evicted": 1, "left": 0, "terminating": stays});
    check(&outcome, code, &expected);
    outcome
}

/// Who makes a new pod at once, and who only when the old one is gone.
enum Owner {
    Deployment,
    StatefulSet,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_does_not_go_away_is_not_waited_for() {
    check_stays("once-stays", Owner::Deployment, 0, json!({"unready": []})).await;
    // Nothing comes in its place, and that is waited for in its time.
    let unready = json!({"unready": ["once-lasts/StatefulSet/web"]});
    let outcome = check_stays("once-lasts", Owner::StatefulSet, 1, unready).await;
    assert_eq!(
        outcome.complaint(),
        "error: 1 workload waits for a replacement to become Ready, 1 pod is still terminating"
    );
}
