//! The PodDisruptionBudgets of a moment, and which pods each selects.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use serde::Deserialize;

use super::{
    call::{Segment, Server},
    lenient::{Number, Object, Text},
    listing::{items, list},
    refusal::CallError,
    wire::Meta,
};
use crate::policy::disruption::Disruptions;

/// The budgets, by namespace.
#[derive(Debug, Clone, Default)]
pub struct Budgets(HashMap<Box<str>, Vec<(Selector, Arc<Disruptions>)>>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBudget<'a> {
    #[serde(borrow)]
    metadata: Object<Meta<'a>>,
    #[serde(borrow)]
    spec: Object<Spec<'a>>,
    status: Object<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec<'a> {
    selector: Option<LabelSelector>,
    #[serde(borrow)]
    unhealthy_pod_eviction_policy: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    disruptions_allowed: Number,
    current_healthy: Number,
    desired_healthy: Number,
    observed_generation: Number,
}

impl Budgets {
    /// Lists the budgets of `namespace`; `None` is all namespaces.
    pub(super) async fn list(server: &Server, namespace: Option<&str>) -> Result<Self, CallError> {
        let path = match namespace {
            Some(namespace) => format!(
                "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
                Segment(namespace)
            ),
            None => "/apis/policy/v1/poddisruptionbudgets".to_owned(),
        };
        let read = |body: &[u8], listed: &mut Vec<_>| {
            listed.extend(items::<RawBudget<'_>>(body)?.filter_map(RawBudget::read));
            Ok(())
        };
        let mut budgets = Self::default();
        for (namespace, selector, budget) in list(server, &path, &[], read).await? {
            let home = budgets.0.entry(namespace).or_default();
            home.push((selector, budget));
        }
        Ok(budgets)
    }

    /// Returns those that select a pod of `namespace` with these labels.
    pub fn of<'l>(
        &self,
        namespace: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
    ) -> Box<[Arc<Disruptions>]> {
        let Some(home) = self.0.get(namespace) else {
            return Box::default();
        };
        let labels: BTreeMap<String, String> = labels
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        (home.iter())
            .filter(|(selector, _)| selector.matches(&labels))
            .map(|(_, budget)| budget.clone())
            .collect()
    }
}

impl RawBudget<'_> {
    /// Returns its namespace, which pods it selects, and what it says; `None` if it selects none.
    fn read(self) -> Option<(Box<str>, Selector, Arc<Disruptions>)> {
        let (meta, spec, status) = (self.metadata.0, self.spec.0, self.status.0);
        // Without a selector it selects no pod, with an empty one all of its namespace.
        let selector = spec.selector?.try_into().ok()?;
        let number = |number: Number| number.0.unwrap_or_default();
        let disruptions = Disruptions {
            name: meta.name.as_str().into(),
            allowed: number(status.disruptions_allowed),
            healthy: number(status.current_healthy),
            wanted: number(status.desired_healthy),
            observed: number(meta.generation) <= number(status.observed_generation),
            spares_unready: spec.unhealthy_pod_eviction_policy.as_str() == "AlwaysAllow",
        };
        Some((
            meta.namespace.as_str().into(),
            selector,
            Arc::new(disruptions),
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fake::Fake;

    fn budget(name: &str, selector: Value) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop", "generation": 2},
            "spec": {"minAvailable": 2, "selector": selector},
            "status": {"disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "observedGeneration": 2},
        })
    }

    async fn listed(budgets: Vec<Value>) -> Budgets {
        let (mut fake, server) = Fake::start();
        let (listed, ()) = tokio::join!(Budgets::list(&server, Some("shop")), async {
            let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";
            let call = fake.next().await.expect("GET", path);
            call.reply(200, &json!({"metadata": {}, "items": budgets}));
        });
        listed.unwrap()
    }

    /// Checks which budgets select a pod that is labelled `app: web`.
    #[track_caller]
    fn check(budgets: &Budgets, namespace: &str, expected: &[&str]) {
        let found = budgets.of(namespace, [("app", "web")].into_iter());
        let names: Vec<&str> = found.iter().map(|budget| &*budget.name).collect();
        assert_eq!(names, expected);
    }

    #[tokio::test]
    async fn a_budget_selects_by_labels_and_expressions() {
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        let budgets = listed(vec![
            budget("by-label", json!({"matchLabels": {"app": "web"}})),
            budget("other", json!({"matchLabels": {"app": "db"}})),
            budget("in", expression("In", json!(["web", "db"]))),
            budget("not-in", expression("NotIn", json!(["web"]))),
            budget("exists", expression("Exists", json!(null))),
            budget("all", json!({})),
            budget("none", json!(null)),
        ])
        .await;
        check(&budgets, "shop", &["by-label", "in", "exists", "all"]);
        check(&budgets, "other", &[]);
    }

    #[tokio::test]
    async fn a_budget_is_read_whole() {
        let mut new = budget("web", json!({}));
        new["metadata"]["generation"] = json!(3);
        new["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        let mut fresh = budget("fresh", json!({}));
        fresh["status"] = json!({});
        let budgets = listed(vec![new, fresh]).await;
        let found = budgets.of("shop", [].into_iter());
        let expected = Disruptions {
            name: "web".into(),
            allowed: 1,
            healthy: 3,
            wanted: 2,
            observed: false,
            spares_unready: true,
        };
        assert_eq!(*found[0], expected);
        let nothing = Disruptions {
            name: "fresh".into(),
            allowed: 0,
            healthy: 0,
            wanted: 0,
            observed: false,
            spares_unready: false,
        };
        assert_eq!(*found[1], nothing);
    }
}
