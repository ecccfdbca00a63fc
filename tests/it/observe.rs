//! The admin port as kubelets and Prometheus see it.

use std::{
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use serde_json::json;
use testbed::faults::Effect;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    authority::Authority,
    kube::eventually,
    look::on_testbed,
    skip::{need, program},
    world::{World, get},
};

async fn request(admin: SocketAddr, method: Method, path: &str) -> reqwest::Response {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.request(method, format!("http://{admin}{path}"))
        .send()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_controller_says_what_holds() {
    let world = World::running(&[]).await;
    let admin = world.controllers()[0].admin;
    assert_eq!(get(admin, "/livez").await, (200, "ok\n".to_owned()));
    let (status, text) = get(admin, "/readyz").await;
    assert_eq!(status, 200, "{text}");
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("[+]").unwrap())
        .collect();
    assert_eq!(
        names,
        ["running ok", "certificate ok", "namespaces ok", "pods ok"]
    );
    // Probes may be made by HEAD; nothing else is there, and nothing can be changed.
    assert_eq!(
        request(admin, Method::HEAD, "/readyz").await.status(),
        StatusCode::OK
    );
    assert_eq!(
        request(admin, Method::GET, "/").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        request(admin, Method::POST, "/readyz").await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_the_admin_port_makes_room_for_probes() {
    let world = World::running(&[]).await;
    let admin = world.controllers()[0].admin;
    let mut crowd = Vec::new();
    for nth in 0..80 {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        // Some say nothing, and others begin to.
        if nth % 2 == 0 {
            stream.write_all(b"GET /metrics HTT").await.unwrap();
        }
        crowd.push(stream);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(admin, path).await.0, 200);
    }
    // With the three that asked, nineteen had to go; their neighbours stay.
    let (gone, stay) = crowd.split_at_mut(16);
    for stream in gone {
        // How it closes does not matter.
        let _ = timeout(Duration::from_secs(10), stream.read(&mut [0]))
            .await
            .expect("the eldest must make room");
    }
    for stream in &mut stay[3..] {
        let error = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// Breaks the caBundle of the first webhook of our configuration in `resource`, and checks what readiness says.
async fn check_unready(resource: &'static str) {
    let world = World::running(&[]).await;
    let admin = world.controllers()[0].admin;
    // The controller mends a bundle at once, if it can.
    let faults = world.testbed().cluster.faults();
    let broken = faults.inject(Effect::InternalError, move |seen| {
        seen.verb == "patch" && seen.resource == resource && seen.user.ends_with(":podrefresh")
    });
    let other = STANDARD.encode(Authority::new().pem());
    let patch =
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": other}]);
    let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/podrefresh");
    let kind = "application/json-patch+json";
    let (status, _, answer) = world.send_as("PATCH", &path, kind, &patch).await;
    assert_eq!(status, 200, "{answer:#}");
    let controller = &world.controllers()[0];
    let text = controller.readiness(503).await;
    assert!(text.contains("[-]certificate failed: "), "{text}");
    assert!(text.contains("[+]pods ok"), "{text}");
    assert_eq!(get(admin, "/livez").await.0, 200);
    drop(broken);
    controller.readiness(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_does_not_trust_us_makes_us_unready() {
    if on_testbed() {
        check_unready("mutatingwebhookconfigurations").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validating_webhooks_bundle_counts_as_well() {
    if on_testbed() {
        check_unready("validatingwebhookconfigurations").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_prometheus_reads() {
    let world = World::running(&[]).await;
    let (image, _) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 2, &image).await;
    world.kube.ready("shop", 2).await;
    let admin = world.controllers()[0].admin;
    let text = eventually("a tick that has seen the pods", || async {
        let (_, text) = get(admin, "/metrics").await;
        text.contains("podrefresh_refresh_containers{verdict=\"current\"} 2")
            .then_some(text)
    })
    .await;
    let answer = request(admin, Method::GET, "/metrics").await;
    let content_type = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    // As Prometheus asks, where it may choose.
    let accept =
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http.get(format!("http://{admin}/metrics"));
    let answer = answer.header("accept", accept).send().await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let open_metrics = answer.text().await.unwrap();
    assert!(open_metrics.ends_with("# EOF\n"), "{open_metrics}");
    assert!(
        text.contains("podrefresh_admission_reviews_total{path=\"mutate\",outcome=\"stamped\"} 2"),
        "{text}"
    );
    // What is named by users would have no bound.
    for named in ["shop", "web", "stable", "sha256"] {
        assert!(!text.contains(named), "{named} in {text}");
    }

    let Some(promtool) = need(program("promtool")) else {
        return;
    };
    let mut check = std::process::Command::new(promtool);
    let check = check
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{text}");
}
