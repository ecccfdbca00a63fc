//! Which cluster is asked: every command that looks at one takes it as kubectl does.

use k8s_openapi::api::core::v1::Pod;
use kube::config::Kubeconfig;
use serde_json::json;
use testbed::Cluster;

use crate::support::{folder::Folder, kube::Kube, program::Program, world::client};

/// Commands that look at a cluster.
const LOOKING: [&[&str]; 4] = [
    &["status", "--namespace=shop"],
    &["explain", "web", "--namespace=shop"],
    &["digest", "--pod=web", "--namespace=shop"],
    &["once", "--dry-run", "--timeout=10s"],
];

/// Returns a kubeconfig whose context `here` leads to the cluster of `kubeconfig`, and whose current one nowhere.
fn two_contexts(kubeconfig: &str) -> String {
    let mut kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut here = kubeconfig.contexts[0].clone();
    let mut away = here.clone();
    here.name = "here".to_owned();
    away.name = "away".to_owned();
    away.context.as_mut().unwrap().cluster = "nowhere".to_owned();
    kubeconfig.current_context = Some("away".to_owned());
    kubeconfig.contexts = vec![away, here];
    serde_json::to_string(&kubeconfig).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_chosen_by_file_and_context() {
    let cluster = Cluster::start().await.unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);
    kube.opted_in("shop").await;
    // Nobody is asked what a digest means.
    let image = format!("127.0.0.1:1/web@sha256:{}", "0".repeat(64));
    let web = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": image}]}});
    kube.create::<Pod>("shop", web).await;
    let folder = Folder::new();
    let good = folder.write("good", &cluster.kubeconfig());
    let two = folder.write("two", &two_contexts(&cluster.kubeconfig()));
    let (good, two) = (good.to_str().unwrap(), two.to_str().unwrap());
    for command in LOOKING {
        let check = async |flags: &[&str], variables: &[(&str, &str)], code: i32| {
            let words = command.iter().chain(flags).copied();
            let mut program = Program::new(words).env("KUBECONFIG", two);
            for (name, value) in variables {
                program = program.env(name, value);
            }
            let outcome = program.run().await;
            assert_eq!(
                outcome.code,
                Some(code),
                "{command:?} {flags:?} {variables:?}: {outcome}"
            );
            if code != 0 {
                assert!(
                    outcome.complaint().starts_with("error: no cluster in "),
                    "{outcome}"
                );
            }
        };
        check(&[], &[], 1).await;
        check(&["--context=here"], &[], 0).await;
        check(&["--context=nowhere"], &[], 1).await;
        check(&["--kubeconfig", good], &[], 0).await;
        check(&["--kubeconfig=/nonexistent"], &[], 1).await;
        check(&[], &[("PODREFRESH_CONTEXT", "here")], 0).await;
        check(&[], &[("PODREFRESH_KUBECONFIG", good)], 0).await;
        check(
            &["--kubeconfig", two],
            &[("KUBECONFIG", good), ("PODREFRESH_CONTEXT", "here")],
            0,
        )
        .await;
        // A variable that is empty says nothing.
        check(&["--kubeconfig", good], &[("PODREFRESH_CONTEXT", "")], 0).await;
    }
}
