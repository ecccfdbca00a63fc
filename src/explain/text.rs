//! An explanation as people read it.

use std::fmt::Write as _;

use super::{
    report::{ContainerFacts, DigestFacts, Explanation, Reason},
    table::table,
};
use crate::policy::names::ENABLED;

/// Returns the explanation in lines.
pub fn explanation(it: &Explanation) -> String {
    let mut text = head(it);
    for container in &it.containers {
        text.push('\n');
        text.push_str(&of_container(container));
    }
    if !it.rules.is_empty() {
        text.push_str("\nRules, in their order\n");
        let rows: Vec<Vec<String>> = (it.rules.iter())
            .map(|rule| row(&[rule.outcome.label(), rule.rule, &rule.why]))
            .collect();
        text.push_str(&table(&rows));
    }
    let _ = write!(text, "\nNext\n  {}\n", it.next);
    if !it.events.is_empty() {
        text.push_str("\nEvents of the controllers\n");
        let rows: Vec<Vec<String>> = (it.events.iter())
            .map(|event| {
                row(&[
                    &event.at.to_string(),
                    event.reason,
                    &event.about,
                    &event.note,
                ])
            })
            .collect();
        text.push_str(&table(&rows));
    }
    if !it.unseen.is_empty() {
        text.push_str("\nNot seen from here\n");
        for unseen in &it.unseen {
            let _ = writeln!(text, "  {}: {}", unseen.what, unseen.consequence);
            let _ = writeln!(text, "    {}", unseen.why);
        }
    }
    text
}

/// Returns the cells of a row that is indented.
fn row(cells: &[&str]) -> Vec<String> {
    let mut cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
    if let Some(first) = cells.first_mut() {
        first.insert_str(0, "  ");
    }
    cells
}

fn head(it: &Explanation) -> String {
    let mut text = format!("Pod {}/{}", it.namespace, it.pod);
    if let Some(owner) = &it.owner {
        let _ = write!(text, " of {owner}");
    }
    if let Some(workload) = &it.workload {
        let _ = write!(text, " of {workload}");
    }
    if let Some(node) = &it.node {
        let _ = write!(text, " on {node}");
    }
    if let Some(platform) = &it.platform {
        let _ = write!(text, " ({platform})");
    }
    text.push('\n');
    match (&it.left_alone, it.outdated) {
        (Some(Reason { reason, why }), _) => {
            let _ = writeln!(text, "Left alone: {reason}: {why}");
        }
        (None, true) => {
            text.push_str("Outdated");
            if let Some(since) = &it.since {
                let _ = write!(text, " since {since}");
            }
            match it.reason {
                Some(reason) => {
                    let _ = writeln!(text, ", held: {reason}");
                }
                None => text.push_str(", held by nothing\n"),
            }
        }
        (None, false) => text.push_str("Not outdated\n"),
    }
    if let Some(value) = &it.idle_label {
        let _ = writeln!(
            text,
            "Its label {ENABLED}={value:?} means nothing: only \"false\" opts out"
        );
    }
    text
}

fn of_container(it: &ContainerFacts) -> String {
    let mut text = format!("Container {}", it.name);
    match it.verdict {
        Some(verdict) => {
            let _ = write!(text, ": {verdict}");
        }
        None => text.push_str(": no verdict, it follows no tag"),
    }
    if it.ambiguous {
        text.push_str(", though only its stamp says so");
    }
    if let Some(Reason { reason, why }) = &it.uncounted {
        let _ = write!(text, "; does not count: {reason}: {why}");
    }
    text.push('\n');
    let mut rows = vec![row(&[
        "image",
        &format!("{} (pulled {})", it.image, it.pull_policy),
    ])];
    rows.push(match (&it.target, &it.fault) {
        (Some(target), _) => digest("T, the tag now", target, ""),
        (None, Some(Reason { reason, why })) => {
            row(&["T, the tag now", &format!("not known: {reason}: {why}")])
        }
        (None, None) => row(&["T, the tag now", "not asked for"]),
    });
    rows.push(match &it.stamp {
        Some(stamp) if stamp.valid => digest("S, the stamp", &stamp.digest, ""),
        Some(stamp) => digest(
            "S, the stamp",
            &stamp.digest,
            ", void: made for another image",
        ),
        None => row(&["S, the stamp", "none"]),
    });
    rows.push(match &it.running.digest {
        Some(running) => digest("I, the imageID", running, ""),
        None => row(&[
            "I, the imageID",
            match it.running.state {
                "not_started" => "none yet: not started",
                _ => "not comparable: no digest of a manifest",
            },
        ]),
    });
    if it.unfit {
        rows.push(row(&["unfit", "T has no image for the node's platform"]));
    }
    if let Some(doubt) = &it.doubt {
        rows.push(row(&["not compared", doubt]));
    }
    text.push_str(&table(&rows));
    text
}

/// Returns the row of a digest, and of the node's image by it where that is another one.
fn digest(name: &str, facts: &DigestFacts, more: &str) -> Vec<String> {
    let image = (facts.image.as_ref()).filter(|image| **image != facts.digest);
    let image = image.map_or(String::new(), |image| format!(", on this node {image}"));
    row(&[name, &format!("{}{image}{more}", facts.digest)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::report::{EventLine, Outcome, Rule, RunningFacts, StampFacts, Unseen};

    fn facts(digest: &str, image: Option<&str>) -> DigestFacts {
        DigestFacts {
            digest: digest.to_owned(),
            image: image.map(str::to_owned),
        }
    }

    fn reason(reason: &'static str, why: &str) -> Option<Reason> {
        Some(Reason {
            reason,
            why: why.to_owned(),
        })
    }

    fn container() -> ContainerFacts {
        ContainerFacts {
            name: "app".to_owned(),
            image: "nginx:1".to_owned(),
            pull_policy: "Always",
            uncounted: None,
            verdict: Some("outdated"),
            ambiguous: false,
            target: Some(facts("T", Some("t"))),
            stamp: Some(StampFacts {
                digest: facts("S", None),
                valid: true,
            }),
            running: RunningFacts {
                state: "manifest",
                digest: Some(facts("I", Some("I"))),
            },
            fault: None,
            unfit: false,
            doubt: None,
        }
    }

    fn outdated() -> Explanation {
        let at = "2026-11-22T01:00:00Z".parse().unwrap();
        let rule = |rule, outcome, why: &str| Rule {
            rule,
            outcome,
            why: why.to_owned(),
        };
        Explanation {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            node: Some("node-1".to_owned()),
            platform: Some("linux/amd64".to_owned()),
            owner: Some("ReplicaSet/web".to_owned()),
            workload: Some("Deployment/web".to_owned()),
            ready: true,
            left_alone: None,
            idle_label: None,
            containers: vec![container()],
            outdated: true,
            since: Some(at),
            rules: vec![
                rule("notify", Outcome::Pass, "one"),
                rule("window", Outcome::Hold, "two"),
            ],
            reason: Some("window"),
            next: "Soon.".to_owned(),
            events: vec![EventLine {
                at,
                reason: "Outdated",
                about: "Deployment/web".to_owned(),
                note: "moved".to_owned(),
            }],
            unseen: vec![Unseen {
                what: "nodes",
                why: "forbidden".to_owned(),
                consequence: "so what",
            }],
        }
    }

    #[test]
    fn an_outdated_pod_is_told_whole() {
        let expected = "\
Pod shop/web-1 of ReplicaSet/web of Deployment/web on node-1 (linux/amd64)
Outdated since 2026-11-22T01:00:00Z, held: window

Container app: outdated
  image            nginx:1 (pulled Always)
  T, the tag now   T, on this node t
  S, the stamp     S
  I, the imageID   I

Rules, in their order
  pass   notify   one
  hold   window   two

Next
  Soon.

Events of the controllers
  2026-11-22T01:00:00Z   Outdated   Deployment/web   moved

Not seen from here
  nodes: so what
    forbidden
";
        assert_eq!(explanation(&outdated()), expected);
    }

    #[test]
    fn what_is_not_known_is_told_in_words() {
        let unknown = ContainerFacts {
            verdict: Some("unknown"),
            target: None,
            fault: reason("unauthorized", "no credential"),
            stamp: Some(StampFacts {
                digest: facts("S", None),
                valid: false,
            }),
            running: RunningFacts {
                state: "not_started",
                digest: None,
            },
            unfit: true,
            doubt: Some("no answer".to_owned()),
            ..container()
        };
        let silent = ContainerFacts {
            verdict: None,
            uncounted: reason("own_digest", "it cannot change"),
            target: None,
            stamp: None,
            running: RunningFacts {
                state: "unusable",
                digest: None,
            },
            ..container()
        };
        let it = Explanation {
            node: None,
            platform: None,
            workload: None,
            left_alone: reason("no_controller", "it says so"),
            idle_label: Some("no".to_owned()),
            containers: vec![unknown, silent],
            outdated: false,
            since: None,
            rules: Vec::new(),
            reason: Some("no_controller"),
            events: Vec::new(),
            unseen: Vec::new(),
            ..outdated()
        };
        let expected = "\
Pod shop/web-1 of ReplicaSet/web
Left alone: no_controller: it says so
Its label podrefresh.io/enabled=\"no\" means nothing: only \"false\" opts out

Container app: unknown
  image            nginx:1 (pulled Always)
  T, the tag now   not known: unauthorized: no credential
  S, the stamp     S, void: made for another image
  I, the imageID   none yet: not started
  unfit            T has no image for the node's platform
  not compared     no answer

Container app: no verdict, it follows no tag; does not count: own_digest: it cannot change
  image            nginx:1 (pulled Always)
  T, the tag now   not asked for
  S, the stamp     none
  I, the imageID   not comparable: no digest of a manifest

Next
  Soon.
";
        assert_eq!(explanation(&it), expected);
    }
}
