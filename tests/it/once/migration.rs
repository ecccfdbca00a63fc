//! Whoever has run abihf/podrefresh, the CronJob in Go, gets over to ours by docs/migration.md.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use testbed::registry::{Auth, Target, User};

use super::{ACCOUNT, check, namespace};
use crate::support::{
    files::read,
    hands::Hands,
    kube::{eventually, workload},
    kubectl::Kubectl,
    markdown::{section, shell_blocks},
    program::Program,
    skip::need,
    world::{World, client},
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

/// Waits until a real API server knows the rights that an account has just been given.
async fn heard_of(kubeconfig: &str) {
    let pods: Api<Pod> = Api::all(client(kubeconfig).await);
    eventually("the account's rights", async || {
        pods.list(&ListParams::default().limit(1)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_cronjob_in_go_get_over_by_the_page() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::untouched().await;
    let hands = Hands::new(kubectl, &world);
    let _tidy = hands.afterwards(
        &world,
        "kubectl -n kube-system delete cronjob/podrefresh serviceaccount/podrefresh --ignore-not-found\n\
         kubectl delete clusterrolebinding/podrefresh clusterrole/podrefresh --ignore-not-found\n\
         kubectl delete -k manifests/cronjob --ignore-not-found --wait=false",
    );
    for object in installation() {
        let create = format!("kubectl apply -f - <<'END'\n{object}\nEND");
        hands.run(&create).await;
    }
    // The walk-through for private registries: a secret, and pods that name it and follow `latest`.
    let user = User::new("your-username", "your-password");
    world.registry.require(Auth::Basic(vec![user]));
    let host = world.registry.host();
    namespace(&world, "team").await;
    hands
        .run(&format!(
            "kubectl -n team create secret docker-registry my-registry-secret --docker-server={host} \
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
    world.kube.create::<Deployment>("team", app).await;
    world.kube.running("team", 2, &old).await;

    // Its rights are not enough for ours, which says which one is missing.
    let theirs = world.kubeconfig_of("kube-system", "podrefresh").await;
    let outcome = Program::new(["once"]).kubeconfig(&theirs).run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let complaint = outcome.complaint();
    assert!(complaint.contains("cannot list namespaces"), "{outcome}");
    assert!(complaint.contains("kube-system:podrefresh"), "{outcome}");

    let (_, new) = world.push("my-app", "latest", "2");
    let page = read("docs/migration.md");
    let blocks = |heading| shell_blocks(section(&page, heading));
    let [(_, look)] = &blocks("### Look first")[..] else {
        panic!("one block under Look first");
    };
    let words = look.split_whitespace().skip(1).chain(["--output=json"]);
    let administrator = world.administrator();
    let outcome = Program::new(words).kubeconfig(&administrator).run().await;
    let found = json!({"outdated": 2, "left": 2, "failed": 0, "dry_run": true});
    check(&outcome, 0, &found);
    world.kube.running("team", 2, &old).await;

    let [(_, replace)] = &blocks("### Move over")[..] else {
        panic!("one block under Move over");
    };
    hands.run(replace).await;
    let left = "kubectl get clusterrole,clusterrolebinding -o name; kubectl -n kube-system get cronjob,sa -o name";
    let left = hands.run(left).await;
    let theirs = |line: &&str| line.ends_with("/podrefresh");
    assert_eq!(left.lines().find(theirs), None, "{left}");

    let job = "kubectl -n podrefresh get cronjob podrefresh-once -o json";
    let job: Value = serde_json::from_str(&hands.run(job).await).unwrap();
    assert_eq!(job["spec"]["schedule"], "0 0 * * *");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"];
    // What a NetworkPolicy has to select.
    assert_eq!(
        pod["metadata"]["labels"]["app.kubernetes.io/component"],
        "once"
    );
    let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap();
    let arguments = arguments.iter().map(|argument| argument.as_str().unwrap());
    let ours = world.kubeconfig_of("podrefresh", ACCOUNT).await;
    heard_of(&ours).await;
    let outcome = Program::new(arguments.chain(["--confirm-after=100ms"]))
        .kubeconfig(&ours)
        .run()
        .await;
    check(
        &outcome,
        0,
        &json!({"outdated": 2, "evicted": 2, "failed": 0}),
    );
    // What an alert on log lines has to look at.
    let evicted = outcome.stderr.matches("Evicted team/my-app-").count();
    assert_eq!(evicted, 2, "{outcome}");
    world.kube.running("team", 2, &new).await;
    // It has pulled by the pods' secret, and by nothing else.
    let asked = world.registry.requests(&Target::manifests());
    let mut answered = asked
        .iter()
        .filter(|it| it.agent.starts_with("podrefresh/") && it.status == Some(200));
    assert!(answered.all(|it| it.user.as_deref() == Some("your-username")));
    if let Some(simulated) = &world.simulated {
        simulated.cluster.assert_clean();
    }
}
