use super::*;

fn stateful(cluster: &Cluster, replicas: i64) -> Value {
    let mut set = cluster.workload(&resource::STATEFUL_SETS, "db", replicas);
    set["spec"]["serviceName"] = json!("db");
    set
}

fn daemons(cluster: &Cluster) -> Value {
    let mut set = cluster.workload(&resource::DAEMON_SETS, "agent", 0);
    set["spec"].as_object_mut().unwrap().remove("replicas");
    set
}

fn restart(workload: &mut Value) {
    workload["spec"]["template"]["metadata"]["annotations"] = json!({ "restarted": "now" });
}

fn names(pods: &[Arc<Value>]) -> Vec<&str> {
    pods.iter().map(|pod| object::name(pod)).collect()
}

#[tokio::test]
async fn a_stateful_set_goes_up_in_order_and_down_in_reverse() {
    let cluster = Cluster::start().await;
    let mut changes = cluster.api.subscribe();
    cluster
        .create(&resource::STATEFUL_SETS, stateful(&cluster, 3))
        .await;
    cluster
        .until("three are ready", || cluster.ready() == 3)
        .await;
    let (mut made, mut ready) = (Vec::new(), Vec::new());
    while let Some(change) = changes.try_next() {
        let name = object::name(&change.object).to_owned();
        if *change.resource != resource::PODS {
            continue;
        }
        if !made.contains(&name) {
            assert_eq!(made, ready, "{name} was made before the others were ready");
            made.push(name);
        } else if pods::is_ready(&change.object) && !ready.contains(&name) {
            ready.push(name);
        }
    }
    assert_eq!(made, ["db-0", "db-1", "db-2"]);
    let shrink = |set: &mut Value| set["spec"]["replicas"] = json!(1);
    let (order, _) = tokio::join!(
        deletions(&cluster, 2),
        cluster
            .api
            .update(&resource::STATEFUL_SETS, "default", "db", shrink)
    );
    assert_eq!(order, ["db-2", "db-1"]);
    assert_eq!(names(&cluster.pods()), ["db-0"]);
}

#[tokio::test]
async fn a_stateful_set_is_updated_from_the_highest_ordinal() {
    let cluster = Cluster::start().await;
    cluster
        .create(&resource::STATEFUL_SETS, stateful(&cluster, 3))
        .await;
    cluster
        .until("three are ready", || cluster.ready() == 3)
        .await;
    let before = cluster.get(&resource::STATEFUL_SETS, "db")["status"]["currentRevision"].clone();
    let (order, _) = tokio::join!(deletions(&cluster, 3), async {
        cluster
            .api
            .update(&resource::STATEFUL_SETS, "default", "db", restart)
            .await
            .unwrap();
    });
    assert_eq!(order, ["db-2", "db-1", "db-0"]);
    let done = || {
        let set = cluster.get(&resource::STATEFUL_SETS, "db");
        let status = &set["status"];
        status["currentRevision"] == status["updateRevision"] && status["updatedReplicas"] == 3
    };
    cluster.until("the update is complete", done).await;
    assert_ne!(
        cluster.get(&resource::STATEFUL_SETS, "db")["status"]["currentRevision"],
        before
    );
    assert_eq!(
        cluster
            .api
            .list(&resource::CONTROLLER_REVISIONS, Some("default"))
            .len(),
        2
    );
}

/// Returns the names of deleted pods in order.
async fn deletions(cluster: &Cluster, count: usize) -> Vec<String> {
    let (mut order, mut changes) = (Vec::new(), cluster.api.subscribe());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while order.len() < count {
        let change = tokio::time::timeout_at(deadline, changes.next())
            .await
            .unwrap()
            .unwrap();
        if *change.resource == resource::PODS && change.kind == crate::api::ChangeKind::Deleted {
            order.push(object::name(&change.object).to_owned());
        }
    }
    order
}

#[tokio::test]
async fn a_partition_keeps_the_lower_ordinals() {
    let cluster = Cluster::start().await;
    let mut set = stateful(&cluster, 2);
    set["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    cluster.create(&resource::STATEFUL_SETS, set).await;
    cluster
        .until("two are ready", || cluster.ready() == 2)
        .await;
    cluster
        .api
        .update(&resource::STATEFUL_SETS, "default", "db", restart)
        .await
        .unwrap();
    let updated = || cluster.get(&resource::STATEFUL_SETS, "db")["status"]["updatedReplicas"] == 1;
    cluster
        .until("one is updated", || updated() && cluster.ready() == 2)
        .await;
    // Even a lower one that is lost comes back as it was.
    cluster
        .api
        .delete(&resource::PODS, "default", "db-0", &Delete::default())
        .unwrap();
    let pod = |name: &str| cluster.api.get(&resource::PODS, "default", name);
    let is_back = || pod("db-0").is_some_and(|pod| pods::is_active(&pod) && pods::is_ready(&pod));
    cluster.until("the lost one is back", is_back).await;
    let restarted = |name: &str| object::annotation(&pod(name).unwrap(), "restarted").is_some();
    assert_eq!((restarted("db-0"), restarted("db-1")), (false, true));
}

#[tokio::test]
async fn on_delete_waits_for_somebody_to_delete() {
    let cluster = Cluster::start().await;
    let mut set = stateful(&cluster, 1);
    set["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    cluster.create(&resource::STATEFUL_SETS, set).await;
    cluster.until("it is ready", || cluster.ready() == 1).await;
    cluster
        .api
        .update(&resource::STATEFUL_SETS, "default", "db", restart)
        .await
        .unwrap();
    let seen = || {
        let set = cluster.get(&resource::STATEFUL_SETS, "db");
        set["status"]["observedGeneration"] == object::generation(&set)
    };
    cluster.until("the change is observed", seen).await;
    assert!(object::annotation(&cluster.pods()[0], "restarted").is_none());
    cluster
        .api
        .delete(&resource::PODS, "default", "db-0", &Delete::default())
        .unwrap();
    let replaced = || {
        cluster
            .pods()
            .iter()
            .any(|pod| object::annotation(pod, "restarted").is_some())
    };
    cluster.until("the replacement is new", replaced).await;
}

#[tokio::test]
async fn a_daemon_set_has_one_pod_per_node() {
    let cluster = Cluster::start().await;
    cluster
        .create(&resource::DAEMON_SETS, daemons(&cluster))
        .await;
    cluster
        .until("three are ready", || cluster.ready() == 3)
        .await;
    let mut nodes: Vec<_> = cluster
        .pods()
        .iter()
        .map(|pod| pod["spec"]["nodeName"].clone())
        .collect();
    nodes.sort_by_key(Value::to_string);
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    let late = kubelet::Options {
        nodes: vec![kubelet::Node::new("late", "z")],
        ..Default::default()
    };
    let _late = kubelet::start(&cluster.api, late).await.unwrap();
    cluster
        .until("the late node has one, too", || cluster.ready() == 4)
        .await;
}

#[tokio::test]
async fn a_daemon_set_is_updated_one_node_at_a_time() {
    let cluster = Cluster::start().await;
    cluster
        .create(&resource::DAEMON_SETS, daemons(&cluster))
        .await;
    cluster
        .until("three are ready", || cluster.ready() == 3)
        .await;
    cluster
        .api
        .update(&resource::DAEMON_SETS, "default", "agent", restart)
        .await
        .unwrap();
    let done = || {
        assert!(2 <= cluster.ready(), "{} are ready", cluster.ready());
        let set = cluster.get(&resource::DAEMON_SETS, "agent");
        let status = &set["status"];
        if status["observedGeneration"] != object::generation(&set) {
            return false;
        }
        status["updatedNumberScheduled"] == 3 && status["numberAvailable"] == 3
    };
    cluster.until("all are updated", done).await;
    assert!(
        cluster
            .pods()
            .iter()
            .all(|pod| object::annotation(pod, "restarted").is_some())
    );
}

#[tokio::test]
async fn a_replication_controller_keeps_its_number() {
    let cluster = Cluster::start().await;
    let mut controller = cluster.workload(&resource::REPLICATION_CONTROLLERS, "rc", 2);
    controller["spec"]["selector"] = json!({ "app": "rc" });
    cluster
        .create(&resource::REPLICATION_CONTROLLERS, controller)
        .await;
    let counted = || {
        cluster.get(&resource::REPLICATION_CONTROLLERS, "rc")["status"]["availableReplicas"] == 2
    };
    cluster.until("two are available", counted).await;
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
    let replaced = || {
        cluster.ready() == 2
            && names(&cluster.pods())
                .iter()
                .all(|name| *name != object::name(&pod))
    };
    cluster.until("the lost one is replaced", replaced).await;
}

#[tokio::test]
async fn a_job_runs_its_pod_to_the_end() {
    let cluster = Cluster::start().await;
    let mut template = cluster.template("once");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({ "metadata": { "name": "once" }, "spec": { "template": template } });
    cluster.create(&resource::JOBS, job).await;
    let complete = || object::is_condition_true(&cluster.get(&resource::JOBS, "once"), "Complete");
    cluster.until("the job is complete", complete).await;
    let pods = cluster.pods();
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0]["status"]["phase"], "Succeeded");
    let released = || object::list(&cluster.pods()[0], "/metadata/finalizers").is_empty();
    cluster.until("the pod is released", released).await;
    let options = Delete {
        propagation: Some(Propagation::Background),
        ..Delete::default()
    };
    cluster
        .api
        .delete(&resource::JOBS, "default", "once", &options)
        .unwrap();
    cluster
        .until("the pod goes with its job", || cluster.pods().is_empty())
        .await;
}
