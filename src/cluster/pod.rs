//! One pod, read by its name for a person who asks about it.

use std::time::Duration;

use super::{
    call::{Segment, Server, decode},
    refusal::CallError,
    view::View,
    wire::RawPod,
};
use crate::policy::Pod;

/// A person waits for the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no such pod to be had.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Nobody has created it, or it is gone.
    #[error("there is no pod {namespace}/{name}")]
    Missing {
        /// The namespace that was asked for.
        namespace: String,
        /// The name that was asked for.
        name: String,
    },
    /// The API server does not say: no rights, or no answer.
    #[error("pod {namespace}/{name} could not be read")]
    Unread {
        /// The namespace that was asked for.
        namespace: String,
        /// The name that was asked for.
        name: String,
        /// Why.
        source: CallError,
    },
}

/// Returns the pod `name` of `namespace`.
pub async fn read_pod(server: &Server, namespace: &str, name: &str) -> Result<Pod, PodError> {
    let missing = || PodError::Missing {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    // Without a name this would be the list of all.
    if namespace.is_empty() || name.is_empty() {
        return Err(missing());
    }
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}",
        Segment(namespace),
        Segment(name)
    );
    let read = async {
        let body = server.get(&path, CALL_TIMEOUT).await?;
        let raw: RawPod<'_> = decode(&body)?;
        Ok(View::default().pod(&raw))
    };
    match read.await {
        Ok(pod) => pod.ok_or_else(missing),
        Err(error) if CallError::code(&error) == 404 => Err(missing()),
        Err(source) => Err(PodError::Unread {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cluster::fake::Fake, error::Chain};

    #[tokio::test]
    async fn a_pod_is_read_by_its_name() {
        let (mut fake, server) = Fake::start();
        let (pod, path) = tokio::join!(read_pod(&server, "shop", "web-1"), async {
            let call = fake.next().await;
            let path = call.path.clone();
            let pod = json!({
                "metadata": {"name": "web-1", "namespace": "shop", "uid": "u"},
                "spec": {
                    "serviceAccountName": "puller", "imagePullSecrets": [{"name": "pull"}],
                    "containers": [{"name": "app", "image": "nginx:1"}],
                },
            });
            call.reply(200, &pod);
            path
        });
        let pod = pod.unwrap();
        assert_eq!(path, "/api/v1/namespaces/shop/pods/web-1");
        assert_eq!(&*pod.identity.service_account, "puller");
        assert_eq!(&*pod.identity.secrets[0], "pull");
        assert_eq!(&*pod.containers[0].name, "app");
    }

    /// Checks what is said when the API server refuses with `code`.
    async fn check(code: u16, reason: &str, expected: &str) {
        let (mut fake, server) = Fake::start();
        let (pod, ()) = tokio::join!(read_pod(&server, "shop", "web"), async {
            fake.next().await.refuse(code, reason);
        });
        let text = Chain(&pod.unwrap_err()).to_string();
        assert!(text.starts_with(expected), "{text}");
    }

    #[tokio::test]
    async fn a_missing_pod_and_a_refusal_are_told_apart() {
        check(404, "NotFound", "there is no pod shop/web").await;
        check(403, "Forbidden", "pod shop/web could not be read: ").await;
        let (fake, server) = Fake::start();
        for (namespace, name) in [("", "web"), ("shop", "")] {
            let error = read_pod(&server, namespace, name).await.unwrap_err();
            assert!(matches!(error, PodError::Missing { .. }));
        }
        assert!(fake.is_quiet());
    }
}
