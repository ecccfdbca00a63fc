//! The webhook configuration as it is in the cluster: followed by a watch, and given its caBundle.

use futures::Stream;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use tracing::info;

use super::{
    api::{TlsError, call},
    inject::{self, Service},
    serving::{Live, Serving},
};

/// The webhook configuration that makes the API server call us.
#[derive(Clone)]
pub(super) struct Configuration {
    api: Api<DynamicObject>,
    name: String,
    service: Service,
    serving: Serving,
}

/// What a watch for one object says: the object as it is now, `None` while there is none.
pub(super) type Seen<K> = Result<Option<K>, watcher::Error>;

impl Configuration {
    /// Returns the configuration called `name`, as far as its webhooks lead to `service`.
    pub(super) fn new(client: Client, name: String, service: Service, serving: Serving) -> Self {
        // The untyped form keeps the fields that this version does not know, and reads odd ones.
        let resource = ApiResource::erase::<MutatingWebhookConfiguration>(&());
        Self {
            api: Api::all_with(client, &resource),
            name,
            service,
            serving,
        }
    }

    /// Follows the configuration for ever; after an error, waits a little longer each time.
    pub(super) fn follow(&self) -> impl Stream<Item = Seen<DynamicObject>> + Send + use<> {
        watcher::watch_object(self.api.clone(), &self.name).default_backoff()
    }

    /// Tells readiness what the API server trusts us by.
    pub(super) fn note(&self, seen: Option<&DynamicObject>) {
        self.serving.observe(match seen {
            Some(configuration) => Live::Webhooks(inject::trusted(configuration, &self.service)),
            None => Live::Absent,
        });
    }

    /// Returns whether the webhooks in `seen` trust nothing but `authorities` (PEM).
    pub(super) fn trusts(&self, seen: &DynamicObject, authorities: &str) -> bool {
        inject::patch(seen, &self.service, authorities).is_none()
    }

    /// Makes the webhooks trust `authorities`, if they still are as in `seen`; returns them as they are then.
    pub(super) async fn inject(
        &self,
        seen: &DynamicObject,
        authorities: &str,
    ) -> Result<DynamicObject, TlsError> {
        let Some(patch) = inject::patch(seen, &self.service, authorities) else {
            return Ok(seen.clone());
        };
        let params = PatchParams {
            field_manager: Some("podrefresh".to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(patch);
        let patched = call(
            &format!("write the caBundle of webhook configuration {}", self.name),
            self.api.patch(&self.name, &params, &patch),
        )
        .await?;
        info!("Wrote the caBundle of webhook configuration {}", self.name);
        Ok(patched)
    }
}

/// Returns whether a watch failed because we may not read what it is for.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    status.code == 403
}
