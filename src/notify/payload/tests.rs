use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::error::Chain;

/// Returns a payload as a sender sends it.
fn sample(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/notify");
    let text = fs::read_to_string(path.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Checks who `body` is from, what it says was pushed, and how much of it is lost.
#[track_caller]
fn check(body: &Value, sender: Sender, pushes: &[&str], lost: usize) {
    let payload = read(body.to_string().as_bytes()).unwrap();
    let found: Vec<String> = payload.pushes.iter().map(Push::to_string).collect();
    assert_eq!(found, pushes, "{body}");
    assert_eq!((payload.sender, payload.lost), (sender, lost), "{body}");
}

/// Checks the same of a sample, and that with any of `less` in it there is no push.
#[track_caller]
fn check_sample(name: &str, sender: Sender, pushes: &[&str], less: &[(&str, Value)]) {
    check(&sample(name), sender, pushes, 0);
    for (pointer, value) in less {
        let mut body = sample(name);
        *body.pointer_mut(pointer).unwrap() = value.clone();
        check(&body, sender, &[], 0);
    }
}

#[test]
fn distribution_tells_of_tags_among_layers_and_pulls() {
    let digest = "/events/1/target/tag";
    check_sample(
        "distribution",
        Sender::Distribution,
        &["registry.example.com/acme/web:stable"],
        &[
            ("/events", json!([])),
            ("/events/1/action", json!("delete")),
            ("/events/1/target", Value::Null),
            (digest, Value::Null),
            (digest, json!("")),
        ],
    );
}

#[test]
fn depth_is_no_danger() {
    let depth = 100_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = format!("{{\"deep\": {nested}, \"events\": [{nested}]}}");
    let payload = read(body.as_bytes()).unwrap();
    assert_eq!((payload.pushes.len(), payload.lost), (0, 1));
}

#[test]
fn one_odd_event_does_not_spoil_the_others() {
    let mut body = sample("distribution");
    let events = body["events"].as_array_mut().unwrap();
    let mut odd = events[1].clone();
    odd["target"]["repository"] = json!("Not/A Repository");
    events.splice(0..0, [json!(5), json!({"target": "web"}), odd]);
    let push = "registry.example.com/acme/web:stable";
    check(&body, Sender::Distribution, &[push], 3);
}

#[test]
fn a_registry_is_named_by_the_request_else_by_the_address() {
    let check = |host: Value, url: Value, expected: &str| {
        let mut body = sample("distribution");
        body["events"][1]["request"]["host"] = host;
        body["events"][1]["target"]["url"] = url;
        check(&body, Sender::Distribution, &[expected], 0);
    };
    let url = json!("http://10.0.0.5:5000/v2/acme/web/manifests/x");
    check(json!("r:5000"), url.clone(), "r:5000/acme/web:stable");
    check(json!(""), url.clone(), "10.0.0.5:5000/acme/web:stable");
    check(Value::Null, url, "10.0.0.5:5000/acme/web:stable");
    check(Value::Null, json!("/v2/"), "*/acme/web:stable");
    check(Value::Null, Value::Null, "*/acme/web:stable");
}

#[test]
fn azure_sends_one_event_and_pings() {
    check_sample(
        "azure",
        Sender::Azure,
        &["acme.azurecr.io/acme/web:stable"],
        &[("/action", json!("delete")), ("/action", json!("ping"))],
    );
}

#[test]
fn docker_hub_tells_of_a_tag() {
    check_sample(
        "docker-hub",
        Sender::DockerHub,
        &["docker.io/acme/web:stable"],
        &[
            ("/push_data/tag", json!("")),
            ("/push_data/tag", Value::Null),
        ],
    );
}

#[test]
fn harbor_tells_in_two_forms() {
    let push = ["harbor.example.com/acme/web:stable"];
    let digest = format!("harbor.example.com/acme/web@sha256:{}", "ab".repeat(32));
    for (name, data) in [("harbor", "/event_data"), ("harbor-cloudevents", "/data")] {
        let resources = format!("{data}/resources");
        let url = format!("{resources}/0/resource_url");
        let less = [
            ("/type", json!("PULL_ARTIFACT")),
            (&*resources, json!([])),
            (&*url, json!(digest)),
            (&*url, Value::Null),
        ];
        check_sample(name, Sender::Harbor, &push, &less);
        let mut body = sample(name);
        *body.pointer_mut(&url).unwrap() = json!("https://harbor.example.com/acme/web:stable");
        check(&body, Sender::Harbor, &push, 0);
        *body.pointer_mut(&url).unwrap() = json!("https://");
        check(&body, Sender::Harbor, &[], 1);
    }
}

#[test]
fn quay_tells_of_all_tags_at_once() {
    let pushes = ["quay.io/acme/web:1.4", "quay.io/acme/web:stable"];
    let less = [
        ("/updated_tags", json!([])),
        ("/updated_tags", Value::Null),
        ("/updated_tags", json!({})),
    ];
    check_sample("quay", Sender::Quay, &pushes, &less);
    let mut body = sample("quay");
    body["updated_tags"] = json!({"stable": "abc", "1.4": "def"});
    check(&body, Sender::Quay, &pushes, 0);
    body["docker_url"] = json!("quay.io");
    check(&body, Sender::Quay, &[], 2);
}

#[test]
fn github_tells_of_containers() {
    let push = ["ghcr.io/acmeinc/web:stable"];
    let less = [
        ("/action", json!("deleted")),
        ("/registry_package/package_type", json!("npm")),
        ("/registry_package/package_version", Value::Null),
    ];
    check_sample("github", Sender::Forge, &push, &less);
    // The tag stands in two places, and either may be empty.
    let mut body = sample("github");
    let version = body["registry_package"]["package_version"].take();
    let with = |url: &str, tag: Value| {
        let mut body = sample("github");
        let version = &mut body["registry_package"]["package_version"];
        version["package_url"] = json!(url);
        version["container_metadata"]["tag"]["name"] = tag;
        body
    };
    let url = "ghcr.io/AcmeInc/web";
    check(
        &with(&format!("{url}:stable"), json!("")),
        Sender::Forge,
        &push,
        0,
    );
    check(
        &with(&format!("{url}:"), json!("stable")),
        Sender::Forge,
        &push,
        0,
    );
    check(&with("", json!("stable")), Sender::Forge, &push, 0);
    check(
        &with(&format!("{url}:"), Value::Null),
        Sender::Forge,
        &[],
        0,
    );
    // The event `package` has another name for the same, and sometimes the version beside it.
    let package = body["registry_package"].take();
    let body = json!({"action": "updated", "package": package, "package_version": version});
    check(&body, Sender::Forge, &push, 0);
    let ping = json!({"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {}});
    check(&ping, Sender::Forge, &[], 0);
}

#[test]
fn gitea_tells_of_containers() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    check_sample(
        "gitea",
        Sender::Forge,
        &["git.example.com/acme/web:stable"],
        &[
            ("/action", json!("deleted")),
            ("/package/type", json!("generic")),
            ("/package/version", json!(digest)),
        ],
    );
}

#[test]
fn amazon_tells_by_event_bridge() {
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
    check_sample(
        "ecr",
        Sender::Ecr,
        &[&format!("{host}/acme/web:stable")],
        &[
            ("/detail/action-type", json!("DELETE")),
            ("/detail/result", json!("FAILURE")),
            ("/detail/image-tag", Value::Null),
            ("/detail-type", json!("ECR Image Scan")),
        ],
    );
    let mut body = sample("ecr");
    body["region"] = json!("cn-north-1");
    let host = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn";
    check(&body, Sender::Ecr, &[&format!("{host}/acme/web:stable")], 0);
}

#[test]
fn google_tells_by_pub_sub_wrapped_or_not() {
    let push = ["europe-docker.pkg.dev/acme-prod/images/web:stable"];
    let wrapped = |change: &Value| {
        let mut body = sample("google");
        body["message"]["data"] = json!(STANDARD.encode(change.to_string()));
        body
    };
    check_sample("google", Sender::Google, &push, &[]);
    let data = sample("google")["message"]["data"].take();
    let data = STANDARD.decode(data.as_str().unwrap()).unwrap();
    let mut change: Value = serde_json::from_slice(&data).unwrap();
    check(&change, Sender::Google, &push, 0);
    change["action"] = json!("DELETE");
    check(&wrapped(&change), Sender::Google, &[], 0);
    let digest = json!({"action": "INSERT", "digest": "h.io/a@sha256:1"});
    check(&wrapped(&digest), Sender::Google, &[], 0);
}

#[test]
fn anybody_may_write_images() {
    let sender = Sender::Plain;
    check(
        &sample("plain"),
        sender,
        &["registry.example.com/acme/web:stable"],
        0,
    );
    let both = json!({"image": "nginx", "images": ["h.io/a:1", "*/b:2", "h.io/a:1"]});
    let pushes = ["*/b:2", "docker.io/library/nginx:latest", "h.io/a:1"];
    check(&both, sender, &pushes, 0);
    check(&json!({"images": []}), sender, &[], 0);
}

#[test]
fn one_payload_tells_of_256_pushes_at_most() {
    let images = |count: usize| {
        let images: Vec<String> = (0..count).map(|nth| format!("h.io/a:{nth}")).collect();
        let again = [&images[..], &images[..1]].concat();
        json!({"images": again})
    };
    let count = |count| {
        let payload = read(images(count).to_string().as_bytes()).unwrap();
        (payload.pushes.len(), payload.lost)
    };
    assert_eq!(count(256), (256, 0));
    assert_eq!(count(257), (256, 1));
}

/// Checks the words in which `body` is refused.
#[track_caller]
fn refuse(body: &[u8], expected: &str) {
    let error = read(body).expect_err("it tells nothing");
    let text = Chain(&error).to_string();
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_is_no_notification_is_refused_in_words() {
    refuse(b"", "the body must be one JSON object: EOF");
    refuse(
        b"[]",
        "the body must be one JSON object: invalid type: sequence, expected an object",
    );
    refuse(
        b"payload=%7B%7D",
        "the body must be one JSON object: expected value",
    );
    refuse(
        b"{} {}",
        "the body must be one JSON object: trailing characters",
    );
    refuse(
        b"{}",
        "no fields make no known notification; known are those of distribution, ",
    );
    let body = br#"{"ref": "refs/heads/main", "commits": []}"#;
    refuse(
        body,
        r#"the fields ["ref", "commits"] make no known notification; "#,
    );
    let many: Vec<String> = (0..10)
        .map(|nth| format!("\"{nth}{}\": 1", "x".repeat(99)))
        .collect();
    let many = format!("{{{}}}", many.join(","));
    let error = read(many.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains(" and 2 more make") && error.len() < 800,
        "{error}"
    );
}

#[test]
fn what_looks_like_one_and_is_not_is_refused_in_words() {
    refuse(
        br#"{"events": 5}"#,
        "read as a notification of a distribution registry: invalid type: integer `5`, expected a sequence",
    );
    refuse(
        br#"{"push_data": {}}"#,
        "read as a notification of Docker Hub: missing field `repository`",
    );
    refuse(
        br#"{"message": {"data": "?"}}"#,
        "read as a notification of Google Artifact Registry: message.data is not base64: Invalid symbol 63",
    );
    refuse(
        br#"{"image": "h.io/Web:1"}"#,
        "image \"h.io/Web:1\": repository \"Web\" must be lower case",
    );
}
