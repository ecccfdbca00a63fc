//! Many pods: one line for each of their containers.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    ExplainError, Explainer,
    blind::Part,
    case::Case,
    gate::Scene,
    group::{self, Group},
    judge,
    one::{image, owner_of},
    report::{IdleLabel, Row, Status},
    second,
    sight::{Sight, Whose},
};
use crate::policy::{Container, Digest, Ineligible, gate::Hold};

/// Tells of the containers of all pods in opted-in namespaces, or of those in one.
pub(super) async fn status(
    explainer: &Explainer,
    namespace: Option<&str>,
    now: Timestamp,
) -> Result<Status, ExplainError> {
    let whose = namespace.map_or(Whose::All, Whose::Namespace);
    let (sight, mut blind) = Sight::take(explainer, whose, now).await?;
    let knows = blind.sees(Part::Namespaces);
    let is_enabled = |name: &str| !knows || sight.namespaces.get(name).is_some_and(|it| it.enabled);
    let of_interest = sight
        .pods
        .iter()
        .filter(|seen| is_enabled(&seen.pod.namespace));
    let mut cases: Vec<Case<'_>> = of_interest
        .map(|seen| Case::new(seen, &sight, &blind))
        .collect();
    let all: Vec<usize> = (0..cases.len()).collect();
    judge::judge(explainer, &mut cases, &all, None, &mut blind).await;
    let groups = group::groups(explainer, &cases, |case| case.is_outdated(), &mut blind).await;
    let scene = Scene::new(&sight, &blind, &cases, explainer.settings.limits);
    let mut outlook: HashMap<usize, (&Group, Option<Hold>)> = HashMap::new();
    for group in &groups {
        let holds = scene.holds(group).into_iter();
        outlook.extend(holds.map(|(nth, hold)| (nth, (group, hold))));
    }
    let containers = (cases.iter().enumerate())
        .flat_map(|(nth, case)| rows(&scene, case, outlook.get(&nth).copied()))
        .collect();
    Ok(Status {
        containers,
        not_enabled: namespace
            .filter(|name| !is_enabled(name))
            .map(str::to_owned),
        unseen: blind.report(),
        idle_labels: (sight.idle_labels.iter())
            .map(|(namespace, value)| IdleLabel {
                namespace: namespace.to_string(),
                value: value.to_string(),
            })
            .collect(),
    })
}

/// Returns a line for each container of a pod.
fn rows(scene: &Scene<'_>, case: &Case<'_>, outlook: Option<(&Group, Option<Hold>)>) -> Vec<Row> {
    let pod = &case.seen.pod;
    let row = |nth: usize, container: &Container| {
        let judged = case.judged[nth].as_ref();
        let moved = case
            .moved()
            .find(|moved| std::ptr::eq(moved.container, container));
        let outlook = outlook.filter(|_| moved.is_some());
        let reason = match (outlook, case.left_alone, case.uncounted(container)) {
            (Some((group, hold)), _, _) => group.word(hold),
            // Why this container does not count says more than that none does.
            (None, None | Some(Ineligible::NothingCounts), Some(reason)) => Some(reason.label()),
            (None, Some(reason), _) => Some(reason.label()),
            (None, None, None) => judged.and_then(|it| case.open(container, it)),
        };
        let known = outlook.zip(moved).and_then(|((group, _), moved)| {
            let known = scene.known(group, case, moved)?;
            Some(second(known.since))
        });
        Row {
            namespace: pod.namespace.to_string(),
            pod: pod.name.to_string(),
            container: container.name.to_string(),
            image: image(container),
            running: container.running.digest().map(Digest::to_string),
            registry: judged.and_then(|it| Some(it.target.as_ref()?.to_string())),
            stamp: container
                .valid_stamp()
                .map(|stamp| stamp.digest.to_string()),
            verdict: judged.map(|it| it.verdict.label()),
            reason,
            since: known,
            owner: owner_of(case),
            node: pod.node.as_deref().map(str::to_owned),
        }
    };
    let containers = pod.containers.iter().enumerate();
    containers
        .map(|(nth, container)| row(nth, container))
        .collect()
}
