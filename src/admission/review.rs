//! An AdmissionReview, as much of it as podrefresh reads.
//!
//! The views borrow from the body: half of a pod's bytes are managedFields, and nothing of them is kept.
//! Source: `k8s.io/api/admission/v1`, and reviews as a 1.36 API server sends them.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The API version of the reviews we read and answer.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// The kind of the reviews we read and answer.
pub const KIND: &str = "AdmissionReview";

/// A string of the body, borrowed unless it has escapes.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A map of labels or annotations.
pub type Strings<'a> = BTreeMap<Text<'a>, Text<'a>>;

/// Why a body is not a review that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReview {
    /// It is not JSON, or a field has another type than the API says.
    #[error("the body is not an AdmissionReview")]
    Malformed(#[source] serde_json::Error),
    /// It is some other object, or a review of another version.
    #[error("the body is {kind:?} of {api_version:?}, not {KIND:?} of {API_VERSION:?}")]
    Foreign {
        /// Its apiVersion.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// There is no request in it.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// The request's uid, which the answer must repeat, is absent or empty.
    #[error("the AdmissionReview's request has no uid")]
    NoUid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// What the API server asks about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names this question; the answer repeats it.
    #[serde(borrow, default)]
    pub uid: Text<'a>,
    /// The kind of the object.
    #[serde(borrow, default)]
    pub kind: Kind<'a>,
    /// The resource of the call.
    #[serde(borrow, default)]
    pub resource: Resource<'a>,
    /// The subresource of the call; absent or empty for the object itself.
    #[serde(borrow)]
    pub sub_resource: Option<Text<'a>>,
    /// The object's namespace.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// The object's name; absent while generateName has not made one.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    pub operation: Text<'a>,
    /// Whether nothing will be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The object as it would be stored: kept as it is until we know that it is a pod.
    #[serde(borrow)]
    pub object: Option<&'a RawValue>,
}

/// A group, version and kind.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Kind<'a> {
    /// The API group, empty for the core one.
    #[serde(borrow, default)]
    pub group: Text<'a>,
    /// The version in the group.
    #[serde(borrow, default)]
    pub version: Text<'a>,
    /// The kind.
    #[serde(borrow, default)]
    pub kind: Text<'a>,
}

/// A group, version and resource.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Resource<'a> {
    /// The API group, empty for the core one.
    #[serde(borrow, default)]
    pub group: Text<'a>,
    /// The version in the group.
    #[serde(borrow, default)]
    pub version: Text<'a>,
    /// The plural name.
    #[serde(borrow, default)]
    pub resource: Text<'a>,
}

impl<'a> Request<'a> {
    /// Reads the request out of a review's bytes.
    pub fn decode(body: &'a [u8]) -> Result<Self, InvalidReview> {
        let envelope: Envelope<'a> =
            serde_json::from_slice(body).map_err(InvalidReview::Malformed)?;
        if &*envelope.api_version != API_VERSION || &*envelope.kind != KIND {
            return Err(InvalidReview::Foreign {
                api_version: envelope.api_version.chars().take(64).collect(),
                kind: envelope.kind.chars().take(64).collect(),
            });
        }
        let request = envelope.request.ok_or(InvalidReview::NoRequest)?;
        if request.uid.is_empty() {
            return Err(InvalidReview::NoUid);
        }
        Ok(request)
    }

    /// Returns whether the API server is about to create a pod.
    pub fn creates_pod(&self) -> bool {
        let resource = &self.resource;
        &*self.operation == "CREATE"
            && (&*resource.group, &*resource.version, &*resource.resource) == ("", "v1", "pods")
            && &*self.kind.kind == "Pod"
            && self.sub_resource.as_ref().is_none_or(|s| s.is_empty())
    }

    /// Reads the object as a pod; one that is absent or `null` is a pod without anything.
    pub fn pod(&self) -> Result<Pod<'a>, serde_json::Error> {
        match self.object {
            Some(object) => {
                serde_json::from_str::<Option<Pod<'a>>>(object.get()).map(Option::unwrap_or_default)
            }
            None => Ok(Pod::default()),
        }
    }
}

/// A pod on its way into the cluster. Not validated yet: anything may be absent, empty or wrong.
#[derive(Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its specification.
    #[serde(borrow)]
    pub spec: Option<Spec<'a>>,
}

/// A pod's metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Its name, unless the API server is to make one.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The beginning of the name that the API server is to make.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// Its labels.
    #[serde(borrow)]
    pub labels: Option<Strings<'a>>,
    /// Its annotations; absent when there are none.
    #[serde(borrow)]
    pub annotations: Option<Strings<'a>>,
}

/// A pod's specification.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// Init containers and native sidecars.
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    /// Ordinary containers.
    #[serde(borrow)]
    pub containers: Option<Vec<Container<'a>>>,
    /// The pull secrets, those of its ServiceAccount included.
    #[serde(borrow)]
    pub image_pull_secrets: Option<Vec<Reference<'a>>>,
    /// Its ServiceAccount.
    #[serde(borrow)]
    pub service_account_name: Option<Text<'a>>,
}

/// A container of a pod.
#[derive(Debug, Default, Deserialize)]
pub struct Container<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// Its image; an empty one is absent.
    #[serde(borrow)]
    pub image: Option<Text<'a>>,
}

/// The name of an object in the pod's namespace.
#[derive(Debug, Default, Deserialize)]
pub struct Reference<'a> {
    /// The name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

impl<'a> Pod<'a> {
    /// Returns the annotation `key`.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.metadata.as_ref()?.annotations.as_ref()?.get(key)?)
    }

    /// Returns the label `key`.
    pub fn label(&self, key: &str) -> Option<&str> {
        Some(self.metadata.as_ref()?.labels.as_ref()?.get(key)?)
    }

    /// Returns all containers with their places: init containers and native sidecars, then ordinary ones.
    pub fn containers(&self) -> impl Iterator<Item = (Place, &Container<'a>)> {
        let spec = self.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref());
        let ordinary = spec.and_then(|spec| spec.containers.as_deref());
        (places("initContainers", init)).chain(places("containers", ordinary))
    }
}

/// Returns the containers of one list with their places.
fn places<'p, 'a>(
    list: &'static str,
    containers: Option<&'p [Container<'a>]>,
) -> impl Iterator<Item = (Place, &'p Container<'a>)> {
    (containers.unwrap_or_default().iter().enumerate())
        .map(move |(index, container)| (Place { list, index }, container))
}

/// Where a container stands in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The list's name below `spec`.
    pub list: &'static str,
    /// The index in the list.
    pub index: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a review of `request`.
    fn review(request: &str) -> String {
        format!(r#"{{"kind":"{KIND}","apiVersion":"{API_VERSION}","request":{request}}}"#)
    }

    #[track_caller]
    fn check_refused(body: &str, expected: &str) {
        let error = Request::decode(body.as_bytes()).expect_err("must be refused");
        assert!(
            error.to_string().contains(expected),
            "{error} must say {expected:?}"
        );
    }

    #[test]
    fn a_body_that_is_no_review_is_refused_in_words() {
        check_refused("", "not an AdmissionReview");
        check_refused("null", "not an AdmissionReview");
        check_refused("{", "not an AdmissionReview");
        check_refused("[]", "not an AdmissionReview");
        check_refused("{}", r#""" of """#);
        check_refused(r#"{"kind":7}"#, "not an AdmissionReview");
        check_refused(
            r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#,
            "v1beta1",
        );
        check_refused(
            r#"{"kind":"Pod","apiVersion":"admission.k8s.io/v1"}"#,
            "Pod",
        );
        check_refused(&review("null"), "no request");
        check_refused(&review("{}"), "no uid");
        check_refused(&review(r#"{"uid":""}"#), "no uid");
        check_refused(&review(r#"{"uid":null}"#), "not an AdmissionReview");
    }

    #[test]
    fn nesting_without_end_is_no_stack_without_end() {
        let deep = "[".repeat(1_000_000);
        check_refused(&review(&deep), "not an AdmissionReview");
        let closed = format!("{deep}{}", "]".repeat(1_000_000));
        let body = review(&format!(r#"{{"uid":"u","object":{closed}}}"#));
        let request = Request::decode(body.as_bytes()).unwrap();
        request.pod().expect_err("a list is no pod");
    }

    #[track_caller]
    fn check_creates_pod(request: &str, expected: bool) {
        let body = review(request);
        let request = Request::decode(body.as_bytes()).unwrap();
        assert_eq!(request.creates_pod(), expected);
    }

    #[test]
    fn only_the_creation_of_a_pod_itself_counts() {
        let with = |operation, group, resource, kind, rest| {
            format!(
                r#"{{"uid":"u","operation":"{operation}","kind":{{"group":"","version":"v1","kind":"{kind}"}},
                "resource":{{"group":"{group}","version":"v1","resource":"{resource}"}}{rest}}}"#
            )
        };
        check_creates_pod(&with("CREATE", "", "pods", "Pod", ""), true);
        check_creates_pod(
            &with("CREATE", "", "pods", "Pod", r#","subResource":"""#),
            true,
        );
        check_creates_pod(
            &with(
                "CREATE",
                "",
                "pods",
                "Eviction",
                r#","subResource":"eviction""#,
            ),
            false,
        );
        check_creates_pod(&with("UPDATE", "", "pods", "Pod", ""), false);
        check_creates_pod(&with("CREATE", "metrics.k8s.io", "pods", "Pod", ""), false);
        check_creates_pod(
            &with("CREATE", "apps", "deployments", "Deployment", ""),
            false,
        );
        check_creates_pod(r#"{"uid":"u"}"#, false);
    }

    #[test]
    fn absent_null_and_escaped_fields_are_read() {
        let body = review(
            r#"{"uid":"u","object":{"metadata":{"annotations":null,"labels":{"a\u002fb":"c\n"}},
            "spec":{"initContainers":null,"containers":[{"name":"app"},{"image":"nginx"}]}}}"#,
        );
        let request = Request::decode(body.as_bytes()).unwrap();
        let pod = request.pod().unwrap();
        assert_eq!(pod.label("a/b"), Some("c\n"));
        assert_eq!(pod.annotation("a/b"), None);
        let images: Vec<_> = pod.containers().map(|(_, c)| c.image.as_deref()).collect();
        assert_eq!(images, [None, Some("nginx")]);
        let body = review(r#"{"uid":"u","object":null}"#);
        let pod = Request::decode(body.as_bytes()).unwrap().pod().unwrap();
        assert_eq!(pod.containers().count(), 0);
    }
}
