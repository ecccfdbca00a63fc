//! The webhook configurations as they are in the cluster: followed by watches, and given their caBundle.

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use tracing::info;

use super::{
    api::{TlsError, call},
    inject::{self, Service},
    serving::{Live, Serving},
    unwatched::told,
};

/// The webhook configurations that make the API server call us: a mutating and a validating one of the same name.
#[derive(Clone)]
pub(super) struct Configuration {
    mutating: One,
    validating: One,
    service: Service,
    serving: Serving,
}

/// One of them.
#[derive(Clone)]
struct One {
    api: Api<DynamicObject>,
    kind: &'static str,
    name: String,
}

/// The configurations as they are now, those that are there.
#[derive(Clone)]
pub(super) struct Registered {
    mutating: Option<DynamicObject>,
    validating: Option<DynamicObject>,
}

/// What a watch for one thing says: the thing as it is now, `None` while there is none.
pub(super) type Seen<K> = Result<Option<K>, watcher::Error>;

/// What one of the two watches says.
enum Either {
    Mutating(Seen<DynamicObject>),
    Validating(Seen<DynamicObject>),
}

/// What both watches have said so far; not seen yet is not the same as absent.
#[derive(Default)]
struct Both {
    mutating: Option<Option<DynamicObject>>,
    validating: Option<Option<DynamicObject>>,
}

impl Configuration {
    /// Returns the configurations called `name`, as far as their webhooks lead to `service`.
    pub(super) fn new(client: Client, name: String, service: Service, serving: Serving) -> Self {
        Self {
            mutating: One::new::<MutatingWebhookConfiguration>(client.clone(), name.clone()),
            validating: One::new::<ValidatingWebhookConfiguration>(client, name),
            service,
            serving,
        }
    }

    /// Follows the configurations for ever, from when both have been asked for; after an error, waits a little
    /// longer each time.
    ///
    /// Without the validating one all else goes on: a mutating webhook that nobody trusts would be worse.
    pub(super) fn follow(&self) -> impl Stream<Item = Seen<Registered>> + Send + use<> {
        let mutating = self.mutating.follow().map(Either::Mutating);
        let validating = self.validating.follow().map(Either::Validating);
        stream::select(mutating, validating)
            .scan(Both::default(), |both, said| {
                std::future::ready(Some(both.after(said)))
            })
            .filter_map(std::future::ready)
    }

    /// Tells readiness what the API server trusts us by.
    pub(super) fn note(&self, seen: Option<&Registered>) {
        let trusted = |one: &DynamicObject| inject::trusted(one, &self.service);
        let mutating = seen.and_then(|seen| seen.mutating.as_ref());
        let validating = seen.and_then(|seen| seen.validating.as_ref());
        self.serving.observe(match mutating.map(trusted) {
            Some(webhooks) if webhooks.is_empty() => Live::Absent,
            Some(mut webhooks) => {
                webhooks.extend(validating.into_iter().flat_map(trusted));
                Live::Webhooks(webhooks)
            }
            None => Live::Absent,
        });
    }

    /// Returns whether the webhooks in `seen` trust nothing but `authorities` (PEM).
    pub(super) fn trusts(&self, seen: &Registered, authorities: &str) -> bool {
        let mut all = seen.mutating.iter().chain(&seen.validating);
        all.all(|one| inject::patch(one, &self.service, authorities).is_none())
    }

    /// Makes the webhooks trust `authorities`, if they still are as in `seen`; returns them as they are then.
    pub(super) async fn inject(
        &self,
        seen: &Registered,
        authorities: &str,
    ) -> Result<Registered, TlsError> {
        let mut patched = seen.clone();
        for (one, seen) in [
            (&self.mutating, &mut patched.mutating),
            (&self.validating, &mut patched.validating),
        ] {
            if let Some(seen) = seen {
                *seen = one.inject(seen, &self.service, authorities).await?;
            }
        }
        Ok(patched)
    }
}

impl One {
    fn new<K: Resource<DynamicType = ()>>(client: Client, name: String) -> Self {
        // The untyped form keeps the fields that this version does not know, and reads odd ones.
        let resource = ApiResource::erase::<K>(&());
        Self {
            kind: if resource.plural.starts_with("mutating") {
                "MutatingWebhookConfiguration"
            } else {
                "ValidatingWebhookConfiguration"
            },
            api: Api::all_with(client, &resource),
            name,
        }
    }

    fn follow(&self) -> impl Stream<Item = Seen<DynamicObject>> + Send + use<> {
        let watch = watcher::watch_object(self.api.clone(), &self.name).default_backoff();
        told(format!("{} {}", self.kind, self.name), watch)
    }

    /// Makes the webhooks in `seen` that lead to `service` trust `authorities`, if they do not yet.
    async fn inject(
        &self,
        seen: &DynamicObject,
        service: &Service,
        authorities: &str,
    ) -> Result<DynamicObject, TlsError> {
        let Some(patch) = inject::patch(seen, service, authorities) else {
            return Ok(seen.clone());
        };
        if let Some(annotation) = inject::keeper(seen) {
            return Err(TlsError::Foreign {
                name: self.name.clone(),
                annotation: annotation.to_owned(),
            });
        }
        let params = PatchParams {
            field_manager: Some("podrefresh".to_owned()),
            ..PatchParams::default()
        };
        let (kind, name) = (self.kind, &self.name);
        let patch = Patch::<()>::Json(patch);
        let patched = call(
            &format!("write the caBundle of {kind} {name}"),
            self.api.patch(name, &params, &patch),
        )
        .await?;
        info!("Wrote the caBundle of {kind} {name}");
        Ok(patched)
    }
}

impl Both {
    /// Takes in what one of the watches says; returns what there is to do about it.
    fn after(&mut self, said: Either) -> Option<Seen<Registered>> {
        match said {
            Either::Mutating(Ok(seen)) => self.mutating = Some(seen),
            Either::Mutating(Err(error)) => return Some(Err(error)),
            Either::Validating(Ok(seen)) => self.validating = Some(seen),
            Either::Validating(Err(_)) if self.validating.is_some() => return None,
            Either::Validating(Err(_)) => self.validating = Some(None),
        }
        let (mutating, validating) = (self.mutating.clone()?, self.validating.clone()?);
        let is_any = mutating.is_some() || validating.is_some();
        Some(Ok(is_any.then_some(Registered {
            mutating,
            validating,
        })))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn object(name: &str) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    }

    fn refused(code: u16) -> watcher::Error {
        watcher::Error::WatchError(Status::failure("no", "").with_code(code).boxed())
    }

    /// Checks what is told after all of `said`: the names of the configurations that are there, or `error`.
    #[track_caller]
    fn check(said: Vec<Either>, expected: Option<&str>) {
        let mut both = Both::default();
        let told = said.into_iter().map(|said| both.after(said)).last();
        let told = told.flatten().map(|seen| match seen {
            Err(_) => "error".to_owned(),
            Ok(None) => "none".to_owned(),
            Ok(Some(seen)) => {
                let all = seen.mutating.iter().chain(&seen.validating);
                let names: Vec<_> = all.filter_map(|one| one.metadata.name.clone()).collect();
                names.join(" ")
            }
        });
        assert_eq!(told.as_deref(), expected);
    }

    #[test]
    fn nothing_is_told_before_both_have_been_asked_for() {
        let mutating = || Either::Mutating(Ok(Some(object("m"))));
        let validating = || Either::Validating(Ok(Some(object("v"))));
        check(vec![mutating()], None);
        check(vec![validating()], None);
        check(vec![mutating(), validating()], Some("m v"));
        check(vec![validating(), mutating()], Some("m v"));
        let gone = || Either::Mutating(Ok(None));
        check(vec![validating(), mutating(), gone()], Some("v"));
        check(vec![gone(), Either::Validating(Ok(None))], Some("none"));
    }

    #[test]
    fn a_validating_one_that_cannot_be_read_holds_nothing_up() {
        let mutating = || Either::Mutating(Ok(Some(object("m"))));
        let failed = |code| Either::Validating(Err(refused(code)));
        check(vec![mutating(), failed(403)], Some("m"));
        check(vec![failed(500), mutating()], Some("m"));
        check(vec![mutating(), failed(403), failed(403)], None);
        let validating = Either::Validating(Ok(Some(object("v"))));
        check(vec![mutating(), failed(403), validating], Some("m v"));
        check(vec![Either::Mutating(Err(refused(500)))], Some("error"));
    }
}
