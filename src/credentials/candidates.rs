//! What may be tried for one image, in order, and where each of it comes from.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Credential, Fingerprint, Problem, Scope, credential::Fingerprinter};

/// Where credentials are kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A pull secret.
    Secret {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// The file that `--docker-config` names.
    File(Arc<Path>),
    /// What the credential provider plugin of this name says.
    Provider(Arc<str>),
}

/// Where one credential comes from; displays without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An entry of a docker config, or of what a credential provider said.
    Entry(Origin, Scope),
    /// No credential at all.
    Anonymous,
}

/// One credential that fits an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it comes from.
    pub source: Source,
    /// What to show.
    pub credential: Credential,
    /// What stands for it in cache keys.
    pub fingerprint: Fingerprint,
}

/// All that may be tried for an image, in order; the last is anonymous.
#[derive(Debug)]
pub struct Candidates {
    list: Box<[Candidate]>,
    fingerprint: Fingerprint,
    problems: Arc<[Problem]>,
    worked: AtomicUsize,
}

impl Candidates {
    /// Returns what may be tried where nothing fits, for tests.
    #[cfg(test)]
    pub(crate) fn anonymous() -> Self {
        Self::new([], Arc::new([]), &Fingerprinter::new())
    }

    /// Returns `found`, each credential once, and anonymous behind them.
    pub(super) fn new(
        found: impl IntoIterator<Item = (Source, Credential)>,
        problems: Arc<[Problem]>,
        printer: &Fingerprinter,
    ) -> Self {
        let anonymous = (Source::Anonymous, Credential::Anonymous);
        let mut list: Vec<Candidate> = Vec::new();
        for (source, credential) in found.into_iter().chain([anonymous]) {
            let fingerprint = printer.of_credential(&credential);
            if list.iter().all(|c| c.fingerprint != fingerprint) {
                list.push(Candidate {
                    source,
                    credential,
                    fingerprint,
                });
            }
        }
        Self {
            fingerprint: printer.of_list(list.iter().map(|c| &c.fingerprint)),
            list: list.into(),
            problems,
            worked: AtomicUsize::new(0),
        }
    }

    /// Returns what stands for the whole list: equal for the same credentials in the same order.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns what kept credentials from being here.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the candidate at `index` of the list.
    pub fn get(&self, index: usize) -> Option<&Candidate> {
        self.list.get(index)
    }

    /// Returns the candidates and their indices: the one that worked last, then the others in order.
    pub fn in_turn(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let first = self.worked.load(Ordering::Relaxed);
        let first = first.min(self.list.len() - 1);
        let others = (0..self.list.len()).filter(move |index| *index != first);
        std::iter::once(first)
            .chain(others)
            .map(|index| (index, &self.list[index]))
    }

    /// Remembers that the candidate at `index` worked.
    pub fn note_worked(&self, index: usize) {
        self.worked.store(index, Ordering::Relaxed);
    }
}

impl fmt::Display for Candidates {
    /// Names the sources, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, candidate) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", candidate.source)?;
        }
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(origin, scope) => write!(f, "{origin} key {scope}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { namespace, name } => write!(f, "secret {namespace}/{name}"),
            Self::File(path) => write!(f, "docker config {}", path.display()),
            Self::Provider(name) => write!(f, "credential provider {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(passwords: &[&str]) -> Candidates {
        let origin = Origin::Secret {
            namespace: "shop".into(),
            name: "pull".into(),
        };
        let found = passwords.iter().map(|password| {
            let source = Source::Entry(origin.clone(), Scope::parse("ghcr.io/org").unwrap());
            let credential = Credential::Identity((*password).into());
            (source, credential)
        });
        Candidates::new(found, Arc::new([]), &Fingerprinter::new())
    }

    fn turns(candidates: &Candidates) -> Vec<usize> {
        candidates.in_turn().map(|(index, _)| index).collect()
    }

    #[test]
    fn anonymous_is_last_and_doubles_are_dropped() {
        let all = candidates(&["a", "b", "a"]);
        assert_eq!(
            all.to_string(),
            "secret shop/pull key ghcr.io/org, secret shop/pull key ghcr.io/org, anonymous"
        );
        assert_eq!(candidates(&[]).to_string(), "anonymous");
    }

    #[test]
    fn the_one_that_worked_goes_first() {
        let all = candidates(&["a", "b"]);
        assert_eq!(turns(&all), [0, 1, 2]);
        all.note_worked(1);
        assert_eq!(turns(&all), [1, 0, 2]);
        all.note_worked(9);
        assert_eq!(turns(&all), [2, 0, 1]);
    }
}
