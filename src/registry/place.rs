//! The addresses that one registry is asked at, and all that is needed to ask there.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{
    Fault,
    endpoint::Endpoint,
    host::Host,
    hosts::{Address, Hosts, Reading, RegistryUrl},
    known::KnownHosts,
    pool::Pools,
    session::Session,
    tls::Tls,
    token::Tokens,
    transport::Transport,
};
use crate::{credentials::Candidates, error::Chain, observe::metrics::Metrics, policy::ImageRef};

/// Places that nobody asked for so long leave the memory.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Distinct registries that are remembered. Pods name them, so there may be any number.
const CAPACITY: u64 = 1000;

/// Finds places; what is known of a host is known to all registries that are asked there.
#[derive(Debug)]
pub(super) struct Places {
    dir: Option<Hosts>,
    endpoint: Option<RegistryUrl>,
    pools: Arc<Pools>,
    transport: Transport,
    tokens: Arc<Tokens>,
    known: Cache<Arc<str>, Arc<Place>>,
    hosts: Arc<KnownHosts>,
    limits: Limits,
}

/// How hosts are asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long a lookup may take, and how long it may wait for its turn.
    pub(super) lookup_timeout: Duration,
    /// How many lookups are made at one host at a time.
    pub(super) per_host: usize,
}

/// Where one registry is asked.
#[derive(Debug)]
pub(super) struct Place {
    /// The registry's own host.
    pub(super) name: Arc<str>,
    /// In order; a fault where there is none to be asked.
    spots: Result<Box<[Spot]>, Fault>,
    /// What the spots come from; they hold while that does.
    reading: Option<Arc<Reading>>,
}

/// One address.
#[derive(Debug)]
struct Spot {
    endpoint: Arc<Endpoint>,
    host: Arc<Host>,
    transport: Transport,
    tokens: Arc<Tokens>,
}

/// What came of a question, and at which host.
#[derive(Debug)]
pub(super) struct Told<T> {
    pub(super) host: Arc<str>,
    pub(super) answer: Result<Arc<T>, Fault>,
}

impl<T> Clone for Told<T> {
    fn clone(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            answer: self.answer.clone(),
        }
    }
}

/// What a host answers to a question about an image.
pub(super) trait Answered {
    /// Says whether the next host is asked as well, as nodes do: this one let in nobody who shows what they show.
    fn leaves_nodes_out(&self, candidates: &Candidates) -> bool;
}

/// A question about an image, to be asked at one address after the other.
pub(super) struct Round {
    place: Arc<Place>,
    image: Arc<ImageRef>,
    candidates: Arc<Candidates>,
    limit: Duration,
}

impl Places {
    /// Returns the places of all registries; those that `dir` says nothing about are asked over `transport`.
    pub(super) fn new(
        dir: Option<Hosts>,
        pools: Arc<Pools>,
        transport: Transport,
        limits: Limits,
        metrics: &Metrics,
    ) -> Self {
        let hosts: Arc<KnownHosts> = Arc::default();
        let known = Arc::clone(&hosts);
        metrics.registry_allowance.is(move || known.least_allowed());
        Self {
            dir,
            endpoint: None,
            pools,
            tokens: Arc::new(Tokens::new(transport.clone(), limits.lookup_timeout)),
            transport,
            known: Cache::builder()
                .max_capacity(CAPACITY)
                .time_to_idle(IDLE)
                .build(),
            hosts,
            limits,
        }
    }

    /// Returns these places, but that all registries are asked at `endpoint`, if there is one.
    pub(super) fn with_endpoint(self, endpoint: Option<RegistryUrl>) -> Self {
        Self { endpoint, ..self }
    }

    /// Returns where `registry` is asked now.
    pub(super) async fn of(&self, registry: &str) -> Arc<Place> {
        let registry: Arc<str> = registry.into();
        let reading = match &self.dir {
            Some(dir) => Some(dir.of(&registry).await),
            None => None,
        };
        if let Some(place) = self.known.get(&registry).await
            && place.is_from(reading.as_ref())
        {
            return place;
        }
        let place = Arc::new(self.make(&registry, reading));
        self.known.insert(registry, Arc::clone(&place)).await;
        place
    }

    /// Returns the question about `image` that is asked at `place` with `candidates`.
    pub(super) fn round(
        &self,
        place: &Arc<Place>,
        image: &Arc<ImageRef>,
        candidates: &Arc<Candidates>,
    ) -> Round {
        Round {
            place: Arc::clone(place),
            image: Arc::clone(image),
            candidates: Arc::clone(candidates),
            limit: self.limits.lookup_timeout,
        }
    }

    /// Returns the first host that `registry` is asked at, if it has been.
    pub(super) async fn first_host(&self, registry: &str) -> Option<Arc<Host>> {
        let place = self.known.get(registry).await?;
        let spot = place.spots.as_ref().ok()?.first()?;
        Some(Arc::clone(&spot.host))
    }

    fn make(&self, registry: &str, reading: Option<Arc<Reading>>) -> Place {
        let own = Endpoint::of(registry);
        let name = own
            .as_ref()
            .map_or(registry.into(), |own| Arc::clone(&own.host));
        let addresses = match reading.as_ref().map(|reading| reading.addresses.clone()) {
            Some(Ok(Some(addresses))) => Ok(addresses),
            Some(Ok(None)) | None => Ok(Arc::from([Address {
                root: self.endpoint.as_ref().map(RegistryUrl::root),
                ..Address::default()
            }])),
            Some(Err(fault)) => Err(Fault::HostsFile(Arc::new(fault))),
        };
        let spots = match addresses {
            Ok(addresses) => self.spots(registry, &addresses),
            Err(fault) => Err(fault),
        };
        Place {
            name,
            spots,
            reading,
        }
    }

    fn spots(&self, registry: &str, addresses: &[Address]) -> Result<Box<[Spot]>, Fault> {
        let mut spots = Vec::with_capacity(addresses.len());
        for address in addresses {
            let endpoint = match &address.root {
                Some(root) => Some(Endpoint::at(root.clone(), registry)),
                // Who says how to trust a registry on this machine means to have it by https.
                None if address.tls == Tls::default() => Endpoint::of(registry),
                None => Endpoint::secure(registry),
            };
            spots.push(self.spot(endpoint.ok_or(Fault::InvalidHost)?, address)?);
        }
        match spots.is_empty() {
            true => Err(Fault::NoHost),
            false => Ok(spots.into()),
        }
    }

    fn spot(&self, endpoint: Endpoint, address: &Address) -> Result<Spot, Fault> {
        let make = || Host::new(self.limits.per_host);
        let host = self.hosts.get(endpoint.root().as_str(), make);
        let is_plain = address.tls == Tls::default() && address.headers.is_empty();
        let (transport, tokens) = if is_plain {
            (self.transport.clone(), Arc::clone(&self.tokens))
        } else {
            let client = self.pools.of(&address.tls);
            let client = client.map_err(|error| Fault::of_request(error, None))?;
            let headers = address.headers.clone();
            let transport = self.transport.over(client, endpoint.root(), headers);
            // Its token service is trusted as the registry itself, and by no other registry's rules.
            let tokens = Tokens::new(transport.clone(), self.limits.lookup_timeout);
            (transport, Arc::new(tokens))
        };
        Ok(Spot {
            endpoint: Arc::new(endpoint),
            host,
            transport,
            tokens,
        })
    }
}

impl Place {
    fn is_from(&self, reading: Option<&Arc<Reading>>) -> bool {
        match (&self.reading, reading) {
            (Some(some), Some(other)) => Arc::ptr_eq(some, other),
            (some, other) => some.is_none() && other.is_none(),
        }
    }
}

impl Round {
    /// Asks at one address after the other until there is an answer, as container runtimes do.
    ///
    /// Each waits for its turn and for its answer, and leaves time for those behind it. When all fail, an answer that
    /// leaves nodes out is told, else the fault that says most.
    pub(super) async fn take<T, A>(&self, ask: impl Fn(Arc<Session>) -> A) -> Told<T>
    where
        T: Answered,
        A: Future<Output = Result<T, Fault>>,
    {
        let told = |host: &Arc<str>, answer| Told {
            host: Arc::clone(host),
            answer,
        };
        let spots = match &self.place.spots {
            Ok(spots) => spots,
            Err(fault) => return told(&self.place.name, Err(fault.clone())),
        };
        let (began, mut worst) = (Instant::now(), None::<(Arc<str>, Fault)>);
        let mut open = None;
        for (index, spot) in spots.iter().enumerate() {
            let left = match index {
                0 => self.limit,
                _ => self.limit.saturating_sub(began.elapsed()),
            };
            // What is left is shared by those that are left.
            let share = left / u32::try_from(spots.len() - index).unwrap_or(u32::MAX);
            let answer = self.take_at(spot, share, &ask);
            let answer = match index + 1 < spots.len() {
                true => timeout(share, answer).await,
                false => Ok(answer.await),
            };
            let fault = match answer.unwrap_or(Err(Fault::Timeout { after: share })) {
                Ok(answer) if answer.leaves_nodes_out(&self.candidates) => {
                    open = open.or_else(|| Some(told(&spot.endpoint.host, Ok(Arc::new(answer)))));
                    continue;
                }
                Ok(answer) => return told(&spot.endpoint.host, Ok(Arc::new(answer))),
                Err(fault) => fault,
            };
            if worst
                .as_ref()
                .is_none_or(|(_, known)| known.weight() < fault.weight())
            {
                worst = Some((Arc::clone(&spot.endpoint.host), fault));
            }
        }
        if let Some(open) = open {
            return open;
        }
        let (host, fault) = worst.unwrap_or_else(|| (Arc::clone(&self.place.name), Fault::NoHost));
        told(&host, Err(fault))
    }

    async fn take_at<T, A>(
        &self,
        spot: &Spot,
        after: Duration,
        ask: &impl Fn(Arc<Session>) -> A,
    ) -> Result<T, Fault>
    where
        A: Future<Output = Result<T, Fault>>,
    {
        let session = Arc::new(Session {
            transport: spot.transport.clone(),
            tokens: Arc::clone(&spot.tokens),
            host: Arc::clone(&spot.host),
            endpoint: Arc::clone(&spot.endpoint),
            image: Arc::clone(&self.image),
        });
        let answer = async {
            let accounts = self.candidates.in_turn().map(|(_, candidate)| candidate);
            let accounts = spot.host.accounts_of(accounts);
            let mut turn = spot.host.enter(&accounts, after).await?;
            // Thousands may wait for their turn: what asking takes is kept only by those that ask.
            let answer = timeout(after, Box::pin(ask(session))).await;
            let answer = answer.unwrap_or(Err(Fault::Timeout { after }));
            turn.note(&answer);
            answer
        };
        let answer = answer.await;
        if let Err(fault) = &answer {
            debug!(
                image = %self.image,
                registry.host = %spot.endpoint.host,
                reason = fault.label(),
                "Got no answer about {}: {}", self.image, Chain(fault)
            );
        }
        answer
    }
}

impl Fault {
    /// Returns how much it says beside the faults of other addresses: nothing at all, that there is no such
    /// image, or what is in the way.
    fn weight(&self) -> u8 {
        match self.root() {
            Self::Unreachable(_) | Self::Tls(_) | Self::Timeout { .. } => 1,
            Self::NotFound => 2,
            _ => 3,
        }
    }
}
