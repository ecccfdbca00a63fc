//! Finds the candidates for an image: reads the secrets and files, asks the providers, and reports what is wrong.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError, Weak},
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
        secrets::{Format, PullSecret, Read, SecretError},
    },
    error::Chain,
    memo::weight,
    observe::metrics::{Metrics, Reason},
    policy::{ImageRef, PullIdentity},
};

/// What is remembered takes as many bytes together: the candidates for about 15,000 pairs of an image and an identity.
const CAPACITY: u64 = 16 << 20;

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
    found: Cache<Pair, Arc<Found>>,
    /// What stands for what was last said about a place.
    reported: Mutex<HashMap<Origin, u64>>,
    hasher: RandomState,
    metrics: Metrics,
}

type Pair = (Arc<ImageRef>, Arc<PullIdentity>);

/// Candidates, and the readings they come from: they hold while those do.
#[derive(Debug)]
struct Found {
    /// Not kept from leaving the memory: they are large, and weighed where they are kept.
    secrets: Box<[Weak<Result<PullSecret, SecretError>>]>,
    file: Option<Arc<Reading>>,
    providers: Box<[Weak<Said>]>,
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
        let found = Cache::builder()
            .weigher(|pair: &Pair, found: &Arc<Found>| weight(bytes(pair) + found.bytes()))
            .max_capacity(CAPACITY)
            .time_to_idle(IDLE);
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
            && found.is_of(&readings)
        {
            return Arc::clone(&found.candidates);
        }
        let candidates = Arc::new(self.inner.find(image, identity, &readings));
        let found = Found::new(&readings, Arc::clone(&candidates));
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

impl Found {
    fn new(readings: &Readings, candidates: Arc<Candidates>) -> Self {
        Self {
            secrets: readings.secrets.iter().map(Arc::downgrade).collect(),
            file: readings.file.clone(),
            providers: readings.providers.iter().map(Arc::downgrade).collect(),
            candidates,
        }
    }

    /// Says whether it comes from just these readings.
    fn is_of(&self, readings: &Readings) -> bool {
        let same_file = match (&self.file, &readings.file) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_file
            && same(&self.secrets, &readings.secrets)
            && same(&self.providers, &readings.providers)
    }

    fn bytes(&self) -> usize {
        let sources = self.secrets.len() + self.providers.len();
        sources * size_of::<Weak<Said>>() + self.candidates.bytes()
    }
}

/// Returns how many bytes a pod's author has a say in: each pod on its way in brings an identity of its own.
fn bytes((image, identity): &Pair) -> usize {
    let tag = image.tag().map_or(0, str::len);
    let names = identity.secrets.iter().chain([&identity.service_account]);
    let names = names.map(|name| name.len() + size_of::<Arc<str>>());
    image.registry().len() + image.repository().len() + tag + names.sum::<usize>()
}

/// The room of what is gone is not given to another as long as it is known here, so that equal places mean the same.
fn same<T>(some: &[Weak<T>], other: &[Arc<T>]) -> bool {
    let mut pairs = some.iter().zip(other);
    some.len() == other.len() && pairs.all(|(a, b)| std::ptr::eq(a.as_ptr(), Arc::as_ptr(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings() -> Readings {
        Readings {
            secrets: vec![Arc::new(Err(SecretError::Missing))],
            file: None,
            providers: Vec::new(),
        }
    }

    #[test]
    fn what_was_found_keeps_no_reading_and_is_of_no_other() {
        let first = readings();
        let found = Found::new(&first, Arc::new(Candidates::anonymous()));
        assert!(found.is_of(&first));
        let kept = Arc::downgrade(&first.secrets[0]);
        drop(first);
        assert!(kept.upgrade().is_none());
        assert!(!found.is_of(&readings()));
    }

    #[test]
    fn names_that_a_pod_brings_are_weighed() {
        let pair = |names: &[&str]| {
            let names = names.iter().copied();
            let identity = PullIdentity::new("shop".into(), names, None, |name| name.into());
            let image: ImageRef = "h.io/app:1".parse().unwrap();
            bytes(&(Arc::new(image), Arc::new(identity)))
        };
        let name = "x".repeat(253);
        assert_eq!(pair(&[&name]) - pair(&[]), 253 + size_of::<Arc<str>>());
    }
}
