//! A cluster and a client for it.

use serde_json::{Value, json};
use testbed::Cluster;
use testbed::api::{ApiError, object, resource};
use testbed::client::Client;

/// What tests return when something around them goes wrong.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Starts a cluster with a namespace `a`, and returns an administrator's client.
pub(crate) async fn start() -> Result<(Cluster, Client), Failure> {
    let cluster = Cluster::start().await?;
    let namespace = json!({ "metadata": { "name": "a" } });
    cluster
        .api()
        .create(&resource::NAMESPACES, "", namespace)
        .await?;
    let client = Client::new(
        cluster.address(),
        &cluster.ca_pem(),
        Some(cluster.admin_token()),
    )?;
    Ok((cluster, client))
}

/// Creates a pod with the label `app` that runs on a node.
pub(crate) async fn running_pod(
    cluster: &Cluster,
    name: &str,
    app: &str,
    ready: bool,
) -> Result<String, ApiError> {
    let api = cluster.api();
    if api.get(&resource::NODES, "", "n").is_none() {
        let node = json!({ "metadata": { "name": "n", "labels": { "topology.kubernetes.io/zone": "z0" } } });
        api.create(&resource::NODES, "", node).await?;
    }
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": app } },
        "spec": { "terminationGracePeriodSeconds": 2, "containers": [{ "name": "app", "image": "app:v1" }] },
    });
    let pod = api.create(&resource::PODS, "a", pod).await?;
    api.bind("a", name, "n")?;
    api.update_status(&resource::PODS, "a", name, |status| {
        status["phase"] = json!("Running");
        status["conditions"] =
            json!([{ "type": "Ready", "status": if ready { "True" } else { "False" } }]);
    })?;
    Ok(object::uid(&pod).to_owned())
}

/// Creates a budget over the pods of an app, with the status that its controller would write.
pub(crate) async fn budget(
    cluster: &Cluster,
    name: &str,
    spec: Value,
    status: Value,
) -> Result<(), ApiError> {
    let api = cluster.api();
    let budget = json!({ "metadata": { "name": name }, "spec": spec });
    api.create(&resource::POD_DISRUPTION_BUDGETS, "a", budget)
        .await?;
    api.update_status(&resource::POD_DISRUPTION_BUDGETS, "a", name, |current| {
        *current = status.clone()
    })
    .map(drop)
}
