//! Pods whose images nobody can resolve: admitted in time with a warning, silently, or refused, as is wished.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testbed::registry::{Fault, FaultGuard, RetryAfter, Target};

use super::{Created, push, try_pod};
use crate::support::{kube::eventually, look::on_testbed, world::World};

/// Starts a world with a registry that fails, in a namespace with a wish.
async fn failing(fault: Fault, on_unresolved: &str) -> (World, FaultGuard, String) {
    let world = World::running(&[]).await;
    let (image, _) = push(&world, "app");
    let wishes = match on_unresolved {
        "" => json!({}),
        value => json!({"podrefresh.io/on-unresolved": value}),
    };
    world
        .kube
        .namespace("shop", json!({"podrefresh.io/enabled": "true"}), wishes)
        .await;
    let guard = world.registry.inject(fault, Target::manifests().outside());
    (world, guard, image)
}

/// Checks that a pod is admitted unstamped, in time, with a warning that names image and cause; and stamped without the
/// fault.
async fn check_warned(fault: Fault, cause: &str) {
    let (world, guard, image) = failing(fault, "").await;
    let begun = Instant::now();
    let created = try_pod(&world, "shop", &image).await;
    // What the manifests' webhook configuration grants. The API server gives up, and we have no say, behind that.
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (created.status, created.stamps()),
        (201, vec![]),
        "{created:#?}"
    );
    let [warning] = &*created.warnings else {
        panic!("one warning: {created:#?}");
    };
    assert!(
        warning.starts_with("299 - \"podrefresh: container app: "),
        "{warning}"
    );
    assert!(
        warning.contains(&image) && warning.contains(cause),
        "{warning}"
    );
    let reviews = "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"unresolved\"}";
    world.controllers()[0].shows(reviews, 1.0).await;
    drop(guard);
    let stamped = || async {
        let created = try_pod(&world, "shop", &image).await;
        (created.stamps().len() == 2).then_some(())
    };
    crate::support::kube::eventually("a stamp, now that the registry is well", stamped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_costs_a_stamp_and_no_more_than_the_deadline() {
    check_warned(Fault::Hang, "in time").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_trouble_is_named_with_its_status() {
    check_warned(Fault::Status(502), "it answered 502").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_resets_the_connection_is_named() {
    check_warned(Fault::Reset, "it cannot be reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_image_is_named() {
    check_warned(Fault::Status(404), "it knows no such image").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_named_with_its_end() {
    let limited = Fault::RateLimited(RetryAfter::Seconds(2));
    check_warned(
        limited,
        "it limits the rate of requests, to be asked again in 2 s",
    )
    .await;
}

/// Creates pods whose image nobody knows until one fares as is wished: the webhook may not have seen so new a wish yet.
/// Returns how many it took, too.
async fn tried(fault: Fault, on_unresolved: &str) -> (World, Created, String, f64) {
    let (world, guard, image) = failing(fault, on_unresolved).await;
    let tries = Cell::new(0.0);
    let created = eventually("the wish is heeded", async || {
        tries.set(tries.get() + 1.0);
        let created = try_pod(&world, "shop", &image).await;
        // Without a wish it would be admitted with a warning.
        (created.status != 201 || created.warnings.is_empty()).then_some(created)
    });
    let created = created.await;
    drop(guard);
    (world, created, image, tries.get())
}

#[tokio::test(flavor = "multi_thread")]
async fn deny_refuses_in_words() {
    let (world, created, image, _) = tried(Fault::Status(502), "deny").await;
    assert_eq!(created.status, 403, "{created:#?}");
    let message = created.body["message"].as_str().unwrap();
    assert!(
        message.contains(
            "admission webhook \"mutate.podrefresh.io\" denied the request: podrefresh: "
        ),
        "{message}"
    );
    assert!(
        message.contains(&image) && message.contains("it answered 502"),
        "{message}"
    );
    assert!(
        message.contains("podrefresh.io/on-unresolved is deny"),
        "{message}"
    );
    world.controllers()[0]
        .shows(
            "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"denied\"}",
            1.0,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admit_is_silent() {
    let (world, created, _, tries) = tried(Fault::Status(502), "admit").await;
    assert_eq!(
        (created.status, created.stamps()),
        (201, vec![]),
        "{created:#?}"
    );
    assert_eq!(created.warnings, [] as [&str; 0]);
    world.controllers()[0]
        .shows(
            "podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"unresolved\"}",
            tries,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_none_is_admitted_with_a_warning_that_quotes_it() {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let created = try_pod(&world, "shop", "Not/An:Image").await;
    assert_eq!(
        (created.status, created.stamps()),
        (201, vec![]),
        "{created:#?}"
    );
    assert!(created.warnings[0].contains("Not/An:Image"), "{created:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_its_slowest_image_only() {
    if !on_testbed() {
        return;
    }
    // Three lookups of a second each, within the 3.3 seconds that there are only if they are made side by side.
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let names = ["a", "b", "c", "d"];
    let containers: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "image": push(&world, name).0}))
        .collect();
    let slow = Fault::Latency(Duration::from_secs(1));
    let _guard = world.registry.inject(slow, Target::manifests().outside());
    let pod = json!({"metadata": {"name": "all"}, "spec": {"containers": containers}});
    let pod = world.kube.pod("shop", pod).await;
    assert_eq!(super::stamps(&pod).len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_wish_goes_before_its_namespaces() {
    let (world, _guard, image) = failing(Fault::Status(502), "deny").await;
    let metadata = |wish: &str| json!({"generateName": "a-", "annotations": {"podrefresh.io/on-unresolved": wish}});
    let tried = async |wish: &str| {
        super::create(&world, "shop", metadata(wish), &image, "?dryRun=All").await
    };
    // Our watch takes a moment to see the namespace's wish.
    let refused = async || (try_pod(&world, "shop", &image).await.status == 403).then_some(());
    eventually("a refusal by the namespace's wish", refused).await;
    assert_eq!(tried("deny").await.status, 403);
    let warned = tried("warn").await;
    assert_eq!(
        (warned.status, warned.warnings.len()),
        (201, 1),
        "{warned:#?}"
    );
    let admitted = tried("admit").await;
    assert_eq!(
        (admitted.status, admitted.warnings.len()),
        (201, 0),
        "{admitted:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_left_out_keeps_no_pod_out_and_is_not_pinned() {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let ((web, digest), (agent, _)) = (push(&world, "web"), push(&world, "agent"));
    let target = Target::manifests().outside().repository("shop/agent");
    let guard = world.registry.inject(Fault::Status(502), target);
    let tried = async |containers: &str| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "try-", "annotations": {
                "podrefresh.io/mode": "pin", "podrefresh.io/on-unresolved": "deny",
                "podrefresh.io/containers": containers,
            }},
            "spec": {"containers": [{"name": "web", "image": web}, {"name": "agent", "image": agent}]},
        });
        let path = "/api/v1/namespaces/shop/pods?dryRun=All";
        world.send("POST", path, &pod).await
    };
    assert_eq!(tried("*").await.0, 403);
    let images = |pod: &Value| {
        ["/spec/containers/0/image", "/spec/containers/1/image"]
            .map(|path| pod.pointer(path).unwrap().as_str().unwrap().to_owned())
    };
    let pinned = format!("{web}@{digest}");
    let (status, warnings, pod) = tried("!agent").await;
    assert_eq!((status, &warnings[..]), (201, &[] as &[String]), "{pod:#}");
    assert_eq!(images(&pod), [&*pinned, &agent]);
    drop(guard);
    // Now that it is known what it means, it is said and no more.
    let pod = eventually("a stamp of the agent", async || {
        let (_, _, pod) = tried("!agent").await;
        let stamp = &pod["metadata"]["annotations"]["image.podrefresh.io/agent"];
        (stamp == &agent).then_some(pod)
    })
    .await;
    assert_eq!(images(&pod), [&*pinned, &agent]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_pulled_keeps_no_pod_out() {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    let (image, digest) = push(&world, "app");
    let missing = image.replace("shop/app", "shop/missing");
    let tried = async |image: &str, policy: &str| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"generateName": "try-", "annotations": {"podrefresh.io/on-unresolved": "deny"}},
            "spec": {"containers": [{"name": "app", "image": image, "imagePullPolicy": policy}]},
        });
        let path = "/api/v1/namespaces/shop/pods?dryRun=All";
        world.send("POST", path, &pod).await
    };
    for policy in ["Always", "IfNotPresent"] {
        assert_eq!(tried(&missing, policy).await.0, 403, "{policy}");
    }
    let (status, warnings, pod) = tried(&missing, "Never").await;
    assert_eq!((status, &warnings[..]), (201, &[] as &[String]), "{pod:#}");
    let reviews = |outcome: &str| {
        format!("podrefresh_admission_reviews_total{{path=\"mutate\",outcome=\"{outcome}\"}}")
    };
    world.controllers()[0]
        .shows(&reviews("unchanged"), 1.0)
        .await;
    world.controllers()[0]
        .shows(&reviews("unresolved"), 0.0)
        .await;
    // It is said what it means where that is known.
    let (_, _, pod) = tried(&image, "Never").await;
    let stamp = &pod["metadata"]["annotations"]["digest.podrefresh.io/app"];
    assert_eq!(stamp, &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_arrive_whole_however_many_there_are() {
    let world = World::running(&[]).await;
    world.kube.opted_in("shop").await;
    // The cause stands behind the image: both must arrive.
    let image = |i: usize| format!("127.0.0.1:1/{}:{i}", "x".repeat(200));
    let containers: Vec<_> = (0..40)
        .map(|i| json!({"name": format!("c{i}"), "image": image(i)}))
        .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "many"}, "spec": {"containers": containers},
    });
    let path = "/api/v1/namespaces/shop/pods?dryRun=All";
    let (status, warnings, body) = world.send("POST", path, &pod).await;
    assert_eq!(status, 201, "{body:#}");
    assert_eq!(warnings.len(), 15);
    for warning in &warnings[..14] {
        assert!(warning.contains("…\\\": 127.0.0.1:1"), "{warning}");
        let text = warning.trim_start_matches("299 - \"").trim_end_matches('"');
        assert!(
            text.replace("\\\"", "\"").chars().count() <= 256,
            "{warning}"
        );
    }
    assert!(
        warnings[14].contains("26 more warnings"),
        "{}",
        warnings[14]
    );
}
