//! Evictions: deletions that ask the PodDisruptionBudgets first.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::reply::Reply;
use super::request::Request;
use super::{Server, success};
use crate::api::Propagation::{Background, Foreground, Orphan};
use crate::api::{
    Api, ApiError, Delete, Key, LabelSelector, check_preconditions, object, resource,
};

/// Answers a POST to `pods/NAME/eviction`.
pub(super) fn create(server: &Server, request: &Request) -> Result<Reply, ApiError> {
    let options = request.options("CreateOptions")?;
    let body = request.json("Eviction")?;
    let warnings = unknown_fields(&body);
    if !warnings.is_empty() && options.field_validation.as_deref() == Some("Strict") {
        return Err(ApiError::bad_request(format!(
            "Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: {}",
            warnings.join(", ")
        )));
    }
    let name = &request.attributes.name;
    if object::name(&body) != name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let api = &server.api;
    let namespace = &request.attributes.namespace;
    if api.get(&resource::NAMESPACES, "", namespace).is_none() {
        return Err(ApiError::not_found(&resource::NAMESPACES, namespace));
    }
    let mut delete = delete_options(&body["deleteOptions"]);
    delete.dry_run |= options.dry_run;
    evict(api, &Key::new(&resource::PODS, namespace, name), &delete)?;
    let warnings = if options.field_validation.as_deref() == Some("Ignore") {
        Vec::new()
    } else {
        warnings
    };
    Ok(success(201).warned(warnings))
}

/// Reads `DeleteOptions`.
pub(super) fn delete_options(options: &Value) -> Delete {
    let text = |pointer: &str| {
        options
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let propagation = match options["propagationPolicy"].as_str() {
        Some("Foreground") => Some(Foreground),
        Some("Orphan") => Some(Orphan),
        Some("Background") => Some(Background),
        _ => None,
    };
    Delete {
        grace_seconds: options["gracePeriodSeconds"].as_i64(),
        uid: text("/preconditions/uid"),
        resource_version: text("/preconditions/resourceVersion"),
        dry_run: object::list(options, "/dryRun")
            .iter()
            .any(|value| value == "All"),
        propagation,
    }
}

fn unknown_fields(body: &Value) -> Vec<String> {
    const KNOWN: &[&str] = &["apiVersion", "kind", "metadata", "deleteOptions"];
    const OPTIONS: &[&str] = &[
        "apiVersion",
        "dryRun",
        "gracePeriodSeconds",
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "kind",
        "orphanDependents",
        "preconditions",
        "propagationPolicy",
    ];
    let unknown = |value: &Value, known: &[&str], prefix: &str| -> Vec<String> {
        let keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
        let keys = keys.filter(|key| !known.contains(&key.as_str()));
        keys.map(|key| format!("unknown field \"{prefix}{key}\""))
            .collect()
    };
    let mut fields = unknown(body, KNOWN, "");
    fields.extend(unknown(&body["deleteOptions"], OPTIONS, "deleteOptions."));
    fields
}

/// Evicts a pod if its budget allows.
fn evict(api: &Api, key: &Key, options: &Delete) -> Result<(), ApiError> {
    let pod = api
        .store
        .get(key)
        .ok_or_else(|| ApiError::not_found(&resource::PODS, &key.name))?;
    // A pod that is going, not yet running or over takes nothing from a budget.
    let phase = object::text(&pod, "/status/phase");
    let bypasses =
        object::is_terminating(&pod) || matches!(phase, "Pending" | "Succeeded" | "Failed");
    if !bypasses {
        let budgets = budgets_of(api, &pod);
        if budgets.len() > 1 {
            return Err(ApiError::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        if let Some(budget) = budgets.first().filter(|budget| !may_ignore(budget, &pod)) {
            take(api, budget, &pod, options)?;
        }
    }
    check_preconditions(key, &pod, options)?;
    if !options.dry_run && !object::is_terminating(&pod) {
        mark(api, key);
    }
    // The mark has changed the pod's revision; the client's has been checked already.
    let options = Delete {
        resource_version: None,
        ..options.clone()
    };
    api.delete_object(key, &options).map(drop)
}

fn budgets_of(api: &Api, pod: &Value) -> Vec<Arc<Value>> {
    let budgets = api.list(
        &resource::POD_DISRUPTION_BUDGETS,
        Some(object::namespace(pod)),
    );
    budgets
        .into_iter()
        .filter(|budget| {
            let selector = &budget["spec"]["selector"];
            !selector.is_null()
                && LabelSelector::from_object(selector).is_ok_and(|selector| selector.selects(pod))
        })
        .collect()
}

// A pod that is not ready may go if the policy says so, or if the budget is met without it.
fn may_ignore(budget: &Value, pod: &Value) -> bool {
    if object::is_condition_true(pod, "Ready") {
        return false;
    }
    let status = |key: &str| budget["status"][key].as_i64().unwrap_or(0);
    match budget["spec"]["unhealthyPodEvictionPolicy"].as_str() {
        Some("AlwaysAllow") => true,
        _ => status("desiredHealthy") > 0 && status("currentHealthy") >= status("desiredHealthy"),
    }
}

// Takes one disruption from the budget, or says why not.
fn take(api: &Api, budget: &Value, pod: &Value, options: &Delete) -> Result<(), ApiError> {
    let (namespace, name) = (object::namespace(budget), object::name(budget));
    let key = Key::new(&resource::POD_DISRUPTION_BUDGETS, namespace, name);
    loop {
        let Some(current) = api.store.get(&key) else {
            return Ok(());
        };
        let status = |field: &str| current["status"][field].as_i64().unwrap_or(0);
        if status("observedGeneration") < object::generation(&current) {
            let why =
                format!("The disruption budget {name} is still being processed by the server.");
            let mut error = refused(&why);
            error.retry_after = Some(10);
            return Err(error);
        }
        if status("disruptionsAllowed") <= 0 {
            let (needs, has) = (status("desiredHealthy"), status("currentHealthy"));
            return Err(refused(&format!(
                "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
            )));
        }
        if options.dry_run {
            return Ok(());
        }
        let mut next = (*current).clone();
        let now = Timestamp::now();
        next["status"]["disruptionsAllowed"] = json!(status("disruptionsAllowed") - 1);
        next["status"]["disruptedPods"][object::name(pod)] = json!(object::time(now));
        if api.store.replace(&key, &current, next).is_some() {
            return Ok(());
        }
    }
}

fn refused(why: &str) -> ApiError {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let cause = json!({ "reason": "DisruptionBudget", "message": why });
    ApiError::new(429, "TooManyRequests", message).with_details(json!({ "causes": [cause] }))
}

// Writes into the pod why it goes.
fn mark(api: &Api, key: &Key) {
    while let Some(current) = api.store.get(key) {
        let mut next = (*current).clone();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": object::time(Timestamp::now()),
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        });
        let conditions = object::map_at_root(&mut next, "status")
            .entry("conditions")
            .or_insert_with(|| json!([]));
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.retain(|one| one["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        if api.store.replace(key, &current, next).is_some() {
            return;
        }
    }
}
