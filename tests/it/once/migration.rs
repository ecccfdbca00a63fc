//! Whoever has run abihf/podrefresh, the CronJob in Go, gets over to ours by docs/migration.md.

use serde_json::{Value, json};
use testbed::registry::{Auth, User};

use super::{ACCOUNT, check};
use crate::support::{
    files::read,
    hands::Hands,
    kube::workload,
    kubectl::Kubectl,
    markdown::{section, shell_blocks},
    program::Program,
    skip::{Missing, need},
    world::World,
};

/// What that tool's documents have their users install, in the order of its file: names, rights, schedule.
fn installation() -> Vec<Value> {
    let account = json!({"name": "podrefresh", "namespace": "kube-system"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "podrefresh"});
    let container = json!({
        "name": "podrefresh", "image": "ghcr.io/abihf/podrefresh:latest", "imagePullPolicy": "Always",
    });
    let pod = json!({
        "serviceAccountName": "podrefresh", "restartPolicy": "OnFailure", "containers": [container],
    });
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "podrefresh"},
            "rules": [
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete"]},
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "podrefresh"}, "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", "name": "podrefresh", "namespace": "kube-system"}],
        }),
        json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": account,
            "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
        }),
    ]
}

/// Returns kubectl for a test that installs things cluster-wide.
fn kubectl_with_a_cluster_of_its_own() -> Result<Kubectl, Missing> {
    match std::env::var_os("PODREFRESH_TEST_KUBECONFIG") {
        None => Kubectl::find(),
        Some(_) => Err(Missing("it wants a cluster of its own".to_owned())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_cronjob_in_go_get_over_by_the_page() {
    let Some(kubectl) = need(kubectl_with_a_cluster_of_its_own()) else {
        return;
    };
    let world = World::untouched().await;
    let hands = Hands::new(kubectl, &world);
    for object in installation() {
        let create = format!("kubectl apply -f - <<'END'\n{object}\nEND");
        hands.run(&create).await;
    }
    // The walk-through for private registries: a secret, and pods that name it and follow `latest`.
    let user = User::new("your-username", "your-password");
    world.registry.require(Auth::Basic(vec![user]));
    let host = world.registry.host();
    hands
        .run(&format!(
            "kubectl create secret docker-registry my-registry-secret --docker-server={host} \
             --docker-username=your-username --docker-password=your-password"
        ))
        .await;
    let (image, old) = world.push("my-app", "latest", "1");
    let template = json!({"spec": {"imagePullSecrets": [{"name": "my-registry-secret"}]}});
    let app = workload(
        "my-app",
        &image,
        json!({"replicas": 2, "template": template}),
    );
    world
        .kube
        .create::<k8s_openapi::api::apps::v1::Deployment>("default", app)
        .await;
    world.kube.running("default", 2, &old).await;

    // Its rights are not enough for ours, which says which one is missing.
    let cluster = &world.testbed().cluster;
    let theirs = cluster.kubeconfig_for("kube-system", "podrefresh").unwrap();
    let outcome = Program::new(["once"]).kubeconfig(&theirs).run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let complaint = outcome.complaint();
    assert!(complaint.contains("cannot list namespaces"), "{outcome}");
    assert!(complaint.contains("kube-system:podrefresh"), "{outcome}");

    let page = read("docs/migration.md");
    let blocks = shell_blocks(section(&page, "### Move over"));
    let [(_, replace)] = &blocks[..] else {
        panic!("one block, not {blocks:#?}");
    };
    hands.run(replace).await;
    let left = "kubectl get clusterrole,clusterrolebinding -o name; kubectl -n kube-system get cronjob,sa -o name";
    let left = hands.run(left).await;
    let theirs = |line: &&str| line.ends_with("/podrefresh");
    assert_eq!(left.lines().find(theirs), None, "{left}");

    let job = "kubectl -n podrefresh get cronjob podrefresh-once -o json";
    let job: Value = serde_json::from_str(&hands.run(job).await).unwrap();
    assert_eq!(job["spec"]["schedule"], "0 0 * * *");
    let container = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter();
    let arguments = arguments.map(|argument| argument.as_str().unwrap());
    let (_, new) = world.push("my-app", "latest", "2");
    let ours = cluster.kubeconfig_for("podrefresh", ACCOUNT).unwrap();
    let outcome = Program::new(arguments.chain(["--confirm-after=100ms"]))
        .kubeconfig(&ours)
        .run()
        .await;
    check(
        &outcome,
        0,
        &json!({"outdated": 2, "evicted": 2, "failed": 0}),
    );
    world.kube.running("default", 2, &new).await;
    cluster.assert_clean();
}
