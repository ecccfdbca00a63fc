//! The platform of a node: which of an index's children its container runtime picks.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use serde::Deserialize;

use super::{
    call::{Segment, Server, decode},
    lenient::{Entries, Keys, Object, Text},
    refusal::CallError,
};

// A node's platform never changes, but its name may come back with another machine.
const REMEMBERED: u64 = 10_000;
const MEMORY_TIME: Duration = Duration::from_secs(3600);

const OS: &str = "kubernetes.io/os";
const ARCHITECTURE: &str = "kubernetes.io/arch";

/// An operating system and architecture in Go's words, as image indexes use them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `windows`.
    pub os: String,
    /// `amd64`, `arm64`; Kubernetes does not say the variant.
    pub architecture: String,
}

/// Reads the platforms of nodes; a clone shares what is remembered.
#[derive(Debug, Clone)]
pub struct Nodes {
    server: Server,
    time_limit: Duration,
    known: Cache<Box<str>, Option<Arc<Platform>>>,
}

impl Nodes {
    /// Returns a reader that waits at most `time_limit` for each answer.
    pub fn new(server: Server, time_limit: Duration) -> Self {
        let known = Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(MEMORY_TIME)
            .build();
        Self {
            server,
            time_limit,
            known,
        }
    }

    /// Returns the platform of the node called `name`; `None` when there is no such node or it does not say.
    ///
    /// Asks the API server about each node once an hour at most.
    pub async fn platform(&self, name: &str) -> Result<Option<Arc<Platform>>, CallError> {
        if let Some(known) = self.known.get(name).await {
            return Ok(known);
        }
        let path = format!("/api/v1/nodes/{}", Segment(name));
        let platform = match self.server.get(&path, self.time_limit).await {
            Ok(body) => decode::<RawNode<'_>>(&body)?.platform().map(Arc::new),
            Err(error) if error.code() == 404 => None,
            Err(error) => return Err(error),
        };
        self.known.insert(name.into(), platform.clone()).await;
        Ok(platform)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawNode<'a> {
    #[serde(borrow)]
    metadata: Object<RawMeta<'a>>,
    #[serde(borrow)]
    status: Object<RawStatus<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawMeta<'a> {
    #[serde(borrow)]
    labels: Entries<'a, PlatformLabels>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus<'a> {
    #[serde(borrow)]
    node_info: Object<RawInfo<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawInfo<'a> {
    #[serde(borrow)]
    operating_system: Text<'a>,
    #[serde(borrow)]
    architecture: Text<'a>,
}

#[derive(Debug)]
struct PlatformLabels;

impl Keys for PlatformLabels {
    fn wants(key: &str) -> bool {
        key == OS || key == ARCHITECTURE
    }
}

impl RawNode<'_> {
    /// Returns the platform by the labels, which the kubelet keeps, else by its report.
    fn platform(&self) -> Option<Platform> {
        let labels = &self.metadata.0.labels;
        let info = &self.status.0.node_info.0;
        let os = labels.get(OS).unwrap_or(info.operating_system.as_str());
        let architecture = labels
            .get(ARCHITECTURE)
            .unwrap_or(info.architecture.as_str());
        (!os.is_empty() && !architecture.is_empty()).then(|| Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fake::Fake;

    #[track_caller]
    fn check(node: Value, expected: Option<(&str, &str)>) {
        let body = node.to_string();
        let read: RawNode<'_> = serde_json::from_str(&body).unwrap();
        let platform = read.platform();
        let platform = platform.as_ref().map(|it| (&*it.os, &*it.architecture));
        assert_eq!(platform, expected);
    }

    #[test]
    fn labels_come_before_the_report() {
        let labels = json!({OS: "linux", ARCHITECTURE: "arm64", "other": "x"});
        let info = json!({"operatingSystem": "linux", "architecture": "amd64"});
        let node = |labels: &Value, info: &Value| json!({"metadata": {"labels": labels}, "status": {"nodeInfo": info}});
        check(node(&labels, &info), Some(("linux", "arm64")));
        check(node(&json!({}), &info), Some(("linux", "amd64")));
        check(node(&json!(null), &json!({"architecture": "amd64"})), None);
        check(json!({}), None);
    }

    #[tokio::test]
    async fn a_node_is_asked_for_once() {
        let (mut fake, server) = Fake::start();
        let nodes = Nodes::new(server, Duration::from_secs(5));
        for status in [200, 404] {
            let name = format!("node-{status}");
            let (asked, ()) = tokio::join!(nodes.platform(&name), async {
                let call = fake
                    .next()
                    .await
                    .expect("GET", &format!("/api/v1/nodes/{name}"));
                call.reply(
                    status,
                    &json!({"metadata": {"labels": {OS: "linux", ARCHITECTURE: "amd64"}}}),
                );
            });
            assert_eq!(asked.unwrap().is_some(), status == 200);
            assert_eq!(
                nodes.platform(&name).await.unwrap().is_some(),
                status == 200
            );
        }
        assert!(fake.is_quiet());
    }

    #[tokio::test]
    async fn a_refusal_is_not_remembered() {
        let (mut fake, server) = Fake::start();
        let nodes = Nodes::new(server, Duration::from_secs(5));
        for _ in 0..2 {
            let (asked, ()) = tokio::join!(nodes.platform("a"), async {
                fake.next().await.refuse(403, "Forbidden");
            });
            assert_eq!(asked.unwrap_err().code(), 403);
        }
    }
}
