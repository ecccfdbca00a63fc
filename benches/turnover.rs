//! How long it takes until all outdated pods of many owners have been replaced.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Life, api::resource, images::Format, kubelet};
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    controller::{Controller, Program},
    population::{Population, Size},
    report::{Figure, Report},
};

/// Deployments, and pods of each.
const OWNERS: usize = 100;
const REPLICAS: usize = 10;

/// How long a pod takes from its start until it is ready.
const START: Duration = Duration::from_secs(2);

/// Evictions a minute: more than there are, so that the budget holds nothing back.
const PER_MINUTE: usize = 3000;

/// Pods of one owner go one after the other, each when the last one's successor is ready; all owners at the same time.
const ALLOWED: Duration = START.saturating_mul(REPLICAS as u32);

pub(crate) fn measure(report: &mut Report) {
    Runtime::new().unwrap().block_on(async {
        let size = Size {
            pods: OWNERS * REPLICAS,
            per_owner: REPLICAS,
            images: 1,
        };
        let population = Population::start(size).await;
        let nodes = kubelet::Options {
            ready_delay: START,
            ..kubelet::Options::default()
        };
        let api = population.cluster.api();
        let _life = Life::start(api, nodes).await.unwrap();
        let push = |seed| {
            let image = Format::Oci.multi_platform(seed);
            population.registry.store("rec/app", "stable", &image)
        };
        let old = push("1");
        let label = json!({"podrefresh.io/enabled": "true"});
        let namespace = json!({"metadata": {"name": "team", "labels": label}});
        api.create(&resource::NAMESPACES, "", namespace)
            .await
            .unwrap();
        for n in 0..OWNERS {
            let image = population.registry.reference("rec/app", "stable");
            let deployment = deployment(&format!("web-{n}"), &image);
            api.create(&resource::DEPLOYMENTS, "team", deployment)
                .await
                .unwrap();
        }
        while ready(&population, &old) < size.pods {
            sleep(Duration::from_millis(100)).await;
        }
        let flags = [
            "--leader-elect=false",
            "--poll-interval=1s",
            "--confirm-after=500ms",
            &format!("--max-evictions-per-minute={PER_MINUTE}"),
        ];
        let controller = Controller::start(&population, Program::Shipped, &flags).await;
        let current = r#"podrefresh_refresh_containers{verdict="current"}"#;
        while controller.metrics().await.get(current) != Some(&(size.pods as f64)) {
            sleep(Duration::from_millis(20)).await;
        }
        let pushed = Instant::now();
        let new = push("2");
        while ready(&population, &new) < size.pods {
            sleep(Duration::from_millis(50)).await;
        }
        report.below(
            "from a push until 1,000 pods of 100 owners run it, 2 s each",
            Figure::time(pushed.elapsed()),
            Figure::time(ALLOWED.mul_f64(1.3)),
        );
        let evicted = r#"podrefresh_refresh_evictions_total{outcome="evicted"}"#;
        let evicted = controller.metrics().await[evicted];
        report.exactly("evictions for that", evicted as usize, size.pods);
        population.cluster.assert_clean();
    });
}

/// Returns how many pods are ready and run this digest.
fn ready(population: &Population, digest: &str) -> usize {
    let is_ready = |pod: &&std::sync::Arc<Value>| {
        let status = &pod["status"]["containerStatuses"][0];
        let runs = status["imageID"].as_str().unwrap_or_default();
        status["ready"] == true && runs.ends_with(digest)
    };
    let pods = population.cluster.api().list(&resource::PODS, Some("team"));
    pods.iter().filter(is_ready).count()
}

fn deployment(name: &str, image: &str) -> Value {
    let container = json!({"name": "app", "image": image, "imagePullPolicy": "Always"});
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    })
}
