//! The rights in the component are those that a run uses: no call without a right, no right without a call.

use serde_json::json;
use testbed::{
    images::Format,
    registry::{Auth, User},
};

use super::{ACCOUNT, COMPONENT, check, namespace, run, world};
use crate::{
    rbac::{compare, rights},
    support::{kube::workload, look::on_testbed, simulated::Setup},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_components_rights_are_those_that_are_used() {
    // A real API server keeps no journal of who has asked for what.
    if !on_testbed() {
        return;
    }
    let auth = Auth::Basic(vec![User::new("ann", "password")]);
    let world = world(Setup {
        auth,
        ..Setup::default()
    })
    .await;
    let kube = &world.kube;
    let (image, old) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("1"));
    namespace(&world, "shop").await;
    let host = world.registry.host();
    kube.pull_secret("shop", "pull", &host, "ann", "password")
        .await;
    let template = json!({"spec": {"imagePullSecrets": [{"name": "pull"}]}});
    let one = json!({"replicas": 1, "template": template});
    kube.create::<k8s_openapi::api::apps::v1::Deployment>(
        "shop",
        workload("web", &image, one.clone()),
    )
    .await;
    kube.create::<k8s_openapi::api::apps::v1::ReplicaSet>(
        "shop",
        workload("set", &image, one.clone()),
    )
    .await;
    let mut db = workload("db", &image, one.clone());
    db["spec"]["serviceName"] = json!("db");
    kube.create::<k8s_openapi::api::apps::v1::StatefulSet>("shop", db)
        .await;
    let agent = workload("agent", &image, json!({"template": template}));
    kube.create::<k8s_openapi::api::apps::v1::DaemonSet>("shop", agent)
        .await;
    let mut controller = workload("old", &image, one);
    controller["spec"]["selector"] = json!({"app": "old"});
    kube.create::<k8s_openapi::api::core::v1::ReplicationController>("shop", controller)
        .await;
    kube.running("shop", 7, &old).await;
    let (_, new) = world.push_image("shop/web", "stable", &Format::Oci.multi_platform("2"));
    let outcome = run(&world, &[]).await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
    kube.running("shop", 7, &new).await;

    // Of those that can be restarted, the same by a restart; the others are held.
    let wish = json!({"metadata": {"annotations": {"podrefresh.io/strategy": "restart"}}});
    kube.patch_namespace("shop", wish).await;
    world.push_image("shop/web", "stable", &Format::Oci.multi_platform("3"));
    let outcome = run(&world, &[]).await;
    let expected = json!({"restarted": 5, "held": {"no_rollout": 2}, "failed": 0});
    check(&outcome, 1, &expected);
    let account = format!("system:serviceaccount:podrefresh:{ACCOUNT}");
    compare(&world, &account, &rights(COMPONENT), COMPONENT);
}
