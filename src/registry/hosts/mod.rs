//! Where registries are asked, as containerd's `certs.d` on nodes has it; read again when it changes.

mod fields;
mod file;
mod load;
mod single;
mod useless;

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use super::pool::Pools;
use crate::{
    error::Chain,
    memo::{Keep, Memo},
    observe::metrics::{Metrics, Reason},
};

use useless::Useless;

pub use file::NotHosts;
pub(super) use load::Address;
pub use load::HostsFault;
pub use single::{BadEndpoint, RegistryUrl};

/// How old a reading may be. A few small files are read again so often per registry that is asked.
pub(super) const MAX_AGE: Duration = Duration::from_secs(5);

/// Registries whose readings are remembered. Pods name them, so there may be any number.
const CAPACITY: u64 = 1000;

/// A directory in the form of `/etc/containerd/certs.d`, known to be one.
#[derive(Debug, Clone)]
pub struct HostsDir(Arc<Path>);

/// A directory of registries cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("registries directory {path} could not be read")]
pub struct HostsDirError {
    path: Box<str>,
    source: io::Error,
}

/// Reads the directory; a clone shares the readings.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    inner: Arc<Inner>,
    memo: Arc<Memo<Arc<str>, Arc<Reading>>>,
}

#[derive(Debug)]
struct Inner {
    dir: HostsDir,
    pools: Arc<Pools>,
    metrics: Metrics,
    /// What was last said about a folder.
    reported: Mutex<HashMap<PathBuf, String>>,
    useless: useless::Told,
}

/// What the directory says about one registry. Equal pointers mean that nothing has changed.
#[derive(Debug)]
pub(super) struct Reading {
    /// Where to ask, in order; `None` as if there were no directory; a fault while it was never known.
    pub(super) addresses: Result<Option<Arc<[Address]>>, HostsFault>,
    /// What is wrong now; the addresses are then the last good ones.
    fault: Option<String>,
}

/// Checks that `text` is a `hosts.toml`.
pub(super) fn check(text: &str) -> Result<(), NotHosts> {
    file::parse(text).map(drop)
}

impl HostsDir {
    /// Returns the directory at `path`.
    pub fn open(path: &Path) -> Result<Self, HostsDirError> {
        match fs::read_dir(path) {
            Ok(_) => Ok(Self(path.into())),
            Err(source) => Err(HostsDirError {
                path: path.display().to_string().into(),
                source,
            }),
        }
    }
}

impl Hosts {
    /// Returns a reader of `dir`, whose certificates are tried on `pools`; says at once what is broken in it.
    pub(super) fn new(dir: HostsDir, pools: Arc<Pools>, metrics: Metrics) -> Self {
        let inner = Inner {
            dir,
            pools,
            metrics,
            reported: Mutex::default(),
            useless: useless::Told::default(),
        };
        for entry in fs::read_dir(&inner.dir.0).into_iter().flatten().flatten() {
            let folder = entry.path();
            // A mounted ConfigMap keeps its content in folders that begin so.
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b"..");
            if folder.is_dir() && !hidden {
                // It is told; whoever asks meets it again.
                let _ = inner.load(&folder, false);
            }
        }
        Self {
            inner: Arc::new(inner),
            memo: Arc::new(Memo::new(CAPACITY, 1000 * MAX_AGE, |_| Keep::Good(MAX_AGE))),
        }
    }

    /// Returns where `registry` is asked.
    pub(super) async fn of(&self, registry: &Arc<str>) -> Arc<Reading> {
        let ask = |last: Option<Arc<Reading>>| {
            let (inner, registry) = (Arc::clone(&self.inner), Arc::clone(registry));
            async move {
                let before = last.clone();
                let read = tokio::task::spawn_blocking(move || inner.read(&registry, last)).await;
                // A reading that panicked brought no news.
                read.unwrap_or_else(|_| before.unwrap_or_else(Reading::none))
            }
        };
        let read = self.memo.get(registry, MAX_AGE, ask).await;
        read.map_or_else(|_| Reading::none(), |hit| hit.value)
    }
}

impl Inner {
    fn read(&self, registry: &str, last: Option<Arc<Reading>>) -> Arc<Reading> {
        let known = last.as_ref().and_then(|last| last.addresses.clone().ok());
        let folder = load::folder(&self.dir.0, registry);
        let load = |folder: PathBuf| self.load(&folder, known.is_some());
        let found = folder.and_then(|folder| folder.map(load).transpose());
        let reading = match (found, known) {
            (Ok(addresses), _) => Reading {
                addresses: Ok(addresses.map(Arc::from)),
                fault: None,
            },
            (Err(fault), known) => Reading {
                fault: Some(Chain(&fault).to_string()),
                addresses: known.ok_or(fault),
            },
        };
        match last {
            Some(last) if last.is_like(&reading) => last,
            _ => Arc::new(reading),
        }
    }

    /// Reads a folder, and says what is wrong with it once, until that changes; `known` is whether the registry can
    /// be asked all the same, as the folder said before.
    fn load(&self, folder: &Path, known: bool) -> Result<Vec<Address>, HostsFault> {
        let loaded = load::load(folder).and_then(|loaded| {
            for address in &loaded.addresses {
                let pool = self.pools.of(&address.tls);
                pool.map_err(|error| HostsFault::certificate(folder, error))?;
            }
            for Useless { bundle, count } in self.useless.news(folder, loaded.useless) {
                let bundle = bundle.display();
                warn!("Passed over {count} certificates in {bundle} that are of no use");
            }
            Ok(loaded.addresses)
        });
        let words = loaded.as_ref().err().map(|fault| Chain(fault).to_string());
        let last = {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            match &words {
                Some(words) => reported.insert(folder.to_owned(), words.clone()),
                None => reported.remove(folder),
            }
        };
        match (&loaded, words) {
            (Ok(_), _) if last.is_some() => info!("Found {} usable again", folder.display()),
            (Err(fault), Some(words)) if last.as_ref() != Some(&words) => {
                let reason = fault.label();
                let counter = &self.metrics.registry_hosts_problems;
                counter.get_or_create(&Reason { reason }).inc();
                let consequence = consequence(known);
                warn!(reason, "{consequence}: {words}");
            }
            _ => {}
        }
        loaded
    }
}

/// Returns what follows from a folder that is of no use.
const fn consequence(known: bool) -> &'static str {
    match known {
        true => "What was known of a registry stays in use",
        false => "A registry is not asked until its folder makes sense",
    }
}

impl Reading {
    fn none() -> Arc<Self> {
        Arc::new(Self {
            addresses: Ok(None),
            fault: None,
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        let same = match (&self.addresses, &other.addresses) {
            (Ok(some), Ok(other)) => some == other,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        same && self.fault == other.fault
    }
}

#[cfg(test)]
mod tests;
