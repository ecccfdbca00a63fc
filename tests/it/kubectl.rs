//! What people see and do with the real kubectl.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::support::{
    files::{read, tempfile},
    hands::Hands,
    kube::{PATIENCE, eventually, name},
    kubectl::Kubectl,
    markdown::{section, shell_blocks},
    skip::{Missing, need},
    world::World,
};

/// Returns kubectl for a test that installs and removes podrefresh, which other tests of a real cluster need.
fn kubectl_with_a_cluster_of_its_own() -> Result<Kubectl, Missing> {
    match std::env::var_os("PODREFRESH_TEST_KUBECONFIG") {
        None => Kubectl::find(),
        Some(_) => Err(Missing("it wants a cluster of its own".to_owned())),
    }
}

/// Checks that nothing was asked for that the testbed does not model.
fn assert_clean(world: &World) {
    if let Some(simulated) = &world.simulated {
        simulated.cluster.assert_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_through_the_quickstart() {
    let Some(kubectl) = need(kubectl_with_a_cluster_of_its_own()) else {
        return;
    };
    let mut world = World::untouched().await;
    let hands = Hands::new(kubectl, &world);
    let readme = read("README.md");
    let blocks: Vec<_> = shell_blocks(section(&readme, "## Quickstart"))
        .into_iter()
        .map(|(_, block)| block)
        .collect();
    let [install, label, digests, remove] = &blocks[..] else {
        panic!("four blocks, not {blocks:#?}");
    };

    let installed = hands.run(install).await;
    assert!(
        installed.contains(
            "mutatingwebhookconfiguration.admissionregistration.k8s.io/podrefresh created"
        ) && installed.contains("deployment \"podrefresh\" successfully rolled out"),
        "{installed}"
    );
    world.controller(&[]).await;

    let (image, old) = world.push("shop/app", "stable", "1");
    hands.run("kubectl create namespace shop").await;
    assert!(hands.run(label).await.contains("namespace/shop labeled"));
    world.kube.deployment("shop", "web", 2, &image).await;
    hands
        .prints(
            "kubectl -n shop rollout status deployment/web",
            "successfully rolled out",
        )
        .await;
    assert_eq!(column(&hands.run(digests).await), [&*old, &*old]);

    let (_, new) = world.push("shop/app", "stable", "2");
    eventually("new digests in the quickstart's table", || async {
        (column(&hands.run(digests).await) == [&*new, &*new]).then_some(())
    })
    .await;
    world.kube.running("shop", 2, &new).await;

    // Removing it ends its pods as well.
    world.kill_first();
    hands.run(remove).await;
    let left = hands
        .shell("kubectl get -k manifests --ignore-not-found")
        .await;
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    hands
        .run(
            "kubectl -n shop delete pod --all && kubectl -n shop scale deployment/web --replicas=3",
        )
        .await;
    for pod in world.kube.ready("shop", 3).await {
        let stamped = pod.metadata.annotations.unwrap_or_default();
        assert!(
            stamped.keys().all(|key| !key.contains("podrefresh.io")),
            "{stamped:?}"
        );
    }
    assert_clean(&world);
}

/// Returns the second column of a table without its head.
fn column(table: &str) -> Vec<&str> {
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_manifests_again_changes_nothing() {
    let Some(kubectl) = need(kubectl_with_a_cluster_of_its_own()) else {
        return;
    };
    let mut world = World::untouched().await;
    let hands = Hands::new(kubectl, &world);
    let first = hands.run("kubectl apply -k manifests").await;
    assert!(
        first.lines().all(|line| line.ends_with(" created")),
        "{first}"
    );
    // It injects its CA into what was applied.
    world.controller(&[]).await;
    hands
        .run("kubectl -n podrefresh rollout status deployment/podrefresh")
        .await;
    let versions = async || {
        let list = hands.run("kubectl get -k manifests -o json").await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let version = |object: &Value| {
            let metadata = &object["metadata"];
            format!(
                "{} {} {}",
                object["kind"], metadata["name"], metadata["resourceVersion"]
            )
        };
        let items = list["items"].as_array().unwrap();
        items.iter().map(version).collect::<Vec<_>>()
    };
    // The budget counts a moment longer than the rollout.
    let before = eventually("a quiet cluster", || async {
        let before = versions().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        (versions().await == before).then_some(before)
    })
    .await;
    assert_eq!(before.len(), first.lines().count());

    let second = hands.run("kubectl apply -k manifests").await;
    for line in second.lines() {
        // kubectl replaces a budget's selector by a patch that changes nothing.
        let budget = line.starts_with("poddisruptionbudget.policy/");
        assert!(budget || line.ends_with(" unchanged"), "{second}");
    }
    assert_eq!(versions().await, before);
    assert_clean(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_tells_what_was_done_and_what_was_not() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::running(&[]).await;
    let hands = Hands::new(kubectl, &world);
    let (image, old) = world.push("shop/app", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "free", 1, &image).await;
    world.kube.deployment("shop", "held", 1, &image).await;
    world.kube.budget("shop", "held", "held", 1).await;
    let pods = world.kube.running("shop", 2, &old).await;
    let (_, new) = world.push("shop/app", "stable", "2");

    let moved = format!("{image} has moved on from {old} to {new}");
    let describe = |what: &str| format!("kubectl -n shop describe {what}");
    hands
        .comes_to_print(&describe("deployment free"), &["Outdated", &moved])
        .await;
    let blocked = "Not evicted yet: The disruption budget held needs 1 healthy pods and has 1";
    hands
        .comes_to_print(
            &describe("deployment held"),
            &["Warning", "EvictionBlocked", blocked],
        )
        .await;
    // The pod is gone; its Events tell why.
    let gone = pods
        .iter()
        .find(|pod| name(pod).starts_with("free"))
        .map(name)
        .unwrap();
    let events = format!("kubectl -n shop events --for pod/{gone}");
    hands.comes_to_print(&events, &["Evicted", &moved]).await;
    // Once the budget allows it the pod goes after all.
    hands
        .run("kubectl -n shop patch pdb held --type merge -p '{\"spec\":{\"minAvailable\":0}}'")
        .await;
    world.kube.running("shop", 2, &new).await;
    assert_clean(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_pods_go_and_come() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::running(&[]).await;
    let hands = Hands::new(kubectl, &world);
    let (image, old) = world.push("shop/app", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let old_pod = name(&world.kube.running("shop", 1, &old).await[0]).to_owned();

    let script = "exec kubectl -n shop get pods --watch --no-headers";
    let mut watch = hands
        .command(script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (pod, ready, status) = (
                words[0].to_owned(),
                words[1].to_owned(),
                words[2].to_owned(),
            );
            if seen.is_empty() {
                assert_eq!(
                    (&*pod, &*ready, &*status),
                    (&*old_pod, "1/1", "Running"),
                    "{line}"
                );
                world.push("shop/app", "stable", "2");
            }
            let up = pod != old_pod && ready == "1/1" && status == "Running";
            seen.push((pod, status));
            if up {
                return;
            }
        }
    };
    let ended = timeout(PATIENCE, told).await;
    assert!(ended.is_ok(), "{seen:#?}");
    let is_seen = |old: bool, status: &str| {
        seen.iter()
            .any(|(pod, seen)| (*pod == old_pod) == old && seen == status)
    };
    assert!(is_seen(true, "Terminating"), "{seen:#?}");
    assert!(is_seen(false, "Pending"), "{seen:#?}");
    assert_clean(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warning_about_an_unstamped_pod_reaches_the_terminal() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::running(&[]).await;
    let hands = Hands::new(kubectl, &world);
    world.kube.opted_in("shop").await;
    let image = world.registry.reference("shop/nowhere", "1");
    let output = hands
        .shell(&format!("kubectl -n shop run lost --image={image}"))
        .await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let warned = told
        .lines()
        .any(|line| line.starts_with("Warning: ") && line.contains(&image));
    assert!(warned, "{told}");
    assert_clean(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_changed_and_removed() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::running(&[]).await;
    let hands = Hands::new(kubectl, &world);
    let (image, old) = world.push("shop/app", "latest", "1");
    hands
        .run("kubectl create namespace shop && kubectl label namespace shop podrefresh.io/enabled=true")
        .await;
    hands
        .prints(
            &format!("kubectl -n shop create deployment web --replicas=2 --image={image}"),
            "deployment.apps/web created",
        )
        .await;
    hands
        .prints(
            "kubectl -n shop wait deployment web --for=condition=Available --timeout=30s",
            "condition met",
        )
        .await;
    world.kube.running("shop", 2, &old).await;

    // An opted-out template rolls out unstamped, and stays where it is.
    let opted_out = "{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"podrefresh.io/enabled\":\"false\"}}}}}";
    hands
        .run(&format!(
            "kubectl -n shop patch deployment web -p '{opted_out}' && kubectl -n shop rollout status deployment web"
        ))
        .await;
    let stamps = "kubectl -n shop get pods -l podrefresh.io/enabled=false \
                  -o jsonpath='{range .items[*]}[{.metadata.annotations.digest\\.podrefresh\\.io/app}]{end}'";
    hands.prints(stamps, "[][]").await;
    // The names of containers are those of `kubectl create deployment`: the image's last part.
    let all = "kubectl -n shop get pods -o jsonpath='{.items[*].metadata.annotations}'";
    let annotations = hands.run(all).await;
    assert!(!annotations.contains("podrefresh.io"), "{annotations}");

    hands
        .prints(
            "kubectl -n shop annotate deployment web example.com/note=hello",
            "deployment.apps/web annotated",
        )
        .await;
    hands
        .prints(
            "kubectl -n shop get deployment web -o yaml",
            "example.com/note: hello",
        )
        .await;
    let applied = tempfile(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec:\n  minAvailable: 1\n  selector: {matchLabels: {app: web}}\n",
    );
    let file = applied.path().display();
    let apply = format!("kubectl -n shop apply -f {file}");
    hands
        .prints(&apply, "poddisruptionbudget.policy/web created")
        .await;
    hands
        .prints(
            &format!("{apply} --server-side --force-conflicts"),
            "serverside-applied",
        )
        .await;
    hands
        .run(&format!(
            "kubectl -n shop delete -f {file} && kubectl -n shop delete deployment web && \
             kubectl -n shop wait pods --all --for=delete --timeout=30s"
        ))
        .await;
    assert_eq!(
        hands
            .run("kubectl -n shop get all --ignore-not-found")
            .await,
        ""
    );
    hands
        .prints("kubectl delete namespace shop", "deleted")
        .await;
    assert_clean(&world);
}
