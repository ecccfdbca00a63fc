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

/// Why a node cannot pull an image that its registry shows to who shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The kubelet shows one credential after the other, and none at all only where there is none for the image.
    #[error("they show credentials, and none of these gets an answer")]
    Refused,
    /// The kubelet starts no pull where one of the pod's secrets makes no sense, whatever the others say.
    #[error("they cannot read one of the pull secrets")]
    Malformed,
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
    /// Whether a problem keeps nodes from pulling.
    stops_nodes: bool,
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
        let stops_nodes = problems.iter().any(Problem::stops_nodes);
        let untold = problems.len().saturating_sub(MOST_PROBLEMS);
        problems.truncate(MOST_PROBLEMS);
        Self {
            fingerprint: printer.of_list(list.iter().map(|c| &c.fingerprint)),
            list,
            problems: problems.into(),
            untold,
            stops_nodes,
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

    /// Returns why a node cannot pull, although the registry let in the candidate at `index`.
    ///
    /// As the kubelet's `PullImage` does. What only the controller has (`--docker-config`) is no node's, and an identity
    /// token means nothing to the kubelet.
    pub fn obstacle(&self, index: usize) -> Option<Obstacle> {
        if self.stops_nodes {
            return Some(Obstacle::Malformed);
        }
        (self.passes_nodes_over(index)).then_some(Obstacle::Refused)
    }

    /// Says whether the candidate at `index` is nobody in particular, while nodes would show a credential.
    pub fn passes_nodes_over(&self, index: usize) -> bool {
        let is_anonymous = (self.get(index)).is_none_or(|it| it.source == Source::Anonymous);
        is_anonymous && self.list.iter().any(Candidate::is_shown_by_nodes)
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
    ///
    /// Nobody in particular does not take the turn of what nodes show: whoever was refused may be let in the next time, and
    /// would never be shown again.
    pub fn note_worked(&self, index: usize) {
        if !self.passes_nodes_over(index) {
            self.worked.store(index, Ordering::Relaxed);
        }
    }
}

impl Candidate {
    /// Says whether nodes show it, too.
    pub fn is_shown_by_nodes(&self) -> bool {
        let is_of_nodes = !matches!(
            self.source,
            Source::Anonymous | Source::Entry(Origin::File(_), _)
        );
        is_of_nodes && matches!(self.credential, Credential::Basic { .. })
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
    use crate::{
        cluster::secrets::SecretError,
        credentials::{Config, Fault},
    };

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

    /// Checks which obstacle nodes meet where credentials of these places were refused, and none at all was not.
    #[track_caller]
    fn check_obstacle(found: &[(Origin, Credential)], problem: Option<Fault>, told: &str) {
        let entry = |(origin, credential): &(Origin, Credential)| {
            let scope = Scope::parse("ghcr.io/org").unwrap();
            (Source::Entry(origin.clone(), scope), credential.clone())
        };
        let problem = problem.map(|fault| Problem {
            origin: secret(),
            fault,
        });
        let problems = problem.into_iter().collect();
        let all = Candidates::new(found.iter().map(entry), problems, &Fingerprinter::new());
        let obstacle = |index| {
            all.obstacle(index).map_or("none", |it| match it {
                Obstacle::Refused => "refused",
                Obstacle::Malformed => "malformed",
            })
        };
        assert_eq!(obstacle(found.len()), told, "{found:?}");
        let accepted = if told == "malformed" { told } else { "none" };
        assert_eq!(
            (0..found.len()).map(obstacle).find(|it| *it != accepted),
            None
        );
    }

    fn secret() -> Origin {
        Origin::Secret {
            namespace: "shop".into(),
            name: "pull".into(),
        }
    }

    #[test]
    fn a_node_shows_nothing_only_where_it_has_nothing_to_show() {
        let basic = || Credential::Basic {
            username: "ann".into(),
            password: "pw".into(),
        };
        let identity = || Credential::Identity("token".into());
        let file = || Origin::File(Path::new("/c.json").into());
        let provider = || Origin::Provider("ecr".into());
        check_obstacle(&[], None, "none");
        check_obstacle(&[(secret(), basic())], None, "refused");
        check_obstacle(&[(provider(), basic())], None, "refused");
        check_obstacle(&[(file(), basic())], None, "none");
        check_obstacle(&[(file(), basic()), (secret(), identity())], None, "none");
        check_obstacle(
            &[(secret(), identity()), (secret(), basic())],
            None,
            "refused",
        );
    }

    #[test]
    fn a_pull_secret_that_the_kubelet_cannot_decode_stops_all_of_them() {
        let fault = |json: &str| {
            Config::from_config_json(json.as_bytes())
                .map_or_else(|error| Some(error.into()), |config| config.faults().next())
        };
        let check = |json, told| {
            let fault = fault(json);
            assert!(fault.is_some(), "{json}");
            check_obstacle(&[], fault, told);
        };
        check("{", "malformed");
        check(r#"{"auths": {"h.io": {"auth": "?"}}}"#, "malformed");
        check(r#"{"auths": {"h.io": {"username": 1}}}"#, "malformed");
        check(r#"{"auths": {"h.io": {"identitytoken": 1}}}"#, "none");
        check(r#"{"auths": {"": {"auth": "YTpi"}}}"#, "none");
        check_obstacle(&[], Some(Fault::Secret(SecretError::Missing)), "none");
        check_obstacle(&[], Some(Fault::Untold(3)), "none");
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
