//! The Secret that all replicas share their certificate by: whoever comes first makes it.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use rustls::pki_types::{CertificateDer, UnixTime};
use tracing::{info, warn};

use super::{
    api::{TlsError, call},
    chain::Unusable,
    material::{Material, NEXT_KEY, Names},
    rotation::State,
    serving::Serving,
};
use crate::error::Chain;

/// How often a write may meet someone else's; each time theirs is read, and most likely good.
const ATTEMPTS: u32 = 5;

/// The Secret, and for whom its certificate is made.
#[derive(Clone)]
pub(super) struct Store {
    /// Its name.
    pub(super) name: String,
    /// The Secrets of its namespace.
    pub(super) api: Api<Secret>,
    /// Whom its certificate is made for.
    pub(super) names: Names,
    /// Knows which authorities the API server trusts.
    pub(super) serving: Serving,
}

/// Why a Secret is written.
enum Fault {
    Absent,
    Ageing,
    Bad(Unusable),
}

impl Store {
    /// Reads the Secret, if there is one.
    pub(super) async fn read(&self) -> Result<Option<Secret>, TlsError> {
        let read = self.api.get_opt(&self.name);
        call(&format!("read Secret {}", self.name), read).await
    }

    /// Returns what the Secret holds, once that is good; makes, heals or renews it where needed.
    ///
    /// `old` is what was served before. Its authority signs a new certificate or stays trusted, even if someone has
    /// deleted the Secret.
    pub(super) async fn ensure(
        &self,
        old: Option<&Material>,
        now: UnixTime,
    ) -> Result<Material, TlsError> {
        let mut attempt = 0;
        loop {
            let found = self.read().await?;
            let (held, fault) = match self.judge(found.as_ref(), now) {
                (Some(material), None) => return Ok(material),
                (held, fault) => (held, fault.unwrap_or(Fault::Absent)),
            };
            let material = match (&fault, &held) {
                (Fault::Ageing, Some(held)) => {
                    let published =
                        |authority: &CertificateDer<'_>| self.serving.is_published(authority);
                    match held.advanced(&self.names, now, published)? {
                        Some(material) => material,
                        None => return Ok(held.clone()),
                    }
                }
                _ => Material::renewed(held.as_ref().or(old), &self.names, now)?,
            };
            attempt += 1;
            match (self.write(found, &material).await, &fault, held) {
                (Ok(()), _, _) => {
                    self.log(&fault, &material);
                    return Ok(material);
                }
                // 409: another replica wrote at the same time; 404: someone has deleted it meanwhile.
                (Err(error), _, _)
                    if attempt < ATTEMPTS && matches!(error.code(), Some(404 | 409)) => {}
                // There are months left, and we will be back within the hour.
                (Err(error), Fault::Ageing, Some(held)) => {
                    warn!(error = %Chain(&error), "Could not renew the serving certificate: {}", Chain(&error));
                    return Ok(held);
                }
                (Err(error), _, _) => return Err(error),
            }
        }
    }

    /// Returns the material in a Secret that can be served as it is.
    pub(super) fn good(&self, secret: Option<&Secret>, now: UnixTime) -> Option<Material> {
        match self.judge(secret, now) {
            (material, None) => material,
            (_, Some(_)) => None,
        }
    }

    /// Returns what the Secret holds, as far as it is worth keeping, and what is wrong with it.
    fn judge(&self, secret: Option<&Secret>, now: UnixTime) -> (Option<Material>, Option<Fault>) {
        let Some(data) = secret.map(|secret| secret.data.clone().unwrap_or_default()) else {
            return (None, Some(Fault::Absent));
        };
        let material = match Material::read(&data) {
            Ok(material) => material,
            Err(reason) => return (None, Some(Fault::Bad(reason))),
        };
        match material.state(&self.names, now) {
            State::Good => (Some(material), None),
            State::Ageing => (Some(material), Some(Fault::Ageing)),
            State::Bad(reason) => (Some(material), Some(Fault::Bad(reason))),
        }
    }

    /// Writes `material`, unless the Secret is no longer as it was `found`.
    async fn write(&self, found: Option<Secret>, material: &Material) -> Result<(), TlsError> {
        let name = &self.name;
        let params = PostParams {
            field_manager: Some("podrefresh".to_owned()),
            ..PostParams::default()
        };
        let written = match found {
            Some(mut secret) => {
                // The rest of it (labels, other keys, its type, which cannot change) stays, and so does its
                // resourceVersion, which makes this a compare-and-swap.
                let data = secret.data.get_or_insert_default();
                data.remove(NEXT_KEY);
                data.extend(material.write());
                let replace = self.api.replace(name, &params, &secret);
                call(&format!("replace Secret {name}"), replace).await
            }
            None => {
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        ..ObjectMeta::default()
                    },
                    type_: Some("kubernetes.io/tls".to_owned()),
                    data: Some(material.write()),
                    ..Secret::default()
                };
                call(
                    &format!("create Secret {name}"),
                    self.api.create(&params, &secret),
                )
                .await
            }
        };
        written.map(drop)
    }

    fn log(&self, fault: &Fault, written: &Material) {
        let name = &self.name;
        match fault {
            Fault::Absent => info!("Made Secret {name} with a new serving certificate"),
            Fault::Ageing if written.next_key.is_some() => {
                info!("Announced a new authority in Secret {name}, it will sign from tomorrow on");
            }
            Fault::Ageing => info!("Renewed the serving certificate in Secret {name}"),
            Fault::Bad(reason) => warn!(
                error = %Chain(reason),
                "Replaced the serving certificate in Secret {name}: {}", Chain(reason)
            ),
        }
    }
}
