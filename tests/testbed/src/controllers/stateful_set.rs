//! StatefulSets: pods with ordinals, one after the other or side by side, updated from the highest ordinal down.
//!
//! Not modelled: volume claims, `maxUnavailable` of the rolling update, trimming the revision history.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::events::emit;
use super::pods::{self, gone_is_fine};
use super::revisions;
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, object, resource};

const COMPONENT: &str = "statefulset-controller";

/// The controller.
pub(super) struct StatefulSets;

impl Controller for StatefulSets {
    fn all(&self, api: &Api) -> Vec<Name> {
        api.list(&resource::STATEFUL_SETS, None)
            .iter()
            .map(|set| Name::of(set))
            .collect()
    }

    fn concerned(&self, _: &Api, change: &Change) -> Vec<Name> {
        if *change.resource == resource::STATEFUL_SETS {
            vec![Name::of(&change.object)]
        } else if *change.resource == resource::PODS {
            pods::controllers_of(change, "StatefulSet")
        } else {
            Vec::new()
        }
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let sets = &resource::STATEFUL_SETS;
        let Some(set) = api.get(sets, &name.namespace, &name.name) else {
            return Ok(Next::OnChange);
        };
        let update = revisions::ensure(api, sets, &set).await?;
        let now = Timestamp::now();
        let mut next = Next::OnChange;
        let mut outcome = Ok(());
        if !object::is_terminating(&set) {
            let current = object::text(&set, "/status/currentRevision");
            let known = revisions::of(api, &set);
            let current = known
                .iter()
                .find(|revision| object::name(revision) == current)
                .unwrap_or(&update);
            let view = View::of(api, &set, current, &update, now);
            next = pods::next_available(&view.owned, view.min_ready, now);
            outcome = view.step(api).await;
        }
        let view = View::of(api, &set, &update, &update, now);
        gone_is_fine(
            api.update_status(sets, &name.namespace, &name.name, |status| {
                view.fill(status)
            }),
        )?;
        outcome.map(|()| next)
    }
}

/// A StatefulSet, its pods by ordinal, and the two revisions they may be of.
struct View<'a> {
    set: &'a Value,
    owned: Vec<Arc<Value>>,
    pods: BTreeMap<i64, Arc<Value>>,
    current: &'a Value,
    update: &'a Value,
    min_ready: i64,
    now: Timestamp,
}

impl<'a> View<'a> {
    fn of(
        api: &Api,
        set: &'a Value,
        current: &'a Value,
        update: &'a Value,
        now: Timestamp,
    ) -> Self {
        let owned = pods::owned(api, object::namespace(set), object::uid(set));
        let ordinal = |pod: &Arc<Value>| {
            let number = object::name(pod)
                .strip_prefix(object::name(set))?
                .strip_prefix('-')?
                .parse()
                .ok()?;
            Some((number, Arc::clone(pod)))
        };
        let pods = owned.iter().filter_map(ordinal).collect();
        let min_ready = object::number(set, "/spec/minReadySeconds").unwrap_or(0);
        Self {
            set,
            owned,
            pods,
            current,
            update,
            min_ready,
            now,
        }
    }

    fn range(&self) -> std::ops::Range<i64> {
        let start = object::number(self.set, "/spec/ordinals/start").unwrap_or(0);
        start..start + object::number(self.set, "/spec/replicas").unwrap_or(1)
    }

    fn is_healthy(&self, pod: &Value) -> bool {
        !object::is_terminating(pod) && pods::is_available(pod, self.min_ready, self.now)
    }

    fn is_updated(&self, pod: &Value) -> bool {
        object::label(pod, revisions::LABEL) == Some(object::name(self.update))
    }

    /// Does what may be done now: with OrderedReady at most one thing at a time.
    async fn step(&self, api: &Api) -> Result<(), ApiError> {
        let in_order = object::text(self.set, "/spec/podManagementPolicy") != "Parallel";
        for ordinal in self.range() {
            match self.pods.get(&ordinal) {
                None => {
                    self.create(api, ordinal).await?;
                    if in_order {
                        return Ok(());
                    }
                }
                Some(pod) if pods::is_over(pod) && !object::is_terminating(pod) => {
                    pods::delete(api, pod)?;
                    if in_order {
                        return Ok(());
                    }
                }
                Some(pod) if in_order && !self.is_healthy(pod) => return Ok(()),
                Some(_) => {}
            }
        }
        let range = self.range();
        for (_, pod) in self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| !range.contains(ordinal))
        {
            if !object::is_terminating(pod) {
                self.delete(api, pod).await?;
            }
            if in_order {
                return Ok(());
            }
        }
        if object::text(self.set, "/spec/updateStrategy/type") == "OnDelete" {
            return Ok(());
        }
        let partition = self.partition();
        for (_, pod) in self
            .pods
            .iter()
            .rev()
            .filter(|(ordinal, _)| partition <= **ordinal)
        {
            if !self.is_updated(pod) {
                return if object::is_terminating(pod) {
                    Ok(())
                } else {
                    self.delete(api, pod).await
                };
            }
            if !self.is_healthy(pod) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn partition(&self) -> i64 {
        self.range().start
            + object::number(self.set, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0)
    }

    async fn create(&self, api: &Api, ordinal: i64) -> Result<(), ApiError> {
        let rolls = object::text(self.set, "/spec/updateStrategy/type") != "OnDelete";
        let revision = if rolls && ordinal < self.partition() {
            self.current
        } else {
            self.update
        };
        let mut pod = pods::from_template(
            &resource::STATEFUL_SETS,
            self.set,
            &revisions::template(revision),
        );
        let name = format!("{}-{ordinal}", object::name(self.set));
        object::metadata(&mut pod).insert("name".into(), json!(name));
        object::set_label(&mut pod, revisions::LABEL, object::name(revision));
        object::set_label(&mut pod, "statefulset.kubernetes.io/pod-name", &name);
        object::set_label(
            &mut pod,
            "apps.kubernetes.io/pod-index",
            &ordinal.to_string(),
        );
        pod["spec"]["hostname"] = json!(name);
        pod["spec"]["subdomain"] = self.set["spec"]["serviceName"].clone();
        let set = object::name(self.set);
        match api
            .create(&resource::PODS, object::namespace(self.set), pod)
            .await
        {
            Ok(_) => {
                let message = format!("create Pod {name} in StatefulSet {set} successful");
                emit(
                    api,
                    COMPONENT,
                    self.set,
                    "Normal",
                    "SuccessfulCreate",
                    &message,
                )
                .await;
                Ok(())
            }
            Err(error) => {
                let message =
                    format!("create Pod {name} in StatefulSet {set} failed error: {error}");
                emit(
                    api,
                    COMPONENT,
                    self.set,
                    "Warning",
                    "FailedCreate",
                    &message,
                )
                .await;
                Err(error)
            }
        }
    }

    async fn delete(&self, api: &Api, pod: &Value) -> Result<(), ApiError> {
        pods::delete(api, pod)?;
        let message = format!(
            "delete Pod {} in StatefulSet {} successful",
            object::name(pod),
            object::name(self.set)
        );
        emit(
            api,
            COMPONENT,
            self.set,
            "Normal",
            "SuccessfulDelete",
            &message,
        )
        .await;
        Ok(())
    }

    fn fill(&self, status: &mut Value) {
        if !status.is_object() {
            *status = json!({});
        }
        let range = self.range();
        let members = || {
            self.pods
                .iter()
                .filter(|(ordinal, _)| range.contains(ordinal))
                .map(|(_, pod)| pod)
        };
        let active = || members().filter(|pod| pods::is_active(pod));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let updated = count(active().filter(|pod| self.is_updated(pod)).count());
        let ready = count(active().filter(|pod| pods::is_ready(pod)).count());
        let replicas = count(members().count());
        let complete =
            updated == replicas && ready == replicas && replicas == range.end - range.start;
        let first = status["currentRevision"].as_str().is_none_or(str::is_empty);
        status["observedGeneration"] = json!(object::generation(self.set));
        if complete || first {
            status["currentRevision"] = json!(object::name(self.update));
        }
        status["updateRevision"] = json!(object::name(self.update));
        let is_current = |pod: &&Arc<Value>| {
            object::label(pod, revisions::LABEL) == status["currentRevision"].as_str()
        };
        let current = count(active().filter(is_current).count());
        let available = count(active().filter(|pod| self.is_healthy(pod)).count());
        status["replicas"] = json!(replicas);
        status["collisionCount"] = json!(0);
        // Unlike the others, this type writes this count even when it is 0.
        status["availableReplicas"] = json!(available);
        let counts = [
            ("readyReplicas", ready),
            ("currentReplicas", current),
            ("updatedReplicas", updated),
        ];
        pods::put_counts(status, &counts);
    }
}
