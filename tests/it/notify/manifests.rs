//! The component as kubectl renders it upon the base.

use serde_json::{Value, json};

use crate::support::{
    kubectl::Kubectl,
    skip::need,
    yaml::{list, render},
};

/// Returns the one object of `kind` in a folder.
#[track_caller]
fn the(kubectl: &Kubectl, folder: &str, kind: &str) -> Value {
    let mut found = render(kubectl, folder).into_iter();
    let found = found.find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("{folder} must have a {kind}"))
}

#[test]
fn the_port_is_there_where_it_is_wanted_and_only_there() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    for kind in ["Deployment", "Service", "NetworkPolicy"] {
        let told = |folder| the(&kubectl, folder, kind).to_string().contains("notify");
        assert!(
            !told("manifests/base") && told("manifests/notify"),
            "{kind}"
        );
    }
}

#[test]
fn the_component_says_all_that_the_port_needs() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let of = |kind| the(&kubectl, "manifests/notify", kind);
    let deployment = of("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let containers = list(pod, "/containers");
    assert_eq!(containers.len(), 1, "{containers:?}");
    let env = |name: &str| {
        let mut env = list(&containers[0], "/env").iter();
        env.find(|env| env["name"] == name).cloned().unwrap()
    };
    let ip = env("POD_IP");
    assert_eq!(ip["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP");
    // What the base says is still there.
    env("PODREFRESH_NAMESPACE");
    let mount = &list(&containers[0], "/volumeMounts")[0];
    let file = env("PODREFRESH_NOTIFY_TOKEN_FILE");
    let file = file["value"].as_str().unwrap();
    assert!(file.starts_with(mount["mountPath"].as_str().unwrap()));
    assert!(file.ends_with("/token"), "the Secret's key");
    let volume = &list(pod, "/volumes")[0];
    assert_eq!(volume["name"], mount["name"]);
    assert_eq!(
        volume["secret"],
        json!({"secretName": "podrefresh-notify", "optional": true})
    );

    let service = of("Service");
    let ports = list(&service, "/spec/ports").iter();
    let mut targets: Vec<&Value> = ports.map(|port| &port["targetPort"]).collect();
    targets.sort_by_key(|target| target.to_string());
    assert_eq!(targets, ["admin", "admission", "notify"]);

    let policy = of("NetworkPolicy");
    let port = json!([{"port": "notify", "protocol": "TCP"}]);
    let ingress = list(&policy, "/spec/ingress").last().unwrap().clone();
    assert_eq!(ingress, json!({"ports": port}));
    // From replica to replica.
    let selector = &policy["spec"]["podSelector"];
    let egress = list(&policy, "/spec/egress").last().unwrap().clone();
    assert_eq!(
        egress,
        json!({"to": [{"podSelector": selector}], "ports": port})
    );
}
