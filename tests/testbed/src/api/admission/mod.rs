//! Calls admission webhooks as an API server does.

mod client;
mod conditions;
mod registration;
mod response;
mod review;

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use super::write::Target;
use super::{Api, ApiError, Resource, defaults, resource};

use client::{Clients, Endpoint};
use conditions::Programs;
use registration::Webhook;
use response::{Response, Verdict};
use review::Review;

pub(crate) use conditions::fault as condition_fault;
pub use conditions::holds;
pub(crate) use review::user_info;

/// The connections to webhooks and the addresses of the Services they are registered with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Webhooks {
    clients: Clients,
    programs: Programs,
}

impl Webhooks {
    /// Says where the connections to a Service's port go, in turn.
    pub(crate) fn route(&self, namespace: &str, name: &str, port: u16, addresses: &[SocketAddr]) {
        self.clients.route(namespace, name, port, addresses);
    }

    /// Returns the object as the mutating webhooks leave it.
    pub(crate) async fn mutate(
        &self,
        api: &Api,
        target: &Target<'_>,
        mut object: Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        let hooks = registration::of(api, &resource::MUTATING_WEBHOOKS, target.resource);
        let mut called: Vec<usize> = Vec::new();
        let mut again: Vec<usize> = Vec::new();
        for (at, hook) in hooks.iter().enumerate() {
            if !hook.wants(api, target, &object, old)? {
                continue;
            }
            if self
                .mutate_once(hook, target, &mut object, old, warnings)
                .await?
            {
                again.extend(
                    called
                        .iter()
                        .filter(|one| hooks[**one].reinvoked && !again.contains(one))
                        .copied()
                        .collect::<Vec<_>>(),
                );
            }
            called.push(at);
        }
        // Those whose work another has changed get to see it once more.
        for at in again {
            if hooks[at].wants(api, target, &object, old)? {
                self.mutate_once(&hooks[at], target, &mut object, old, warnings)
                    .await?;
            }
        }
        Ok(object)
    }

    // Returns whether the webhook has changed the object.
    async fn mutate_once(
        &self,
        hook: &Webhook,
        target: &Target<'_>,
        object: &mut Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<bool, ApiError> {
        let response = match self
            .call(hook, target, object, old)
            .await
            .and_then(|response| response.patched())
        {
            Ok(response) => response,
            Err(why) => return hook.failed(&why, warnings).map(|()| false),
        };
        warnings.extend(response.warnings);
        let patch = match response.verdict {
            Verdict::Denied(status) => return Err(with_warnings(hook.denied(&status), warnings)),
            Verdict::Allowed(patch) => patch,
        };
        let Some(patch) = patch else { return Ok(false) };
        // A patch that does not apply is the webhook's fault and the client's trouble, whatever the failure policy.
        let mut next = response::apply(object, &patch)
            .map_err(|why| with_warnings(internal(&why), warnings))?;
        defaults::apply(target.resource, &mut next);
        let changed = next != *object;
        *object = next;
        Ok(changed)
    }

    /// Asks the validating webhooks, all at once.
    pub(crate) async fn validate(
        &self,
        api: &Api,
        target: &Target<'_>,
        object: &Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let hooks = registration::of(api, &resource::VALIDATING_WEBHOOKS, target.resource);
        let mut wanting = Vec::new();
        for hook in hooks {
            if hook.wants(api, target, object, old)? {
                wanting.push(hook);
            }
        }
        let hooks = wanting;
        let answers = join_all(
            hooks
                .iter()
                .map(|hook| self.call(hook, target, object, old)),
        )
        .await;
        let mut refusal = None;
        for (hook, answer) in hooks.iter().zip(answers) {
            let response = match answer.and_then(Response::unpatched) {
                Ok(response) => response,
                Err(why) => {
                    if let Err(error) = hook.failed(&why, &[]) {
                        refusal.get_or_insert(error);
                    }
                    continue;
                }
            };
            warnings.extend(response.warnings);
            if let Verdict::Denied(status) = response.verdict {
                refusal.get_or_insert_with(|| hook.denied(&status));
            }
        }
        refusal.map_or(Ok(()), |error| Err(with_warnings(error, warnings)))
    }

    // Returns the answer, or why there is none that counts.
    async fn call(
        &self,
        hook: &Webhook,
        target: &Target<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Response, String> {
        let (uid, body) = Review::body(target, object, old);
        let seconds = hook.timeout_seconds;
        let url = format!("{}?timeout={seconds}s", hook.endpoint.url);
        let limit = Duration::from_secs(seconds);
        let answer = match tokio::time::timeout(
            limit,
            self.clients.post(&hook.endpoint, &url, body),
        )
        .await
        {
            Ok(answer) => {
                answer.map_err(|error| format!("failed to call webhook: {}", error.told(&url)))?
            }
            Err(_) => {
                return Err(format!(
                    "failed to call webhook: Post {url:?}: context deadline exceeded"
                ));
            }
        };
        Response::read(answer.status, &answer.content_type, &answer.body, &uid)
    }
}

impl Webhook {
    // What a failure of the webhook means for the client.
    fn failed(&self, why: &str, warnings: &[String]) -> Result<(), ApiError> {
        if self.ignores_failure {
            return Ok(());
        }
        Err(with_warnings(
            internal(&format!("failed calling webhook {:?}: {why}", self.name)),
            warnings,
        ))
    }

    fn denied(&self, status: &Value) -> ApiError {
        let name = &self.name;
        let message = match status["message"].as_str().unwrap_or("") {
            "" => match status["reason"].as_str().unwrap_or("") {
                "" => format!("admission webhook {name:?} denied the request without explanation"),
                reason => format!("admission webhook {name:?} denied the request: {reason}"),
            },
            message => format!("admission webhook {name:?} denied the request: {message}"),
        };
        // A denial cannot be a success, whatever its code says.
        let code = status["code"]
            .as_u64()
            .filter(|code| (400..600).contains(code))
            .unwrap_or(400);
        let mut error = ApiError::new(
            code as u16,
            status["reason"].as_str().unwrap_or(""),
            message,
        );
        error.details = status
            .get("details")
            .filter(|details| details.is_object())
            .cloned();
        error
    }
}

fn internal(why: &str) -> ApiError {
    ApiError::new(
        500,
        "InternalError",
        format!("Internal error occurred: {why}"),
    )
    .with_details(json!({ "causes": [{ "message": why }] }))
}

/// Adds the warnings given so far to a refusal.
pub(crate) fn with_warnings(mut error: ApiError, warnings: &[String]) -> ApiError {
    error.warnings.extend_from_slice(warnings);
    error
}

/// Says whether a resource is one that webhooks are never called for.
fn is_exempt(resource: &Resource) -> bool {
    *resource == resource::MUTATING_WEBHOOKS || *resource == resource::VALIDATING_WEBHOOKS
}
