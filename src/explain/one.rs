//! One pod: every fact and rule behind what becomes of it.

use jiff::Timestamp;

use super::{
    ExplainError, Explainer,
    case::{Case, Open},
    gate::Scene,
    group::{self, Group},
    judge, left,
    next::next,
    object,
    report::{
        ContainerFacts, DigestFacts, EventLine, Explanation, Outcome, Reason, Rule, RunningFacts,
        StampFacts,
    },
    second,
    sight::{Sight, Whose},
    why::Subject,
};
use crate::{
    cluster::WorkloadKind,
    policy::{Container, Digest, PullPolicy, Running, Verdict, gate::checks},
};

/// Explains one pod.
pub(super) async fn explain(
    explainer: &Explainer,
    namespace: &str,
    name: &str,
    now: Timestamp,
) -> Result<Explanation, ExplainError> {
    let (sight, mut blind) = Sight::take(explainer, Whose::Pod(namespace, name), now).await?;
    let found = sight.pods.iter().position(|seen| &*seen.pod.name == name);
    let Some(nth) = found else {
        return Err(ExplainError::NoPod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    };
    // Of the others only those with the same workload matter, which cannot be told before it is read.
    let mut cases: Vec<Case<'_>> = (sight.pods.iter())
        .map(|seen| Case::new(seen, &sight, &blind))
        .collect();
    let uid = cases[nth].seen.pod.uid.clone();
    let is_it = |case: &Case<'_>| case.seen.pod.uid == uid;
    let groups = group::groups(explainer, &cases, is_it, &mut blind).await;
    let group = groups.into_iter().next();
    let company: Vec<usize> = match &group {
        Some(group) => group.members.clone(),
        None => vec![nth],
    };
    let platforms = judge::judge(explainer, &mut cases, &company, Some(&uid), &mut blind).await;
    let platform = (cases[nth].seen.pod.node.as_ref())
        .and_then(|node| platforms.get(node)?.as_ref())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture));
    let scene = Scene::new(&sight, &blind, &cases, explainer.settings.limits);
    let case = &cases[nth];
    let (rules, reason, next) = outlook(explainer, &scene, group.as_ref(), case);
    let owner = case.seen.pod.owner.as_ref();
    Ok(Explanation {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        node: case.seen.pod.node.as_deref().map(str::to_owned),
        platform,
        owner: owner_of(case),
        workload: (group.as_ref())
            .and_then(|group| group.workload.as_ref().ok())
            .filter(|workload| owner.is_some_and(|owner| *owner.uid != *workload.uid))
            .map(|workload| object(workload.kind.label(), &workload.name)),
        ready: case.seen.pod.ready,
        left_alone: case.left_alone.map(|reason| Reason {
            reason: reason.label(),
            why: left::left_alone(case, reason),
        }),
        idle_label: case.seen.idle_label.as_deref().map(str::to_owned),
        containers: containers(case),
        outdated: case.is_outdated(),
        since: (group.as_ref())
            .filter(|_| case.is_outdated())
            .and_then(|group| scene.since(group, case))
            .map(second),
        rules,
        reason,
        next,
        events: events(&scene, group.as_ref(), case),
        unseen: blind.report(),
    })
}

/// Returns what each rule says of an outdated pod, the label of what keeps the pod as it is, and what comes next.
fn outlook(
    explainer: &Explainer,
    scene: &Scene<'_>,
    group: Option<&Group>,
    case: &Case<'_>,
) -> (Vec<Rule>, Option<&'static str>, String) {
    if let Some(reason) = case.left_alone {
        let next = "Nothing: it is left alone.".to_owned();
        return (Vec::new(), Some(reason.label()), next);
    }
    let Some(group) = group.filter(|_| case.is_outdated()) else {
        let next = if case.is_current() {
            "Nothing: it runs what its tags mean now."
        } else if case.is_unfit() {
            "Nothing until its tag has an image for the pod's node: a replacement could not start there."
        } else {
            "Nothing while too little is known: no pod is evicted on a guess."
        };
        return (Vec::new(), case.first_open(), next.to_owned());
    };
    let view = scene.view(group);
    let subject = Subject {
        scene,
        home: &explainer.settings.home,
        group,
        view: &view,
        case,
    };
    let checks = checks(&scene.moment(), &view, &case.seen.pod.uid);
    let mut rules = Vec::new();
    let mut first = None;
    for check in checks {
        let (outcome, why) = subject.why(check);
        if outcome == Outcome::Hold {
            first.get_or_insert(check.rule);
        }
        rules.push(Rule {
            rule: check.rule.label(),
            outcome,
            why,
        });
    }
    let reason = scene.reason(group, &view, case, first);
    let next = next(&subject, reason);
    (rules, group.word(reason), next)
}

/// Returns what controls a pod.
pub(super) fn owner_of(case: &Case<'_>) -> Option<String> {
    let owner = case.seen.pod.owner.as_ref()?;
    match WorkloadKind::of_owner(owner.kind) {
        Some(kind) => Some(object(kind.label(), &owner.name)),
        None => case.seen.foreign.as_deref().map(str::to_owned),
    }
}

fn events(scene: &Scene<'_>, group: Option<&Group>, case: &Case<'_>) -> Vec<EventLine> {
    let told = match group {
        Some(group) => scene.told(group, case),
        None => scene.sight.told(&[&*case.seen.pod.uid]),
    };
    (told.into_iter())
        .map(|told| EventLine {
            at: second(told.at),
            reason: told.reason.label(),
            about: told.about.to_string(),
            note: told.note.to_string(),
        })
        .collect()
}

fn containers(case: &Case<'_>) -> Vec<ContainerFacts> {
    let containers = case.seen.pod.containers.iter().zip(&case.judged);
    containers
        .map(|(container, judged)| {
            let judged = judged.as_ref();
            let [of_target, of_stamp, of_running] = judged.map_or([None, None, None], |it| {
                it.images.each_ref().map(Option::as_ref)
            });
            ContainerFacts {
                name: container.name.to_string(),
                image: image(container),
                pull_policy: pull_policy(container.pull),
                uncounted: case.uncounted(container).map(|reason| Reason {
                    reason: reason.label(),
                    why: left::uncounted(reason).to_owned(),
                }),
                verdict: judged.map(|it| it.verdict.label()),
                ambiguous: judged
                    .is_some_and(|it| it.verdict == Verdict::Current { ambiguous: true }),
                target: judged
                    .and_then(|it| it.target.as_ref())
                    .map(|digest| facts(digest, of_target)),
                stamp: container.stamp.as_ref().map(|stamp| StampFacts {
                    digest: facts(&stamp.digest, of_stamp),
                    valid: container.valid_stamp().is_some(),
                }),
                running: running(container, of_running),
                fault: judged.and_then(|it| it.fault.as_ref()).map(|fault| Reason {
                    reason: fault.label(),
                    why: fault.brief(),
                }),
                unfit: judged.is_some_and(|it| it.unfit),
                doubt: judged
                    .and_then(|it| it.doubt.as_ref())
                    .map(|doubt| doubt.brief()),
            }
        })
        .collect()
}

fn facts(digest: &Digest, image: Option<&Digest>) -> DigestFacts {
    DigestFacts {
        digest: digest.to_string(),
        image: image.map(Digest::to_string),
    }
}

fn running(container: &Container, image: Option<&Digest>) -> RunningFacts {
    let (state, digest) = match &container.running {
        Running::Manifest(digest) => ("manifest", Some(facts(digest, image))),
        Running::NotStarted => (Open::NotStarted.label(), None),
        Running::Unusable => (Open::Unusable.label(), None),
    };
    RunningFacts { state, digest }
}

/// Returns the whole reference of a container's image, or what is wrong with it.
pub(super) fn image(container: &Container) -> String {
    match &container.image {
        Ok(image) => image.to_string(),
        Err(invalid) => invalid.to_string(),
    }
}

const fn pull_policy(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    }
}
