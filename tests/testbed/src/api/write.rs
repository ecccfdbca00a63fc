//! The steps every create and update goes through.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Api, ApiError, Resource, User, admission, defaults, object, resource, strategy, validate,
};

/// The options of a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Do everything but store.
    pub(crate) dry_run: bool,
    /// `fieldManager`.
    pub(crate) field_manager: Option<String>,
    /// `fieldValidation`.
    pub(crate) field_validation: Option<String>,
}

/// What a write is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'static Resource,
    /// Empty for cluster-scoped objects.
    pub(crate) namespace: &'a str,
    /// Empty when creating.
    pub(crate) name: &'a str,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    pub(crate) options: &'a Options,
    pub(crate) user: &'a User,
}

/// What a write has done.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

// Names with a random suffix may collide; the real server tries as often.
const NAME_ATTEMPTS: usize = 8;

impl Api {
    /// Creates an object.
    pub(crate) async fn create_object(
        &self,
        target: &Target<'_>,
        mut object: Value,
    ) -> Result<Written, ApiError> {
        let resource = target.resource;
        if resource.always_empty {
            return Err(ApiError::unmodelled(&resource.qualified()));
        }
        if !object::text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(ApiError::internal(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        check_namespace(target, &mut object)?;
        strategy::check_stored_kind(resource, &mut object)?;
        self.check_lifecycle(target, &object)?;
        defaults::apply(resource, &mut object);
        strategy::before_admission(resource, &mut object);
        if *resource == resource::PODS {
            self.give_service_account(target.namespace, &mut object)?;
        }
        let mut warnings = Vec::new();
        let mut object = self
            .webhooks
            .mutate(self, target, object, None, &mut warnings)
            .await?;
        defaults::apply(resource, &mut object);
        let generated = object::name(&object).is_empty();
        for _ in 0..NAME_ATTEMPTS {
            let mut object = object.clone();
            strategy::before_create(resource, &mut object, Timestamp::now());
            validate::create(resource, &object)
                .map_err(|e| admission::with_warnings(e, &warnings))?;
            self.webhooks
                .validate(self, target, &object, None, &mut warnings)
                .await?;
            let name = object::name(&object).to_owned();
            let key = self.key(resource, target.namespace, &name);
            let stored = if target.options.dry_run {
                self.store.get(&key).is_none().then(|| Arc::new(object))
            } else {
                self.store.insert(&key, object)
            };
            match stored {
                Some(object) => {
                    if *resource == resource::NAMESPACES && !target.options.dry_run {
                        self.furnish_namespace(&name);
                    }
                    return Ok(Written {
                        object,
                        created: true,
                        warnings,
                    });
                }
                None if generated => {}
                None => return Err(ApiError::already_exists(resource, &name)),
            }
        }
        Err(ApiError::already_exists(
            resource,
            object::text(&object, "/metadata/generateName"),
        ))
    }

    /// Changes an object. `change` gets the current one and returns the wanted one; it is asked again
    /// when another write came in between, unless what it returns carries an old resourceVersion.
    pub(crate) async fn update_object(
        &self,
        target: &Target<'_>,
        mut change: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
    ) -> Result<Written, ApiError> {
        let resource = target.resource;
        let key = self.key(resource, target.namespace, target.name);
        loop {
            let current = self
                .store
                .get(&key)
                .ok_or_else(|| ApiError::not_found(resource, target.name))?;
            let mut next = change(&current)?;
            check_identity(target, &current, &mut next)?;
            if matches!(target.subresource, "" | "ephemeralcontainers") {
                defaults::apply(resource, &mut next);
            }
            strategy::before_update(target, &current, &mut next);
            let mut warnings = Vec::new();
            let mut next = self
                .webhooks
                .mutate(self, target, next, Some(&current), &mut warnings)
                .await?;
            strategy::before_update(target, &current, &mut next);
            validate::update(target, &current, &next)
                .map_err(|e| admission::with_warnings(e, &warnings))?;
            self.webhooks
                .validate(self, target, &next, Some(&current), &mut warnings)
                .await?;
            if target.options.dry_run {
                return Ok(Written {
                    object: Arc::new(next),
                    created: false,
                    warnings,
                });
            }
            let stored = if strategy::is_finished(resource, &next) {
                self.store.remove(&key, &current)
            } else {
                self.store.replace(&key, &current, next)
            };
            if let Some(object) = stored {
                return Ok(Written {
                    object,
                    created: false,
                    warnings,
                });
            }
        }
    }

    // A namespace must exist, and must not be going away, for anything to be created in it.
    fn check_lifecycle(&self, target: &Target<'_>, object: &Value) -> Result<(), ApiError> {
        if target.namespace.is_empty() {
            return Ok(());
        }
        let namespaces = &resource::NAMESPACES;
        let namespace = self
            .get(namespaces, "", target.namespace)
            .ok_or_else(|| ApiError::not_found(namespaces, target.namespace))?;
        if !object::is_terminating(&namespace) {
            return Ok(());
        }
        let ns = target.namespace;
        let why = format!(
            "unable to create new content in namespace {ns} because it is being terminated"
        );
        let mut error = ApiError::forbidden(target.resource, object::name(object), &why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {ns} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        Err(error)
    }
}

fn check_namespace(target: &Target<'_>, object: &mut Value) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the object provided is not a map"));
    }
    let given = object::namespace(object);
    if !given.is_empty() && given != target.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !target.namespace.is_empty() {
        object::metadata(object).insert("namespace".to_owned(), json!(target.namespace));
    }
    Ok(())
}

// Name, namespace, uid and resourceVersion of a write must be those of the stored object, where they are given.
fn check_identity(target: &Target<'_>, current: &Value, next: &mut Value) -> Result<(), ApiError> {
    let (resource, name) = (target.resource, target.name);
    strategy::check_stored_kind(resource, next)?;
    let given = object::name(next);
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    check_namespace(target, next)?;
    let (uid, given) = (object::uid(current), object::uid(next));
    if !given.is_empty() && given != uid {
        return Err(validate::wrong_uid(target, given, uid));
    }
    let version = object::text(next, "/metadata/resourceVersion");
    if version.is_empty() || version == "0" {
        if strategy::needs_version(resource) {
            let cause = super::Cause::new(
                "FieldValueInvalid",
                "Invalid value: 0: must be specified for an update",
                "metadata.resourceVersion",
            );
            // The storage words this one, so it names the resource where validation names the kind.
            return Err(ApiError::invalid_kind(
                resource.group,
                resource.plural,
                name,
                &[cause],
            ));
        }
        return Ok(());
    }
    if version != object::text(current, "/metadata/resourceVersion") {
        return Err(ApiError::stale(resource, name));
    }
    Ok(())
}
