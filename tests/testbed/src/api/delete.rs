//! Deleting: grace for pods, finalizers for all.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::handle::Propagation;
use super::{Api, ApiError, Delete, Key, object, resource, strategy};

impl Api {
    /// Deletes an object. Returns its last state and whether it is gone.
    pub(crate) fn delete_object(
        &self,
        key: &Key,
        options: &Delete,
    ) -> Result<(Arc<Value>, bool), ApiError> {
        loop {
            let current = self
                .store
                .get(key)
                .ok_or_else(|| ApiError::not_found(key.resource, &key.name))?;
            check_preconditions(key, &current, options)?;
            let next = terminating(key, &current, options);
            if options.dry_run {
                return Ok((Arc::new(next), false));
            }
            let is_pod = *key.resource == resource::PODS;
            let gone = strategy::is_finished(key.resource, &next);
            // A pod is written once more with its grace of 0 before it goes; others go as they are.
            let marked = if gone && !is_pod {
                Some(current)
            } else {
                self.store.replace(key, &current, next)
            };
            let Some(marked) = marked else { continue };
            if !gone {
                return Ok((marked, false));
            }
            if let Some(last) = self.store.remove(key, &marked) {
                return Ok((if is_pod { marked } else { last }, true));
            }
        }
    }

    pub(super) fn bind_pod(
        &self,
        namespace: &str,
        pod: &str,
        node: &str,
    ) -> Result<Arc<Value>, ApiError> {
        let pods = &resource::PODS;
        let key = self.key(pods, namespace, pod);
        let host = self
            .get(&resource::NODES, "", node)
            .ok_or_else(|| ApiError::not_found(&resource::NODES, node))?;
        loop {
            let current = self
                .store
                .get(&key)
                .ok_or_else(|| ApiError::not_found(pods, pod))?;
            if object::is_terminating(&current) {
                return Err(ApiError::conflict(
                    pods,
                    pod,
                    "pod is being deleted, cannot be assigned to a host",
                ));
            }
            if !object::text(&current, "/spec/nodeName").is_empty() {
                let why = format!(
                    "pod {pod} is already assigned to node {:?}",
                    current["spec"]["nodeName"].as_str()
                );
                return Err(ApiError::conflict(pods, pod, &why));
            }
            let mut next = (*current).clone();
            next["spec"]["nodeName"] = json!(node);
            for label in [
                "topology.kubernetes.io/region",
                "topology.kubernetes.io/zone",
            ] {
                if let Some(value) = object::label(&host, label) {
                    object::set_label(&mut next, label, value);
                }
            }
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": object::time(Timestamp::now()),
            });
            next["status"]["conditions"] = json!([condition]);
            if let Some(stored) = self.store.replace(&key, &current, next) {
                return Ok(stored);
            }
        }
    }

    pub(super) fn finalize(&self, name: &str) -> Result<(), ApiError> {
        let key = self.key(&resource::NAMESPACES, "", name);
        loop {
            let current = self
                .store
                .get(&key)
                .ok_or_else(|| ApiError::not_found(key.resource, name))?;
            let mut next = (*current).clone();
            if let Some(spec) = next["spec"].as_object_mut() {
                spec.remove("finalizers");
            }
            let done = if strategy::is_finished(key.resource, &next) {
                self.store.remove(&key, &current)
            } else {
                self.store.replace(&key, &current, next)
            };
            if done.is_some() {
                return Ok(());
            }
        }
    }
}

/// Checks the uid and resourceVersion that a deletion or eviction insists on.
pub(crate) fn check_preconditions(
    key: &Key,
    current: &Value,
    options: &Delete,
) -> Result<(), ApiError> {
    let uid = object::uid(current);
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::precondition(key.resource, &key.name, &why));
    }
    let version = object::text(current, "/metadata/resourceVersion");
    if let Some(wanted) = options
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(ApiError::precondition(key.resource, &key.name, &why));
    }
    Ok(())
}

// Returns the object as the deletion marks it.
fn terminating(key: &Key, current: &Value, options: &Delete) -> Value {
    let mut next = current.clone();
    let is_pod = *key.resource == resource::PODS;
    let now = Timestamp::now();
    let grace = if is_pod {
        pod_grace(current, options)
    } else {
        0
    };
    if object::is_terminating(current) {
        // Only a shorter grace changes a deletion under way.
        let left = object::number(current, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
        if is_pod && options.grace_seconds.is_some() && grace < left {
            let until: Timestamp = object::text(current, "/metadata/deletionTimestamp")
                .parse()
                .unwrap_or(now);
            next["metadata"]["deletionTimestamp"] = json!(object::time(
                until - SignedDuration::from_secs(left - grace)
            ));
            next["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        return next;
    }
    add_propagation(&mut next, options.propagation);
    let generation = object::generation(current);
    let metadata = object::metadata(&mut next);
    metadata.insert(
        "deletionTimestamp".to_owned(),
        json!(object::time(now + SignedDuration::from_secs(grace))),
    );
    if *key.resource == resource::NAMESPACES {
        next["status"]["phase"] = json!("Terminating");
        return next;
    }
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    // Controllers must notice the deletion, so it counts as a change of what is wanted.
    if generation > 0 {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    next
}

// A pod that no kubelet runs, or that has ended, has nothing to stop.
fn pod_grace(pod: &Value, options: &Delete) -> i64 {
    let own = object::number(pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let is_over = matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed");
    if object::text(pod, "/spec/nodeName").is_empty() || is_over {
        return 0;
    }
    options.grace_seconds.unwrap_or(own).max(0)
}

fn add_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let finalizer = match propagation {
        Some(Propagation::Foreground) => "foregroundDeletion",
        Some(Propagation::Orphan) => "orphan",
        Some(Propagation::Background) | None => return,
    };
    let list = object::metadata(object)
        .entry("finalizers")
        .or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(json!(finalizer));
    }
}
