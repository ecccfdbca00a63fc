//! No cluster, a cluster that is away, no rights, a port that is taken: what heals is waited for, the rest is
//! said in one line with its causes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testbed::{Cluster, api::resource, manifests};
use tokio::net::TcpListener;

use crate::support::{
    files::root,
    kube::eventually,
    program::{Outcome, Program},
    world::get,
};

const SERVING: [&str; 3] = [
    "controller",
    "--admin-addr=127.0.0.1:0",
    "--admission-addr=127.0.0.1:0",
];

/// Starts a cluster with podrefresh's manifests.
pub(super) async fn installed() -> Cluster {
    let cluster = Cluster::start().await.unwrap();
    let objects = manifests::load(&root().join("manifests")).unwrap();
    let objects = objects
        .into_iter()
        .filter(|object| object["kind"] != "Deployment");
    cluster.install(objects.collect()).await.unwrap();
    cluster
}

/// Checks that a run failed with one line on standard error, log lines aside, that holds all `words`.
#[track_caller]
fn check_failed(outcome: &Outcome, words: &[&str]) {
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    let complaint = outcome.complaint();
    assert!(complaint.starts_with("error: "), "{outcome}");
    for word in words {
        assert!(complaint.contains(word), "no {word:?}: {outcome}");
    }
    let log = outcome.log();
    assert_eq!(outcome.stderr.lines().count(), log.len() + 1, "{outcome}");
    assert!(log.iter().all(|line| line["level"] != "ERROR"), "{outcome}");
}

async fn with_kubeconfig(content: &str) -> Outcome {
    Program::new(SERVING).kubeconfig(content).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_it_says_where_it_looked() {
    let outcome = Program::new(SERVING).run().await;
    check_failed(
        &outcome,
        &[
            "no cluster: no kubeconfig",
            "home/.kube/config",
            "not in a pod",
        ],
    );
    let nowhere = Program::new(SERVING)
        .env("KUBECONFIG", "/nonexistent/a:/nonexistent/b")
        .run()
        .await;
    check_failed(
        &nowhere,
        &["no kubeconfig (/nonexistent/a, /nonexistent/b)"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_of_no_use_is_named_with_what_is_wrong() {
    let kubeconfig = |current: &str| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": current,
            "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [
                {"name": "lost", "context": {"cluster": "nowhere"}},
                {"name": "cut", "context": {"cluster": "torn"}},
            ],
        })
        .to_string()
    };
    let file = "/kubeconfig: ";
    check_failed(&with_kubeconfig("{\n  a: [\n").await, &[file, "YAML"]);
    check_failed(&with_kubeconfig("").await, &[file]);
    check_failed(
        &with_kubeconfig(&kubeconfig("elsewhere")).await,
        &[file, "context: elsewhere"],
    );
    check_failed(
        &with_kubeconfig(&kubeconfig("lost")).await,
        &[file, "cluster", "nowhere"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_waited_for() {
    let cluster = installed().await;
    let away = cluster.faults().take_down();
    let admin = free_address().await;
    let program = Program::new(["controller", "--admission-addr=127.0.0.1:0"])
        .env("PODREFRESH_ADMIN_ADDR", admin.to_string())
        .kubeconfig(&cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap());
    let process = program.start();
    process.says("trying again").await;
    // It is well, and says why it is of no use yet.
    assert_eq!(get(admin, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(
        get(admin, "/readyz").await,
        (503, "[-]running failed: starting\n".to_owned())
    );
    for line in process.log() {
        let text = line["message"].as_str().unwrap();
        assert!(line["level"] != "ERROR", "{line}");
        assert!(
            line["level"] != "WARN" || text.contains("Connection refused"),
            "{line}"
        );
    }
    drop(away);
    eventually("a ready controller", || async {
        (get(admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    process.signal("TERM").await;
    let outcome = process.ended().await;
    assert_eq!((outcome.code, &*outcome.stdout), (Some(0), ""), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_waits_a_signal_ends_it_well() {
    for signal in ["TERM", "INT"] {
        let cluster = installed().await;
        let _away = cluster.faults().take_down();
        let kubeconfig = cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap();
        let process = Program::new(SERVING).kubeconfig(&kubeconfig).start();
        process.says("trying again").await;
        process.signal(signal).await;
        let outcome = process.ended().await;
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert!(
            outcome.stderr.contains(&format!("Got SIG{signal}")),
            "{outcome}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_said_and_not_waited_out() {
    let cluster = installed().await;
    let kubeconfig = cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap();
    cluster.revoke_tokens("podrefresh", "podrefresh");
    check_failed(
        &with_kubeconfig(&kubeconfig).await,
        &["Secret podrefresh-tls", "Unauthorized"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_said_with_verb_and_resource() {
    let cluster = installed().await;
    let nobody = cluster.kubeconfig_for("podrefresh", "default").unwrap();
    let outcome = with_kubeconfig(&nobody).await;
    let account = "system:serviceaccount:podrefresh:default";
    check_failed(
        &outcome,
        &[
            account,
            "cannot get resource \"secrets\"",
            "\"podrefresh-tls\"",
        ],
    );

    // Each right of its own: here all but that to see pods.
    let without_pods = |role: &mut Value| {
        for rule in role["rules"].as_array_mut().unwrap() {
            let resources = rule["resources"].as_array_mut().unwrap();
            resources.retain(|resource| resource != "pods");
        }
    };
    let roles = &resource::CLUSTER_ROLES;
    cluster
        .api()
        .update(roles, "", "podrefresh", without_pods)
        .await
        .unwrap();
    let known = cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap();
    check_failed(
        &with_kubeconfig(&known).await,
        &["cannot list resource \"pods\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let cluster = installed().await;
    let kubeconfig = cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let other = "127.0.0.1:0";
    for (admin, admission) in [(&*taken, other), (other, &*taken)] {
        let program = Program::new([
            "controller",
            "--admin-addr",
            admin,
            "--admission-addr",
            admission,
        ]);
        let outcome = program.kubeconfig(&kubeconfig).run().await;
        check_failed(&outcome, &[&taken, "Address already in use"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_config_of_no_use_is_named() {
    let missing = Program::new(["digest", "--docker-config=/nonexistent/config.json", "a"])
        .run()
        .await;
    check_failed(&missing, &["/nonexistent/config.json", "No such file"]);
    let wrong = Program::new(["digest", "a"])
        .docker_config(&json!(["secret"]))
        .run()
        .await;
    check_failed(&wrong, &["config.json"]);
    assert!(!wrong.stderr.contains("secret"), "{wrong}");
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}
