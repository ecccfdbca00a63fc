//! The pod that this process runs in, read by name whenever it is asked for.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use serde::Deserialize;

use super::{
    call::{Segment, Server, decode},
    lenient::{List, Object, Text},
    refusal::CallError,
    view::View,
    wire::RawPod,
};
use crate::policy::Pod;

/// How we know the name of our own pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Somebody who knows has told it: the downward API or a flag.
    Told,
    /// It is our hostname, which may be something else: the pod must have an address of this machine.
    Guessed,
}

/// The pod that this process runs in.
#[derive(Debug, Clone)]
pub struct OwnPod {
    server: Server,
    time_limit: Duration,
    namespace: String,
    name: String,
    known: Known,
}

/// Why there is nothing to say of our own pod.
#[derive(Debug, thiserror::Error)]
pub enum OwnPodError {
    /// There is no pod of that name.
    #[error("there is no pod {namespace}/{name}{}", hint(*.known))]
    Missing {
        /// The namespace that was looked in.
        namespace: String,
        /// The name that was looked for.
        name: String,
        /// Where the name comes from.
        known: Known,
    },
    /// There is such a pod, but it is not the one that we run in.
    #[error("the pod {namespace}/{name} runs elsewhere{}", hint(Known::Guessed))]
    Other {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It could not be read.
    #[error("cannot read pod {namespace}/{name}")]
    Unread {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why not.
        source: CallError,
    },
}

/// Tells what to do about a name that may be wrong.
const fn hint(known: Known) -> &'static str {
    match known {
        Known::Told => "",
        Known::Guessed => ": the hostname is not the pod's name, set POD_NAME by the downward API",
    }
}

impl OwnPodError {
    /// Returns the stable, documented name of the error.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "pod_missing",
            Self::Other { .. } => "pod_other",
            Self::Unread { .. } => "pod_unread",
        }
    }
}

/// The addresses in a pod's status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Addressed<'a> {
    #[serde(borrow)]
    status: Object<Addresses<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Addresses<'a> {
    #[serde(borrow, rename = "podIPs")]
    pod_ips: List<Object<Address<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address<'a> {
    #[serde(borrow)]
    ip: Text<'a>,
}

impl OwnPod {
    /// Returns a reader of the pod `name`, which waits at most `time_limit` for each answer.
    pub const fn new(
        server: Server,
        time_limit: Duration,
        namespace: String,
        name: String,
        known: Known,
    ) -> Self {
        Self {
            server,
            time_limit,
            namespace,
            name,
            known,
        }
    }

    /// Reads the pod as it is now.
    pub async fn read(&self) -> Result<Pod, OwnPodError> {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            Segment(&namespace),
            Segment(&name)
        );
        let known = self.known;
        let read = async {
            let body = self.server.get(&path, self.time_limit).await?;
            let raw: RawPod<'_> = decode(&body)?;
            let is_here = known == Known::Told || is_here(decode::<Addressed<'_>>(&body)?);
            // What has no name and no uid is no pod.
            let pod = View::default().pod(&raw);
            Ok(pod.map(|pod| (pod, is_here)))
        };
        match read.await {
            Ok(Some((pod, true))) => Ok(pod),
            Ok(Some((_, false))) => Err(OwnPodError::Other { namespace, name }),
            Ok(None) => Err(OwnPodError::Missing {
                namespace,
                name,
                known,
            }),
            Err(CallError::Refused(refusal)) if refusal.code == 404 => Err(OwnPodError::Missing {
                namespace,
                name,
                known,
            }),
            Err(source) => Err(OwnPodError::Unread {
                namespace,
                name,
                source,
            }),
        }
    }
}

/// Says whether one of the pod's addresses is one of this machine.
///
/// Only such an address can be bound; nothing is sent.
fn is_here(pod: Addressed<'_>) -> bool {
    let mut addresses = pod.status.0.pod_ips.0.iter();
    addresses.any(|Object(address)| {
        let address: Option<IpAddr> = address.ip.as_str().parse().ok();
        address.is_some_and(|address| UdpSocket::bind((address, 0)).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fake::Fake;

    const WEB: &str = "/api/v1/namespaces/shop/pods/web-1";

    async fn read(known: Known, status: u16, body: Value) -> Result<Pod, OwnPodError> {
        let (mut fake, server) = Fake::start();
        let limit = Duration::from_secs(5);
        let pod = OwnPod::new(server, limit, "shop".to_owned(), "web-1".to_owned(), known);
        let answer = async {
            let call = fake.next().await.expect("GET", WEB);
            call.reply(status, &body);
        };
        tokio::join!(pod.read(), answer).0
    }

    fn pod(addresses: &[&str]) -> Value {
        let addresses: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "metadata": {"namespace": "shop", "name": "web-1", "uid": "u"},
            "status": {"podIPs": addresses},
        })
    }

    #[tokio::test]
    async fn a_guessed_name_must_be_that_of_a_pod_here() {
        let check = async |known: Known, addresses: &[&str], expected: &str| {
            let read = read(known, 200, pod(addresses)).await;
            let found = read.map_or_else(|error| error.label(), |_| "here");
            assert_eq!(found, expected, "{addresses:?}");
        };
        // 192.0.2.0/24 is for documentation, and no machine's.
        check(Known::Guessed, &["127.0.0.1"], "here").await;
        check(Known::Guessed, &["192.0.2.1", "127.0.0.1"], "here").await;
        check(Known::Guessed, &["192.0.2.1"], "pod_other").await;
        check(Known::Guessed, &["nonsense"], "pod_other").await;
        check(Known::Guessed, &[], "pod_other").await;
        check(Known::Told, &["192.0.2.1"], "here").await;
        check(Known::Told, &[], "here").await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_with_what_to_do() {
        let check = async |known: Known, status: u16, label: &str, words: &str| {
            let error = read(known, status, json!({})).await.unwrap_err();
            assert_eq!(error.label(), label);
            assert!(error.to_string().contains(words), "{error}");
        };
        check(Known::Told, 404, "pod_missing", "no pod shop/web-1").await;
        check(Known::Guessed, 404, "pod_missing", "set POD_NAME").await;
        check(Known::Told, 403, "pod_unread", "cannot read pod shop/web-1").await;
        check(Known::Told, 200, "pod_missing", "no pod shop/web-1").await;
    }
}
