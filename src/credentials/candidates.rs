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

/// As many credentials are tried. A secret may hold any number of entries that fit; neither the registry nor our
/// memory is to suffer for it.
pub(super) const MOST_CREDENTIALS: usize = 16;

/// As many problems are told one by one.
const MOST_PROBLEMS: usize = 8;

/// What a problem takes, with names and words.
const PROBLEM_BYTES: usize = 512;

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

/// All that may be tried for an image, in order: at most 16 credentials, and anonymous behind them.
#[derive(Debug)]
pub struct Candidates {
    list: Box<[Candidate]>,
    fingerprint: Fingerprint,
    problems: Box<[Problem]>,
    /// How many more there are.
    untold: usize,
    worked: AtomicUsize,
}

impl Candidates {
    /// Returns what may be tried where nothing fits, for tests.
    #[cfg(test)]
    pub(crate) fn anonymous() -> Self {
        Self::new([], Vec::new(), &Fingerprinter::new())
    }

    /// Returns the first of `found`, each credential once, and anonymous behind them.
    pub(super) fn new(
        found: impl IntoIterator<Item = (Source, Credential)>,
        mut problems: Vec<Problem>,
        printer: &Fingerprinter,
    ) -> Self {
        let anonymous = (Source::Anonymous, Credential::Anonymous);
        let mut kept: Vec<(Source, Credential)> = Vec::new();
        let is_new = |kept: &[(Source, Credential)], one: &Credential| {
            kept.iter().all(|(_, known)| known != one)
        };
        for (source, credential) in found {
            if kept.len() == MOST_CREDENTIALS {
                break;
            }
            if is_new(&kept, &credential) {
                kept.push((source, credential));
            }
        }
        if is_new(&kept, &anonymous.1) {
            kept.push(anonymous);
        }
        let list: Box<[Candidate]> = (kept.into_iter())
            .map(|(source, credential)| Candidate {
                fingerprint: printer.of_credential(&credential),
                source,
                credential,
            })
            .collect();
        let untold = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        Self {
            fingerprint: printer.of_list(list.iter().map(|c| &c.fingerprint)),
            list,
            problems: problems.into(),
            untold,
            worked: AtomicUsize::new(0),
        }
    }

    /// Returns what stands for the whole list: equal for the same credentials in the same order.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns what kept credentials from being here: the first problems of any number.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns how many more problems there are.
    pub fn untold_problems(&self) -> usize {
        self.untold
    }

    /// Returns about how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let candidate = |it: &Candidate| {
            let key = match &it.source {
                Source::Entry(_, scope) => scope.key().len(),
                Source::Anonymous => 0,
            };
            size_of::<Candidate>() + key + it.credential.bytes()
        };
        let list: usize = self.list.iter().map(candidate).sum();
        size_of::<Self>() + list + self.problems.len() * PROBLEM_BYTES
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
    use crate::credentials::Fault;

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
        Candidates::new(found, Vec::new(), &Fingerprinter::new())
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
    fn the_first_16_are_tried_and_anonymous_behind_them() {
        let many: Vec<String> = (0..20_000).map(|n| format!("p{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (given, kept) in [(15, 16), (16, 17), (17, 17), (20_000, 17)] {
            let all = candidates(&many[..given]);
            assert_eq!(turns(&all).len(), kept, "of {given}");
            let last = all.get(kept - 1).unwrap();
            assert_eq!(last.credential, Credential::Anonymous, "of {given}");
        }
    }

    #[test]
    fn the_first_8_problems_are_told_and_the_others_counted() {
        let problem = |n| Problem {
            origin: Origin::Provider(format!("p{n}").into()),
            fault: Fault::Untold(1),
        };
        for (given, told, untold) in [(0, 0, 0), (8, 8, 0), (9, 8, 1), (300, 8, 292)] {
            let problems = (0..given).map(problem).collect();
            let all = Candidates::new([], problems, &Fingerprinter::new());
            assert_eq!(
                (all.problems().len(), all.untold_problems()),
                (told, untold)
            );
        }
    }

    #[test]
    fn what_a_list_takes_grows_with_what_it_holds() {
        let bytes = |passwords: &[&str]| candidates(passwords).bytes();
        let one = size_of::<Candidate>() + "ghcr.io/org".len();
        assert_eq!(bytes(&["ab"]) - bytes(&[]), one + 2);
        let long = "x".repeat(1000);
        assert_eq!(bytes(&["ab", &long]) - bytes(&["ab"]), one + 1000);
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
