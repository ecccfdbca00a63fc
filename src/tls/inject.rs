//! The caBundle in the webhook configurations: what the API server trusts us by.

use base64::{Engine, prelude::BASE64_STANDARD};
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use kube::core::DynamicObject;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::chain;

/// The Service that the API server reaches us by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One of a configuration's webhooks that leads to us.
struct Webhook<'a> {
    index: usize,
    name: &'a Value,
    bundle: Option<&'a Value>,
}

/// Returns the webhooks of `configuration` that lead to `service`; others are none of our business.
fn ours<'a>(
    configuration: &'a DynamicObject,
    service: &'a Service,
) -> impl Iterator<Item = Webhook<'a>> {
    let webhooks = configuration.data.get("webhooks").and_then(Value::as_array);
    webhooks
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(index, webhook)| {
            let config = webhook.get("clientConfig")?;
            let reference = config.get("service")?;
            let leads_here = reference.get("namespace")?.as_str() == Some(&service.namespace)
                && reference.get("name")?.as_str() == Some(&service.name);
            leads_here.then_some(Webhook {
                index,
                name: webhook.get("name")?,
                bundle: config.get("caBundle"),
            })
        })
}

/// Returns the authorities each webhook that leads to `service` trusts; none where there is no readable bundle.
pub fn trusted(
    configuration: &DynamicObject,
    service: &Service,
) -> Vec<Vec<CertificateDer<'static>>> {
    ours(configuration, service)
        .map(|webhook| {
            let encoded = webhook.bundle.and_then(Value::as_str).unwrap_or_default();
            let pem = BASE64_STANDARD.decode(encoded).unwrap_or_default();
            chain::certificates(&pem).unwrap_or_default()
        })
        .collect()
}

/// The annotations that hand a caBundle to OpenShift's service CA, where they are `true`.
const SERVICE_CA: [&str; 2] = [
    "service.beta.openshift.io/inject-cabundle",
    "service.alpha.openshift.io/inject-cabundle",
];

/// Returns the annotation of `configuration` that hands its caBundle to cert-manager's injector or to OpenShift's
/// service CA, if there is one.
///
/// Two that write one field would undo each other's work for ever.
pub fn keeper(configuration: &DynamicObject) -> Option<&str> {
    let annotations = configuration.metadata.annotations.as_ref()?;
    let hands_over = |(key, value): &(&String, &String)| {
        key.starts_with("cert-manager.io/inject-")
            || SERVICE_CA.contains(&key.as_str()) && value.eq_ignore_ascii_case("true")
    };
    annotations.iter().find(hands_over).map(|(key, _)| &**key)
}

/// Returns the patch that makes `service`'s webhooks trust `bundle` (PEM); `None` where they do already.
///
/// It tests that the webhook at a place is still the one that was read, and its bundle the one that is to be
/// replaced, so that it never undoes what someone else did meanwhile. It touches no other field, and owns none.
pub fn patch(configuration: &DynamicObject, service: &Service, bundle: &str) -> Option<Patch> {
    let wanted = Value::from(BASE64_STANDARD.encode(bundle));
    let mut operations = Vec::new();
    for webhook in ours(configuration, service).filter(|w| w.bundle != Some(&wanted)) {
        let at = |path: &[&str]| {
            let index = webhook.index.to_string();
            let tokens = ["webhooks", &index].into_iter();
            PointerBuf::from_tokens(tokens.chain(path.iter().copied()))
        };
        operations.push(PatchOperation::Test(TestOperation {
            path: at(&["name"]),
            value: webhook.name.clone(),
        }));
        if let Some(old) = webhook.bundle {
            operations.push(PatchOperation::Test(TestOperation {
                path: at(&["clientConfig", "caBundle"]),
                value: old.clone(),
            }));
        }
        operations.push(PatchOperation::Add(AddOperation {
            path: at(&["clientConfig", "caBundle"]),
            value: wanted.clone(),
        }));
    }
    (!operations.is_empty()).then_some(Patch(operations))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        Service {
            namespace: "podrefresh".to_owned(),
            name: "podrefresh".to_owned(),
        }
    }

    fn webhook(name: &str, namespace: &str, bundle: Option<&str>) -> Value {
        let service =
            json!({"name": "podrefresh", "namespace": namespace, "path": "/mutate", "port": 443});
        let mut webhook = json!({"name": name, "clientConfig": {"service": service}});
        if let Some(bundle) = bundle {
            webhook["clientConfig"]["caBundle"] = json!(BASE64_STANDARD.encode(bundle));
        }
        webhook
    }

    fn configuration(webhooks: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "podrefresh"}, "webhooks": webhooks,
        }))
        .unwrap()
    }

    /// Checks the configuration after the patch for the bundle `new`.
    #[track_caller]
    fn check(webhooks: Value, expected: Option<Value>) {
        let before = configuration(webhooks);
        let after = patch(&before, &service(), "new").map(|patch| {
            let mut stored = serde_json::to_value(&before).unwrap();
            json_patch::patch(&mut stored, &patch).unwrap();
            stored["webhooks"].take()
        });
        assert_eq!(after, expected);
    }

    #[test]
    fn every_webhook_of_ours_and_no_other_gets_the_bundle() {
        let url = json!({"name": "u", "clientConfig": {"url": "https://x", "caBundle": "eA=="}});
        check(
            json!([
                webhook("a", "podrefresh", None),
                webhook("b", "other", Some("b")),
                url,
                webhook("c", "podrefresh", Some("old")),
                webhook("d", "podrefresh", Some("new"))
            ]),
            Some(json!([
                webhook("a", "podrefresh", Some("new")),
                webhook("b", "other", Some("b")),
                url,
                webhook("c", "podrefresh", Some("new")),
                webhook("d", "podrefresh", Some("new"))
            ])),
        );
    }

    #[test]
    fn what_is_right_or_odd_is_not_touched() {
        check(json!([webhook("a", "podrefresh", Some("new"))]), None);
        check(json!([]), None);
        check(Value::Null, None);
        check(
            json!([1, {}, {"clientConfig": {"service": {"name": "podrefresh"}}}]),
            None,
        );
    }

    #[test]
    fn a_configuration_that_changed_meanwhile_refuses_the_patch() {
        let read = configuration(json!([webhook("a", "podrefresh", Some("old"))]));
        let patch = patch(&read, &service(), "new").unwrap();
        for now in [
            json!([webhook("b", "podrefresh", Some("old"))]),
            json!([webhook("a", "podrefresh", Some("newer"))]),
            json!([]),
        ] {
            let mut stored = serde_json::to_value(configuration(now)).unwrap();
            json_patch::patch(&mut stored, &patch).expect_err("must not apply");
        }
    }

    #[test]
    fn a_bundle_is_somebody_elses_where_an_annotation_says_so() {
        let mut read = configuration(json!([]));
        assert_eq!(keeper(&read), None);
        let mut check = |key: &str, value: &str, keeps: bool| {
            let others = [("a", "b"), (key, value)].into_iter();
            let annotations = others.map(|(key, value)| (key.to_owned(), value.to_owned()));
            read.metadata.annotations = Some(annotations.collect());
            assert_eq!(keeper(&read), keeps.then_some(key), "{key}={value}");
        };
        check("cert-manager.io/other", "", false);
        check("cert-manager.io/inject-ca-from", "a/b", true);
        check("cert-manager.io/inject-apiserver-ca", "true", true);
        for key in SERVICE_CA {
            check(key, "true", true);
            check(key, "false", false);
        }
        check(
            "service.beta.openshift.io/serving-cert-secret-name",
            "true",
            false,
        );
    }

    #[test]
    fn a_bundle_that_is_none_trusts_nobody() {
        let mut noise = webhook("b", "podrefresh", None);
        noise["clientConfig"]["caBundle"] = json!("!!!");
        let read = configuration(json!([
            webhook("a", "podrefresh", None),
            noise,
            webhook("c", "podrefresh", Some("not a certificate")),
        ]));
        let empty: Vec<Vec<CertificateDer<'_>>> = vec![Vec::new(); 3];
        assert_eq!(trusted(&read, &service()), empty);
    }
}
