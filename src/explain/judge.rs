//! Asks the registries what the tags mean now, and compares that with what runs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};

use super::{
    Explainer,
    blind::{Blind, Part},
    case::Case,
};
use crate::{
    cluster::Platform,
    error::Chain,
    policy::{
        Container, Digest, Verdict,
        verdict::{digests, evidence, verdict},
    },
    registry::{Compared, Lookup, LookupError, Read},
};

/// Questions under way at the same time; each registry gets fewer.
const AT_ONCE: usize = 32;

/// Within one run no tag is asked for twice for the same credentials.
const RUN: Duration = Duration::from_secs(3600);

/// What was found out about one container.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// T, as far as the registry tells.
    pub(super) target: Option<Digest>,
    /// Why it does not.
    pub(super) fault: Option<LookupError>,
    /// What there is to say.
    pub(super) verdict: Verdict,
    /// The images for the pod's node by T, S and I, as far as they are known.
    pub(super) images: [Option<Digest>; 3],
    /// Whether T has nothing for the pod's node, where that makes its verdict unknown.
    pub(super) unfit: bool,
    /// What the registry does not say of T, S and I, for which the container's verdict may be wrong.
    pub(super) doubt: Option<LookupError>,
}

type Manifests = HashMap<(Lookup, Digest), Read<LookupError>>;
type Platforms = HashMap<Arc<str>, Option<Arc<Platform>>>;

/// Judges the containers of the `cases` with the indices `of` that the controller would judge; and all of the pod
/// with the uid `whole` that follow a tag, of which the manifests are read as well, whatever the verdict.
///
/// Returns the platforms of the nodes that were asked for.
pub(super) async fn judge(
    explainer: &Explainer,
    cases: &mut [Case<'_>],
    of: &[usize],
    whole: Option<&str>,
    blind: &mut Blind,
) -> Platforms {
    let is_whole = |case: &Case<'_>| whole == Some(&*case.seen.pod.uid);
    let chosen: Vec<&Case<'_>> = of.iter().map(|nth| &cases[*nth]).collect();
    let answers = answers(explainer, &chosen, is_whole).await;
    let problems = answers.values().filter_map(|answer| answer.as_ref().err());
    for problem in problems.flat_map(|fault| fault.problems()) {
        if problem.label() == "secret_forbidden" {
            blind.note(Part::Secrets, Chain(problem));
        }
    }
    let mut wanted = HashSet::new();
    let mut nodes = HashSet::new();
    for case in chosen {
        let pod = &case.seen.pod;
        for container in &pod.containers {
            let Some((lookup, Ok(target))) = find(case, container, &answers) else {
                continue;
            };
            let verdict = verdict(container, Some(target), None);
            let read = match verdict.is_preliminary(case.counts(container)) {
                _ if is_whole(case) => digests(container, target),
                true => evidence(container, target),
                false => continue,
            };
            let read = read.into_iter().flatten();
            wanted.extend(read.map(|digest| (lookup.clone(), digest.clone())));
            nodes.extend(pod.node.clone());
        }
    }
    let manifests = manifests(explainer, wanted).await;
    // An image is the same on all platforms: then no node is asked.
    let any_index = (manifests.values()).any(|it| matches!(it, Read::Found(it) if it.is_index()));
    let platforms = if any_index || whole.is_some() {
        platforms(explainer, nodes, blind).await
    } else {
        Platforms::new()
    };
    for nth in of {
        let case = &mut cases[*nth];
        let platform =
            (case.seen.pod.node.as_ref()).and_then(|node| platforms.get(node)?.as_deref());
        let whole = is_whole(case);
        let judged = (case.seen.pod.containers.iter())
            .map(|container| {
                // That the same was asked for another pod is chance.
                if !whole && !case.is_looked_up(container) {
                    return None;
                }
                let (lookup, answer) = find(case, container, &answers)?;
                Some(conclude(container, &lookup, answer, &manifests, platform))
            })
            .collect();
        case.judged = judged;
    }
    platforms
}

type Answers = HashMap<Lookup, Result<Digest, LookupError>>;

/// Asks what the tags mean.
async fn answers(
    explainer: &Explainer,
    cases: &[&Case<'_>],
    is_whole: impl Fn(&Case<'_>) -> bool,
) -> Answers {
    let mut lookups = HashSet::new();
    for case in cases {
        let pod = &case.seen.pod;
        let all = is_whole(case);
        let containers = pod.containers.iter();
        let asked = containers.filter(|container| all || case.is_looked_up(container));
        lookups.extend(asked.filter_map(|container| Lookup::of(pod, container)));
    }
    let resolver = &explainer.resolver;
    stream::iter(lookups)
        .map(|lookup| async {
            let answer = resolver.digest(&lookup, RUN).await;
            (lookup, answer.map(|answer| answer.digest))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Returns what was asked for a container, and the answer.
fn find<'a>(
    case: &Case<'_>,
    container: &Container,
    answers: &'a Answers,
) -> Option<(Lookup, Result<&'a Digest, &'a LookupError>)> {
    let lookup = Lookup::of(&case.seen.pod, container)?;
    let answer = answers.get(&lookup)?;
    Some((lookup, answer.as_ref()))
}

async fn manifests(explainer: &Explainer, wanted: HashSet<(Lookup, Digest)>) -> Manifests {
    let resolver = &explainer.resolver;
    stream::iter(wanted)
        .map(|(lookup, digest)| async {
            let read = resolver.manifest(&lookup, &digest).await;
            ((lookup, digest), Read::from(read))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn platforms(
    explainer: &Explainer,
    nodes: HashSet<Arc<str>>,
    blind: &mut Blind,
) -> Platforms {
    let reader = &explainer.nodes;
    let mut answers = stream::iter(nodes)
        .map(|node| async {
            let platform = reader.platform(&node).await;
            (node, platform)
        })
        .buffer_unordered(AT_ONCE);
    let mut platforms = Platforms::new();
    while let Some((node, platform)) = answers.next().await {
        match platform {
            Ok(platform) => drop(platforms.insert(node, platform)),
            Err(error) => blind.note(Part::Nodes, Chain(&error)),
        }
    }
    platforms
}

fn conclude(
    container: &Container,
    lookup: &Lookup,
    answer: Result<&Digest, &LookupError>,
    manifests: &Manifests,
    platform: Option<&Platform>,
) -> Judged {
    let target = match answer {
        Ok(target) => target,
        Err(fault) => {
            return Judged {
                target: None,
                fault: Some(fault.clone()),
                verdict: verdict(container, None, None),
                images: [None, None, None],
                unfit: false,
                doubt: None,
            };
        }
    };
    let reads = digests(container, target)
        .map(|digest| manifests.get(&(lookup.clone(), digest?.clone())).cloned());
    let compared = Compared::new(container, target, reads);
    let verdict = compared.verdict(platform);
    Judged {
        target: Some(target.clone()),
        fault: None,
        verdict,
        images: compared.images(platform).map(Option::<&_>::cloned),
        unfit: compared.is_unfit(platform) && verdict == Verdict::Unknown,
        doubt: compared.doubts(verdict).next(),
    }
}
