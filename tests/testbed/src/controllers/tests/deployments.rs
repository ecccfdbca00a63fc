use super::*;

#[tokio::test]
async fn a_deployment_becomes_ready_fast() {
    let cluster = Cluster::start().await;
    let started = Instant::now();
    cluster
        .create(
            &resource::DEPLOYMENTS,
            cluster.workload(&resource::DEPLOYMENTS, "web", 5),
        )
        .await;
    let ready = || rolled_out(&cluster.get(&resource::DEPLOYMENTS, "web"), 5);
    cluster.until("five pods are ready", ready).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let web = cluster.get(&resource::DEPLOYMENTS, "web");
    assert!(object::is_condition_true(&web, "Available"));
    assert_eq!(
        object::condition(&web, "Progressing").unwrap()["reason"],
        "NewReplicaSetAvailable"
    );
    assert_eq!(
        object::annotation(&web, "deployment.kubernetes.io/revision"),
        Some("1")
    );
    let digest = cluster.registry.digest("app", "latest").unwrap();
    for pod in cluster.pods() {
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(
            container["imageID"],
            format!("{}/app@{digest}", cluster.registry.host())
        );
        assert!(object::label(&pod, template::HASH_LABEL).is_some());
    }
}

#[tokio::test]
async fn a_rollout_never_has_fewer_than_it_may() {
    let cluster = Cluster::start().await;
    let mut web = cluster.workload(&resource::DEPLOYMENTS, "web", 3);
    web["spec"]["strategy"] = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    cluster.create(&resource::DEPLOYMENTS, web).await;
    cluster
        .until("it is rolled out", || {
            rolled_out(&cluster.get(&resource::DEPLOYMENTS, "web"), 3)
        })
        .await;
    let restart = |web: &mut Value| {
        web["spec"]["template"]["metadata"]["annotations"] = json!({ "restarted": "now" })
    };
    cluster
        .api
        .update(&resource::DEPLOYMENTS, "default", "web", restart)
        .await
        .unwrap();
    let done = || {
        assert!(3 <= cluster.ready(), "{} pods are ready", cluster.ready());
        let web = cluster.get(&resource::DEPLOYMENTS, "web");
        rolled_out(&web, 3)
            && object::annotation(&web, "deployment.kubernetes.io/revision") == Some("2")
    };
    cluster
        .until("the second template is rolled out", done)
        .await;
    let sets = cluster.api.list(&resource::REPLICA_SETS, Some("default"));
    assert_eq!(sets.len(), 2);
    let back = |web: &mut Value| {
        web["spec"]["template"]["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
    };
    cluster
        .api
        .update(&resource::DEPLOYMENTS, "default", "web", back)
        .await
        .unwrap();
    let third = || {
        let web = cluster.get(&resource::DEPLOYMENTS, "web");
        rolled_out(&web, 3)
            && object::annotation(&web, "deployment.kubernetes.io/revision") == Some("3")
    };
    cluster.until("the first ReplicaSet is back", third).await;
    assert_eq!(
        cluster
            .api
            .list(&resource::REPLICA_SETS, Some("default"))
            .len(),
        2
    );
}

#[tokio::test]
async fn recreate_waits_for_the_last_old_pod() {
    let cluster = Cluster::start().await;
    let mut web = cluster.workload(&resource::DEPLOYMENTS, "web", 2);
    web["spec"]["strategy"] = json!({ "type": "Recreate" });
    cluster.create(&resource::DEPLOYMENTS, web).await;
    cluster
        .until("it is rolled out", || {
            rolled_out(&cluster.get(&resource::DEPLOYMENTS, "web"), 2)
        })
        .await;
    let restart = |web: &mut Value| {
        web["spec"]["template"]["metadata"]["annotations"] = json!({ "restarted": "now" })
    };
    cluster
        .api
        .update(&resource::DEPLOYMENTS, "default", "web", restart)
        .await
        .unwrap();
    let done = || {
        let mut hashes: Vec<_> = cluster
            .pods()
            .iter()
            .map(|p| object::label(p, template::HASH_LABEL).unwrap().to_owned())
            .collect();
        hashes.dedup();
        assert!(hashes.len() <= 1, "old and new pods side by side");
        let web = cluster.get(&resource::DEPLOYMENTS, "web");
        rolled_out(&web, 2)
            && object::annotation(&web, "deployment.kubernetes.io/revision") == Some("2")
    };
    cluster
        .until("the second template is rolled out", done)
        .await;
}

#[tokio::test]
async fn a_paused_deployment_scales_but_does_not_roll() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            &resource::DEPLOYMENTS,
            cluster.workload(&resource::DEPLOYMENTS, "web", 1),
        )
        .await;
    cluster
        .until("it is rolled out", || {
            rolled_out(&cluster.get(&resource::DEPLOYMENTS, "web"), 1)
        })
        .await;
    let change = |web: &mut Value| {
        web["spec"]["paused"] = json!(true);
        web["spec"]["replicas"] = json!(3);
        web["spec"]["template"]["metadata"]["annotations"] = json!({ "restarted": "now" });
    };
    cluster
        .api
        .update(&resource::DEPLOYMENTS, "default", "web", change)
        .await
        .unwrap();
    cluster
        .until("there are three", || cluster.ready() == 3)
        .await;
    assert_eq!(
        cluster
            .api
            .list(&resource::REPLICA_SETS, Some("default"))
            .len(),
        1
    );
    let unpause = |web: &mut Value| web["spec"]["paused"] = json!(false);
    cluster
        .api
        .update(&resource::DEPLOYMENTS, "default", "web", unpause)
        .await
        .unwrap();
    let done = || {
        let web = cluster.get(&resource::DEPLOYMENTS, "web");
        rolled_out(&web, 3)
            && object::annotation(&web, "deployment.kubernetes.io/revision") == Some("2")
    };
    cluster.until("it rolls", done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_are_workable() {
    let cluster = Cluster::start().await;
    let started = Instant::now();
    cluster
        .create(
            &resource::DEPLOYMENTS,
            cluster.workload(&resource::DEPLOYMENTS, "web", 1000),
        )
        .await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut changes = cluster.api.subscribe();
    while !rolled_out(&cluster.get(&resource::DEPLOYMENTS, "web"), 1000) {
        tokio::time::timeout_at(deadline, changes.next())
            .await
            .expect("a thousand pods must be ready in a minute");
    }
    // Printed with --nocapture: the figure to watch when the controllers change.
    #[expect(
        clippy::print_stderr,
        reason = "a figure for whoever runs this test alone"
    )]
    {
        eprintln!("1000 pods ready after {:?}", started.elapsed());
    }
}
