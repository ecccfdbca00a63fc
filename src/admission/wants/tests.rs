use serde_json::{Value, json};

use super::*;

mod pins;

#[track_caller]
fn with<T>(pod: &Value, ask: impl FnOnce(&Pod<'_>) -> T) -> T {
    let text = pod.to_string();
    ask(&serde_json::from_str(&text).unwrap())
}

/// Checks what the container `app` of `pod` wants in `mode`: `stamp …`, `pin …`, `nothing` or the cause.
#[track_caller]
fn check_want(pod: &Value, mode: Mode, expected: &str) {
    check_change(&json!({}), pod, mode, expected);
}

/// Checks the same of a pod that was `old` before this request.
#[track_caller]
fn check_change(old: &Value, pod: &Value, mode: Mode, expected: &str) {
    let old = old.to_string();
    let old: Pod<'_> = serde_json::from_str(&old).unwrap();
    let said = with(pod, |pod| {
        match of(pod, &old, pod.parts(), mode, &containers(pod, &[]))
            .pop()
            .unwrap()
            .want
        {
            Want::Stamp(image) => format!("stamp {image}"),
            Want::Pin { image, present } => format!("pin {image} {present:?}"),
            Want::Nothing => "nothing".to_owned(),
            Want::Unreadable { cause, .. } => cause,
        }
    });
    assert!(said.contains(expected), "{said:?} must say {expected:?}");
}

#[track_caller]
fn check_image(image: Value, expected: &str) {
    let pod = json!({"spec": {"containers": [{"name": "app", "image": image}]}});
    check_want(&pod, Mode::Stamp, expected);
}

#[test]
fn what_is_never_pulled_is_not_pinned() {
    let pod = |policy: &str| {
        let app = json!({"name": "app", "image": "nginx:1", "imagePullPolicy": policy});
        let image = json!({"reference": "model:1", "pullPolicy": policy});
        let volume = json!({"name": "model", "image": image});
        [
            json!({"spec": {"containers": [app]}}),
            json!({"spec": {"volumes": [volume]}}),
        ]
    };
    for policy in ["Always", "IfNotPresent"] {
        pod(policy)
            .iter()
            .for_each(|pod| check_want(pod, Mode::Pin, "pin "));
    }
    for pod in pod("Never") {
        check_want(&pod, Mode::Pin, "stamp ");
    }
}

/// Checks what the parts of a pod want in mode `pin` whose wish `containers` is `own`, in a namespace with `default`.
#[track_caller]
fn check_left_out(own: Option<&str>, default: Option<&str>, expected: &[&str]) {
    let container = |name: &str| json!({"name": name, "image": "a:1"});
    let pod = json!({
        "metadata": {"annotations": own.map(|own| json!({"podrefresh.io/containers": own}))},
        "spec": {
            "initContainers": [container("init")], "containers": [container("app"), container("agent")],
            "volumes": [{"name": "agent", "image": {"reference": "a:1"}}],
            "ephemeralContainers": [container("debug")],
        },
    });
    let defaults: Vec<_> = default
        .map(|value| ("containers".into(), value.into()))
        .into_iter()
        .collect();
    let told = with(&pod, |pod| {
        let parts = pod.parts().chain(pod.ephemeral());
        let wanted = of(
            pod,
            &Pod::default(),
            parts,
            Mode::Pin,
            &containers(pod, &defaults),
        )
        .into_iter();
        let told = wanted.map(|wanted| match (wanted.want, wanted.is_optional) {
            (Want::Pin { .. }, false) => format!("pin {}", wanted.stamp),
            (Want::Stamp(_), true) => format!("stamp {}", wanted.stamp),
            odd => panic!("{odd:?}"),
        });
        told.collect::<Vec<_>>()
    });
    assert_eq!(told, expected);
}

#[test]
fn what_is_left_out_is_stamped_only() {
    let all = [
        "pin init",
        "pin app",
        "pin agent",
        "pin volume.agent",
        "pin debug",
    ];
    let without_agent = [
        "pin init",
        "pin app",
        "stamp agent",
        "pin volume.agent",
        "pin debug",
    ];
    let app_alone = [
        "stamp init",
        "pin app",
        "stamp agent",
        "pin volume.agent",
        "stamp debug",
    ];
    check_left_out(None, None, &all);
    check_left_out(Some("!agent"), None, &without_agent);
    check_left_out(None, Some("!agent"), &without_agent);
    check_left_out(Some("*"), Some("!agent"), &all);
    check_left_out(Some("app"), None, &app_alone);
    // What makes no sense, or is too long, leaves nothing out: such a pod is not refreshed at all.
    check_left_out(Some("App"), None, &all);
    let long = |entries: usize| format!("{}app", "app,".repeat(entries));
    check_left_out(Some(&long(1023)), None, &app_alone);
    check_left_out(Some(&long(1024)), None, &all);
}

#[track_caller]
fn check_mode(own: Option<&str>, default: Option<&str>, expected: Mode) {
    let pod =
        json!({"metadata": {"annotations": own.map(|own| json!({"podrefresh.io/mode": own}))}});
    let defaults: Vec<_> = default
        .map(|value| ("mode".into(), value.into()))
        .into_iter()
        .collect();
    assert_eq!(with(&pod, |pod| mode(pod, &defaults)), expected);
}

#[test]
fn the_pods_mode_goes_before_its_namespaces() {
    check_mode(None, None, Mode::Stamp);
    check_mode(None, Some("pin"), Mode::Pin);
    check_mode(Some("stamp"), Some("pin"), Mode::Stamp);
    check_mode(Some("pin"), None, Mode::Pin);
    check_mode(Some("pinn"), None, Mode::Stamp);
}

#[test]
fn a_tag_wants_a_stamp_and_a_digest_does_not() {
    let digest = format!("sha256:{}", "a".repeat(64));
    check_image(json!("nginx"), "stamp docker.io/library/nginx:latest");
    check_image(json!("nginx:1.27"), "stamp docker.io/library/nginx:1.27");
    check_image(json!("h:5000/a/b:c"), "stamp h:5000/a/b:c");
    check_image(json!(format!("nginx@{digest}")), "nothing");
    check_image(json!(format!("nginx:1.27@{digest}")), "nothing");
}

#[test]
fn an_image_that_is_absent_or_wrong_is_no_accident() {
    check_image(Value::Null, "must not be empty");
    check_image(json!(""), "must not be empty");
    check_image(json!("NGINX"), "lower case");
    check_image(json!("nginx:"), "tag");
    check_image(json!("nginx\n"), "");
}

#[test]
fn all_kinds_of_containers_count_and_nameless_ones_do_not() {
    let pod = json!({"spec": {
        "initContainers": [
            {"name": "init", "image": "a"},
            {"name": "sidecar", "image": "b", "restartPolicy": "Always"},
        ],
        "containers": [
            {"name": "app", "image": "c"}, {"image": "d"}, {"name": "", "image": "e"},
            {"name": "a/b", "image": "f"}, {"name": "x".repeat(63), "image": "g"},
            {"name": "x".repeat(64), "image": "h"},
        ],
    }});
    let names = with(&pod, |pod| {
        of(
            pod,
            &Pod::default(),
            pod.parts(),
            Mode::Stamp,
            &Selection::default(),
        )
        .iter()
        .map(|wanted| wanted.name.len())
        .collect::<Vec<_>>()
    });
    assert_eq!(names, [4, 7, 3, 63]);
}

#[track_caller]
fn check_alone(metadata: Value, expected: bool) {
    let pod = json!({ "metadata": metadata });
    assert_eq!(with(&pod, is_left_alone), expected);
}

#[test]
fn opted_out_and_mirror_pods_are_left_alone() {
    check_alone(json!({"labels": {"podrefresh.io/enabled": "false"}}), true);
    check_alone(json!({"labels": {"podrefresh.io/enabled": "true"}}), false);
    check_alone(json!({"labels": {"podrefresh.io/enabled": "no"}}), false);
    check_alone(
        json!({"annotations": {"podrefresh.io/enabled": "false"}}),
        false,
    );
    check_alone(
        json!({"annotations": {"kubernetes.io/config.mirror": "x"}}),
        true,
    );
    check_alone(json!({}), false);
}

#[track_caller]
fn check_identity(spec: Value, secrets: &[&str], account: &str) {
    let identity = with(&json!({ "spec": spec }), |pod| identity(pod, "shop"));
    let secrets = secrets.iter().copied().map(Arc::from).collect();
    assert_eq!(
        identity,
        PullIdentity {
            namespace: "shop".into(),
            secrets,
            service_account: account.into(),
        }
    );
}

#[test]
fn the_identity_keeps_the_order_of_the_secrets() {
    check_identity(json!({}), &[], "default");
    check_identity(
        json!({"imagePullSecrets": [{"name": "b"}, {}, {"name": ""}, {"name": "a"}],
            "serviceAccountName": "puller"}),
        &["b", "a"],
        "puller",
    );
    check_identity(json!({"serviceAccountName": ""}), &[], "default");
    let many: Vec<Value> = (0..100).map(|n| json!({"name": format!("s{n}")})).collect();
    let first: Vec<String> = (0..32).map(|n| format!("s{n}")).collect();
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    check_identity(json!({"imagePullSecrets": many}), &first, "default");
}

#[track_caller]
fn check_wish(pod: Option<&str>, namespace: Option<&str>, expected: OnUnresolved) {
    let annotations = pod.map(|value| json!({"podrefresh.io/on-unresolved": value}));
    let defaults: Vec<(Box<str>, Box<str>)> = namespace
        .map(|value| ("on-unresolved".into(), value.into()))
        .into_iter()
        .collect();
    let pod = json!({"metadata": {"annotations": annotations}});
    assert_eq!(with(&pod, |pod| on_unresolved(pod, &defaults)), expected);
}

#[test]
fn the_pods_wish_goes_before_its_namespaces() {
    check_wish(None, None, OnUnresolved::Warn);
    check_wish(None, Some("deny"), OnUnresolved::Deny);
    check_wish(Some("admit"), Some("deny"), OnUnresolved::Admit);
    check_wish(Some("warn"), Some("deny"), OnUnresolved::Warn);
    check_wish(Some("Deny"), None, OnUnresolved::Warn);
}

#[test]
fn an_image_volume_is_stamped_under_a_name_that_no_container_has() {
    let longest = "x".repeat(56);
    let too_long = "x".repeat(57);
    let volume = |name: &str| json!({"name": name, "image": {"reference": "a:1"}});
    let pod = json!({"spec": {
        "containers": [{"name": "app", "image": "c"}],
        "volumes": [{"name": "tmp", "emptyDir": {}}, volume("model"), volume(&longest), volume(&too_long)],
    }});
    let stamps = with(&pod, |pod| {
        let wanted = of(
            pod,
            &Pod::default(),
            pod.parts(),
            Mode::Stamp,
            &Selection::default(),
        )
        .into_iter();
        wanted
            .map(|w| (w.stamp.into_owned(), w.want != Want::Nothing))
            .collect::<Vec<_>>()
    });
    let volume = |name: &str| format!("volume.{name}");
    assert_eq!(
        stamps,
        [
            ("app".to_owned(), true),
            (volume("model"), true),
            (volume(&longest), true),
            (volume(&too_long), false),
        ]
    );
}

/// Checks the names of the parts that differ between the specs of two pods.
#[track_caller]
fn check_changed(old: Value, new: Value, expected: &[&str], expected_ephemeral: &[&str]) {
    let (old, new) = (
        json!({"spec": old}).to_string(),
        json!({"spec": new}).to_string(),
    );
    let (old, new): (Pod<'_>, Pod<'_>) = (
        serde_json::from_str(&old).unwrap(),
        serde_json::from_str(&new).unwrap(),
    );
    let names = |parts: Vec<Part<'_>>| {
        let names = parts.iter().filter_map(|part| part.name.map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(changed(&new, &old)), expected);
    assert_eq!(names(added(&new, &old)), expected_ephemeral);
}

#[test]
fn what_has_another_image_is_told_by_its_name() {
    let (a, b) = (
        json!({"name": "a", "image": "x:1"}),
        json!({"name": "b", "image": "x:1"}),
    );
    let a2 = json!({"name": "a", "image": "x:2", "tty": true});
    let lists = |init: &Value, containers: &[&Value], debug: &[&Value]| json!({"initContainers": [init], "containers": containers, "ephemeralContainers": debug});
    check_changed(lists(&a, &[&b], &[]), lists(&a, &[&b], &[]), &[], &[]);
    check_changed(lists(&a, &[&b], &[]), lists(&a2, &[&b], &[]), &["a"], &[]);
    check_changed(
        lists(&b, &[&a], &[&a]),
        lists(&b, &[&a2], &[&a, &b]),
        &["a"],
        &["b"],
    );
    check_changed(lists(&b, &[&a], &[&a]), lists(&b, &[&a], &[&a2]), &[], &[]);
    check_changed(json!(null), lists(&b, &[&a], &[]), &["b", "a"], &[]);
}
