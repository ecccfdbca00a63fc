use super::*;

#[tokio::test]
async fn a_replaced_pod_runs_the_new_digest() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            &resource::REPLICA_SETS,
            cluster.workload(&resource::REPLICA_SETS, "web", 1),
        )
        .await;
    cluster.until("it is ready", || cluster.ready() == 1).await;
    let old = cluster.pods()[0].clone();
    let new = cluster
        .registry
        .store("app", "latest", &Format::Oci.multi_platform("two"));
    cluster
        .api
        .delete(
            &resource::PODS,
            "default",
            object::name(&old),
            &Delete::default(),
        )
        .unwrap();
    let replaced = || {
        cluster.pods().iter().any(|pod| {
            let id = pod["status"]["containerStatuses"][0]["imageID"]
                .as_str()
                .unwrap_or_default();
            pods::is_ready(pod) && id.ends_with(&new)
        })
    };
    cluster
        .until("the replacement runs the new digest", replaced)
        .await;
    cluster
        .until("the old pod is gone", || cluster.pods().len() == 1)
        .await;
}

#[tokio::test]
async fn a_budget_follows_its_pods() {
    let cluster = Cluster::start().await;
    let allowed = |name: &str| {
        cluster.get(&resource::POD_DISRUPTION_BUDGETS, name)["status"]["disruptionsAllowed"]
            .as_i64()
    };
    for (name, spec) in [
        ("least", json!({ "minAvailable": 2 })),
        ("share", json!({ "minAvailable": "50%" })),
        ("most", json!({ "maxUnavailable": "30%" })),
    ] {
        let mut budget = json!({ "metadata": { "name": name }, "spec": spec });
        budget["spec"]["selector"] = json!({ "matchLabels": { "app": "web" } });
        cluster
            .create(&resource::POD_DISRUPTION_BUDGETS, budget)
            .await;
    }
    cluster
        .create(
            &resource::DEPLOYMENTS,
            cluster.workload(&resource::DEPLOYMENTS, "web", 5),
        )
        .await;
    // 50% of 5 is 3 to stay; 30% of 5 is 2 to go.
    let counted =
        || (allowed("least"), allowed("share"), allowed("most")) == (Some(3), Some(2), Some(2));
    cluster.until("all budgets are counted", counted).await;
    cluster.life.controllers.pause(Controller::ReplicaSet);
    let pod = cluster.pods()[0].clone();
    cluster
        .api
        .delete(
            &resource::PODS,
            "default",
            object::name(&pod),
            &Delete::default(),
        )
        .unwrap();
    cluster
        .until("one less may go", || allowed("most") == Some(1))
        .await;
    cluster.life.controllers.resume(Controller::ReplicaSet);
    cluster
        .until("the replacement counts", || allowed("most") == Some(2))
        .await;
}

#[tokio::test]
async fn a_deleted_deployment_takes_its_pods_along() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let cluster = Cluster::start().await;
        cluster
            .create(
                &resource::DEPLOYMENTS,
                cluster.workload(&resource::DEPLOYMENTS, "web", 2),
            )
            .await;
        cluster.until("it is ready", || cluster.ready() == 2).await;
        let options = Delete {
            propagation: Some(propagation),
            ..Delete::default()
        };
        cluster
            .api
            .delete(&resource::DEPLOYMENTS, "default", "web", &options)
            .unwrap();
        let gone = || {
            let web = cluster.api.get(&resource::DEPLOYMENTS, "default", "web");
            let left = cluster.pods().len() + cluster.api.list(&resource::REPLICA_SETS, None).len();
            let order = propagation == Propagation::Background || web.is_some() || left == 0;
            assert!(order, "the owner went before what it owned");
            web.is_none() && left == 0
        };
        cluster.until("all is gone", gone).await;
    }
}

#[tokio::test]
async fn orphans_stay() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            &resource::REPLICA_SETS,
            cluster.workload(&resource::REPLICA_SETS, "web", 2),
        )
        .await;
    cluster.until("it is ready", || cluster.ready() == 2).await;
    let options = Delete {
        propagation: Some(Propagation::Orphan),
        ..Delete::default()
    };
    cluster
        .api
        .delete(&resource::REPLICA_SETS, "default", "web", &options)
        .unwrap();
    let gone = || {
        cluster
            .api
            .get(&resource::REPLICA_SETS, "default", "web")
            .is_none()
    };
    cluster.until("the owner is gone", gone).await;
    assert_eq!(cluster.ready(), 2);
    assert!(
        cluster
            .pods()
            .iter()
            .all(|pod| object::controller(pod).is_none())
    );
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_first() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            &resource::DEPLOYMENTS,
            cluster.workload(&resource::DEPLOYMENTS, "web", 2),
        )
        .await;
    cluster.until("it is ready", || cluster.ready() == 2).await;
    cluster
        .api
        .delete(&resource::NAMESPACES, "", "default", &Delete::default())
        .unwrap();
    let gone = || {
        cluster
            .api
            .get(&resource::NAMESPACES, "", "default")
            .is_none()
    };
    cluster.until("the namespace is gone", gone).await;
    assert_eq!(cluster.pods().len(), 0);
}

#[tokio::test]
async fn nodes_that_show_up_late_get_the_waiting_pods() {
    let cluster = Cluster::start().await;
    let mut web = cluster.workload(&resource::REPLICA_SETS, "web", 1);
    web["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/arch": "arm64" });
    cluster.create(&resource::REPLICA_SETS, web).await;
    let unschedulable = || {
        cluster.pods().iter().any(|pod| {
            object::condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "Unschedulable")
        })
    };
    cluster
        .until("the pod cannot be scheduled", unschedulable)
        .await;
    let options = kubelet::Options {
        nodes: vec![kubelet::Node::new("arm", "z").architecture("arm64")],
        ..Default::default()
    };
    let _arm = kubelet::start(&cluster.api, options).await.unwrap();
    cluster
        .until("the pod is ready", || cluster.ready() == 1)
        .await;
    assert_eq!(cluster.pods()[0]["spec"]["nodeName"], "arm");
}

#[tokio::test]
async fn a_refused_pod_is_told_and_tried_again() {
    let cluster = Cluster::start().await;
    let mut web = cluster.workload(&resource::REPLICA_SETS, "web", 2);
    web["spec"]["template"]["spec"]["serviceAccountName"] = json!("absent");
    cluster.create(&resource::REPLICA_SETS, web).await;
    let failed = || {
        let web = cluster.get(&resource::REPLICA_SETS, "web");
        object::is_condition_true(&web, "ReplicaFailure")
    };
    cluster.until("the failure is told", failed).await;
    let account = json!({ "metadata": { "name": "absent" } });
    cluster.create(&resource::SERVICE_ACCOUNTS, account).await;
    cluster
        .until("the pods are made after all", || cluster.ready() == 2)
        .await;
    cluster.until("the failure is over", || !failed()).await;
}

#[tokio::test]
async fn a_budget_over_daemons_allows_nothing() {
    let cluster = Cluster::start().await;
    let mut set = cluster.workload(&resource::DAEMON_SETS, "agent", 0);
    set["spec"].as_object_mut().unwrap().remove("replicas");
    cluster.create(&resource::DAEMON_SETS, set).await;
    cluster
        .until("three are ready", || cluster.ready() == 3)
        .await;
    let selector = json!({ "matchLabels": { "app": "agent" } });
    let budget = json!({ "metadata": { "name": "b" }, "spec": { "maxUnavailable": 1, "selector": selector } });
    cluster
        .create(&resource::POD_DISRUPTION_BUDGETS, budget)
        .await;
    let told = || {
        let budget = cluster.get(&resource::POD_DISRUPTION_BUDGETS, "b");
        let condition = object::condition(&budget, "DisruptionAllowed")
            .cloned()
            .unwrap_or_default();
        condition["reason"] == "SyncFailed" && budget["status"]["disruptionsAllowed"] == 0
    };
    cluster.until("the budget fails", told).await;
}

#[tokio::test]
async fn a_paused_controller_catches_up() {
    let cluster = Cluster::start().await;
    cluster.life.controllers.pause(Controller::Scheduler);
    cluster
        .create(
            &resource::REPLICA_SETS,
            cluster.workload(&resource::REPLICA_SETS, "web", 2),
        )
        .await;
    cluster
        .until("the pods are there", || cluster.pods().len() == 2)
        .await;
    let unbound = || {
        cluster
            .pods()
            .iter()
            .all(|pod| object::text(pod, "/spec/nodeName").is_empty())
    };
    assert!(unbound());
    cluster.life.controllers.resume(Controller::Scheduler);
    cluster
        .until("they are ready", || cluster.ready() == 2)
        .await;
}
