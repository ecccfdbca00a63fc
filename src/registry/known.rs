//! The hosts that are asked at present, each known once, however many registries are asked there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::host::Host;

/// Below this many names none is looked for that leads to nobody any more.
const FEW: usize = 64;

/// Hosts by their root. One lives for as long as a place holds it, so none in use is ever forgotten.
#[derive(Debug, Default)]
pub(super) struct KnownHosts(Mutex<Roll>);

#[derive(Debug, Default)]
struct Roll {
    hosts: HashMap<String, Weak<Host>>,
    /// With so many names those of hosts that nobody holds are struck off.
    full: usize,
}

impl KnownHosts {
    /// Returns the host at `root`; if nobody holds it, what `make` makes.
    pub(super) fn get(&self, root: &str, make: impl FnOnce() -> Host) -> Arc<Host> {
        let mut roll = self.lock();
        if let Some(host) = roll.hosts.get(root).and_then(Weak::upgrade) {
            return host;
        }
        roll.sweep();
        let host = Arc::new(make());
        roll.hosts.insert(root.to_owned(), Arc::downgrade(&host));
        host
    }

    /// Returns how little the most used up account has left at its host, if any of them is told so.
    pub(super) fn least_allowed(&self) -> Option<f64> {
        let hosts = self.all().into_iter();
        let left = hosts.filter_map(|host| host.accounts.least());
        // Beyond 2^53 nobody counts.
        left.map(|left| left.remaining as f64)
            .min_by(f64::total_cmp)
    }

    /// Returns all that are held.
    fn all(&self) -> Vec<Arc<Host>> {
        let roll = self.lock();
        roll.hosts.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Roll> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roll {
    /// Strikes off who is gone, when there may be as many of them as of those that are there.
    fn sweep(&mut self) {
        if self.hosts.len() < self.full.max(FEW) {
            return;
        }
        self.hosts.retain(|_, host| host.strong_count() > 0);
        self.full = 2 * self.hosts.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(known: &KnownHosts, root: &str) -> Arc<Host> {
        known.get(root, || Host::new(1))
    }

    #[test]
    fn a_host_is_the_same_for_as_long_as_somebody_holds_it() {
        let known = KnownHosts::default();
        let (a, b) = (get(&known, "https://a.io/"), get(&known, "https://b.io/"));
        assert!(!Arc::ptr_eq(&a, &b));
        let again = get(&known, "https://a.io/");
        assert!(Arc::ptr_eq(&a, &again));
        drop(a);
        assert!(Arc::ptr_eq(&again, &get(&known, "https://a.io/")));
        assert_eq!(known.all().len(), 2);
        drop((again, b));
        assert_eq!(known.all().len(), 0);
        let mut is_new = false;
        known.get("https://a.io/", || {
            is_new = true;
            Host::new(1)
        });
        assert!(is_new);
    }

    #[test]
    fn who_is_gone_leaves_no_more_names_than_there_are_hosts() {
        let known = KnownHosts::default();
        let held: Vec<_> = (0..FEW)
            .map(|n| get(&known, &format!("https://held-{n}.io/")))
            .collect();
        for n in 0..10 * FEW {
            get(&known, &format!("https://gone-{n}.io/"));
            assert!(known.lock().hosts.len() <= 2 * FEW);
        }
        assert_eq!(known.all().len(), held.len());
    }
}
