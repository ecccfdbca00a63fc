//! Certificates in bundles that are of no use, beside others that are: each bundle is told of once.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A bundle with certificates that are of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Useless {
    pub(super) bundle: PathBuf,
    pub(super) count: usize,
}

/// What was last told of each registry's folder.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<PathBuf, Vec<Useless>>>);

impl Told {
    /// Takes note of what was found in `folder`; returns what was not so the last time.
    pub(super) fn news(&self, folder: &Path, found: Vec<Useless>) -> Vec<Useless> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = match found.is_empty() {
            true => told.remove(folder),
            false => told.insert(folder.to_owned(), found.clone()),
        };
        let last = last.unwrap_or_default();
        let is_news = |useless: &Useless| !last.contains(useless);
        found.into_iter().filter(is_news).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which of the bundles `found` in a folder, each with its count, are news.
    #[track_caller]
    fn check(told: &Told, folder: &str, found: &[(&str, usize)], expected: &[(&str, usize)]) {
        let useless = |all: &[(&str, usize)]| -> Vec<Useless> {
            let all = all.iter().map(|(bundle, count)| Useless {
                bundle: bundle.into(),
                count: *count,
            });
            all.collect()
        };
        let news = told.news(Path::new(folder), useless(found));
        assert_eq!(news, useless(expected));
    }

    #[test]
    fn a_bundle_is_told_of_once_until_it_changes() {
        let told = Told::default();
        check(&told, "a", &[("1", 1)], &[("1", 1)]);
        check(&told, "a", &[("1", 1)], &[]);
        check(&told, "a", &[("1", 1), ("2", 1)], &[("2", 1)]);
        check(&told, "a", &[("1", 2), ("2", 1)], &[("1", 2)]);
        check(&told, "b", &[("2", 1)], &[("2", 1)]);
        check(&told, "a", &[], &[]);
        check(&told, "a", &[("2", 1)], &[("2", 1)]);
    }
}
