//! Answers lookups: from memory where that is young enough, else by one shared question to the registry.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

mod manifests;

use super::{
    Allowance, Answer, Fault, KEEP_FAILURE, Lookup, LookupError, Manifest, Network, NetworkError,
    hosts::{Hosts, HostsDir, RegistryUrl},
    place::{Limits, Place, Places, Told},
    pool::Pools,
    proxy::Proxies,
    session::{Found, Session},
    tls::Tls,
    transport::Transport,
};
use crate::{
    credentials::{Candidates, Fingerprint, Keychain, Obstacle},
    memo::{Aborted, Hit, Keep, Memo},
    observe::metrics::{Metrics, Outcome},
    policy::ImageRef,
};

/// Answers that nobody asked for so long leave the memory.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Distinct pairs of an image and credentials that are remembered.
const CAPACITY: u64 = 20_000;

/// What the remembered manifests take together, by digest and credentials: about 4,000 of them. They never change.
const MANIFESTS: u64 = 8 << 20;

/// Manifests that nobody asked for so long leave the memory.
const MANIFEST_IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// A limit lasts, and is met by each image of a registry: secrets are not read anew for it more often than that.
const LIMITED: Duration = Duration::from_secs(30);

/// How lookups are made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a lookup may take, and how long it may wait for its turn at a busy host.
    pub lookup_timeout: Duration,
    /// How old a reading of a pull secret may be.
    pub secrets_max_age: Duration,
    /// How many lookups are made at one host at a time.
    pub per_host: usize,
    /// What connections depend on.
    pub network: Network,
    /// What is between us and registries and their token services.
    pub proxies: Proxies,
    /// Where registries are asked, if not at their own addresses.
    pub hosts: Option<HostsDir>,
    /// The one address that all of them are asked at, instead.
    pub endpoint: Option<RegistryUrl>,
}

/// Resolves references; a clone shares caches and connections.
#[derive(Debug, Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
    secrets_max_age: Duration,
    /// Whether what a node could not pull counts as not there.
    for_nodes: bool,
}

#[derive(Debug)]
struct Inner {
    keychain: Keychain,
    places: Places,
    answers: Memo<Key, Told<Found>>,
    manifests: Memo<Key, Told<Manifest>>,
    metrics: Metrics,
}

/// What an answer depends on. Who cannot show the same credentials gets nothing from here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    image: Arc<ImageRef>,
    credentials: Fingerprint,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lookup_timeout: Duration::from_secs(10),
            secrets_max_age: Duration::from_secs(30),
            per_host: 16,
            network: Network::default(),
            proxies: Proxies::default(),
            hosts: None,
            endpoint: None,
        }
    }
}

impl Resolver {
    /// Returns a resolver that asks with the credentials of `keychain`.
    ///
    /// Fails when an extra root certificate cannot be read.
    pub fn new(
        settings: Settings,
        keychain: Keychain,
        metrics: Metrics,
    ) -> Result<Self, NetworkError> {
        // A host that lets connections hang leaves time for its error to be told.
        let connect_timeout = settings.lookup_timeout / 2;
        let pools = Pools::new(&settings.network, settings.proxies, connect_timeout)?;
        let pools = Arc::new(pools);
        let client = pools.of(&Tls::default()).map_err(NetworkError::Client)?;
        let transport = Transport::new(client, metrics.clone());
        let hosts =
            (settings.hosts).map(|dir| Hosts::new(dir, Arc::clone(&pools), metrics.clone()));
        let limits = Limits {
            lookup_timeout: settings.lookup_timeout,
            per_host: settings.per_host.max(1),
        };
        let answers = Memo::new(CAPACITY, IDLE, keep);
        let manifests = Memo::weighed(MANIFESTS, MANIFEST_IDLE, keep, bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                keychain,
                places: Places::new(hosts, pools, transport, limits, &metrics)
                    .with_endpoint(settings.endpoint),
                answers,
                manifests,
                metrics,
            }),
            secrets_max_age: settings.secrets_max_age,
            for_nodes: false,
        })
    }

    /// Returns this resolver for those who replace pods for an answer: where a node could not pull the image there is
    /// none, as a replacement would never start.
    #[must_use]
    pub fn for_nodes(&self) -> Self {
        Self {
            for_nodes: true,
            ..self.clone()
        }
    }

    /// Returns this resolver with another limit to the age of pull secrets.
    ///
    /// With `Duration::MAX` a steady state costs no call to the API server: secrets are read again
    /// only when a registry accepts none of the credentials.
    #[must_use]
    pub fn with_secrets_max_age(&self, max_age: Duration) -> Self {
        Self {
            secrets_max_age: max_age,
            ..self.clone()
        }
    }

    /// Returns the digest that `lookup` means now, from an answer at most `max_age` old.
    ///
    /// Zero always asks the registry. Equal lookups at one time make one question. A failure is
    /// remembered for a moment to spare the registry.
    pub async fn digest(&self, lookup: &Lookup, max_age: Duration) -> Result<Answer, LookupError> {
        let inner = &self.inner;
        let image = by_tag(&lookup.image);
        let place = inner.places.of(image.registry()).await;
        let candidates = self.candidates(&image, lookup, self.secrets_max_age).await;
        let hit = self.ask(&image, &place, &candidates, max_age).await;
        let (hit, candidates) = match self.fresher(&image, lookup, &hit, &candidates).await {
            Some(fresh) => (self.ask(&image, &place, &fresh, max_age).await, fresh),
            None => (hit, candidates),
        };
        inner.count(&hit);
        let Told { host, answer } = hit.value;
        match answer {
            Ok(found) => Ok(Answer {
                digest: found.digest.clone(),
                at: hit.asked,
                trail: super::Trail {
                    host,
                    found,
                    candidates,
                },
            }),
            Err(fault) => Err(LookupError {
                image,
                host,
                fault,
                candidates,
            }),
        }
    }

    /// Returns what the registry of `image` said last of its rate limit, if that still holds; to whom it left least, if
    /// it was asked with several credentials.
    pub async fn allowance(&self, image: &ImageRef) -> Option<Allowance> {
        let host = self.inner.places.first_host(image.registry()).await?;
        host.accounts.least()
    }

    async fn ask(
        &self,
        image: &Arc<ImageRef>,
        place: &Arc<Place>,
        candidates: &Arc<Candidates>,
        max_age: Duration,
    ) -> Hit<Told<Found>> {
        let mut hit = self.inner.ask(image, place, candidates, max_age).await;
        if self.for_nodes
            && let Ok(found) = &hit.value.answer
            && let Some(obstacle) = candidates.obstacle(found.candidate)
        {
            // One that may not ask now may be let in later.
            let limit = (obstacle == Obstacle::Refused).then(|| found.limit.clone());
            let fault = limit.flatten().unwrap_or(Fault::NodesCannotPull(obstacle));
            hit.value.answer = Err(fault);
        }
        hit
    }

    async fn candidates(
        &self,
        image: &Arc<ImageRef>,
        lookup: &Lookup,
        max_age: Duration,
    ) -> Arc<Candidates> {
        let keychain = &self.inner.keychain;
        keychain.candidates(image, &lookup.identity, max_age).await
    }

    /// Returns other candidates than those that were denied, if there are any by now: secrets get rotated.
    async fn fresher<T>(
        &self,
        image: &Arc<ImageRef>,
        lookup: &Lookup,
        hit: &Hit<Told<T>>,
        denied: &Candidates,
    ) -> Option<Arc<Candidates>> {
        let fault = hit.value.answer.as_ref().err()?;
        // Those that were read since that question have nothing new to say.
        let since = hit.asked.elapsed();
        let (keychain, has_secrets) = (&self.inner.keychain, !lookup.identity.secrets.is_empty());
        let fresh = match fault.root() {
            // Another secret may see the image. What a credential provider says again would see no more.
            Fault::NotFound if has_secrets => self.candidates(image, lookup, since).await,
            Fault::NotFound => return None,
            // Nor would it be another's account.
            _ if fault.is_limit() && has_secrets => {
                self.candidates(image, lookup, since.max(LIMITED)).await
            }
            _ if fault.is_denial() => keychain.renewed(image, &lookup.identity, since).await?,
            _ => return None,
        };
        (fresh.fingerprint() != denied.fingerprint()).then_some(fresh)
    }
}

impl Inner {
    async fn ask(
        &self,
        image: &Arc<ImageRef>,
        place: &Arc<Place>,
        candidates: &Arc<Candidates>,
        max_age: Duration,
    ) -> Hit<Told<Found>> {
        let key = Key {
            image: Arc::clone(image),
            credentials: candidates.fingerprint(),
        };
        let ask = |_| {
            let round = self.places.round(place, image, candidates);
            let candidates = Arc::clone(candidates);
            let metrics = self.metrics.clone();
            async move {
                let asked = Instant::now();
                let ask = |session: Arc<Session>| {
                    let candidates = Arc::clone(&candidates);
                    async move { session.digest(&candidates).await }
                };
                let told = round.take(ask).await;
                let seconds = asked.elapsed().as_secs_f64();
                metrics.registry_lookup_duration.observe(seconds);
                told
            }
        };
        or_aborted(self.answers.get(&key, max_age, ask).await, place)
    }

    fn count(&self, hit: &Hit<Told<Found>>) {
        let outcome = match &hit.value.answer {
            Ok(_) if hit.cached => "cached",
            Ok(_) => "found",
            Err(fault) => fault.label(),
        };
        let counter = &self.metrics.registry_lookups;
        counter.get_or_create(&Outcome { outcome }).inc();
    }
}

/// An answer is as old as its reader bears; a failure is told only for a moment.
fn keep<T>(told: &Told<T>) -> Keep {
    match told.answer {
        Ok(_) => Keep::Good(Duration::MAX),
        Err(_) => Keep::Bad(KEEP_FAILURE),
    }
}

/// Returns how many bytes a question for a manifest and its answer have.
fn bytes(key: &Key, told: &Told<Manifest>) -> usize {
    let manifest = told.answer.as_ref().map_or(0, |manifest| manifest.bytes());
    key.image.registry().len() + key.image.repository().len() + manifest
}

fn or_aborted<T>(hit: Result<Hit<Told<T>>, Aborted>, place: &Place) -> Hit<Told<T>> {
    hit.unwrap_or_else(|Aborted| Hit {
        value: Told {
            host: Arc::clone(&place.name),
            answer: Err(Fault::Aborted),
        },
        asked: Instant::now(),
        cached: false,
    })
}

/// Returns the reference as it is looked up: its digest counts only where it has no tag.
fn by_tag(image: &Arc<ImageRef>) -> Arc<ImageRef> {
    match image.digest() {
        Some(_) => image.tagged().map_or_else(|| Arc::clone(image), Arc::new),
        None => Arc::clone(image),
    }
}
