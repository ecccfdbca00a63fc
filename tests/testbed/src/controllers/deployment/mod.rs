//! Deployments: one ReplicaSet per template, and the way from one to the next.
//!
//! Not modelled: proportional scaling of several ReplicaSets in the middle of a rollout (the newest one gets the difference),
//! adoption of ReplicaSets without an owner, and hash collisions (a ReplicaSet of that name with another template is an error).

mod rolling;
mod sets;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::sets::Sets;
use super::events::emit;
use super::pods::{self, gone_is_fine};
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, Delete, object, resource};

const COMPONENT: &str = "deployment-controller";

/// The controller.
pub(super) struct Deployments;

impl Controller for Deployments {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(&resource::DEPLOYMENTS, None)
            .iter()
            .map(|deployment| Name::of(deployment))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::DEPLOYMENTS {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::REPLICA_SETS {
            pods::controllers_of(change, "Deployment")
        } else if *change.resource == resource::PODS
            && change.kind == crate::api::ChangeKind::Deleted
        {
            // Recreate waits for the last old pod to be gone, which changes no ReplicaSet's count of active pods.
            let sets = pods::controllers_of(change, "ReplicaSet");
            let sets = sets
                .iter()
                .filter_map(|set| api.get(&resource::REPLICA_SETS, &set.namespace, &set.name));
            sets.filter_map(|set| {
                Some(Name::new(
                    object::namespace(&set),
                    object::controller(&set)?["name"].as_str()?,
                ))
            })
            .collect()
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let deployments = &resource::DEPLOYMENTS;
        let Some(deployment) = api.get(deployments, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        let mut sets = Sets::of(api, &deployment);
        if !object::is_terminating(&deployment) {
            let paused = deployment["spec"]["paused"] == true;
            if !paused {
                sets.ensure_new(api, &deployment).await?;
            }
            progress(api, &deployment, &sets, paused).await?;
            sets = Sets::of(api, &deployment);
            if !paused {
                clean_up(api, &deployment, &sets)?;
            }
        }
        let now = Timestamp::now();
        let mut next = Next::OnChange;
        let written = api.update_status(deployments, &name.namespace, &name.name, |status| {
            next = status::fill(status, &deployment, &sets, now);
        });
        gone_is_fine(written)?;
        Ok(next)
    }
}

/// Moves replicas from the old ReplicaSets to the new one, as far as the strategy allows now.
async fn progress(
    api: &Api,
    deployment: &Value,
    sets: &Sets,
    paused: bool,
) -> Result<(), ApiError> {
    let replicas = object::number(deployment, "/spec/replicas").unwrap_or(1);
    if paused || sets.was_scaled(replicas) && sets.active().count() == 1 {
        // A plain change of the size: no rollout is needed for it, so it works while paused, too.
        if let Some(only) = sets
            .active()
            .next()
            .or(sets.new.as_ref())
            .filter(|_| sets.active().count() <= 1)
        {
            return scale(api, deployment, only, replicas).await;
        }
        return Ok(());
    }
    let Some(new) = &sets.new else { return Ok(()) };
    if object::text(deployment, "/spec/strategy/type") == "Recreate" {
        for old in &sets.old {
            scale(api, deployment, old, 0).await?;
        }
        let left = sets
            .old
            .iter()
            .map(|set| pods::owned(api, object::namespace(set), object::uid(set)));
        let left = left.flatten().any(|pod| !pods::is_over(&pod));
        return if left {
            Ok(())
        } else {
            scale(api, deployment, new, replicas).await
        };
    }
    let plan = rolling::plan(deployment, new, &sets.old);
    scale(api, deployment, new, plan.new).await?;
    for (old, size) in sets.old.iter().zip(plan.old) {
        scale(api, deployment, old, size).await?;
    }
    Ok(())
}

/// Sets the size of a ReplicaSet, and notes the Deployment's own size on it.
async fn scale(api: &Api, deployment: &Value, set: &Arc<Value>, size: i64) -> Result<(), ApiError> {
    let before = sets::size(set);
    let (desired, most) = sets::sizes(deployment);
    api.update(
        &resource::REPLICA_SETS,
        object::namespace(set),
        object::name(set),
        |set| {
            set["spec"]["replicas"] = json!(size);
            object::annotate(set, sets::DESIRED, &desired.to_string());
            object::annotate(set, sets::MOST, &most.to_string());
        },
    )
    .await?;
    if before != size {
        let way = if before < size { "up" } else { "down" };
        let message = format!(
            "Scaled {way} replica set {} from {before} to {size}",
            object::name(set)
        );
        emit(
            api,
            COMPONENT,
            deployment,
            "Normal",
            "ScalingReplicaSet",
            &message,
        )
        .await;
    }
    Ok(())
}

/// Deletes the oldest empty ReplicaSets beyond `revisionHistoryLimit`.
fn clean_up(api: &Api, deployment: &Value, sets: &Sets) -> Result<(), ApiError> {
    let limit = object::number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10);
    let mut empty: Vec<_> = sets.old.iter().filter(|set| sets::is_empty(set)).collect();
    empty.sort_by_key(|set| sets::revision(set));
    let surplus = empty
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    for set in empty.into_iter().take(surplus) {
        let outcome = api.delete(
            &resource::REPLICA_SETS,
            object::namespace(set),
            object::name(set),
            &Delete::default(),
        );
        gone_is_fine(outcome)?;
    }
    Ok(())
}
