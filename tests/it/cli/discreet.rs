//! A controller that tells everything it does never tells a secret; and its lines are JSON.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use testbed::{
    Life,
    api::{object, resource},
    images::Format,
    kubelet,
    registry::{Auth, Bearer, Options, Registry, User},
};

use super::cluster::installed;
use crate::support::{
    kube::{Kube, annotation, eventually, workload},
    program::{Outcome, Program},
    world::{client, get},
};

/// What all crates at hand have to say.
const ALL: &str = "--log-filter=trace,kube_client=trace,kube_runtime=trace";

const QUICK: [&str; 3] = [
    "--poll-interval=300ms",
    "--confirm-after=100ms",
    "--lease-duration=3s",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_printed_and_every_line_is_json() {
    let ann = User::new("ann", "correct-horse").identity_token("1dentity-t0ken");
    let auth = Auth::Bearer(Bearer::new([ann]));
    let registry = Registry::start(Options {
        auth,
        ..Options::default()
    })
    .await
    .unwrap();
    let cluster = installed().await;
    let _life = Life::start(cluster.api(), kubelet::Options::default())
        .await
        .unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);

    let token = cluster.token_for("podrefresh", "podrefresh").unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&cluster.kubeconfig()).unwrap();
    kubeconfig["users"][0]["user"]["token"] = token.clone().into();
    kubeconfig["contexts"][0]["context"]["namespace"] = "podrefresh".into();
    let arguments = [
        "controller",
        ALL,
        "--admin-addr=127.0.0.1:0",
        "--admission-addr=127.0.0.1:0",
    ];
    let config = json!({"auths": {registry.host(): {"identitytoken": "1dentity-t0ken"}}});
    let process = Program::new(arguments.into_iter().chain(QUICK))
        .kubeconfig(&kubeconfig.to_string())
        .docker_config(&config)
        .start();
    let addresses = process.serving().await;
    cluster.route_service("podrefresh", "podrefresh", 443, &[addresses.admission]);
    eventually("a ready controller", || async {
        (get(addresses.admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;

    // One namespace may, one has an old password and is let in by the controller's own config, and one image is
    // not there at all.
    let old = registry.store("shop/web", "stable", &Format::Oci.multi_platform("1"));
    let image = registry.reference("shop/web", "stable");
    for (namespace, password) in [("shop", "correct-horse"), ("late", "battery-staple")] {
        kube.opted_in(namespace).await;
        kube.pull_secret(namespace, "pull", &registry.host(), "ann", password)
            .await;
        for (name, image) in [
            ("web", &*image),
            ("lost", &registry.reference("shop/lost", "1")),
        ] {
            let mut object = workload(name, image, json!({"replicas": 1}));
            object["spec"]["template"]["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
            kube.create::<Deployment>(namespace, object).await;
        }
    }
    let stamped = async |digest: &str| {
        eventually("a stamped and running pod", || async {
            let pods = kube.pods("shop").await;
            let found = pods
                .iter()
                .any(|pod| annotation(pod, "digest.podrefresh.io/app") == digest);
            found.then_some(())
        })
        .await;
    };
    stamped(&old).await;
    eventually("the first pod to run", || async {
        let pods = kube.pods("shop").await;
        pods.iter()
            .any(crate::support::kube::is_ready)
            .then_some(())
    })
    .await;
    let new = registry.store("shop/web", "stable", &Format::Oci.multi_platform("2"));
    stamped(&new).await;

    let serving = cluster
        .api()
        .get(&resource::SECRETS, "podrefresh", "podrefresh-tls")
        .unwrap();
    process.signal("TERM").await;
    let outcome = process.ended().await;
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(0), ""),
        "{}",
        outcome.complaint()
    );

    let mut secrets = vec![
        token,
        "1dentity-t0ken".to_owned(),
        "testbed-token-".to_owned(),
        "PRIVATE KEY".to_owned(),
    ];
    for password in ["correct-horse", "battery-staple"] {
        secrets.push(password.to_owned());
        // Without what depends on the length of the text.
        secrets.push(STANDARD.encode(format!("ann:{password}"))[..20].to_owned());
        secrets.push(
            STANDARD
                .encode(format!("\"{password}\""))
                .trim_end_matches('=')
                .to_owned(),
        );
    }
    for (_, value) in serving["data"].as_object().unwrap() {
        let text = value.as_str().unwrap();
        let pem = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        if pem.contains("PRIVATE KEY") {
            secrets.push(text[..60].to_owned());
            secrets.push(pem.lines().nth(1).unwrap().to_owned());
        }
    }
    assert!(
        secrets.len() >= 12,
        "the serving key is not where it is sought: {}",
        object::name(&serving)
    );
    for secret in &secrets {
        let line = outcome.stderr.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret:?} in {line:?}");
    }
    check_lines(&outcome);
}

/// Checks the form of the log, and that it is one in all detail.
#[track_caller]
fn check_lines(outcome: &Outcome) {
    let log = outcome.log();
    for line in &log {
        for field in ["timestamp", "level", "message", "target"] {
            // Some libraries log fields alone.
            let is_there = line[field].is_string() || field == "message";
            assert!(is_there, "no {field}: {line}");
        }
        assert!(
            line.get("fields").is_none() && line.get("span").is_none(),
            "{line}"
        );
    }
    for target in ["podrefresh", "kube_client", "hyper_util", "h2"] {
        let named = |line: &&Value| line["target"].as_str().unwrap().starts_with(target);
        assert!(
            log.iter().any(|line| named(&line)),
            "nothing is told by {target}"
        );
    }
    let evicted = log.iter().find(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Evicted "))
    });
    let evicted = evicted.expect("an eviction must have been told");
    assert_eq!(evicted["pod.namespace"], "shop");
    assert!(
        evicted["digest.wanted"]
            .as_str()
            .unwrap()
            .starts_with("sha256:"),
        "{evicted}"
    );
}
