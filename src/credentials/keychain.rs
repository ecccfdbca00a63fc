//! Finds the candidates for an image: reads the secrets and files, asks the providers, and reports what is wrong.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use moka::future::Cache;
use tracing::{info, warn};

use super::{
    Candidates, Config, DockerConfigFile, Origin, Problem,
    credential::Fingerprinter,
    file::Reading,
    keyring::Keyring,
    problem::Fault,
    provider::{Providers, Said},
};
use crate::{
    cluster::{
        Secrets,
        secrets::{Format, Read},
    },
    error::Chain,
    observe::metrics::{Metrics, Reason},
    policy::{ImageRef, PullIdentity},
};

/// Pairs of an image and an identity whose candidates are remembered.
const CAPACITY: u64 = 20_000;

/// Places whose problems are remembered.
const MAX_REPORTED: usize = 20_000;

/// Candidates of pods that are gone leave the memory after this.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// Finds credentials; a clone shares what it remembers.
#[derive(Debug, Clone)]
pub struct Keychain {
    inner: Arc<Inner>,
    providers: Option<Providers>,
}

#[derive(Debug)]
struct Inner {
    secrets: Option<Secrets>,
    file: Option<DockerConfigFile>,
    printer: Fingerprinter,
    found: Cache<(Arc<ImageRef>, Arc<PullIdentity>), Arc<Found>>,
    /// What stands for what was last said about a place.
    reported: Mutex<HashMap<Origin, u64>>,
    hasher: RandomState,
    metrics: Metrics,
}

/// Candidates, and the readings they come from: they hold while those do.
#[derive(Debug)]
struct Found {
    readings: Readings,
    candidates: Arc<Candidates>,
}

/// All places that credentials for an identity are kept in, as last read.
#[derive(Debug)]
struct Readings {
    secrets: Vec<Read>,
    file: Option<Arc<Reading>>,
    providers: Vec<Arc<Said>>,
}

/// What is to be read again.
#[derive(Clone, Copy)]
enum Age {
    /// Pull secrets, and what is known of ServiceAccounts, that are older than this.
    Secrets(Duration),
    /// All that was refused so long ago.
    Refused(Duration),
}

impl Keychain {
    /// Returns a keychain over pull secrets (none outside a cluster) and a docker config file.
    pub fn new(secrets: Option<Secrets>, file: Option<DockerConfigFile>, metrics: Metrics) -> Self {
        let found = Cache::builder().max_capacity(CAPACITY).time_to_idle(IDLE);
        Self {
            inner: Arc::new(Inner {
                secrets,
                file,
                printer: Fingerprinter::new(),
                found: found.build(),
                reported: Mutex::default(),
                hasher: RandomState::new(),
                metrics,
            }),
            providers: None,
        }
    }

    /// Returns this keychain with credential providers behind everything else.
    #[must_use]
    pub fn with_providers(self, providers: Option<Providers>) -> Self {
        Self { providers, ..self }
    }

    /// Returns what may be tried for `image` on behalf of `identity`, from secrets read at most `max_age` ago.
    ///
    /// Secrets that are missing, forbidden or broken are named in the result's problems and stop nothing.
    pub async fn candidates(
        &self,
        image: &Arc<ImageRef>,
        identity: &Arc<PullIdentity>,
        max_age: Duration,
    ) -> Arc<Candidates> {
        self.look(image, identity, Age::Secrets(max_age)).await
    }

    /// Returns what may be tried now that all was refused that was known `since` ago; `None` when that
    /// must be the same: there is nothing that changes.
    ///
    /// A credential provider is not asked twice within a minute.
    pub async fn renewed(
        &self,
        image: &Arc<ImageRef>,
        identity: &Arc<PullIdentity>,
        since: Duration,
    ) -> Option<Arc<Candidates>> {
        let covered = (self.providers.as_ref()).is_some_and(|all| all.cover(image));
        if identity.secrets.is_empty() && !covered {
            return None;
        }
        Some(self.look(image, identity, Age::Refused(since)).await)
    }

    async fn look(
        &self,
        image: &Arc<ImageRef>,
        identity: &Arc<PullIdentity>,
        age: Age,
    ) -> Arc<Candidates> {
        let (secrets, file) = self.inner.read(identity, age).await;
        let providers = match (&self.providers, age) {
            (Some(providers), Age::Secrets(age)) => providers.ask(image, identity, age).await,
            (Some(providers), Age::Refused(since)) => providers.renew(image, identity, since).await,
            (None, _) => Vec::new(),
        };
        let readings = Readings {
            secrets,
            file,
            providers,
        };
        let key = (Arc::clone(image), Arc::clone(identity));
        if let Some(found) = self.inner.found.get(&key).await
            && found.readings.same_as(&readings)
        {
            return Arc::clone(&found.candidates);
        }
        let candidates = Arc::new(self.inner.find(image, identity, &readings));
        let found = Found {
            readings,
            candidates: Arc::clone(&candidates),
        };
        self.inner.found.insert(key, Arc::new(found)).await;
        candidates
    }
}

impl Inner {
    async fn read(&self, identity: &PullIdentity, age: Age) -> (Vec<Read>, Option<Arc<Reading>>) {
        let (Age::Secrets(max_age) | Age::Refused(max_age)) = age;
        let secrets = match &self.secrets {
            Some(secrets) if !identity.secrets.is_empty() => {
                let reads = identity.secrets.iter();
                join_all(reads.map(|name| secrets.get(&identity.namespace, name, max_age))).await
            }
            _ => Vec::new(),
        };
        let file = match &self.file {
            Some(file) => Some(file.read().await),
            None => None,
        };
        (secrets, file)
    }

    fn find(&self, image: &ImageRef, identity: &PullIdentity, readings: &Readings) -> Candidates {
        let ring = || Keyring::new(image.registry(), image.repository());
        let (mut of_pod, mut problems) = (ring(), Vec::new());
        for (name, read) in identity.secrets.iter().zip(&readings.secrets) {
            let origin = Origin::Secret {
                namespace: Arc::clone(&identity.namespace),
                name: Arc::clone(name),
            };
            let (config, faults) = parse(read);
            of_pod.add(&origin, &config);
            let new: Vec<_> = faults
                .into_iter()
                .map(|fault| Problem {
                    origin: origin.clone(),
                    fault,
                })
                .collect();
            self.report(&origin, &new);
            problems.extend(new);
        }
        // The kubelet, too, looks into its own config only behind all of the pod's secrets.
        let mut of_file = ring();
        if let Some(file) = &readings.file {
            of_file.add(&file.origin, &file.config);
            let new: Vec<_> = file.problems().collect();
            self.report(&file.origin, &new);
            problems.extend(new);
        }
        let mut of_providers = ring();
        for said in &readings.providers {
            of_providers.add(&said.origin, &said.config);
            problems.extend(said.problems());
        }
        let rings = [of_pod, of_file, of_providers].into_iter();
        let found = rings.flat_map(Keyring::into_found);
        Candidates::new(found, problems, &self.printer)
    }

    /// Counts and says the problems of a place once, until they change.
    fn report(&self, origin: &Origin, problems: &[Problem]) {
        let words: Vec<String> = problems.iter().map(|p| Chain(p).to_string()).collect();
        let said = (!words.is_empty()).then(|| self.hasher.hash_one(&words));
        let last = {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.get(origin).copied() == said {
                return;
            }
            // Far more broken secrets than any cluster has: then rather say some of it twice.
            if reported.len() >= MAX_REPORTED {
                reported.clear();
            }
            match said {
                None => reported.remove(origin),
                Some(said) => reported.insert(origin.clone(), said),
            }
        };
        for (problem, words) in problems.iter().zip(&words) {
            let reason = problem.label();
            let counter = &self.metrics.credentials_problems;
            counter.get_or_create(&Reason { reason }).inc();
            warn!(reason, "Pulling goes on without a credential: {words}");
        }
        if said.is_none() && last.is_some() {
            info!("Found {origin} usable again");
        }
    }
}

/// Reads a secret's content as far as it goes.
fn parse(read: &Read) -> (Config, Vec<Fault>) {
    let secret = match &**read {
        Ok(secret) => secret,
        Err(error) => return (Config::default(), vec![Fault::Secret(error.clone())]),
    };
    let config = match secret.format {
        Format::DockerConfigJson => Config::from_config_json(&secret.data),
        Format::DockerCfg => Config::from_dockercfg(&secret.data),
    };
    match config {
        Ok(config) => {
            let faults = config.faults().collect();
            (config, faults)
        }
        Err(error) => (Config::default(), vec![Fault::Content(error)]),
    }
}

impl Readings {
    fn same_as(&self, other: &Self) -> bool {
        let same_file = match (&self.file, &other.file) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_file && same(&self.secrets, &other.secrets) && same(&self.providers, &other.providers)
    }
}

fn same<T>(some: &[Arc<T>], other: &[Arc<T>]) -> bool {
    let mut pairs = some.iter().zip(other);
    some.len() == other.len() && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
}
