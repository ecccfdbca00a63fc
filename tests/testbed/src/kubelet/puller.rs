//! How a node gets an image: its cache, the registry, pull secrets, and the ways in which it gets the wrong one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Host;
use super::reference::Reference;
use crate::api::{Api, object, resource};
use crate::registry::{Client, ClientError, Credentials, lock};

/// An image on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pulled {
    /// What `status.containerStatuses[].imageID` says.
    pub(super) image_id: String,
    /// The digest that the reference stood for.
    pub(super) digest: String,
    /// Whether the node had it already.
    pub(super) was_present: bool,
}

/// Why there is no image: the reason and the message of the waiting container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Where nodes report images in another way than by the digest they pulled.
#[derive(Clone, Debug, Default)]
pub(super) struct Quirks {
    /// The bare config digest.
    pub(super) bare: bool,
    /// The lexically first of all digests that share a config on the node.
    pub(super) merged: bool,
    /// Digests that stand for a reference instead of what the registry says.
    pub(super) mirrored: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct Store {
    by_reference: HashMap<String, Pulled>,
    by_config: HashMap<String, BTreeSet<String>>,
}

/// The image stores of all nodes, and the way to the registries.
#[derive(Debug)]
pub(super) struct Puller {
    hosts: BTreeMap<String, Host>,
    pub(super) quirks: Mutex<Quirks>,
    stores: Mutex<HashMap<String, Store>>,
}

/// What to pull, for which pod, to which node.
pub(super) struct Order<'a> {
    pub(super) node: &'a str,
    /// `os/architecture`.
    pub(super) platform: &'a str,
    pub(super) pod: &'a Value,
    pub(super) image: &'a str,
    pub(super) policy: &'a str,
}

impl Puller {
    pub(super) fn new(hosts: BTreeMap<String, Host>) -> Self {
        Self {
            hosts,
            quirks: Mutex::default(),
            stores: Mutex::default(),
        }
    }

    pub(super) fn forget(&self, node: &str) {
        lock(&self.stores).remove(node);
    }

    /// Returns the image: from the node's store where the policy allows it, else from the registry.
    pub(super) async fn pull(&self, api: &Api, order: &Order<'_>) -> Result<Pulled, Failure> {
        let reference = Reference::parse(order.image).ok_or_else(|| Failure {
            reason: "InvalidImageName",
            message: format!(
                "Failed to apply default image tag {:?}: couldn't parse image name",
                order.image
            ),
        })?;
        let key = reference.normal();
        let stored = lock(&self.stores)
            .get(order.node)
            .and_then(|store| store.by_reference.get(&key).cloned());
        match (order.policy, stored) {
            ("IfNotPresent" | "Never", Some(stored)) => {
                return Ok(Pulled {
                    was_present: true,
                    ..stored
                });
            }
            ("Never", None) => {
                let message = format!(
                    "Container image {:?} is not present with pull policy of Never",
                    order.image
                );
                return Err(Failure {
                    reason: "ErrImageNeverPull",
                    message,
                });
            }
            _ => {}
        }
        let pulled = self
            .fetch(api, order, &reference)
            .await
            .map_err(|error| Failure {
                reason: "ErrImagePull",
                message: format!("failed to pull and unpack image {key:?}: {error}"),
            })?;
        lock(&self.stores)
            .entry(order.node.into())
            .or_default()
            .by_reference
            .insert(key, pulled.clone());
        Ok(pulled)
    }

    async fn fetch(
        &self,
        api: &Api,
        order: &Order<'_>,
        reference: &Reference,
    ) -> Result<Pulled, String> {
        let host = self.hosts.get(&reference.host);
        let (url, ca_pem) = match host {
            Some(host) => (host.url.clone(), host.ca_pem.as_str()),
            None if reference.is_loopback() => (format!("http://{}", reference.host), ""),
            None => {
                return Err(format!(
                    "the testbed has no way to the registry {}",
                    reference.host
                ));
            }
        };
        let quirks = lock(&self.quirks).clone();
        let mirrored = quirks.mirrored.get(&reference.normal()).cloned();
        let wanted = mirrored
            .or(reference.digest.clone())
            .unwrap_or_else(|| reference.tag.clone());
        let mut outcome = Err(String::new());
        let mut known = credentials(api, order.pod, reference)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        let own = host.and_then(|host| host.user.clone());
        let own = own.map(|(username, password)| Credentials { username, password });
        known.extend(own.map(Some));
        known.push(None);
        for credentials in known {
            let client = Client::new(ca_pem, credentials);
            match client.resolve(&url, &reference.repository, &wanted).await {
                Ok(digest) => {
                    let home = Home {
                        client: &client,
                        url: &url,
                        repository: &reference.repository,
                    };
                    return self
                        .unpack(order, reference, digest, &quirks, &home)
                        .await
                        .map_err(|error| error.to_string());
                }
                Err(error) => outcome = Err(error.to_string()),
            }
        }
        outcome
    }

    async fn unpack(
        &self,
        order: &Order<'_>,
        reference: &Reference,
        digest: String,
        quirks: &Quirks,
        home: &Home<'_>,
    ) -> Result<Pulled, ClientError> {
        let mut image_id = format!("{}/{}@{digest}", reference.host, reference.repository);
        if quirks.bare || quirks.merged {
            let config = home.config(&digest, order.platform).await?;
            let mut stores = lock(&self.stores);
            let names = stores
                .entry(order.node.into())
                .or_default()
                .by_config
                .entry(config.clone())
                .or_default();
            names.insert(image_id.clone());
            if quirks.merged {
                image_id = names.first().cloned().unwrap_or(image_id);
            }
            if quirks.bare {
                image_id = config;
            }
        }
        Ok(Pulled {
            image_id,
            digest,
            was_present: false,
        })
    }
}

/// Where the pieces of an image are.
struct Home<'a> {
    client: &'a Client,
    url: &'a str,
    repository: &'a str,
}

impl Home<'_> {
    /// Returns the digest of the config of the image for a platform.
    async fn config(&self, digest: &str, platform: &str) -> Result<String, ClientError> {
        let mut manifest = self.manifest(digest).await?;
        let child = object::list(&manifest, "/manifests").iter().find(|child| {
            let is = &child["platform"];
            format!("{}/{}", text(&is["os"]), text(&is["architecture"])) == platform
        });
        if let Some(child) = child {
            manifest = self.manifest(text(&child["digest"])).await?;
        }
        Ok(text(&manifest["config"]["digest"]).to_owned())
    }

    async fn manifest(&self, digest: &str) -> Result<Value, ClientError> {
        let bytes = self
            .client
            .manifest(self.url, self.repository, digest)
            .await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// Returns the credentials in the pod's pull secrets that are meant for the image's host, the most specific entry first.
fn credentials(api: &Api, pod: &Value, reference: &Reference) -> Vec<Credentials> {
    let names = object::list(pod, "/spec/imagePullSecrets")
        .iter()
        .filter_map(|secret| secret["name"].as_str());
    let secrets =
        names.filter_map(|name| api.get(&resource::SECRETS, object::namespace(pod), name));
    let mut entries: Vec<(String, Credentials)> =
        secrets.flat_map(|secret| entries(&secret)).collect();
    let image = format!("{}/{}", reference.host, reference.repository);
    entries.retain(|(key, _)| {
        let key = key.trim_end_matches('/');
        image == key
            || image
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('/'))
    });
    entries.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    entries
        .into_iter()
        .map(|(_, credentials)| credentials)
        .collect()
}

/// Reads the entries of a `kubernetes.io/dockerconfigjson` Secret; what cannot be read is left out.
fn entries(secret: &Value) -> Vec<(String, Credentials)> {
    let decoded = STANDARD
        .decode(text(&secret["data"][".dockerconfigjson"]))
        .unwrap_or_default();
    let config: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    let auths = config["auths"].as_object().into_iter().flatten();
    auths
        .filter_map(|(key, auth)| Some((plain_key(key), read(auth)?)))
        .collect()
}

fn plain_key(key: &str) -> String {
    let key = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    match key.trim_end_matches('/') {
        "index.docker.io/v1" => "docker.io".into(),
        key => key.into(),
    }
}

fn read(auth: &Value) -> Option<Credentials> {
    if let Some(username) = auth["username"].as_str() {
        return Some(Credentials {
            username: username.into(),
            password: text(&auth["password"]).into(),
        });
    }
    let decoded = String::from_utf8(STANDARD.decode(auth["auth"].as_str()?).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(Credentials {
        username: username.into(),
        password: password.into(),
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(config: &Value) -> Value {
        json!({ "data": { ".dockerconfigjson": STANDARD.encode(config.to_string()) } })
    }

    #[test]
    fn both_forms_of_an_entry_are_read() {
        let config = json!({ "auths": {
            "https://index.docker.io/v1/": { "auth": STANDARD.encode("a:b:c") },
            "127.0.0.1:5000/team": { "username": "u", "password": "p" },
            "broken": { "auth": "%" },
        } });
        let mut read = entries(&secret(&config));
        read.sort_by(|a, b| a.0.cmp(&b.0));
        let pair = |username: &str, password: &str| Credentials {
            username: username.into(),
            password: password.into(),
        };
        assert_eq!(
            read,
            [
                ("127.0.0.1:5000/team".into(), pair("u", "p")),
                ("docker.io".into(), pair("a", "b:c"))
            ]
        );
    }

    #[test]
    fn a_secret_that_is_no_docker_config_has_no_entries() {
        assert_eq!(entries(&json!({ "data": { "password": "x" } })), []);
    }
}
