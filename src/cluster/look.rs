//! Reads the cluster once, without a watch: for those who look and go.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    budgets::Budgets,
    call::{Segment, Server, decode},
    lenient::{Entries, Keys, List, Object},
    listing::{items, list},
    record::Record,
    refusal::CallError,
    told::Told,
    view::View,
    wire::{OwnerReference, RawNamespace, RawPod},
};
use crate::policy::{
    Namespace, OwnerKind, Pod,
    disruption::Disruptions,
    names::{ENABLED, idle_label},
};

/// One who looks at the cluster; a clone shares the connections.
#[derive(Debug, Clone)]
pub struct Look {
    server: Server,
    time_limit: Duration,
}

/// A pod, and what else of it is of interest to people.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What controls it where that is nothing that we act on: `Job/nightly`.
    pub foreign: Option<Box<str>>,
    /// The budgets that select it.
    pub budgets: Box<[Arc<Disruptions>]>,
    /// The value of its label `podrefresh.io/enabled`, where that means nothing.
    pub idle_label: Option<Box<str>>,
}

/// A namespace, and what else of it is of interest to people.
#[derive(Debug, Clone)]
pub struct Home {
    /// The namespace.
    pub namespace: Namespace,
    /// The value of its label `podrefresh.io/enabled`, where that means nothing.
    pub idle_label: Option<Box<str>>,
}

/// Who holds a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What the holder is called; empty if nobody is.
    pub identity: String,
    /// When it was renewed last, by the holder's clock.
    pub renewed: Option<Timestamp>,
    /// How long it is respected after that.
    pub duration: Duration,
}

/// What [`RawPod`] does not read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRest<'a> {
    #[serde(borrow)]
    metadata: Object<RawMeta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawMeta<'a> {
    #[serde(borrow)]
    labels: Entries<'a, All>,
    #[serde(borrow)]
    owner_references: List<Object<OwnerReference<'a>>>,
}

#[derive(Debug)]
struct All;

impl Keys for All {
    fn wants(_: &str) -> bool {
        true
    }
}

impl Look {
    /// Returns one who waits at most `time_limit` for each answer, for pages of lists longer.
    pub const fn new(server: Server, time_limit: Duration) -> Self {
        Self { server, time_limit }
    }

    /// Lists the pods of `namespace`, ordered by namespace and name; `None` is all namespaces of which `wanted`
    /// takes the names.
    pub async fn pods(
        &self,
        namespace: Option<&str>,
        budgets: &Budgets,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Seen>, CallError> {
        let path = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{}/pods", Segment(namespace)),
            None => "/api/v1/pods".to_owned(),
        };
        let mut view = View::default();
        let read = |body: &[u8], listed: &mut Vec<Seen>| {
            let pods = items::<RawPod<'_>>(body)?.zip(items::<RawRest<'_>>(body)?);
            let pods = pods.filter(|(pod, _)| wanted(pod.metadata.0.namespace.as_str()));
            listed.extend(pods.filter_map(|(pod, rest)| seen(&mut view, &pod, &rest, budgets)));
            Ok(())
        };
        let mut pods = list(&self.server, &path, &[], read).await?;
        pods.sort_by(|one, other| names(one).cmp(&names(other)));
        Ok(pods)
    }

    /// Reads one pod; `None` when there is none of that name.
    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        budgets: &Budgets,
    ) -> Result<Option<Seen>, CallError> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            Segment(namespace),
            Segment(name)
        );
        let Some(body) = self.get(&path).await? else {
            return Ok(None);
        };
        let (pod, rest) = (decode(&body)?, decode(&body)?);
        Ok(seen(&mut View::default(), &pod, &rest, budgets))
    }

    /// Lists all namespaces.
    pub async fn namespaces(&self) -> Result<Vec<Home>, CallError> {
        let mut view = View::default();
        let read = |body: &[u8], listed: &mut Vec<Home>| {
            let namespaces = items::<RawNamespace<'_>>(body)?;
            listed.extend(namespaces.filter_map(|raw| home(&mut view, &raw)));
            Ok(())
        };
        list(&self.server, "/api/v1/namespaces", &[], read).await
    }

    /// Reads one namespace; `None` when there is none of that name.
    pub async fn namespace(&self, name: &str) -> Result<Option<Home>, CallError> {
        let path = format!("/api/v1/namespaces/{}", Segment(name));
        let Some(body) = self.get(&path).await? else {
            return Ok(None);
        };
        let raw: RawNamespace<'_> = decode(&body)?;
        Ok(home(&mut View::default(), &raw))
    }

    /// Lists the PodDisruptionBudgets of `namespace`; `None` is all namespaces.
    pub async fn budgets(&self, namespace: Option<&str>) -> Result<Budgets, CallError> {
        Budgets::list(&self.server, namespace).await
    }

    /// Lists the Events that our controllers have told in `namespace`, oldest first; `None` is all namespaces.
    pub async fn told(&self, namespace: Option<&str>) -> Result<Vec<Arc<Told>>, CallError> {
        Told::list(&self.server, namespace).await
    }

    /// Reads who holds a Lease; `None` when there is none of that name.
    pub async fn holder(&self, namespace: &str, name: &str) -> Result<Option<Holder>, CallError> {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}",
            Segment(namespace),
            Segment(name)
        );
        let Some(body) = self.get(&path).await? else {
            return Ok(None);
        };
        let lease = Record::new(decode::<Value>(&body)?);
        Ok(Some(Holder {
            identity: lease.holder().to_owned(),
            renewed: lease.renewed(),
            duration: lease.duration(),
        }))
    }

    async fn get(&self, path: &str) -> Result<Option<bytes::Bytes>, CallError> {
        match self.server.get(path, self.time_limit).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.code() == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn names(seen: &Seen) -> (&str, &str) {
    (&seen.pod.namespace, &seen.pod.name)
}

fn home(view: &mut View, raw: &RawNamespace<'_>) -> Option<Home> {
    Some(Home {
        namespace: view.namespace(raw)?,
        idle_label: idle_label(raw.metadata.0.labels.get(ENABLED)).map(Into::into),
    })
}

fn seen(view: &mut View, raw: &RawPod<'_>, rest: &RawRest<'_>, budgets: &Budgets) -> Option<Seen> {
    let pod = Arc::new(view.pod(raw)?);
    let meta = &rest.metadata.0;
    let is_foreign = (pod.owner.as_ref()).is_some_and(|owner| owner.kind == OwnerKind::Other);
    let mut owners = meta.owner_references.0.iter().map(|Object(owner)| owner);
    let controller = owners.find(|owner| owner.controller.0);
    let foreign = controller.filter(|_| is_foreign).map(|owner| {
        let name = format!("{}/{}", owner.kind.as_str(), owner.name.as_str());
        name.into()
    });
    let label = raw.metadata.0.labels.get(ENABLED);
    let labels = meta.labels.0.iter();
    let labels = labels.map(|(name, value)| (&**name, &**value));
    let budgets = budgets.of(&pod.namespace, labels);
    Some(Seen {
        pod,
        foreign,
        budgets,
        idle_label: idle_label(label).map(Into::into),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{fake::Fake, samples};

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn pods_come_in_order_with_their_budgets_and_owners() {
        let (mut fake, server) = Fake::start();
        let look = Look::new(server, LIMIT);
        let budget = json!({
            "metadata": {"name": "all", "namespace": "b"}, "spec": {"selector": {"matchLabels": {"app": "x"}}},
        });
        let pod = |namespace: &str, name: &str, kind: &str| {
            json!({"metadata": {
                "namespace": namespace, "name": name, "uid": name, "labels": {"app": "x"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": kind, "name": "n", "uid": "u", "controller": true}],
            }})
        };
        let (seen, ()) = tokio::join!(
            async {
                let budgets = look.budgets(None).await.unwrap();
                let wanted = |name: &str| name != "c";
                look.pods(None, &budgets, wanted).await.unwrap()
            },
            async {
                let path = "/apis/policy/v1/poddisruptionbudgets";
                let call = fake.next().await.expect("GET", path);
                call.reply(200, &json!({"metadata": {}, "items": [budget]}));
                let call = fake.next().await.expect("GET", "/api/v1/pods");
                let items = [
                    pod("c", "four", "Job"),
                    pod("b", "two", "Job"),
                    pod("b", "one", "Job"),
                    pod("a", "three", "Job"),
                ];
                call.reply(200, &json!({"metadata": {}, "items": items}));
            }
        );
        let told: Vec<_> = (seen.iter())
            .map(|seen| (names(seen), seen.foreign.as_deref(), seen.budgets.len()))
            .collect();
        let job = Some("Job/n");
        let expected = [
            (("a", "three"), job, 0),
            (("b", "one"), job, 1),
            (("b", "two"), job, 1),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn a_real_pod_is_the_same_as_by_the_watch() {
        let (mut fake, server) = Fake::start();
        let look = Look::new(server, LIMIT);
        let all: Value = serde_json::from_str(samples::PODS).unwrap();
        let one = all["items"].as_array().unwrap().iter();
        let mut one = one.filter(|pod| pod["metadata"]["name"] == "web-7499b8c7dd-ldb28");
        let pod = one.next().unwrap();
        let budgets = Budgets::default();
        let (seen, ()) = tokio::join!(
            look.pod("rec-api", "web-7499b8c7dd-ldb28", &budgets),
            async {
                let path = "/api/v1/namespaces/rec-api/pods/web-7499b8c7dd-ldb28";
                fake.next().await.expect("GET", path).reply(200, pod);
            }
        );
        let seen = seen.unwrap().unwrap();
        assert_eq!(seen.pod, samples::pod("web-7499b8c7dd-ldb28"));
        assert_eq!(seen.foreign, None);
    }

    #[tokio::test]
    async fn what_is_not_there_is_none_and_what_is_refused_an_error() {
        let (mut fake, server) = Fake::start();
        let look = Look::new(server, LIMIT);
        for (code, reason) in [(404, "NotFound"), (403, "Forbidden")] {
            let budgets = Budgets::default();
            let (pod, namespace, holder, ()) = tokio::join!(
                look.pod("shop", "web", &budgets),
                look.namespace("shop"),
                look.holder("podrefresh", "podrefresh"),
                async {
                    for _ in 0..3 {
                        fake.next().await.refuse(code, reason);
                    }
                }
            );
            let found = [
                pod.map(|it| it.is_none()),
                namespace.map(|it| it.is_none()),
                holder.map(|it| it.is_none()),
            ];
            for found in found {
                match code {
                    404 => assert!(found.unwrap()),
                    _ => assert_eq!(found.unwrap_err().code(), 403),
                }
            }
        }
    }

    #[tokio::test]
    async fn the_holder_of_a_lease_is_told() {
        let (mut fake, server) = Fake::start();
        let look = Look::new(server, LIMIT);
        let (holder, ()) = tokio::join!(look.holder("podrefresh", "podrefresh"), async {
            let path = "/apis/coordination.k8s.io/v1/namespaces/podrefresh/leases/podrefresh";
            let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-21T22:11:28.049293Z"});
            let call = fake.next().await.expect("GET", path);
            call.reply(200, &json!({"metadata": {}, "spec": spec}));
        });
        let expected = Holder {
            identity: "a".to_owned(),
            renewed: Some("2026-11-21T22:11:28.049293Z".parse().unwrap()),
            duration: Duration::from_secs(15),
        };
        assert_eq!(holder.unwrap(), Some(expected));
    }
}
