//! What a pod on its way in asks of us: which images to look up, as whom, and what to do without an answer.

use std::{str::FromStr, sync::Arc};

use super::review::{Place, Pod};
use crate::policy::{
    Digest, ImageRef, PullIdentity, Stamp, names,
    pod::Annotations,
    wishes::{Mode, OnUnresolved},
};

/// The kubelet's mark on the mirror of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A container, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'p> {
    /// The container's name.
    pub container: &'p str,
    /// Where it stands in the pod.
    pub place: Place,
    /// Its image as it was given.
    pub text: &'p str,
    /// What it wants.
    pub want: Want,
}

/// What a container's image asks of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Write down what its tag means.
    Stamp(Arc<ImageRef>),
    /// Write down what its tag means, and the digest behind the tag in its image.
    Pin {
        /// The reference by its tag.
        image: Arc<ImageRef>,
        /// The digest that an earlier call of ours has written already.
        present: Option<Digest>,
    },
    /// Its digest was chosen by the user and never changes.
    Nothing,
    /// There is no telling, and why.
    Unreadable {
        /// The image as it was given.
        image: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Returns the wish `podrefresh.io/on-unresolved`: the pod's, else that of its namespace's `defaults`.
///
/// One that makes no sense counts as none: it must not keep a pod out.
pub fn on_unresolved(pod: &Pod<'_>, defaults: &Annotations) -> OnUnresolved {
    wish(pod, defaults, "on-unresolved").unwrap_or_default()
}

/// Returns the wish `podrefresh.io/mode`, likewise.
pub fn mode(pod: &Pod<'_>, defaults: &Annotations) -> Mode {
    wish(pod, defaults, "mode").unwrap_or_default()
}

fn wish<T: FromStr>(pod: &Pod<'_>, defaults: &Annotations, name: &str) -> Option<T> {
    let default = || defaults.iter().find(|(key, _)| &**key == name);
    let own = pod.annotation(&format!("{}{name}", names::PREFIX));
    let value = own.or_else(|| default().map(|(_, value)| &**value))?;
    value.parse().ok()
}

/// Returns whether `pod` is to be let in as it is, stamps and all.
///
/// An opted-out pod and the mirror of a static pod are never evicted, so nothing on them is believed. The API
/// server's objectSelector keeps the former away already; a stamp could not be taken off there either.
pub fn is_left_alone(pod: &Pod<'_>) -> bool {
    pod.label(names::ENABLED) == Some("false") || pod.annotation(MIRROR).is_some()
}

/// Returns what each named container of `pod` wants in `mode`, in the pod's order.
///
/// A container without a valid name is skipped: the API server is about to refuse the pod, and an annotation for
/// it would only add a second complaint that is not the user's.
pub fn of<'p>(pod: &'p Pod<'_>, mode: Mode) -> Vec<Wanted<'p>> {
    pod.containers()
        .filter_map(|(place, container)| {
            let name = container.name.as_deref().filter(|name| is_label(name))?;
            let text = container.image.as_deref().unwrap_or_default();
            Some(Wanted {
                container: name,
                place,
                text,
                want: want(pod, name, text, mode),
            })
        })
        .collect()
}

fn want(pod: &Pod<'_>, container: &str, text: &str, mode: Mode) -> Want {
    let image = match text.parse::<ImageRef>() {
        Ok(image) => image,
        Err(error) => {
            return Want::Unreadable {
                image: text.to_owned(),
                cause: error.fault.to_string(),
            };
        }
    };
    match (mode, image.digest()) {
        (_, None) if image.tag().is_none() => Want::Nothing,
        (Mode::Stamp, None) => Want::Stamp(Arc::new(image)),
        (Mode::Pin, None) => Want::Pin {
            image: Arc::new(image),
            present: None,
        },
        (Mode::Stamp, Some(_)) => Want::Nothing,
        // Called again we find our own pin, which the stamps tell from a user's own digest. Forged ones do no
        // harm: they make the image a pin of ours.
        (Mode::Pin, Some(digest)) => {
            let stamp = Stamp::read(
                pod.annotation(&names::digest_annotation(container)),
                pod.annotation(&names::image_annotation(container)),
            );
            let ours = stamp.is_some_and(|stamp| stamp.is_for(&image));
            match image.tagged().filter(|_| ours) {
                Some(tagged) => Want::Pin {
                    present: Some(digest.clone()),
                    image: Arc::new(tagged),
                },
                None => Want::Nothing,
            }
        }
    }
}

/// Returns whether `name` is a DNS label, as a container's name must be.
fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Returns whose pull secrets the images of `pod` in `namespace` are asked for with.
///
/// The ServiceAccount's secrets are in the pod's own list already: that admission plugin runs before us.
pub fn identity(pod: &Pod<'_>, namespace: &str) -> PullIdentity {
    let spec = pod.spec.as_ref();
    let secrets = spec.and_then(|spec| spec.image_pull_secrets.as_deref());
    let account = spec.and_then(|spec| spec.service_account_name.as_deref());
    PullIdentity {
        namespace: namespace.into(),
        secrets: secrets
            .unwrap_or_default()
            .iter()
            .filter_map(|secret| secret.name.as_deref())
            .filter(|name| !name.is_empty())
            .map(Arc::from)
            .collect(),
        service_account: account
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn with<T>(pod: &Value, ask: impl FnOnce(&Pod<'_>) -> T) -> T {
        let text = pod.to_string();
        ask(&serde_json::from_str(&text).unwrap())
    }

    /// Checks what the container `app` of `pod` wants in `mode`: `stamp …`, `pin …`, `nothing` or the cause.
    #[track_caller]
    fn check_want(pod: &Value, mode: Mode, expected: &str) {
        let said = with(pod, |pod| match of(pod, mode).pop().unwrap().want {
            Want::Stamp(image) => format!("stamp {image}"),
            Want::Pin { image, present } => format!("pin {image} {present:?}"),
            Want::Nothing => "nothing".to_owned(),
            Want::Unreadable { cause, .. } => cause,
        });
        assert!(said.contains(expected), "{said:?} must say {expected:?}");
    }

    #[track_caller]
    fn check_image(image: Value, expected: &str) {
        let pod = json!({"spec": {"containers": [{"name": "app", "image": image}]}});
        check_want(&pod, Mode::Stamp, expected);
    }

    #[track_caller]
    fn check_pin(image: &str, stamps: Value, expected: &str) {
        let containers = json!([{"name": "app", "image": image}]);
        let pod = json!({"metadata": {"annotations": stamps}, "spec": {"containers": containers}});
        check_want(&pod, Mode::Pin, expected);
    }

    #[test]
    fn in_mode_pin_a_tag_and_our_own_pin_want_a_pin() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("nginx:1.27@{digest}");
        let stamps = |digest: &str, image: &str| json!({"digest.podrefresh.io/app": digest, "image.podrefresh.io/app": image});
        let ours = stamps(&digest, "docker.io/library/nginx:1.27");
        check_pin(
            "nginx:1.27",
            Value::Null,
            "pin docker.io/library/nginx:1.27 None",
        );
        check_pin(
            &pinned,
            ours.clone(),
            &format!("pin docker.io/library/nginx:1.27 Some({digest})"),
        );
        check_pin(&pinned, Value::Null, "nothing");
        check_pin(
            &pinned,
            stamps(&digest, "docker.io/library/nginx:1.28"),
            "nothing",
        );
        check_pin(&format!("nginx@{digest}"), ours, "nothing");
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
            of(pod, Mode::Stamp)
                .iter()
                .map(|wanted| wanted.container.len())
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
}
