//! Pods of the manifests: where they are told of, and whether they are as harmless as they can be.

use serde_json::{Value, json};

/// Returns the template of the pods that an object makes, if it makes any.
pub(crate) fn template(object: &Value) -> Option<&Value> {
    let templates = ["/spec/template", "/spec/jobTemplate/spec/template"];
    let mut found = templates.iter().filter_map(|at| object.pointer(at));
    found.next()
}

/// Returns all containers of a pod's spec.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"];
    let lists = lists.into_iter().filter_map(|key| pod[key].as_array());
    lists.flatten()
}

pub(crate) fn is_ours(container: &Value) -> bool {
    let image = container["image"].as_str().unwrap();
    image == concat!("ghcr.io/podrefresh/podrefresh:", env!("CARGO_PKG_VERSION"))
}

/// Checks that pods are allowed by the `restricted` Pod Security Standard, and a little more.
///
/// Kubernetes: Pod Security Standards, Restricted.
#[track_caller]
pub(crate) fn check_hardened(pod: &Value, told: &str) {
    let shared = &pod["securityContext"];
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[host].is_null(), "{told}: {host}");
    }
    assert_eq!(
        pod["automountServiceAccountToken"], true,
        "{told}: says so itself"
    );
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = [
            "configMap",
            "downwardAPI",
            "emptyDir",
            "projected",
            "secret",
        ];
        let is_harmless = kinds.iter().any(|kind| volume.get(kind).is_some());
        assert!(is_harmless, "{told}: {volume}");
    }
    for container in containers(pod) {
        let own = &container["securityContext"];
        let either = |key: &str| match &own[key] {
            Value::Null => &shared[key],
            set => set,
        };
        assert_eq!(either("runAsNonRoot"), true, "{told}: {container:#}");
        assert_eq!(either("runAsUser"), 65532, "{told}: the image's user");
        assert_eq!(either("seccompProfile")["type"], "RuntimeDefault", "{told}");
        assert_eq!(own["allowPrivilegeEscalation"], false, "{told}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{told}");
        assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}), "{told}");
        for odd in ["privileged", "procMount"] {
            assert!(own[odd].is_null(), "{told}: {odd}");
        }
        for resource in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            let found = container["resources"].pointer(resource);
            assert!(found.is_some_and(Value::is_string), "{told}: {resource}");
        }
        for port in container["ports"].as_array().into_iter().flatten() {
            assert!(port["hostPort"].is_null(), "{told}: {port}");
        }
    }
}
