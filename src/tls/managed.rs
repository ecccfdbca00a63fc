//! Keeps Secret, caBundle and serving certificate in step, and renews them in time.

use std::{pin::pin, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use rustls::pki_types::UnixTime;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::{
    api::TlsError,
    configuration::{Configuration, Registered},
    material::Material,
    secret::Store,
    serving::Serving,
    unwatched::told,
};
use crate::error::Chain;

/// How often the Secret is read again and the certificate's age looked at, whatever the watch says.
const CHECK: Duration = Duration::from_secs(60 * 60);

/// The longest wait between attempts to mend something.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// The self-managed certificate of one replica.
pub(super) struct Managed {
    store: Store,
    configuration: Configuration,
    serving: Serving,
    /// What is served.
    material: Material,
    /// The Secret as last seen by the watch; not seen yet is not the same as absent.
    secret: Option<Option<Secret>>,
    webhooks: Option<Registered>,
    failures: u32,
}

impl Managed {
    /// Gets the first certificate, and serves it.
    ///
    /// Waits for an API server that is away or busy; what time does not heal is returned.
    pub(super) async fn start(
        store: Store,
        configuration: Configuration,
        serving: Serving,
    ) -> Result<Self, TlsError> {
        let mut failures = 0;
        let material = loop {
            match store.ensure(None, UnixTime::now()).await {
                Ok(material) => break material,
                Err(error) if error.is_transient() => {
                    failures += 1;
                    let pause = retry_after(failures);
                    warn!(error = %Chain(&error), "No serving certificate yet, trying again: {}", Chain(&error));
                    sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        };
        let managed = Self {
            store,
            configuration,
            serving,
            material,
            secret: None,
            webhooks: None,
            failures: 0,
        };
        managed.serve()?;
        Ok(managed)
    }

    fn serve(&self) -> Result<(), TlsError> {
        let key = self.material.certified_key();
        self.serving.serve(key.map_err(|source| TlsError::Unusable {
            place: format!("Secret {}", self.store.name),
            source,
        })?);
        Ok(())
    }

    /// Follows Secret and webhook configuration until the process ends.
    pub(super) async fn run(mut self) {
        let secrets = watcher::watch_object(self.store.api.clone(), &self.store.name);
        let what = format!("Secret {}", self.store.name);
        let mut secrets = pin!(told(what, secrets.default_backoff()));
        let mut webhooks = pin!(self.configuration.follow());
        let mut due = Instant::now() + CHECK;
        loop {
            tokio::select! {
                seen = secrets.next() => match seen {
                    Some(Ok(secret)) => self.secret = Some(secret),
                    Some(Err(_)) => continue,
                    None => return,
                },
                seen = webhooks.next() => match seen {
                    Some(Ok(webhooks)) => {
                        self.configuration.note(webhooks.as_ref());
                        self.webhooks = webhooks;
                    }
                    Some(Err(_)) => continue,
                    None => return,
                },
                () = sleep_until(due) => self.reread().await,
            }
            due = Instant::now() + self.step().await;
        }
    }

    /// Reads the Secret once more: a watch that is silent may be deaf.
    async fn reread(&mut self) {
        match self.store.read().await {
            Ok(secret) => self.secret = Some(secret),
            Err(error) => {
                warn!(error = %Chain(&error), "Could not read the Secret again: {}", Chain(&error));
            }
        }
    }

    /// Does what there is to do; returns when to look again, unless something happens before.
    async fn step(&mut self) -> Duration {
        match self.reconcile(UnixTime::now()).await {
            Ok(()) => {
                self.failures = 0;
                CHECK
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                warn!(error = %Chain(&error), "The certificate is not in order: {}", Chain(&error));
                retry_after(self.failures)
            }
        }
    }

    async fn reconcile(&mut self, now: UnixTime) -> Result<(), TlsError> {
        let seen = match &self.secret {
            None => Some(self.material.clone()),
            Some(secret) => self.store.good(secret.as_ref(), now),
        };
        let mut wanted = match seen {
            Some(material) => material,
            None => self.store.ensure(Some(&self.material), now).await?,
        };
        let injected = self.inject(&mut wanted, now).await;
        if wanted == self.material {
            return injected;
        }
        // The API server must trust a certificate before it is served. Without that, the one it trusts is better
        // than the newer one; but nothing is worse than one that it does not trust anyway.
        if injected.is_err() && self.serving.check(now).is_ok() {
            return injected;
        }
        self.material = wanted;
        self.serve()?;
        info!("Serving a new certificate");
        injected
    }

    /// Makes the webhooks trust the authorities of `wanted`, if there are webhooks.
    async fn inject(&mut self, wanted: &mut Material, now: UnixTime) -> Result<(), TlsError> {
        let Some(webhooks) = &self.webhooks else {
            return Ok(());
        };
        if self.configuration.trusts(webhooks, &wanted.authorities) {
            return Ok(());
        }
        // Another replica may just have replaced the Secret, and then the bundle. Two that disagree would undo each
        // other's work, so the Secret itself has the last word.
        *wanted = self.store.ensure(Some(&self.material), now).await?;
        let patched = self
            .configuration
            .inject(webhooks, &wanted.authorities)
            .await?;
        self.configuration.note(Some(&patched));
        self.webhooks = Some(patched);
        Ok(())
    }
}

/// Returns how long to wait after so many failures in a row: one second, then twice as long each time.
fn retry_after(failures: u32) -> Duration {
    let exponent = failures.saturating_sub(1).min(10);
    let pause = Duration::from_secs(1 << exponent).min(LONGEST_RETRY);
    // Replicas that fail together should not try together.
    pause.mul_f64(fastrand::f64().mul_add(0.5, 0.75))
}
