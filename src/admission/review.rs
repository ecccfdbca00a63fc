//! An AdmissionReview, as much of it as podrefresh reads.
//!
//! The views borrow from the body: half of a pod's bytes are managedFields, and nothing of them is kept.
//! Source: `k8s.io/api/admission/v1`, and reviews as a 1.36 API server sends them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{few::Entries, pod::Pod};

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
pub type Strings<'a> = Entries<Text<'a>, Text<'a>>;

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
    /// The object as it is stored now; `null` where it is about to be created.
    #[serde(borrow)]
    pub old_object: Option<&'a RawValue>,
}

/// What is about to happen to a pod, as far as its images are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodChange {
    /// It is created.
    Created,
    /// It is changed in place: of all that tells an image, only the containers' images can be.
    Updated,
    /// It gets ephemeral containers, by the subresource of that name.
    Debugged,
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

    /// Returns what the API server is about to do to a pod; `None` where this is about something else.
    pub fn pod_change(&self) -> Option<PodChange> {
        let resource = &self.resource;
        let is_pod = (&*resource.group, &*resource.version, &*resource.resource)
            == ("", "v1", "pods")
            && &*self.kind.kind == "Pod";
        let subresource = self.sub_resource.as_deref().unwrap_or_default();
        match (&*self.operation, subresource) {
            ("CREATE", "") if is_pod => Some(PodChange::Created),
            // Without the old pod there is no telling what is new.
            ("UPDATE", _) if self.old_object.is_none() => None,
            ("UPDATE", "") if is_pod => Some(PodChange::Updated),
            ("UPDATE", "ephemeralcontainers") if is_pod => Some(PodChange::Debugged),
            _ => None,
        }
    }

    /// Reads the object as a pod; one that is absent or `null` is a pod without anything.
    pub fn pod(&self) -> Result<Pod<'a>, serde_json::Error> {
        read(self.object)
    }

    /// Reads the object as it was before as a pod, likewise.
    pub fn old_pod(&self) -> Result<Pod<'a>, serde_json::Error> {
        read(self.old_object)
    }
}

/// Reads what may be absent or `null`, which is then empty.
pub(super) fn read<'a, T: Deserialize<'a> + Default>(
    object: Option<&'a RawValue>,
) -> Result<T, serde_json::Error> {
    match object {
        Some(object) => {
            serde_json::from_str::<Option<T>>(object.get()).map(Option::unwrap_or_default)
        }
        None => Ok(T::default()),
    }
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
    fn check_change(request: &str, expected: Option<PodChange>) {
        let body = review(request);
        let request = Request::decode(body.as_bytes()).unwrap();
        assert_eq!(request.pod_change(), expected);
    }

    #[test]
    fn what_happens_to_a_pod_is_told_from_all_else() {
        let with = |operation: &str, group: &str, resource: &str, kind: &str, sub: &str| {
            format!(
                r#"{{"uid":"u","operation":"{operation}","kind":{{"group":"","version":"v1","kind":"{kind}"}},
                "resource":{{"group":"{group}","version":"v1","resource":"{resource}"}}{sub}}}"#
            )
        };
        let empty = r#","subResource":"""#;
        let old = r#","oldObject":{}"#;
        let debug = r#","oldObject":{},"subResource":"ephemeralcontainers""#;
        let evict = r#","subResource":"eviction""#;
        let pod = |operation, sub| with(operation, "", "pods", "Pod", sub);
        check_change(&pod("CREATE", ""), Some(PodChange::Created));
        check_change(&pod("CREATE", empty), Some(PodChange::Created));
        check_change(&pod("UPDATE", old), Some(PodChange::Updated));
        check_change(&pod("UPDATE", ""), None);
        check_change(&pod("UPDATE", r#","oldObject":null"#), None);
        check_change(&pod("UPDATE", debug), Some(PodChange::Debugged));
        check_change(
            &pod("UPDATE", r#","oldObject":{},"subResource":"status""#),
            None,
        );
        check_change(&pod("CREATE", debug), None);
        check_change(&pod("DELETE", ""), None);
        check_change(&with("CREATE", "", "pods", "Eviction", evict), None);
        check_change(&with("CREATE", "metrics.k8s.io", "pods", "Pod", ""), None);
        check_change(
            &with("CREATE", "apps", "deployments", "Deployment", ""),
            None,
        );
        check_change(r#"{"uid":"u"}"#, None);
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
        let images: Vec<_> = pod.parts().map(|part| part.image).collect();
        assert_eq!(images, [None, Some("nginx")]);
        let body = review(r#"{"uid":"u","object":null}"#);
        let pod = Request::decode(body.as_bytes()).unwrap().pod().unwrap();
        assert_eq!(pod.parts().count(), 0);
    }
}
