//! Jobs, in their simplest form: as many pods as may run side by side until enough have succeeded.
//!
//! Not modelled: indexed completion, deadlines, back-off limits, suspension, time to live, pod failure policies.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::emit;
use super::pods::{self, gone_is_fine};
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, object, resource};

const COMPONENT: &str = "job-controller";
/// Keeps a pod until its end has been counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The controller.
pub(super) struct Jobs;

impl Controller for Jobs {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(&resource::JOBS, None)
            .iter()
            .map(|job| Name::of(job))
            .collect()
    }

    fn concerned(&self, _: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::JOBS {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::PODS {
            pods::controllers_of(change, "Job")
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let job = api.get(&resource::JOBS, &name.namespace, &name.name);
        let owned = api
            .list(&resource::PODS, Some(&name.namespace))
            .into_iter()
            .filter(|pod| {
                object::controller(pod)
                    .is_some_and(|owner| owner["kind"] == "Job" && owner["name"] == *name.name)
            });
        for pod in
            owned.filter(|pod| job.is_none() || pods::is_over(pod) || object::is_terminating(pod))
        {
            release(api, &pod).await?;
        }
        let Some(job) = job.filter(|job| !object::is_terminating(job)) else {
            return Ok(Next::OnChange);
        };
        let wanted = object::number(&job, "/spec/completions").unwrap_or(1);
        let parallel = object::number(&job, "/spec/parallelism").unwrap_or(1);
        let owned = pods::owned(api, &name.namespace, object::uid(&job));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let phase = |phase: &str| {
            count(
                owned
                    .iter()
                    .filter(|pod| object::text(pod, "/status/phase") == phase)
                    .count(),
            )
        };
        let (succeeded, failed) = (phase("Succeeded"), phase("Failed"));
        let active = count(owned.iter().filter(|pod| pods::is_active(pod)).count());
        let missing = parallel.min(wanted - succeeded) - active;
        if 0 < missing {
            let (made, outcome) =
                pods::create_many(api, &pod(&job), usize::try_from(missing).unwrap_or(0)).await;
            for pod in &made {
                let message = format!("Created pod: {}", object::name(pod));
                emit(api, COMPONENT, &job, "Normal", "SuccessfulCreate", &message).await;
            }
            outcome?;
        }
        let active = active + missing.max(0);
        let now = Timestamp::now();
        let written = api.update_status(&resource::JOBS, &name.namespace, &name.name, |status| {
            fill(
                status,
                &owned,
                [active, succeeded, failed],
                wanted <= succeeded,
                now,
            );
        });
        gone_is_fine(written)?;
        Ok(Next::OnChange)
    }
}

async fn release(api: &Api, pod: &Value) -> Result<(), ApiError> {
    if !object::list(pod, "/metadata/finalizers")
        .iter()
        .any(|finalizer| finalizer == TRACKING)
    {
        return Ok(());
    }
    let written = api.update(
        &resource::PODS,
        object::namespace(pod),
        object::name(pod),
        |pod| {
            if let Some(finalizers) = pod["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|finalizer| finalizer != TRACKING);
            }
        },
    );
    gone_is_fine(written.await)
}

fn pod(job: &Value) -> Value {
    let mut pod = pods::from_template(&resource::JOBS, job, &job["spec"]["template"]);
    let (name, uid) = (object::name(job), object::uid(job));
    for (key, value) in [("job-name", name), ("controller-uid", uid)] {
        object::set_label(&mut pod, &format!("batch.kubernetes.io/{key}"), value);
        object::set_label(&mut pod, key, value);
    }
    object::metadata(&mut pod).insert("finalizers".into(), json!([TRACKING]));
    pod
}

fn fill(
    status: &mut Value,
    owned: &[std::sync::Arc<Value>],
    counts: [i64; 3],
    complete: bool,
    now: Timestamp,
) {
    if !status.is_object() {
        *status = json!({});
    }
    let now = object::time(now);
    let [active, succeeded, failed] = counts;
    if status.get("startTime").is_none() {
        status["startTime"] = json!(now);
    }
    let ready = owned
        .iter()
        .filter(|pod| pods::is_active(pod) && pods::is_ready(pod))
        .count();
    status["ready"] = json!(ready);
    status["terminating"] = json!(
        owned
            .iter()
            .filter(|pod| object::is_terminating(pod))
            .count()
    );
    status["uncountedTerminatedPods"] = json!({});
    pods::put_counts(
        status,
        &[
            ("active", active),
            ("succeeded", succeeded),
            ("failed", failed),
        ],
    );
    if complete && status.get("completionTime").is_none() {
        status["completionTime"] = json!(now);
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now,
                "reason": "CompletionsReached", "message": "Reached expected number of succeeded pods",
            })
        };
        status["conditions"] = json!([condition("SuccessCriteriaMet"), condition("Complete")]);
    }
}
