//! Asks the API server to evict one pod, once, and tells its answers apart.

use std::time::Duration;

use hyper::Method;
use serde::Serialize;

use super::{
    call::{Media, Segment, Server},
    refusal::{CallError, Refusal},
};
use crate::policy::Pod;

// What KubeVirt's webhook says when it moves the virtual machine away instead of ending its pod, and when it is
// asked again meanwhile.
const KUBEVIRT: [&str; 2] = ["Eviction triggered evacuation", "Evacuation in progress"];

// How the API server introduces what an admission webhook or policy says.
const ADMISSION: [&str; 2] = ["denied the request", "denied request"];

/// Evicts pods through policy/v1; never deletes one, never asks twice by itself.
///
/// `kube::Api::evict` (5.0) spells `delete_options`, which the API server ignores: the uid and dryRun
/// would be lost. So the body is ours, and `fieldValidation=Strict` keeps it honest.
#[derive(Debug, Clone)]
pub struct Evictor {
    server: Server,
    time_limit: Duration,
}

/// What has become of an eviction.
#[derive(Debug)]
pub enum Eviction {
    /// The pod is being ended; with dry run, it would be.
    Evicted,
    /// A PodDisruptionBudget says: not now.
    Blocked {
        /// The budget's name, where the API server says it.
        budget: Option<String>,
        /// What the API server says.
        message: String,
        /// How long it asks us to stay away: it has not looked at the budget yet.
        retry_after: Option<Duration>,
    },
    /// More than one PodDisruptionBudget selects the pod: nobody can evict it.
    Misconfigured {
        /// What the API server says.
        message: String,
    },
    /// The pod is not there any more, or already on its way out.
    Gone,
    /// Another pod has its name now.
    Replaced,
    /// It is not as it was seen any more, and may have become ready.
    Changed,
    /// Its whole namespace is being deleted.
    NamespaceTerminating,
    /// We may not evict it: a right is missing, or a webhook or a policy refuses.
    Forbidden {
        /// What the API server says.
        message: String,
    },
    /// The API server is busy and did not look at it.
    Busy {
        /// How long it asks us to stay away.
        retry_after: Option<Duration>,
    },
    /// Somebody else (KubeVirt, another webhook) took the request and moves the pod's work away by itself.
    Deferred {
        /// What it says.
        message: String,
    },
    /// There is no useful answer; after a timeout the pod may have been evicted.
    Failed(CallError),
}

impl Eviction {
    /// Returns the stable, documented name of the outcome.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Blocked { .. } => "blocked",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::Changed => "changed",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Forbidden { .. } => "forbidden",
            Self::Busy { .. } => "busy",
            Self::Deferred { .. } => "deferred",
            Self::Failed(_) => "failed",
        }
    }

    fn refused(refusal: Refusal) -> Self {
        let message = refusal.message.clone();
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        match refusal.code {
            404 => Self::Gone,
            // A webhook that says "later" has nothing to do with how busy the API server is.
            429 if says(&KUBEVIRT) || says(&ADMISSION) => Self::Deferred { message },
            // A 429 of a budget names it in a cause; others are the API server's own congestion.
            429 => match refusal.cause("DisruptionBudget") {
                Some(cause) => Self::Blocked {
                    budget: budget(&cause.message),
                    message: cause.message.clone(),
                    retry_after: refusal.retry_after,
                },
                None => Self::Busy {
                    retry_after: refusal.retry_after,
                },
            },
            409 if message.contains("UID") => Self::Replaced,
            409 if message.contains("ResourceVersion") => Self::Changed,
            403 if refusal.cause("NamespaceTerminating").is_some() => Self::NamespaceTerminating,
            // A webhook's plain no is 400, a ValidatingAdmissionPolicy's 422.
            403 => Self::Forbidden { message },
            400..=499 if says(&ADMISSION) => Self::Forbidden { message },
            // So many evictions meet in one budget that its count could not be written: nothing was done.
            504 if message.contains("update PodDisruptionBudget") => Self::Blocked {
                budget: message.split('"').nth(1).map(str::to_owned),
                message,
                retry_after: refusal.retry_after,
            },
            500 if message.contains("more than one PodDisruptionBudget") => {
                Self::Misconfigured { message }
            }
            _ => Self::Failed(CallError::Refused(Box::new(refusal))),
        }
    }
}

/// Returns `b` of "The disruption budget b needs 2 healthy pods …".
fn budget(message: &str) -> Option<String> {
    let rest = message.strip_prefix("The disruption budget ")?;
    Some(rest.split_whitespace().next()?.to_owned())
}

impl Evictor {
    /// Returns an evictor that waits at most `time_limit` for each answer.
    pub const fn new(server: Server, time_limit: Duration) -> Self {
        Self { server, time_limit }
    }

    /// Asks the API server to evict exactly this pod: not another one of the same name, and one that is not ready
    /// only as it was seen.
    ///
    /// With `dry_run` the API server checks rights and budgets, and changes nothing.
    pub async fn evict(&self, pod: &Pod, dry_run: bool) -> Eviction {
        if pod.terminating {
            // The API server would say yes again, and nothing would change.
            return Eviction::Gone;
        }
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/eviction?fieldValidation=Strict",
            Segment(&pod.namespace),
            Segment(&pod.name)
        );
        let body = Body::new(pod, dry_run);
        let answer = (self.server)
            .send(Method::POST, &path, Media::Json, &body, self.time_limit)
            .await;
        match answer {
            Ok(_) => Eviction::Evicted,
            Err(CallError::Refused(refusal)) => Eviction::refused(*refusal),
            Err(error) => Eviction::Failed(error),
        }
    }
}

/// A policy/v1 Eviction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    delete_options: DeleteOptions<'a>,
}

#[derive(Debug, Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions<'a> {
    preconditions: Preconditions<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dry_run: &'static [&'static str],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn new(pod: &'a Pod, dry_run: bool) -> Self {
        Self {
            api_version: "policy/v1",
            kind: "Eviction",
            metadata: Metadata {
                name: &pod.name,
                namespace: &pod.namespace,
            },
            delete_options: DeleteOptions {
                preconditions: Preconditions {
                    uid: &pod.uid,
                    resource_version: pod.version.as_deref(),
                },
                dry_run: if dry_run { &["All"] } else { &[] },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::samples;

    #[track_caller]
    fn check(refusal: Refusal, expected: &str) {
        let outcome = Eviction::refused(refusal);
        assert_eq!(outcome.label(), expected, "{outcome:?}");
    }

    #[test]
    fn the_answers_of_a_real_api_server_are_told_apart() {
        let recorded = |name| samples::refusal(name);
        check(recorded("evict-404"), "gone");
        check(recorded("evict-missing-namespace"), "gone");
        check(recorded("evict-409-wrong-uid"), "replaced");
        check(recorded("evict-409-stale-resourceVersion"), "changed");
        check(recorded("evict-429-pdb"), "blocked");
        check(recorded("evict-429-pdb-not-yet-observed"), "blocked");
        check(recorded("evict-500-two-pdbs"), "misconfigured");
        check(recorded("evict-403"), "forbidden");
        check(
            recorded("create-in-terminating-namespace-403"),
            "namespace_terminating",
        );
        check(recorded("list-401-bad-token"), "failed");
        check(
            recorded("evict-kube-rs-odd-body-fieldValidation-Strict"),
            "failed",
        );
    }

    #[test]
    fn a_block_names_the_budget_and_how_long_to_wait() {
        let block = |name| match Eviction::refused(samples::refusal(name)) {
            Eviction::Blocked {
                budget,
                retry_after,
                message,
            } => (budget, retry_after, message),
            other => panic!("{other:?}"),
        };
        let (budget, retry_after, message) = block("evict-429-pdb");
        assert_eq!(budget.as_deref(), Some("b"));
        assert_eq!(retry_after, None);
        assert_eq!(
            message,
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
        let (budget, retry_after, _) = block("evict-429-pdb-not-yet-observed");
        assert_eq!(budget.as_deref(), Some("u"));
        assert_eq!(retry_after, Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_429_without_a_budget_is_a_busy_server() {
        let wait = Some(Duration::from_secs(1));
        let text = b"Too many requests, please try again later.\n";
        let refusal = Refusal::read(429, wait, text);
        assert_eq!(
            refusal.message,
            "Too many requests, please try again later."
        );
        match Eviction::refused(refusal) {
            Eviction::Busy { retry_after } => assert_eq!(retry_after, wait),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn kubevirt_has_taken_it_over() {
        let text = br#"{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429,"message":
            "admission webhook \"virt-launcher-eviction-interceptor.kubevirt.io\" denied the request: Eviction triggered evacuation of VMI \"default/vm\""}"#;
        check(Refusal::read(429, None, text), "deferred");
        let text =
            br#"{"message": "Evacuation in progress", "reason": "TooManyRequests", "code": 429}"#;
        check(Refusal::read(429, None, text), "deferred");
    }

    /// Checks what an admission webhook's or policy's refusal with `code` comes to.
    #[track_caller]
    fn check_admission(code: u16, message: &str, expected: &str) {
        let body = serde_json::json!({"kind": "Status", "code": code, "message": message});
        let refusal = Refusal::read(code, None, body.to_string().as_bytes());
        check(refusal, expected);
    }

    #[test]
    fn what_a_webhook_says_is_not_the_servers_own_trouble() {
        let hook = r#"admission webhook "drain.example.io" denied the request: moving data first"#;
        check_admission(429, hook, "deferred");
        for code in [400, 403, 422] {
            check_admission(code, hook, "forbidden");
        }
        // It failed, which is no answer.
        check_admission(500, "failed calling webhook \"drain.example.io\"", "failed");
        let policy = "ValidatingAdmissionPolicy 'keep' with binding 'all' denied request: not now";
        check_admission(422, policy, "forbidden");
        check_admission(400, "the body makes no sense", "failed");
        check_admission(429, "please try again later", "busy");
    }

    #[test]
    fn a_budget_that_too_many_want_to_write_blocks() {
        let text = br#"{"kind":"Status","status":"Failure","reason":"Timeout","code":504,
            "message":"Timeout: couldn't update PodDisruptionBudget \"b\" due to conflicts",
            "details":{"retryAfterSeconds":10}}"#;
        match Eviction::refused(Refusal::read(504, None, text)) {
            Eviction::Blocked {
                budget,
                retry_after,
                ..
            } => {
                assert_eq!(budget.as_deref(), Some("b"));
                assert_eq!(retry_after, Some(Duration::from_secs(10)));
            }
            other => panic!("{other:?}"),
        }
        check(Refusal::read(504, None, b"Gateway Timeout"), "failed");
    }

    #[test]
    fn the_body_is_an_eviction_with_a_uid() {
        let pod = samples::pod("web-7499b8c7dd-ldb28");
        let expected = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "web-7499b8c7dd-ldb28", "namespace": "rec-api"},
            "deleteOptions": {"preconditions": {"uid": &*pod.uid}},
        });
        assert_eq!(
            serde_json::to_value(Body::new(&pod, false)).unwrap(),
            expected
        );
        let dry = serde_json::to_value(Body::new(&pod, true)).unwrap();
        assert_eq!(dry["deleteOptions"]["dryRun"], serde_json::json!(["All"]));
    }

    #[test]
    fn one_that_is_not_ready_goes_only_as_it_was_seen() {
        let mut pod = (*samples::pod("web-7499b8c7dd-ldb28")).clone();
        pod.version = Some("4711".into());
        let body = serde_json::to_value(Body::new(&pod, false)).unwrap();
        let expected = serde_json::json!({"uid": &*pod.uid, "resourceVersion": "4711"});
        assert_eq!(body["deleteOptions"]["preconditions"], expected);
    }
}
