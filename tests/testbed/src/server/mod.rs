//! The HTTP side of the API server.

mod accept;
mod collection;
mod discovery;
mod event;
mod eviction;
mod impersonation;
mod listen;
mod object_reply;
mod openapi;
mod protobuf;
mod query;
mod rbac;
mod reply;
mod request;
mod review;
mod route;
mod scale;
mod shell;
mod table;
mod tokens;
mod watch;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::api::{Api, ApiError, Resource, object, resource};
use crate::faults::Faults;
use crate::journal::Journal;

pub(crate) use listen::{run, serve};
pub(crate) use tokens::Tokens;

use accept::Form;
use reply::Reply;
use request::Request;

// Watches of quiet resources get a sign of life about this often.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// Everything a request may need.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) tokens: Tokens,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    unmodelled: Mutex<Vec<String>>,
    bookmark_millis: AtomicU64,
    owners: crate::api::Owners,
}

impl Server {
    pub(crate) fn new(api: Api) -> Self {
        Self {
            api,
            tokens: Tokens::default(),
            journal: Journal::default(),
            faults: Faults::default(),
            unmodelled: Mutex::default(),
            bookmark_millis: AtomicU64::new(BOOKMARK_EVERY.as_millis() as u64),
            owners: crate::api::Owners::default(),
        }
    }

    pub(crate) fn set_bookmark_interval(&self, interval: Duration) {
        self.bookmark_millis
            .store(interval.as_millis() as u64, Ordering::Relaxed);
    }

    fn bookmark_interval(&self) -> Duration {
        Duration::from_millis(self.bookmark_millis.load(Ordering::Relaxed).max(1))
    }

    /// Returns the requests so far that need a part of Kubernetes that is not modelled.
    pub(crate) fn unmodelled(&self) -> Vec<String> {
        self.unmodelled
            .lock()
            .expect("no holder of this lock must panic")
            .clone()
    }

    fn note_unmodelled(&self, request: &Request) {
        let line = format!(
            "{} {} by {}",
            request.method, request.uri, request.user.name
        );
        self.unmodelled
            .lock()
            .expect("no holder of this lock must panic")
            .push(line);
    }

    /// Answers a request of an authenticated user.
    async fn answer(self: &Arc<Self>, request: &Request) -> Result<Reply, ApiError> {
        rbac::authorize(&self.api, &request.user, &request.attributes, &request.path)?;
        if !request.attributes.is_resource {
            return self.answer_path(request);
        }
        let resource = request.attributes.resource()?;
        if !resource.stored {
            return review::answer(&self.api, resource, request);
        }
        request.attributes.check_subresource(resource)?;
        match (
            request.attributes.verb,
            request.attributes.subresource.as_str(),
        ) {
            ("get", "" | "status" | "ephemeralcontainers") => self.get(resource, request),
            ("list", "") => collection::list(self, resource, request).await,
            ("watch", "") => watch::open(self, resource, request),
            ("create", "") if request.attributes.name.is_empty() => {
                write::create(self, resource, request).await
            }
            ("update" | "patch", "" | "status" | "ephemeralcontainers")
                if !request.attributes.name.is_empty() =>
            {
                write::change(self, resource, request).await
            }
            ("delete", "") => write::delete(self, resource, request),
            ("deletecollection", "") if *resource != resource::NAMESPACES => {
                write::delete_collection(self, resource, request)
            }
            ("create", "eviction") => eviction::create(self, request),
            ("create", "token") => review::token(self, request),
            ("create", "binding") => write::bind(self, request),
            ("update", "finalize") => write::finalize(self, request),
            ("get", "log") => self.log(request),
            ("get" | "update" | "patch", "scale") => scale::answer(self, resource, request).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn answer_path(&self, request: &Request) -> Result<Reply, ApiError> {
        if request.attributes.verb != "get" {
            return Err(ApiError::method_not_allowed());
        }
        let parts: Vec<&str> = request
            .path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let is_aggregated = matches!(accept::form(request.header("accept")), Ok(Form::Discovery));
        match parts.as_slice() {
            ["livez" | "readyz" | "healthz", ..] => Ok(Reply::text(200, "ok")),
            ["version"] => Ok(Reply::json(200, &discovery::version())),
            ["api"] if is_aggregated => Ok(discovery::aggregated(true)),
            ["apis"] if is_aggregated => Ok(discovery::aggregated(false)),
            ["api"] => Ok(Reply::json(200, &discovery::core_versions())),
            ["apis"] => Ok(Reply::json(200, &discovery::groups())),
            ["apis", group] => discovery::group(group).map(|group| Reply::json(200, &group)),
            ["api", version] => {
                discovery::resources("", version).map(|list| Reply::json(200, &list))
            }
            ["apis", group, version] => {
                discovery::resources(group, version).map(|list| Reply::json(200, &list))
            }
            ["openapi", "v3", rest @ ..] => openapi::v3(rest, request),
            // kubectl can do without: recorded of the real one with this document missing.
            ["openapi", "v2"] => Err(ApiError::no_such_path()),
            ["metrics" | "logs" | "debug", ..] => Err(ApiError::unmodelled(&request.path)),
            _ => Err(ApiError::no_such_path()),
        }
    }

    fn get(&self, resource: &'static Resource, request: &Request) -> Result<Reply, ApiError> {
        let (namespace, name) = (request.namespace(resource), &request.attributes.name);
        let found = self
            .api
            .get(resource, namespace, name)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        object_reply::one(200, resource, &found, request)
    }

    fn log(&self, request: &Request) -> Result<Reply, ApiError> {
        let (namespace, name) = (&request.attributes.namespace, &request.attributes.name);
        let pod = self
            .api
            .get(&resource::PODS, namespace, name)
            .ok_or_else(|| ApiError::not_found(&resource::PODS, name))?;
        let containers = object::list(&pod, "/spec/containers");
        let first = containers
            .first()
            .and_then(|container| container["name"].as_str())
            .unwrap_or("");
        let wanted = request.query.get("container").unwrap_or(first);
        let statuses = object::list(&pod, "/status/containerStatuses");
        let Some(status) = statuses.iter().find(|status| status["name"] == wanted) else {
            let message = format!(
                "container {wanted:?} in pod {name:?} is waiting to start: ContainerCreating"
            );
            return Err(ApiError::bad_request(message));
        };
        let image = status["imageID"].as_str().unwrap_or("");
        Ok(Reply::text(
            200,
            &format!("testbed: {wanted} of {namespace}/{name} runs {image}\n"),
        )
        .typed("text/plain"))
    }
}

/// The answer of operations that return nothing but success.
fn success(code: u16) -> Reply {
    Reply::json(
        code,
        &json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code }),
    )
}
